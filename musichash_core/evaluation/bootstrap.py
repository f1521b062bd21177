"""How far a figure can be trusted: spread over seeds, and intervals by drawing groups anew.

Tracks of one artist succeed and fail together, so what is drawn with replacement is groups of
queries, not queries (a cluster bootstrap; Efron and Tibshirani 1993). Two methods are compared on
the same draws: what is common to both cancels. The scores may be average precisions, or 1 and 0
for right and wrong, which makes the mean an accuracy.

Public: `summarise_seeds`, `SeedSummary`, `bootstrap_mean`, `BootstrapMean`,
`bootstrap_difference`, `BootstrapDifference`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from musichash_core.errors import ParameterError

N_DRAWS = 2000
LEVEL = 0.95
"""Share of the draws inside an interval."""

BLOCK_DRAWS = 250
"""Draws made at a time: bounds memory at 2 kB per group."""


@dataclass(frozen=True, slots=True)
class SeedSummary:
    """A figure over several seeds.

    Attributes
    ----------
    mean, low, high : float
    deviation : float or None
        Standard deviation, divided by ``n - 1``; None for a single seed.
    n_seeds : int
    """

    mean: float
    deviation: float | None
    low: float
    high: float
    n_seeds: int


@dataclass(frozen=True, slots=True)
class BootstrapMean:
    """The mean of a score per query, with its interval.

    Attributes
    ----------
    mean, low, high : float
        `low` and `high` hold 95 % of the draws between them.
    n_queries, n_groups, n_draws : int
    """

    mean: float
    low: float
    high: float
    n_queries: int
    n_groups: int
    n_draws: int


@dataclass(frozen=True, slots=True)
class BootstrapDifference:
    """The mean difference of two methods on the same queries, with its interval.

    Attributes
    ----------
    difference, low, high : float
        First method minus second; `low` and `high` hold 95 % of the draws between them.
    p_value : float
        Twice the smaller share of draws on one side of zero, zero included, at most 1; never
        below ``2 / (n_draws + 1)``, which is all that so many draws can show.
    n_queries, n_groups, n_draws : int
    """

    difference: float
    low: float
    high: float
    p_value: float
    n_queries: int
    n_groups: int
    n_draws: int

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.low > 0 or self.high < 0


def summarise_seeds(values: NDArray[np.float64]) -> SeedSummary:
    """Give mean and spread of a figure over seeds.

    Parameters
    ----------
    values : (n_seeds,) float64
        Finite, at least one.
    """
    figures = np.asarray(values, dtype=np.float64)
    if figures.ndim != 1 or not len(figures) or not np.isfinite(figures).all():
        raise ParameterError(f"values of shape {figures.shape}: want finite figures, one per seed")
    return SeedSummary(
        mean=float(figures.mean()),
        deviation=float(figures.std(ddof=1)) if len(figures) > 1 else None,
        low=float(figures.min()),
        high=float(figures.max()),
        n_seeds=len(figures),
    )


def bootstrap_mean(
    scores: NDArray[np.float64],
    groups: NDArray[np.generic],
    *,
    n_draws: int = N_DRAWS,
    seed: int = 0,
) -> BootstrapMean:
    """Give the mean of a score with the interval over draws of groups.

    Parameters
    ----------
    scores : (n_queries,) or (n_seeds, n_queries) float64
        Averaged over seeds first. Queries with NaN are left out.
    groups : (n_queries,) str or integer
        At least two different ones among the queries that count.
    n_draws : >= 1
    seed : >= 0

    Raises
    ------
    ParameterError
        Shapes do not fit, or fewer than two groups are left.
    """
    values = _mean_over_seeds("scores", scores, groups)
    answered = ~np.isnan(values)
    draws, n_groups = _draw_means(values[answered], groups[answered], n_draws, seed)
    low, high = _interval(draws)
    return BootstrapMean(
        mean=float(values[answered].mean()),
        low=low,
        high=high,
        n_queries=int(answered.sum()),
        n_groups=n_groups,
        n_draws=n_draws,
    )


def bootstrap_difference(
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    groups: NDArray[np.generic],
    *,
    n_draws: int = N_DRAWS,
    seed: int = 0,
) -> BootstrapDifference:
    """Compare two methods on the same queries, over draws of groups.

    Parameters
    ----------
    first, second : (n_queries,) or (n_seeds, n_queries) float64
        Scores; each averaged over its seeds first. NaN for the same queries in both.
    groups : (n_queries,) str or integer
        At least two different ones among the queries that count.
    n_draws : >= 1
    seed : >= 0

    Raises
    ------
    ParameterError
        Shapes do not fit, the methods answered different queries, or fewer than two groups are
        left.
    """
    one = _mean_over_seeds("first", first, groups)
    other = _mean_over_seeds("second", second, groups)
    answered = ~np.isnan(one)
    if (np.isnan(other) == answered).any():
        n_different = int((np.isnan(other) == answered).sum())
        raise ParameterError(
            f"{n_different} queries have a score from one method only; compare both on the same "
            "queries and database"
        )
    differences = (one - other)[answered]
    draws, n_groups = _draw_means(differences, groups[answered], n_draws, seed)
    low, high = _interval(draws)
    n_extreme = min(int((draws <= 0).sum()), int((draws >= 0).sum()))
    return BootstrapDifference(
        difference=float(differences.mean()),
        low=low,
        high=high,
        p_value=min(1.0, 2 * (n_extreme + 1) / (n_draws + 1)),
        n_queries=len(differences),
        n_groups=n_groups,
        n_draws=n_draws,
    )


def _draw_means(
    values: NDArray[np.float64], groups: NDArray[np.generic], n_draws: int, seed: int
) -> tuple[NDArray[np.float64], int]:
    """Give the mean value in each draw of as many groups as there are, and their number.

    A draw's mean is over its queries, so a large group weighs more, as in the mean of all.
    """
    if n_draws < 1 or seed < 0:
        raise ParameterError(f"n_draws={n_draws}, seed={seed}: want at least 1 and at least 0")
    names, group = np.unique(groups, return_inverse=True)
    n_groups = len(names)
    if n_groups < 2:
        raise ParameterError(
            f"{n_groups} group(s) among {len(values)} scored queries; an interval needs two or more"
        )
    sums, counts = np.bincount(group, weights=values), np.bincount(group)
    rng = np.random.default_rng(seed)
    means = []
    for first in range(0, n_draws, BLOCK_DRAWS):
        drawn = rng.integers(n_groups, size=(min(BLOCK_DRAWS, n_draws - first), n_groups))
        means.append(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1))
    return np.concatenate(means), n_groups


def _interval(draws: NDArray[np.float64]) -> tuple[float, float]:
    """Cut the draws' tails off evenly."""
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _mean_over_seeds(
    name: str, scores: NDArray[np.float64], groups: NDArray[np.generic]
) -> NDArray[np.float64]:
    """Average the scores of each query over seeds, ``(n_queries,)``."""
    values = np.atleast_2d(np.asarray(scores, dtype=np.float64))
    if values.ndim != 2 or not len(values) or values.shape[1:] != np.shape(groups):
        raise ParameterError(
            f"{name} of shape {np.shape(scores)} and groups of shape {np.shape(groups)}: want one "
            "score and one group per query"
        )
    return np.asarray(values.mean(axis=0))
