"""Stretches of a track: the same frames as slices of it, read no sooner than asked for."""

from dataclasses import replace

import numpy as np
import pytest

from musichash_core.descriptors.frame_parts import (
    FRAMES_PER_S,
    check_frames,
    duration_of_track,
    part_of_track,
)
from musichash_core.errors import ParameterError


def test_frames_come_as_often_as_the_specification_says():
    assert pytest.approx(43.066, abs=0.001) == FRAMES_PER_S
    assert duration_of_track(np.zeros((625, 96), np.uint8)) == 10.0


def test_a_part_is_that_stretch_of_both(lazy_track):
    track, of_tagger = lazy_track(30)
    whole, whole_of_tagger = track.frames[0:1292], of_tagger[0:1876]
    part, part_of_tagger = part_of_track(track, of_tagger, 10.0, 20.0)
    assert part.frames.shape == (430, 3, 128)
    assert part.frames.ndim == 3
    assert part_of_tagger.shape == (625, 96)
    np.testing.assert_array_equal(part.frames[0:430], whole[431:861])
    np.testing.assert_array_equal(part_of_tagger[0:625], whole_of_tagger[625:1250])
    np.testing.assert_array_equal(part.frames[100:200], whole[531:631])
    np.testing.assert_array_equal(part.frames[-5:], whole[856:861])
    assert part.frames[20:10].shape == (0, 3, 128)
    assert (part.track_id, part.peak) == (track.track_id, track.peak)


def test_a_part_of_a_part(lazy_track):
    track, of_tagger = lazy_track(30)
    part, of_tagger_part = part_of_track(*part_of_track(track, of_tagger, 10.0, 20.0), 4.0, 6.0)
    np.testing.assert_array_equal(part.frames[0:86], track.frames[431 + 172 : 431 + 258])
    np.testing.assert_array_equal(of_tagger_part[0:125], of_tagger[875:1000])


def test_a_part_reads_nothing_before_it_is_asked(lazy_track):
    track, of_tagger = lazy_track(3 * 3600)
    part, _ = part_of_track(track, of_tagger, 3600, 7200)
    assert track.frames.reads == of_tagger.reads == []
    _ = part.frames[10:20]
    ((first, stop),) = track.frames.reads
    assert stop - first == 10
    assert first == round(3600 * FRAMES_PER_S) + 10


@pytest.mark.parametrize("stop_s", [30.0, 1e6, float("inf")])
def test_a_stop_behind_the_end_is_the_end(lazy_track, stop_s):
    track, of_tagger = lazy_track(30)
    part, part_of_tagger = part_of_track(track, of_tagger, 29.0, stop_s)
    assert len(part.frames) in (43, 44)
    assert len(part_of_tagger) in (62, 63, 64)


def test_a_part_has_a_frame_of_each_kind_however_short(lazy_track):
    track, of_tagger = lazy_track(30)
    for start_s in (0.0, 14.999, 30.0):
        part, part_of_tagger = part_of_track(track, of_tagger, start_s, start_s + 1e-3)
        assert len(part.frames) == len(part_of_tagger) == 1
        assert part.frames[0:1].shape == (1, 3, 128)


@pytest.mark.parametrize(
    ("start_s", "stop_s"), [(-1, 5), (5, 5), (6, 5), (31, 40), (float("nan"), 5), (0, float("nan"))]
)
def test_a_stretch_that_is_none_is_refused(lazy_track, start_s, stop_s):
    with pytest.raises(ParameterError, match="want 0 <= start < stop"):
        part_of_track(*lazy_track(30), start_s, stop_s)


def test_frames_are_not_skipped(lazy_track):
    part, _ = part_of_track(*lazy_track(30), 0, 10)
    with pytest.raises(ParameterError, match="steps of 2"):
        _ = part.frames[0:10:2]


@pytest.mark.parametrize(
    ("shape", "tagger_shape", "message"),
    [
        ((1292, 3, 64), (1876, 96), r"settings of \[features\]"),
        ((1292, 2, 128), (1876, 96), r"settings of \[features\]"),
        ((1292, 128), (1876, 96), r"settings of \[features\]"),
        ((1292, 3, 128), (1876, 128), "tagger frames of shape"),
        ((0, 3, 128), (0, 96), "at least one of each"),
        ((1292, 3, 128), (3752, 96), r"30\.0 s and 60\.0 s"),
        ((1876, 3, 128), (1876, 96), "not at their defaults"),
    ],
)
def test_frames_of_other_settings_are_refused(lazy_track, shape, tagger_shape, message):
    track = replace(lazy_track(30)[0], frames=np.zeros(shape, np.uint8))
    with pytest.raises(ParameterError, match=message):
        check_frames(track, np.zeros(tagger_shape, np.uint8))


@pytest.mark.parametrize("duration_s", [0.01, 1, 30, 3600])
def test_frames_of_one_decoding_fit(lazy_track, duration_s):
    check_frames(*lazy_track(duration_s))
