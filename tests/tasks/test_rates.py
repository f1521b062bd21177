"""Rates of this store's runs and tracks, worked by hand."""

import math

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.runs import RunRecord
from tasks.rates import (
    BYTES_PER_AUDIO_S,
    FIXED_S,
    GUESSES,
    HALF_LIFE_RUNS,
    LEARNED_RUNS,
    MIN_TRACKS_TO_MEASURE,
    OTHER_BYTES_PER_AUDIO_S,
    WORKERS_START_S,
    AudioSizes,
    AudioSizeSums,
    measure_rates,
)


def run(number=0, **stages):
    return RunRecord(run_id=f"run-{number}", started="2026-01-01T00:00:00+00:00", stages=stages)


def extracted(audio_s, cpu_s, **numbers):
    return {"n_done": 1, "audio_s": audio_s, "cpu_s": cpu_s, "wall_s": cpu_s / 2} | numbers


# --- stages ---


def test_before_any_run_every_rate_is_a_guess():
    rates = measure_rates([])
    assert rates == GUESSES
    assert all(rate.is_guess for rate in rates.values())
    assert list(rates) == ["extract", "describe", "train", "encode", "index", "report"]


def test_one_run_is_measured_by_what_it_did():
    rate = measure_rates([run(extract=extracted(3600.0, 18.0, n_bytes=7200, gpu_s=9.0))])["extract"]
    assert rate.core_s == pytest.approx(18 / 3600)
    assert rate.gpu_s == pytest.approx(9 / 3600)
    assert rate.n_bytes == pytest.approx(2.0)
    assert (rate.n_runs, rate.is_guess) == (1, False)


def test_what_a_run_did_not_do_stays_a_guess():
    rates = measure_rates([run(extract=extracted(3600.0, 18.0))])
    assert not rates["extract"].is_guess
    assert rates["encode"] == GUESSES["encode"]


def test_a_run_weighs_half_of_one_that_is_a_half_life_younger():
    old, young = run(extract=extracted(100.0, 10.0)), run(extract=extracted(100.0, 1.0))
    between = [run(extract=extracted(1e-9, 1e-12))] * (HALF_LIFE_RUNS - 1)
    rate = measure_rates([old, *between, young])["extract"]
    assert rate.core_s == pytest.approx((0.5 * 10 + 1) / (0.5 * 100 + 100))


def test_a_large_run_outweighs_small_ones():
    large = run(extract=extracted(1_000_000.0, 4_000.0))
    small = [run(extract=extracted(100.0, 5.0))] * 4  # loading the kernels is most of it
    rate = measure_rates([large, *small])["extract"]
    assert rate.core_s == pytest.approx(0.004, rel=0.01)


@pytest.mark.parametrize(
    "numbers",
    [
        {},
        extracted(0.0, 0.0),
        extracted(0.0, 5.0),  # every track failed
        extracted(math.nan, 5.0),
        extracted(100.0, -1.0),
        {"audio_s": "much", "cpu_s": 3.0, "wall_s": 1.0},
    ],
)
def test_a_run_that_did_nothing_or_makes_no_sense_teaches_nothing(numbers):
    good = run(extract=extracted(100.0, 1.0))
    assert measure_rates([good, run(extract=numbers)]) == measure_rates([good])


def test_runs_of_long_ago_are_left_out():
    old = [run(extract=extracted(1e12, 1e12))]
    rate = measure_rates(old + [run(extract=extracted(100.0, 1.0))] * LEARNED_RUNS)["extract"]
    assert rate.core_s == pytest.approx(0.01)
    assert rate.n_runs == LEARNED_RUNS


def test_stages_of_one_process_are_measured_by_the_clock_less_what_they_always_take():
    stages = {
        "index": {"n_done": 100, "wall_s": FIXED_S["index"] + 1.0},
        "report": {"n_done": 1, "wall_s": FIXED_S["report"] + 3.0},
    }
    rates = measure_rates([run(**stages)])
    assert rates["index"].wall_s == pytest.approx(0.01)
    assert rates["index"].core_s == pytest.approx(0.01)
    assert rates["report"].wall_s == pytest.approx(0.03)  # of the tracks, not of its one page


def test_workers_that_wait_are_slower_than_their_cpu_time():
    long = extracted(1e4, 40.0) | {"n_workers": 2, "wall_s": WORKERS_START_S + 30.0}
    assert measure_rates([run(extract=long)])["extract"].slowdown == pytest.approx(1.5)
    short = extracted(1e4, 4.0) | {"n_workers": 2, "wall_s": WORKERS_START_S + 30.0}
    assert measure_rates([run(extract=short)])["extract"].slowdown == 1.0
    both = measure_rates([run(extract=long), run(extract=short)])["extract"]
    assert both.slowdown == pytest.approx(1.5)
    assert measure_rates([run(extract=long | {"wall_s": 7.0})])["extract"].slowdown == 1.0
    assert measure_rates([run(extract=extracted(1e4, 40.0))])["extract"].slowdown == 1.0


# --- sizes of files ---


def tracks(*rows):
    names = ("path", "n_bytes", "duration_s")
    return pa.record_batch(
        {name: [row[place] for row in rows] for place, name in enumerate(names)},
        schema=pa.schema(
            [("path", pa.string()), ("n_bytes", pa.int64()), ("duration_s", pa.float64())]
        ),
    )


def sizes_of(*rows, at_once=1000):
    sums = AudioSizeSums()
    for start in range(0, len(rows), at_once):
        sums.add(tracks(*rows[start : start + at_once]))
    return sums.sizes


def test_sizes_are_measured_by_suffix_where_there_are_enough_tracks():
    enough = [(f"a.b/{number}.MP3", 1000 * number, 1.0) for number in range(MIN_TRACKS_TO_MEASURE)]
    few = [("x.flac", 1, 100.0)] * (MIN_TRACKS_TO_MEASURE - 1)
    odd = [("folder.ogg/no suffix", 1, 1.0)] * 9 + [("f.wav", 10, None)] * 9
    sizes = sizes_of(*enough, *few, *odd)
    assert sizes.measured == {".mp3": pytest.approx(2000.0)}
    assert sizes.estimate_s("new/song.mp3", 20_000) == pytest.approx(10.0)


@given(
    seconds=st.lists(st.floats(1.0, 5000.0), min_size=MIN_TRACKS_TO_MEASURE, max_size=60),
    at_once=st.integers(1, 61),
)
def test_sizes_do_not_depend_on_how_many_tracks_are_read_at_once(seconds, at_once):
    rows = [(f"{number}.ogg", 7 * number, length) for number, length in enumerate(seconds)]
    n_bytes = sum(row[1] for row in rows)
    audio_s = 0.0
    for length in seconds:
        audio_s += length
    assert sizes_of(*rows, at_once=at_once).measured == {".ogg": n_bytes / audio_s}


def test_sizes_are_guessed_where_nothing_is_published():
    sizes = sizes_of()
    assert sizes == AudioSizes({})
    assert sizes.estimate_s("a.FLAC", 900_000) == 900_000 / BYTES_PER_AUDIO_S[".flac"]
    for path in ("a.mp3", "a", ".flac", "x.flac/a", "a."):
        assert sizes.estimate_s(path, 2_400_000) == 2_400_000 / OTHER_BYTES_PER_AUDIO_S
    assert sizes.estimate_s("a.flac", 0) == 1.0
