"""The sample catalogue `tests/data/music` is complete, credited and what its tables say."""

import csv
import re
from collections import Counter
from pathlib import Path

import pytest
import soundfile as sf

MUSIC = Path(__file__).parents[1] / "data" / "music"
AUDIO = {".ogg", ".opus", ".mp3", ".flac", ".wav", ".aiff"}
LABELS = {"ambient", "electronic", "game", "metal", "orchestral", "rock"}
LICENCES = {"CC-BY-SA-3.0", "CC-BY-3.0", "CC0-1.0", "MIT"}
DUPLICATE, DAMAGED = "duplicate of ", "damaged on purpose: the first 60% of the bytes of "


def read(name):
    with (MUSIC / name).open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def files():
    return sorted(
        path.relative_to(MUSIC).as_posix() for path in MUSIC.rglob("*") if path.suffix in AUDIO
    )


@pytest.fixture(scope="module")
def facts():
    return read("sample.csv")


def noted(rows, beginning):
    """The one row whose note begins so, and the path of the file that the note names."""
    (row,) = [row for row in rows if row["note"].startswith(beginning)]
    return row, row["note"].removeprefix(beginning).split(";")[0]


def test_the_catalogue_is_at_most_25_megabytes():
    assert sum(path.stat().st_size for path in MUSIC.rglob("*") if path.is_file()) <= 25_000_000


def test_every_file_in_a_label_folder_is_audio(files):
    in_folders = {path.relative_to(MUSIC).as_posix() for path in MUSIC.glob("*/**/*")}
    assert in_folders == set(files)
    assert {Path(file).parent.as_posix() for file in files} == LABELS


def test_labels_name_every_file_once_with_its_folder(files, facts):
    labels = read("labels.csv")
    assert list(labels[0]) == ["track path", "label", "group"]
    assert sorted(row["track path"] for row in labels) == files
    artist_of = {row["path"]: row["artist"] for row in facts}
    for row in labels:
        assert row["label"] == Path(row["track path"]).parent.as_posix()
        assert row["group"]
        assert artist_of[row["track path"]].startswith(row["group"])


def test_facts_name_every_file_once(files, facts):
    assert sorted(row["path"] for row in facts) == files
    assert all(row["label"] == Path(row["path"]).parent.as_posix() for row in facts)


def test_every_file_is_credited_once_in_the_attribution(files, facts):
    text = (MUSIC / "ATTRIBUTION.md").read_text(encoding="utf-8")
    lines = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and Path(cells[0]).suffix in AUDIO:
            assert cells[0] not in lines, f"{cells[0]} is credited twice"
            lines[cells[0]] = cells
    assert sorted(lines) == files
    for row in facts:
        _, title, artist, licence, source, _, changes = lines[row["path"]]
        assert (title, artist) == (row["title"], row["artist"])
        assert row["licence"] in licence
        assert row["source"] in source
        assert changes
    for licence in {row["licence"] for row in facts} - {"MIT"}:
        assert re.search(rf"\| {re.escape(licence)} \| https://creativecommons\.org/", text)
    assert "Copyright (c) 2006/2007" in text, "the MIT licence demands its notice"


def test_each_file_has_one_licence_and_no_vague_artist(facts):
    for row in facts:
        assert row["licence"] in LICENCES
        assert row["artist"]
        assert row["title"]
        assert ";" not in row["artist"]
    assert all(";" not in row["group"] for row in read("labels.csv"))


def test_the_duplicate_has_the_bytes_of_its_original(facts):
    row, original = noted(facts, DUPLICATE)
    assert row["path"] != original
    assert (MUSIC / row["path"]).read_bytes() == (MUSIC / original).read_bytes()
    contents = Counter((MUSIC / row["path"]).read_bytes() for row in facts)
    assert sorted(contents.values())[-2:] == [1, 2], "one pair of equal files, no more"


def test_the_damaged_file_is_a_real_one_cut_within_an_ogg_page(facts):
    row, original = noted(facts, DAMAGED)
    whole, cut = (MUSIC / original).read_bytes(), (MUSIC / row["path"]).read_bytes()
    assert cut == whole[: int(len(whole) * 0.6)]
    page = cut[cut.rindex(b"OggS") :]
    assert len(page) < 27 + page[26] + sum(page[27 : 27 + page[26]])


def test_each_sound_file_opens_and_is_what_its_row_says(facts):
    damaged, _ = noted(facts, DAMAGED)
    for row in facts:
        if row is damaged:
            continue
        info = sf.info(MUSIC / row["path"])
        assert str(info.samplerate) == row["sr"], row["path"]
        assert str(info.channels) == row["channels"], row["path"]
        assert f"{info.format}/{info.subtype}".lower() == row["codec"], row["path"]
        assert info.duration == pytest.approx(float(row["seconds"]), abs=0.01), row["path"]


def test_formats_and_sample_rates_are_mixed(facts):
    assert len({row["codec"].split("/")[0] for row in facts}) >= 5
    assert len({row["sr"] for row in facts}) >= 5
