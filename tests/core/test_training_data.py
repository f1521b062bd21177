"""Labelled tracks are checked, sorted and divided."""

import numpy as np
import pytest

from musichash_core.errors import ParameterError, TrainingError
from musichash_core.model_config import TrainingConfig
from musichash_core.segments import TrackFrames
from musichash_core.training_data import prepare_training_data


def make_track(track_id, shape=(40, 3, 8)):
    return TrackFrames(track_id, np.zeros(shape, dtype=np.uint8), 1.0)


def prepare(tracks, genres, groups=None):
    names = groups if groups is not None else [track.track_id for track in tracks]
    return prepare_training_data(tracks, genres, names, TrainingConfig())


def test_tracks_are_sorted_by_id_with_their_labels_and_groups():
    data = prepare([make_track(name) for name in "dbac"], ["rock", "jazz", "jazz", "rock"])
    assert [track.track_id for track in data.tracks] == ["a", "b", "c", "d"]
    assert data.genres == ("jazz", "rock")
    assert data.labels.tolist() == [0, 0, 1, 1]
    assert data.groups.tolist() == ["a", "b", "c", "d"]
    assert data.frame_shape == (3, 8)


@pytest.mark.parametrize(
    ("tracks", "genres", "error", "message"),
    [
        ([], [], TrainingError, "no labelled tracks"),
        (["a", "b"], ["x"], ParameterError, "2 tracks, 1 genres"),
        (["a", "a"], ["x", "y"], ParameterError, "track a is given 2 times"),
        (["a", "b"], ["x", "x"], TrainingError, "all 2 tracks have the genre 'x'"),
        (["a", "b", "c"], ["x", "x", "y"], TrainingError, r"\['y'\] have a single track"),
    ],
)
def test_labels_that_cannot_be_learned_are_refused(tracks, genres, error, message):
    with pytest.raises(error, match=message):
        prepare([make_track(name) for name in tracks], genres, tracks)


@pytest.mark.parametrize("shape", [(40, 2, 8), (0, 3, 8), (40, 8)])
def test_frames_that_do_not_fit_together_are_refused(shape):
    with pytest.raises(ParameterError, match="for track b"):
        prepare([make_track("a"), make_track("b", shape)], ["x", "y"])
