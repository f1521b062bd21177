"""What validation tracks are searched in, and their score."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from musichash_core.segments import TrackFrames
from musichash_core.splits import Split
from musichash_core.training_data import TrainingData
from musichash_core.validation_map import (
    choose_database,
    score_codes,
    score_halves,
    score_tags,
)


def make_data(labels, groups, validation):
    tracks = tuple(
        TrackFrames(str(i), np.zeros((1, 1, 1), np.uint8), 1.0) for i in range(len(labels))
    )
    is_validation = np.isin(np.arange(len(labels)), validation)
    split = Split(np.flatnonzero(~is_validation), np.flatnonzero(is_validation))
    targets = np.array(labels)[:, None] == np.arange(2)
    return TrainingData(tracks, targets, np.array(groups), ("x", "y"), split)


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


def make_tagged(targets, groups, validation):
    data = make_data([0] * len(groups), groups, validation)
    return replace(data, targets=np.array(targets, dtype=bool), label_kind="tags")


def test_tracks_that_share_a_tag_should_find_one_another():
    data = make_tagged([[1, 0], [1, 1], [0, 1], [0, 1]], list("abcd"), [0, 1, 2, 3])
    codes = np.array([[0], [1], [3], [255]], dtype=np.uint8)
    # Track 0 wants 1, which is first. Track 1 wants all. Tracks 2 and 3 want all but 0: 1 3 0 and
    # 2 1 0 are their rankings, but 2 has 0 before 3.
    expected = np.mean([1, 1, (1 + 2 / 3) / 2, 1])
    assert score_codes(codes, np.arange(4), data) == pytest.approx(expected)


def test_tags_decide_whether_validation_tracks_can_be_found():
    shared = make_tagged([[1, 0], [1, 1], [0, 1], [0, 1]], list("abcd"), [0, 1])
    assert choose_database(shared)[1] == "validation"
    alone = make_tagged([[1, 0], [1, 1], [0, 1], [0, 1]], list("abcd"), [0, 2])
    assert choose_database(alone)[1] == "all"
    one_group = make_tagged([[1, 0], [1, 1], [0, 1], [0, 1]], list("aacd"), [0, 1])
    assert choose_database(one_group)[1] == "all"


def test_tags_are_scored_by_their_mean_average_precision():
    rng = np.random.default_rng(0)
    scores, targets = rng.standard_normal((30, 4)), rng.random((30, 4)) < 0.3
    targets[:, 3] = False
    expected = np.mean([average_precision_score(targets[:, i], scores[:, i]) for i in range(3)])
    assert score_tags(scores, targets) == pytest.approx(expected)
    assert score_tags(scores, np.zeros_like(targets)) is None
