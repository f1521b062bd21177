"""Genres, tags and versions against scikit-learn, SciPy and worked cases."""

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics

from musichash_core.codes import pack_bits
from musichash_core.errors import ParameterError
from musichash_core.evaluation.genre_scores import mean_by_track, score_genres
from musichash_core.evaluation.robustness import compare_versions
from musichash_core.evaluation.tag_scores import roc_area, score_tags

GENRES = ("a", "b", "c", "d")


@pytest.mark.parametrize("seed", range(3))
def test_the_table_of_genres_is_that_of_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    truth, predicted = rng.integers(0, 3, 80), rng.integers(0, 4, 80)  # d is never true
    scores = score_genres(truth, predicted, GENRES)
    expected = sklearn.metrics.precision_recall_fscore_support(
        truth, predicted, labels=range(4), zero_division=0
    )
    rows = [(row.precision, row.recall, row.f1, row.n_tracks) for row in scores.rows]
    np.testing.assert_allclose(np.array(rows).T, expected)
    assert scores.accuracy == sklearn.metrics.accuracy_score(truth, predicted)
    assert scores.macro_recall == pytest.approx(
        sklearn.metrics.recall_score(truth, predicted, average="macro", labels=range(3))
    )
    assert scores.chance == pytest.approx(np.bincount(truth).max() / 80)
    assert scores.is_right.mean() == scores.accuracy
    assert scores.macro_recall_without("b") == pytest.approx(
        sklearn.metrics.recall_score(truth, predicted, average="macro", labels=[0, 2])
    )
    assert scores.figures()["n_tracks"] == 80


def test_tracks_are_judged_by_the_mean_of_their_segments():
    # Two of three segments of track 0 prefer genre 1, but the third is much surer of genre 0.
    segments = np.log([[0.4, 0.6], [0.01, 0.99], [0.45, 0.55], [0.99, 0.01]])
    means = mean_by_track(segments, np.array([0, 1, 0, 0]), 2)
    assert means.argmax(axis=1).tolist() == [0, 1]
    np.testing.assert_allclose(means[0], segments[[0, 2, 3]].mean(axis=0))


@pytest.mark.parametrize(
    ("values", "track", "message"),
    [
        (np.zeros((2, 3)), [0, 0], "track 1 of 2 has no segment"),
        (np.zeros((2, 3)), [0, 2], r"want 0\.\.1"),
        (np.zeros((2, 3)), [0], "segments"),
        (np.full((2, 3), np.nan), [0, 1], "NaN"),
    ],
)
def test_impossible_segments_are_refused(values, track, message):
    with pytest.raises(ParameterError, match=message):
        mean_by_track(values, np.array(track), 2)


def test_no_tracks_are_refused():
    with pytest.raises(ParameterError, match="no tracks"):
        score_genres(np.zeros(0, int), np.zeros(0, int), GENRES)


@pytest.mark.parametrize("seed", range(3))
def test_tags_score_as_in_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    has_tag = rng.random((120, 6)) < 0.2
    values = rng.standard_normal((120, 6)) + has_tag
    scores = score_tags(has_tag, values)
    figures = scores.figures()
    assert figures["macro_roc_area"] == pytest.approx(
        sklearn.metrics.roc_auc_score(has_tag, values, average="macro")
    )
    assert figures["macro_average_precision"] == pytest.approx(
        sklearn.metrics.average_precision_score(has_tag, values, average="macro")
    )
    np.testing.assert_allclose(
        scores.roc_area, sklearn.metrics.roc_auc_score(has_tag, values, average=None)
    )
    assert figures["chance"] == pytest.approx(has_tag.mean())


def test_roc_area_of_tied_scores_is_that_of_scikit_learn_and_scipy():
    rng = np.random.default_rng(3)
    values, positive = rng.integers(0, 5, 200), rng.random(200) < 0.4
    assert roc_area(values, positive) == pytest.approx(
        sklearn.metrics.roc_auc_score(positive, values)
    )
    statistic = scipy.stats.mannwhitneyu(values[positive], values[~positive]).statistic
    assert roc_area(values, positive) == pytest.approx(
        statistic / (positive.sum() * (~positive).sum())
    )


def test_tags_that_all_or_no_tracks_have_are_not_scored():
    has_tag = np.array([[True, False, True], [True, False, False]])
    scores = score_tags(has_tag, np.zeros((2, 3)))
    assert np.isnan(scores.roc_area).tolist() == [True, True, False]
    assert scores.average_precision[2] == pytest.approx((1 + 1 / 2) / 2)  # first or second of two
    assert scores.figures()["n_tags_scored"] == 1
    assert scores.figures()["macro_roc_area"] == 0.5


@pytest.mark.parametrize(
    ("has_tag", "values", "message"),
    [
        (np.ones((3, 2), bool), np.zeros((3, 2)), "none of 2 tags"),
        (np.ones((3, 2), bool), np.zeros((3, 1)), "n_tags"),
        (np.eye(2, dtype=bool), np.full((2, 2), np.nan), "NaN"),
    ],
)
def test_tags_that_cannot_be_scored_are_refused(has_tag, values, message):
    with pytest.raises(ParameterError, match=message):
        score_tags(has_tag, values)


def test_one_kind_has_no_roc_area():
    with pytest.raises(ParameterError, match="0 positives"):
        roc_area(np.arange(3), np.zeros(3, bool))


def test_changed_bits_of_hand_made_versions():
    before = np.zeros((4, 16), dtype=bool)
    after = before.copy()
    after[0, :4] = True
    after[1, 0] = True
    change = compare_versions(pack_bits(before), pack_bits(after))
    assert change.share_of_bits.tolist() == [4 / 16, 1 / 16, 0, 0]
    assert change.share_of_tracks.tolist() == [0.5, 0.25, 0.25, 0.25] + [0] * 12
    assert change.figures() == {
        "n_tracks": 4,
        "mean_changed_share": 5 / 64,
        "median_changed_share": 1 / 32,
        "largest_changed_share": 0.25,
        "unchanged_tracks_share": 0.5,
        "most_fragile_bit_share": 0.5,
    }


def test_versions_of_different_tracks_are_refused():
    with pytest.raises(ParameterError, match="same tracks"):
        compare_versions(np.zeros((2, 8), np.uint8), np.zeros((3, 8), np.uint8))
