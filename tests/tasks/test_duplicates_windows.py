"""Pairs proposed by agreeing windows, next to comparing every window with every other."""

import itertools
import shutil

import numpy as np
import pyarrow as pa
import pytest

from storage.segment_codes import SegmentCodes
from storage.snapshots import current_snapshot
from storage.store import open_store
from tasks.duplicates import find_duplicates
from tasks.duplicates_answer import answer_of
from tasks.duplicates_windows import propose_by_windows, read_windows

RADIUS = 12


def make_windows(tracks):
    """Put the windows of tracks together; each is (n, 8) uint8."""
    limits = np.cumsum([0, *map(len, tracks)])
    starts = np.concatenate([5.0 * np.arange(len(track)) for track in tracks])
    return SegmentCodes(np.concatenate(tracks), starts.astype(np.float32), limits.astype(np.int64))


def flipped(codes, n_bits, rng):
    """Change so many bits of each code."""
    bits = np.unpackbits(codes, axis=1)
    for row in bits:
        row[rng.choice(64, n_bits, replace=False)] ^= 1
    return np.packbits(bits, axis=1)


def proposed(windows, *, is_new=None, per_track=1000):
    fresh = np.ones(windows.n_tracks, bool) if is_new is None else is_new
    return propose_by_windows(windows, fresh, per_track=per_track, on_progress=None)


def agreeing(first, second):
    """Count the windows of each that agree with one of the other; the smaller count."""
    near = (
        np.array(
            [
                [
                    sum(bin(a ^ b).count("1") for a, b in zip(one, two, strict=True))
                    for two in second.tolist()
                ]
                for one in first.tolist()
            ]
        ).reshape(len(first), len(second))
        <= RADIUS
    )
    return min(near.any(axis=0).sum(), near.any(axis=1).sum()) if near.size else 0


@pytest.fixture
def tracks():
    """Tracks of 0 to 6 windows near some of 12 codes, so that many agree, and by many counts."""
    rng = np.random.default_rng(7)
    pool = rng.integers(0, 256, (12, 8), dtype=np.uint8)
    return [
        flipped(pool[rng.integers(0, 12, n)], int(rng.integers(0, 11)), rng)
        for n in rng.integers(0, 7, 40)
    ]


def test_pairs_are_those_found_by_comparing_all_windows(tracks):
    wanted = [
        [a, b]
        for a, b in itertools.combinations(range(len(tracks)), 2)
        if agreeing(tracks[a], tracks[b]) >= 2
    ]
    assert 20 < len(wanted) < 600
    found = proposed(make_windows(tracks))
    assert found.pairs.tolist() == wanted
    assert found.counts == {
        "proposed_by_windows": len(wanted),
        "cut_off_by_windows": 0,
        "crowded_windows": 0,
        "windows_not_asked": 0,
    }


@pytest.mark.parametrize("at_once", [1, 5])
def test_batches_change_nothing(tracks, at_once, monkeypatch):
    whole = proposed(make_windows(tracks))
    monkeypatch.setattr("tasks.duplicates_windows.WINDOWS_AT_ONCE", at_once)
    assert proposed(make_windows(tracks)).pairs.tolist() == whole.pairs.tolist()


def test_one_window_that_several_of_the_other_are_like_is_not_enough():
    rng = np.random.default_rng(1)
    one, other = rng.integers(0, 256, (2, 1, 8), dtype=np.uint8)
    held = make_windows([one, np.repeat(one, 3, axis=0), np.concatenate([other, one])])
    assert proposed(held).pairs.tolist() == []


def test_the_radius_goes_with_the_length_of_codes():
    rng = np.random.default_rng(2)
    first = rng.integers(0, 256, (2, 8), dtype=np.uint8)
    for n_bits, n_pairs in ((RADIUS, 1), (RADIUS + 1, 0)):
        assert len(proposed(make_windows([first, flipped(first, n_bits, rng)])).pairs) == n_pairs
    twice = np.concatenate([first, first], axis=1)
    far = np.concatenate([flipped(first, RADIUS, rng)] * 2, axis=1)
    assert len(proposed(make_windows([twice, far])).pairs) == 1


def test_each_track_keeps_the_pairs_of_which_most_windows_agree():
    rng = np.random.default_rng(3)
    song = rng.integers(0, 256, (6, 8), dtype=np.uint8)
    windows = make_windows([song, song[:2], song[:5], song[:3]])
    found = proposed(windows, per_track=1)
    assert found.pairs.tolist() == [[0, 1], [0, 2], [0, 3]]  # the best one of 1 and of 3 is 0
    assert found.counts["cut_off_by_windows"] == 3


def test_windows_that_many_share_pair_no_tracks_and_are_counted(monkeypatch):
    monkeypatch.setattr("tasks.duplicates_windows.CROWDED", 8)
    rng = np.random.default_rng(4)
    silence = np.zeros((2, 8), np.uint8)
    song = rng.integers(0, 256, (2, 8), dtype=np.uint8)
    found = proposed(make_windows([silence, silence, silence, silence, silence, song, song]))
    assert found.pairs.tolist() == [
        [0, 1],
        [0, 2],
        [0, 3],
        [0, 4],
        [1, 2],
        [1, 3],
        [1, 4],
        [2, 3],
        [2, 4],
        [3, 4],
        [5, 6],
    ]
    found = proposed(make_windows([silence] * 6 + [song, song]))
    assert found.pairs.tolist() == [[6, 7]]
    assert found.counts["crowded_windows"] == 12


def test_above_some_size_new_tracks_are_asked_for_first_and_the_others_counted(monkeypatch):
    rng = np.random.default_rng(5)
    songs = rng.integers(0, 256, (3, 4, 8), dtype=np.uint8)
    windows = make_windows([songs[0], songs[1], songs[0], songs[1], songs[2]])
    monkeypatch.setattr("tasks.duplicates_windows.MAX_COMPARISONS", 4 * 20)
    found = proposed(windows, is_new=np.array([False, False, False, True, False]))
    assert found.pairs.tolist() == [[1, 3]]
    assert found.counts["windows_not_asked"] == 4


def test_of_too_many_tracks_windows_are_not_read_and_all_are_counted(
    publish_all, music_root, config, tmp_path, monkeypatch
):
    (tmp_path / "music").mkdir()
    for name in ("naev-ambient1.ogg", "naev-ambient3.ogg"):
        shutil.copy(music_root / "ambient" / name, tmp_path / "music" / name)
    store = publish_all(tmp_path / "music").store
    layout = open_store(store)
    snapshot = current_snapshot(layout)
    assert read_windows(layout, snapshot).n_tracks == 2
    monkeypatch.setattr("tasks.duplicates_windows.MAX_TRACKS", 1)
    found = find_duplicates(store, config)
    assert found.counts["windows_not_asked"] == 2
    assert found.counts["proposed_by_windows"] == 0
    assert any("too large to compare all windows" in note for note in answer_of(found, ())["notes"])


def test_tables_without_windows_propose_nothing():
    table = pa.table({"code": pa.array([bytes(8)] * 3, pa.binary(8))})
    found = proposed(SegmentCodes.from_table(table))
    assert found.pairs.shape == (0, 2)
    assert set(found.counts.values()) == {0}
    empty = make_windows([np.empty((0, 8), np.uint8)] * 3)
    assert proposed(empty).pairs.shape == (0, 2)
