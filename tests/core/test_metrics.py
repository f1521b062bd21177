"""Scores against scikit-learn, against every order of the ties, and against hand-worked cases."""

from itertools import pairwise, permutations

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from musichash_core.codes import pack_bits
from musichash_core.errors import ParameterError
from musichash_core.metrics import (
    accuracy,
    average_precision,
    average_precisions,
    bit_entropies,
    code_statistics,
    confusion_matrix,
    macro_f1,
    macro_recall,
    mean_average_precision,
    precision_at,
    relevance_masks,
)

EXACT = 1e-12  # sums of a few fractions in another order

rankings = st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=6)


def expected_over_all_orders(distances, relevant, score):
    """Average a score over all orders of the items that leave the distances ascending."""
    orders = [
        order
        for order in permutations(range(len(distances)))
        if all(distances[a] <= distances[b] for a, b in pairwise(order))
    ]
    return np.mean([score([relevant[item] for item in order]) for order in orders])


def plain_average_precision(hits, k=None):
    k = len(hits) if k is None else k
    precisions = [sum(hits[: rank + 1]) / (rank + 1) for rank in range(len(hits)) if hits[rank]]
    within = [p for p, rank in zip(precisions, np.flatnonzero(hits), strict=True) if rank < k]
    return sum(within) / min(sum(hits), k) if sum(hits) else 0.0


def plain_precision(hits, k):
    return sum(hits[:k]) / k


@settings(max_examples=60, deadline=None)
@given(rankings)
def test_average_precision_is_the_mean_over_all_orders_of_ties(items):
    distances, relevant = (np.array(column) for column in zip(*items, strict=True))
    expected = expected_over_all_orders(distances, relevant, plain_average_precision)
    assert average_precision(distances, relevant) == pytest.approx(expected, abs=EXACT)


@settings(max_examples=60, deadline=None)
@given(rankings, st.integers(1, 8))
def test_average_precision_at_k_is_the_mean_over_all_orders_of_ties(items, k):
    distances, relevant = (np.array(column) for column in zip(*items, strict=True))
    expected = expected_over_all_orders(
        distances, relevant, lambda hits: plain_average_precision(hits, k)
    )
    assert average_precision(distances, relevant, k=k) == pytest.approx(expected, abs=EXACT)


@settings(max_examples=60, deadline=None)
@given(rankings, st.integers(1, 8))
def test_precision_at_k_is_the_mean_over_all_orders_of_ties(items, k):
    distances, relevant = (np.array(column) for column in zip(*items, strict=True))
    expected = expected_over_all_orders(distances, relevant, lambda hits: plain_precision(hits, k))
    assert precision_at(distances, relevant, k) == pytest.approx(expected, abs=EXACT)


def test_seven_tied_items_agree_with_all_their_orders():
    distances, relevant = np.zeros(7, dtype=np.int64), np.array([1, 0, 0, 1, 1, 0, 0], dtype=bool)
    expected = expected_over_all_orders(distances, relevant, plain_average_precision)
    assert average_precision(distances, relevant) == pytest.approx(expected, abs=EXACT)


@pytest.mark.parametrize("seed", range(5))
def test_average_precision_without_ties_is_that_of_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    distances = rng.permutation(200).astype(np.float32)
    relevant = rng.random(200) < 0.3
    expected = sklearn.metrics.average_precision_score(relevant, -distances)
    assert average_precision(distances, relevant) == pytest.approx(expected, abs=EXACT)


def test_hand_worked_average_precision():
    # Ranks: hit, then a tie of one hit and one miss, then a miss.
    distances, relevant = np.array([0, 4, 4, 9]), np.array([True, True, False, False])
    # The second hit is at rank 2 (precision 1) or 3 (precision 2/3) with equal chance.
    assert average_precision(distances, relevant) == pytest.approx((1 + (1 + 2 / 3) / 2) / 2)
    assert precision_at(distances, relevant, 2) == pytest.approx(0.75)
    assert precision_at(distances, relevant, 8) == pytest.approx(2 / 8)


def test_permuting_the_items_changes_nothing():
    rng = np.random.default_rng(0)
    distances, relevant = rng.integers(0, 9, 300), rng.random(300) < 0.2
    order = rng.permutation(300)
    for k in (None, 10, 100):
        assert average_precision(distances, relevant, k=k) == average_precision(
            distances[order], relevant[order], k=k
        )
    assert precision_at(distances, relevant, 50) == precision_at(
        distances[order], relevant[order], 50
    )


def test_nothing_relevant_and_nothing_at_all_score_zero():
    none = np.zeros(0)
    assert average_precision(np.arange(3), np.zeros(3, dtype=bool)) == 0.0
    assert average_precision(none, none.astype(bool)) == 0.0
    assert precision_at(none, none.astype(bool), 5) == 0.0


