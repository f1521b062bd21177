"""Segments: evenly spaced, inside the track, and short tracks repeated."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from musichash_core.decibels import bytes_to_model_input
from musichash_core.errors import ParameterError
from musichash_core.segments import (
    SegmentConfig,
    TrackFrames,
    WindowConfig,
    cut_segments,
    segment_starts,
    window_starts,
)

CONFIG = SegmentConfig(n_frames=32, hop_frames=16, max_per_track=4)

configs = st.builds(
    SegmentConfig,
    n_frames=st.integers(32, 200),
    hop_frames=st.integers(1, 300),
    max_per_track=st.integers(1, 40),
)


def track(n_frames, peak=1.0):
    frames = np.random.default_rng(n_frames).integers(0, 256, (n_frames, 3, 4), dtype=np.uint8)
    return TrackFrames("t", frames, peak)


@given(st.integers(1, 20_000), configs)
def test_starts_are_evenly_spaced_inside_the_track(n_frames, config):
    starts = segment_starts(n_frames, config)
    assert 1 <= len(starts) <= config.max_per_track
    assert starts[0] == 0
    steps = np.diff(starts)
    assert (steps >= config.hop_frames).all()
    assert np.ptp(steps) <= 1 if len(steps) else True
    if len(starts) > 1:
        assert starts[-1] + config.n_frames == n_frames
    else:
        assert starts[-1] + config.n_frames <= max(n_frames, config.n_frames)


@pytest.mark.parametrize(
    ("n_frames", "expected"),
    [
        (1, [0]),
        (32, [0]),
        (47, [0]),
        (48, [0, 16]),
        (64, [0, 16, 32]),
        (80, [0, 16, 32, 48]),
        (132, [0, 33, 67, 100]),
    ],
)
def test_starts_of_small_tracks_by_hand(n_frames, expected):
    assert segment_starts(n_frames, CONFIG).tolist() == expected


@given(st.integers(1, 100_000), st.integers(1, 300), st.integers(1, 64))
def test_windows_reach_from_start_to_end_and_lie_no_farther_apart_than_asked(n_frames, hop, most):
    config = WindowConfig(n_frames=100, hop_frames=hop, max_per_track=most)
    starts = window_starts(n_frames, config)
    assert 1 <= len(starts) <= most
    assert starts[0] == 0
    if len(starts) < most:
        assert (np.diff(starts) <= hop).all()
    if len(starts) > 1:
        assert starts[-1] + 100 == n_frames
        assert np.ptp(np.diff(starts)) <= 1
    elif most > 1:
        assert n_frames <= 100


@pytest.mark.parametrize(
    ("n_frames", "expected"),
    [(1, [0]), (100, [0]), (101, [0, 1]), (150, [0, 50]), (151, [0, 26, 51]), (500, [0, 200, 400])],
)
def test_windows_of_small_tracks_by_hand(n_frames, expected):
    config = WindowConfig(n_frames=100, hop_frames=50, max_per_track=3)
    assert window_starts(n_frames, config).tolist() == expected


def test_a_track_without_frames_is_refused():
    with pytest.raises(ParameterError, match="at least one frame"):
        segment_starts(0, CONFIG)
    with pytest.raises(ParameterError, match="at least one frame"):
        window_starts(0, WindowConfig())


def test_segments_are_the_frames_from_their_starts():
    whole = track(100, peak=0.5)
    starts = segment_starts(100, CONFIG)
    cut = cut_segments(whole, starts, CONFIG)
    assert cut.shape == (4, 3, 4, 32)
    for segment, start in zip(cut, starts, strict=True):
        expected = bytes_to_model_input(whole.frames[start : start + 32], 0.5)
        assert np.array_equal(segment, expected)


@pytest.mark.parametrize("n_frames", [1, 7, 31])
def test_a_short_track_is_repeated_until_it_fills_a_segment(n_frames):
    short = track(n_frames)
    (segment,) = cut_segments(short, segment_starts(n_frames, CONFIG), CONFIG)
    for frame in range(32):
        expected = bytes_to_model_input(short.frames[frame % n_frames][None], 1.0)[..., 0]
        assert np.array_equal(segment[..., frame], expected)


def test_only_the_frames_of_segments_are_read():
    class Recording:
        def __init__(self, frames):
            self.frames, self.read = frames, []
            self.shape, self.ndim = frames.shape, 3

        def __len__(self):
            return len(self.frames)

        def __getitem__(self, frames):
            self.read.append((frames.start, frames.stop))
            return self.frames[frames]

    source = Recording(track(10_000).frames)
    cut_segments(TrackFrames("t", source, 1.0), segment_starts(10_000, CONFIG), CONFIG)
    assert source.read == [(0, 32), (3323, 3355), (6645, 6677), (9968, 10_000)]
