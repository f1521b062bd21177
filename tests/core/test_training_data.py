"""Labelled tracks are checked, sorted and divided."""

import numpy as np
import pytest

from musichash_core.errors import ParameterError, TrainingError
from musichash_core.segments import TrackFrames
from musichash_core.splits import Split
from musichash_core.training_config import TrainingConfig
from musichash_core.training_data import prepare_tagged_data, prepare_training_data


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


def prepare_split(train, validation, groups="abcdef"):
    tracks = [make_track(name) for name in "fedcba"]
    genres = ["rock", "jazz", "rock", "jazz", "unseen", "jazz"]
    split = Split(np.array(train, dtype=np.int64), np.array(validation, dtype=np.int64))
    return prepare_training_data(tracks, genres, list(groups), TrainingConfig(), split=split)


def test_a_given_split_keeps_its_tracks_and_nothing_of_the_others():
    data = prepare_split([0, 1, 2, 3], [5])
    assert [track.track_id for track in data.tracks] == ["a", "c", "d", "e", "f"]
    assert data.genres == ("jazz", "rock")
    assert data.groups.tolist() == ["f", "d", "c", "b", "a"]
    assert [data.tracks[i].track_id for i in data.split.train] == ["c", "d", "e", "f"]
    assert [data.tracks[i].track_id for i in data.split.validation] == ["a"]


@pytest.mark.parametrize(
    ("train", "validation", "groups", "error", "message"),
    [
        ([0, 1, 2], [2, 3], "abcdef", ParameterError, "a position twice"),
        ([0, 1], [6], "abcdef", ParameterError, "positions 0 to 6: want 0 to 5"),
        ([0, 1, 2, 3], [5], "abcdeb", TrainingError, r"group\(s\) \['b'\] are on both sides"),
        ([0, 2], [1, 3], "abcdef", TrainingError, r"\['jazz'\] have no training track"),
        ([], [], "abcdef", TrainingError, "no labelled tracks"),
    ],
)
def test_a_given_split_that_cannot_be_trained_on_is_refused(
    train, validation, groups, error, message
):
    with pytest.raises(error, match=message):
        prepare_split(train, validation, groups)


def prepare_tags(tags, split=None, share=0.25):
    tracks = [make_track(f"{i:02d}") for i in range(len(tags))]
    config = TrainingConfig(validation_share=share)
    names = [track.track_id for track in tracks]
    return prepare_tagged_data(tracks, tags, names, config, split=split)


def test_tagged_tracks_have_several_targets():
    data = prepare_tags([["slow", "loud"], ["loud"], ["slow", "slow"], {"loud"}], share=0)
    assert data.genres == ("loud", "slow")
    assert data.targets.tolist() == [[True, True], [True, False], [False, True], [True, False]]
    assert data.label_kind == "tags"


def test_rare_tags_are_on_both_sides():
    data = prepare_tags([["loud", "rare"] if i % 5 == 0 else ["loud"] for i in range(40)])
    rare = data.genres.index("rare")
    assert data.targets[data.split.train, rare].sum() == 6
    assert data.targets[data.split.validation, rare].sum() == 2


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ([["a"], ["b"], [], ["a"], ["b"]], r"1 track\(s\) have no tags, such as 02"),
        ([["a"], ["a"]], "all 2 tracks have the tag 'a'"),
        ([["a"], ["a", "b"]], r"tag\(s\) \['b'\] have a single track"),
    ],
)
def test_tags_that_cannot_be_learned_are_refused(tags, message):
    with pytest.raises(TrainingError, match=message):
        prepare_tags(tags)