@pytest.mark.parametrize(
    ("distances", "relevant", "k", "message"),
    [
        (np.arange(3), np.ones(4, dtype=bool), 1, "must be"),
        (np.array([0.0, np.nan]), np.ones(2, dtype=bool), 1, "NaN"),
        (np.arange(2), np.ones(2, dtype=bool), 0, "k=0"),
    ],
)
def test_impossible_rankings_are_refused(distances, relevant, k, message):
    with pytest.raises(ParameterError, match=message):
        precision_at(distances, relevant, k)
    with pytest.raises(ParameterError, match=message):
        average_precision(distances, relevant, k=k)


def test_mean_average_precision_leaves_out_own_groups_and_unanswerable_queries():
    distances = np.array([[0, 1, 2, 3], [1, 0, 2, 3], [5, 5, 0, 5]])
    genres, groups = np.array([0, 0, 1, 0]), np.array(["a", "a", "b", "c"])
    relevant, excluded = relevance_masks(genres[:3], genres, groups[:3], groups)
    # Queries 0 and 1 may only find item 3, behind item 2; query 2 has nothing to find.
    scores = average_precisions(distances, relevant, excluded)
    np.testing.assert_allclose(scores, [0.5, 0.5, np.nan])
    assert mean_average_precision(distances, relevant, excluded) == 0.5
    assert mean_average_precision(distances, ~relevant & relevant, excluded) == 0.0


def test_masks_of_another_shape_are_refused():
    with pytest.raises(ParameterError, match="shapes must match"):
        average_precisions(np.zeros((1, 3)), np.zeros((1, 2), bool), np.zeros((1, 3), bool))


@pytest.mark.parametrize("seed", range(4))
def test_classification_scores_are_those_of_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    truth, predicted = rng.integers(0, 4, 60), rng.integers(0, 5, 60)  # class 4 is never true
    confusion = confusion_matrix(truth, predicted, 5)
    np.testing.assert_array_equal(
        confusion, sklearn.metrics.confusion_matrix(truth, predicted, labels=range(5))
    )
    assert accuracy(confusion) == pytest.approx(sklearn.metrics.accuracy_score(truth, predicted))
    assert macro_f1(confusion) == pytest.approx(
        sklearn.metrics.f1_score(truth, predicted, average="macro", zero_division=0)
    )
    assert macro_recall(confusion) == pytest.approx(
        sklearn.metrics.recall_score(truth, predicted, average="macro", labels=range(4))
    )


def test_classification_scores_of_no_items_are_zero():
    confusion = confusion_matrix(np.zeros(0, int), np.zeros(0, int), 3)
    assert accuracy(confusion) == macro_f1(confusion) == macro_recall(confusion) == 0.0


def test_a_class_out_of_range_is_refused():
    with pytest.raises(ParameterError, match=r"want 0\.\.1"):
        confusion_matrix(np.array([0, 1]), np.array([0, 2]), 2)
    with pytest.raises(ParameterError, match="must match"):
        confusion_matrix(np.array([0, 1]), np.array([0]), 2)


def test_code_statistics_of_hand_made_codes():
    bits = np.zeros((4, 8), dtype=bool)
    bits[:2, 0] = True  # even
    bits[:2, 1] = True  # the same bit once more
    bits[2:, 2] = True  # its opposite
    statistics = code_statistics(pack_bits(bits))
    assert (statistics.n_codes, statistics.n_distinct, statistics.largest_bucket) == (4, 2, 2)
    assert statistics.bit_means.tolist() == [0.5, 0.5, 0.5, 0, 0, 0, 0, 0]
    assert statistics.mean_bias == pytest.approx(5 * 0.5 / 8)
    assert statistics.mean_correlation == pytest.approx(6 / 56)
    assert statistics.mean_entropy == pytest.approx(3 / 8)


def test_bit_correlation_is_that_of_numpy():
    bits = np.random.default_rng(0).random((50, 16)) < 0.4
    expected = np.abs(np.corrcoef(bits, rowvar=False)[~np.eye(16, dtype=bool)]).mean()
    assert code_statistics(pack_bits(bits)).mean_correlation == pytest.approx(expected)


def test_entropy_is_one_for_even_bits_and_zero_for_constant_ones():
    np.testing.assert_allclose(
        bit_entropies(np.array([0.0, 0.25, 0.5, 1.0])), [0, 0.811278, 1, 0], atol=1e-6
    )


def test_statistics_of_no_codes_are_refused():
    with pytest.raises(ParameterError, match="at least one row"):
        code_statistics(np.zeros((0, 8), np.uint8))
