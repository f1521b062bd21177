"""The training cache gives the stored frames back, and leaves nothing behind."""

from pathlib import Path

import numpy as np
import pytest

from storage.atomic import sweep_leftovers
from storage.training_cache import MAX_TRACK_FRAMES, training_tracks


@pytest.fixture
def frames(layout, helpers):
    frames = {number: helpers.random_frames(30 + number, number) for number in (1, 2, 3)}
    frames[4] = helpers.random_frames(MAX_TRACK_FRAMES + 101)
    for name, numbers in {"a": (4, 2), "b": (3, 1)}.items():
        helpers.write_partition(
            layout.feature_partition_path(helpers.features, name),
            {number: frames[number] for number in numbers},
        )
    return frames


def test_tracks_come_back_sorted_with_their_frames_and_peak(layout, helpers, frames):
    wanted = {"b": [helpers.track_id(3)], "a": [helpers.track_id(2)]}
    with training_tracks(layout, helpers.features, wanted) as tracks:
        assert [track.track_id for track in tracks] == [helpers.track_id(n) for n in (2, 3)]
        for track, number in zip(tracks, (2, 3), strict=True):
            assert np.array_equal(track.frames, frames[number])
            assert track.peak == 0.5
            assert not track.frames.flags.writeable


def test_long_tracks_are_represented_by_their_middle(layout, helpers, frames):
    with training_tracks(layout, helpers.features, {"a": [helpers.track_id(4)]}) as (track,):
        assert np.array_equal(track.frames, frames[4][50 : 50 + MAX_TRACK_FRAMES])


@pytest.mark.parametrize("wanted", [{}, {"a": []}, {"a": ["f" * 32]}])
def test_nothing_wanted_is_nothing_given(layout, helpers, frames, wanted):
    with training_tracks(layout, helpers.features, wanted) as tracks:
        assert tracks == []


def test_the_file_ends_with_the_training_however_it_ends(layout, helpers, frames):
    wanted = {"a": [helpers.track_id(2)]}
    with training_tracks(layout, helpers.features, wanted) as tracks:
        assert list(layout.work_root.iterdir()) == [layout.training_cache_path]
    assert np.array_equal(tracks[0].frames, frames[2])  # a map outlives the name
    with pytest.raises(RuntimeError), training_tracks(layout, helpers.features, wanted):
        raise RuntimeError
    assert list(layout.work_root.iterdir()) == []


def test_the_file_of_a_killed_training_is_swept(layout):
    layout.work_root.mkdir()
    layout.training_cache_path.write_bytes(b"frames")
    assert sweep_leftovers(layout.root) == 1


def test_all_tracks_share_one_map(layout, helpers, frames):
    # A process may have 65,530 maps, which a collection of tracks exceeds.
    wanted = {"a": [helpers.track_id(2)], "b": [helpers.track_id(n) for n in (1, 3)]}
    with training_tracks(layout, helpers.features, wanted) as tracks:
        maps = Path("/proc/self/maps").read_text()
        assert len(tracks) == 3
        assert maps.count(str(layout.training_cache_path)) == 1
