"""The tables of deploy/SIZING.md follow from the rates that it states."""

import re
from pathlib import Path

import pytest

TEXT = (Path(__file__).parents[2] / "deploy" / "SIZING.md").read_text(encoding="utf-8")
UNITS = {
    **{"bytes": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12},
    **{"ms": 1e-3, "seconds": 1, "CPU": 1, "million": 1e6, "": 1},
}
HOUR_S = 3600
TRACKS_PER_AUDIO_HOUR = 15
NEW_SHARE = 0.01
ROUNDED = 0.08
"""Cells have two digits, and most are rounded up or down once more."""


def rows(first_cell):
    """Give the cells of the table whose head begins with a text, below its head."""
    (table, *_) = re.findall(
        rf"^\| {re.escape(first_cell)} \|.*\n\|[-:|]+\|\n((?:\|.*\n)+)", TEXT, re.M
    )
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


def amount(cell):
    """Give the number at the start of a cell, in bytes, seconds or pieces."""
    found = re.match(r"([\d,.]+) ?([A-Za-z]*)", cell)
    return float(found[1].replace(",", "")) * UNITS[found[2]]


def rates(first_cell):
    return [amount(cells[1]) for cells in rows(first_cell)]


@pytest.fixture(scope="module")
def stated():
    """What the three tables of rates say, by short names."""
    *compute_s, feature_bytes = rates("per hour of audio")
    names = ("cpu_s", "features", "descriptions", "codes", "rows", "flat", "ivf", "publish", "held")
    per_track = dict(zip(names, rates("per track of 4 minutes"), strict=True))
    night_s, _, base_memory, _ = rates("per night, whatever there is to do")
    return per_track | {
        "hour_s": sum(compute_s),
        "hour_features": feature_bytes,
        "night_s": night_s,
        "base": base_memory,
    }


def test_rates_per_track_are_those_per_hour(stated):
    assert stated["cpu_s"] == pytest.approx(stated["hour_s"] / TRACKS_PER_AUDIO_HOUR, rel=0.02)
    assert stated["features"] == pytest.approx(stated["hour_features"] / TRACKS_PER_AUDIO_HOUR)
    hours, tracks = re.search(
        r"(\d+) hours of audio per core-hour, or ([\d,]+) tracks", TEXT
    ).groups()
    assert int(hours) == pytest.approx(HOUR_S / stated["hour_s"], rel=0.01)
    assert int(tracks.replace(",", "")) == pytest.approx(HOUR_S / stated["cpu_s"], rel=0.01)


def test_rates_are_what_was_measured():
    measured = re.search(
        r"200 real tracks \(([\d.]+) hours.*?([\d.]+) CPU\s+seconds for extraction.*?([\d.]+) for"
        r"\s+descriptions, ([\d.]+) for codes, ([\d.]+) for all else",
        TEXT,
        re.DOTALL,
    )
    hours, *seconds, else_s = map(float, measured.groups())
    rounded = rates("per hour of audio")[:-1]
    assert rounded == pytest.approx([one / hours for one in seconds], rel=0.03)
    assert else_s == pytest.approx(rates("per night, whatever there is to do")[0], rel=0.03)


def test_a_first_night_and_the_others_follow_from_the_rates(stated):
    sizes = rows("tracks")
    assert [amount(cells[0]) for cells in sizes] == [1e4, 1e5, 1e6, 1e7, 1e8]
    for tracks, first, cores, night, features, index, memory in sizes:
        n = amount(tracks)
        fixed_s = stated["night_s"] + n * stated["publish"]
        first_h = (n * stated["cpu_s"] + fixed_s) / HOUR_S
        night_h = (NEW_SHARE * n * stated["cpu_s"] + fixed_s) / HOUR_S
        assert amount(first) == pytest.approx(first_h, rel=ROUNDED)
        assert amount(cores) == pytest.approx(max(1, first_h / 24), rel=ROUNDED)
        assert amount(night) == pytest.approx(night_h, rel=ROUNDED)
        assert amount(features) == pytest.approx(n * stated["features"])
        flat, ivf = index.split(" / ")
        assert amount(flat) == pytest.approx(n * stated["flat"])
        assert amount(ivf) == pytest.approx(n * stated["ivf"])
        assert amount(memory) == pytest.approx(stated["base"] + n * stated["held"], rel=ROUNDED)


def test_costs_follow_from_the_prices(stated):
    per_core_h, per_gb = map(
        float, re.search(r"At ([\d.]+) per core-hour and ([\d.]+) per GB", TEXT).groups()
    )
    kept = stated["descriptions"] + stated["codes"] + stated["rows"]
    firsts = {amount(cells[0]): amount(cells[1]) for cells in rows("tracks")}
    (costs,) = re.findall(r"^\| tracks \| first night \|.*\n\|[-:|]+\|\n((?:\|.*\n)+)", TEXT, re.M)
    for line in costs.splitlines():
        n, first, month, without = (amount(cell.strip()) for cell in line.strip("|").split("|"))
        assert first == pytest.approx(firsts[n] * per_core_h, rel=ROUNDED)
        assert month == pytest.approx(n * stated["features"] / 1e9 * per_gb, rel=ROUNDED)
        assert without == pytest.approx(n * kept / 1e9 * per_gb, rel=ROUNDED)
