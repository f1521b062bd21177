"""Intervals against SciPy's bootstrap, normal theory and differences that are known."""

import numpy as np
import pytest
import scipy.stats

from musichash_core.errors import ParameterError
from musichash_core.evaluation.bootstrap import (
    bootstrap_difference,
    bootstrap_mean,
    summarise_seeds,
)

MONTE_CARLO = 0.15  # of an interval's width: two bootstraps of 2,000 draws differ by a few percent


def clustered(rng, *, n_groups=60, per_group=5, shift=0.1):
    """Give two methods' scores that share what is hard about a group and about a query."""
    groups = np.repeat(np.arange(n_groups), per_group)
    shared = rng.normal(0, 0.3, n_groups)[groups] + rng.normal(0, 0.2, len(groups))
    effect = rng.normal(shift, 0.1, n_groups)[groups]
    return shared + effect + rng.normal(0, 0.05, len(groups)), shared, groups


def test_the_interval_of_single_queries_is_that_of_scipy():
    scores = np.random.default_rng(0).gamma(2, 1, 150)
    ours = bootstrap_mean(scores, np.arange(150), seed=1)
    theirs = scipy.stats.bootstrap(
        (scores,), np.mean, n_resamples=2000, method="percentile", rng=2
    ).confidence_interval
    width = theirs.high - theirs.low
    assert ours.mean == pytest.approx(scores.mean())
    assert ours.low == pytest.approx(theirs.low, abs=MONTE_CARLO * width)
    assert ours.high == pytest.approx(theirs.high, abs=MONTE_CARLO * width)


def test_the_interval_of_even_groups_is_that_of_their_means():
    first, second, groups = clustered(np.random.default_rng(1))
    ours = bootstrap_difference(first, second, groups)
    of_groups = (first - second).reshape(60, 5).mean(axis=1)
    error = scipy.stats.sem(of_groups)
    assert ours.difference == pytest.approx(of_groups.mean())
    assert ours.high - ours.low == pytest.approx(2 * 1.96 * error, rel=MONTE_CARLO)
    # Queries taken for independent would promise far too much.
    assert ours.high - ours.low > 1.5 * 2 * 1.96 * scipy.stats.sem(first - second)


def test_intervals_cover_a_known_difference_about_as_often_as_they_say():
    covered = 0
    for seed in range(200):
        first, second, groups = clustered(np.random.default_rng(seed), n_groups=40)
        interval = bootstrap_difference(first, second, groups, n_draws=500, seed=seed)
        covered += interval.low <= 0.1 <= interval.high
    assert 0.88 <= covered / 200 <= 0.99


def test_a_clear_difference_is_clear_and_none_is_not():
    first, second, groups = clustered(np.random.default_rng(2), shift=0.3)
    clear = bootstrap_difference(first, second, groups)
    assert clear.is_clear
    assert clear.p_value == pytest.approx(2 / 2001)
    turned = bootstrap_difference(second, first, groups)
    assert (turned.low, turned.high) == pytest.approx((-clear.high, -clear.low))
    same = bootstrap_difference(first, first, groups)
    assert (same.difference, same.low, same.high, same.p_value) == (0, 0, 0, 1)
    assert not same.is_clear


def test_p_values_of_no_difference_are_evenly_spread():
    values = []
    for seed in range(150):
        first, second, groups = clustered(np.random.default_rng(seed), n_groups=50, shift=0.0)
        values.append(bootstrap_difference(first, second, groups, n_draws=400).p_value)
    assert scipy.stats.kstest(values, "uniform").pvalue > 0.01


def test_large_groups_weigh_by_their_queries():
    scores, groups = np.array([1.0, 1, 1, 0]), np.array(["large"] * 3 + ["small"])
    found = bootstrap_mean(scores, groups)
    assert found.mean == 0.75
    assert (found.low, found.high) == (0, 1)  # draws of one group twice are possible
    assert (found.n_queries, found.n_groups) == (4, 2)


def test_accuracies_of_right_and_wrong_tracks():
    right = np.random.default_rng(3).random(400) < 0.7
    found = bootstrap_mean(right, np.arange(400))
    exact = scipy.stats.binomtest(int(right.sum()), 400).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high), abs=0.01)


def test_seeds_repeat_and_order_of_queries_does_not_matter():
    first, second, groups = clustered(np.random.default_rng(4))
    order = np.random.default_rng(5).permutation(len(groups))
    one = bootstrap_difference(first, second, groups, seed=3)
    assert one == bootstrap_difference(first, second, groups, seed=3)
    assert one != bootstrap_difference(first, second, groups, seed=4)
    other = bootstrap_difference(first[order], second[order], groups[order], seed=3)
    assert (one.low, one.high) == pytest.approx((other.low, other.high), abs=1e-12)


def test_scores_are_averaged_over_seeds_and_unanswered_queries_left_out():
    first, second, groups = clustered(np.random.default_rng(6))
    silent = np.arange(len(groups)) % 7 == 0
    first[silent] = second[silent] = np.nan
    found = bootstrap_difference(np.stack([first, first + 0.2]), second, groups)
    assert found.difference == pytest.approx(np.nanmean(first - second) + 0.1)
    assert found.n_queries == (~silent).sum()


def test_seed_summary_is_that_of_numpy():
    summary = summarise_seeds(np.array([0.5, 0.6, 0.4]))
    assert (summary.mean, summary.low, summary.high, summary.n_seeds) == (0.5, 0.4, 0.6, 3)
    assert summary.deviation == pytest.approx(0.1)
    assert summarise_seeds(np.array([0.5])).deviation is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"groups": np.zeros(4)}, "1 group"),
        ({"groups": np.arange(3)}, "one score and one group per query"),
        ({"second": np.array([0, 0, np.nan, 0])}, "1 queries have a score from one method only"),
        ({"n_draws": 0}, "n_draws=0"),
        ({"seed": -1}, "seed=-1"),
    ],
)
def test_impossible_comparisons_are_refused(change, message):
    arguments = {"first": np.ones(4), "second": np.zeros(4), "groups": np.arange(4)} | change
    with pytest.raises(ParameterError, match=message):
        bootstrap_difference(**arguments)


@pytest.mark.parametrize("values", [np.zeros(0), np.zeros((2, 2)), np.array([np.nan])])
def test_figures_that_are_none_are_refused(values):
    with pytest.raises(ParameterError, match="one per seed"):
        summarise_seeds(values)
