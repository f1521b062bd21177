"""What validation tracks are searched in, and their score."""

import numpy as np
import pytest

from musichash_core.segments import TrackFrames
from musichash_core.splits import Split
from musichash_core.training_data import TrainingData
from musichash_core.validation_map import choose_database, score_codes, score_halves


def make_data(labels, groups, validation):
    tracks = tuple(
        TrackFrames(str(i), np.zeros((1, 1, 1), np.uint8), 1.0) for i in range(len(labels))
    )
    is_validation = np.isin(np.arange(len(labels)), validation)
    split = Split(np.flatnonzero(~is_validation), np.flatnonzero(is_validation))
    return TrainingData(tracks, np.array(labels), np.array(groups), ("x", "y"), split)


def test_validation_tracks_are_searched_among_themselves_when_they_can_be_found():
    data = make_data([0, 0, 0, 1, 1, 1], list("abcdef"), [1, 2, 4, 5])
    positions, name = choose_database(data)
    assert (positions.tolist(), name) == ([1, 2, 4, 5], "validation")


def test_all_tracks_are_searched_when_validation_has_one_group_per_genre():
    data = make_data([0, 0, 0, 1, 1, 1], list("abbdee"), [1, 2, 4, 5])
    positions, name = choose_database(data)
    assert (positions.tolist(), name) == ([0, 1, 2, 3, 4, 5], "all")


def test_the_score_is_the_mean_over_validation_queries():
    data = make_data([0, 0, 1, 1], list("abcd"), [0, 3])
    codes = np.array([[0], [1], [3], [255]], dtype=np.uint8)
    # Track 0 finds 1 first. Track 3 finds 2 first, too.
    assert score_codes(codes, np.arange(4), data) == pytest.approx(1.0)
    # Track 0 is nearest to 2 and 3 now; track 3 to 0, then 1 and 2 in a tie.
    codes = np.array([[0], [255], [1], [1]], dtype=np.uint8)
    assert score_codes(codes, np.arange(4), data) == pytest.approx((1 / 3 + 1) / 2)


def test_nothing_to_find_is_no_score():
    data = make_data([0, 0, 1, 1], list("aacc"), [0, 1])
    assert score_codes(np.zeros((4, 1), np.uint8), np.arange(4), data) is None
    nobody = make_data([0, 0, 1, 1], list("abcd"), [])
    assert choose_database(nobody)[1] == "all"
    assert score_codes(np.zeros((4, 1), np.uint8), np.arange(4), nobody) is None


def test_halves_score_the_expected_reciprocal_rank():
    first = np.array([[0], [255], [15]], dtype=np.uint8)
    # Half 0 finds itself first; halves 1 and 2 tie with one another.
    second = np.array([[1], [15], [15]], dtype=np.uint8)
    assert score_halves(first, second) == pytest.approx((1 + 3 / 4 + 3 / 4) / 3)
