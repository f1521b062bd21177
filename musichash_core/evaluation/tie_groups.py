"""Rankings of many queries as groups of equal distance, and their expected scores.

A score is the expectation over all orders of tied items (McSherry and Najork 2008). Within a group
of ``n`` items with ``r`` relevant ones, after ``N`` items with ``Q`` relevant ones, the expected
number of relevant items up to the group's ``j``-th, if that one is relevant, is
``Q + 1 + (j - 1) a`` with ``a = (r - 1) / (n - 1)``. Summing over the ranks ``t = N + j`` gives
average precision from harmonic numbers, with no loop over items::

    sum_t (Q + 1 + (t - 1 - N) a) / t  =  (Q + 1 - a (N + 1)) (H[N + n] - H[N])  +  a n

Public: `TieGroups`, `group_ties`, `average_precision_of_ties`, `gain_within`,
`discounted_gain_of_ties`, `best_discounted_gain`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

EXCLUDED = 2**60
"""A distance beyond all others, which still leaves room for one bit."""


@dataclass(frozen=True, slots=True)
class TieGroups:
    """Groups of items at the same distance, by query and then by distance.

    Attributes
    ----------
    n_queries : int
    query : (n_groups,) int64
        Ascending.
    distance : (n_groups,) float64
    start, size : (n_groups,) int64
        Items nearer than the group, and in it.
    gain : (n_groups,) float64
        Sum of the gains of its items; with gains of 0 and 1, the number of relevant items.
    """

    n_queries: int
    query: NDArray[np.int64]
    distance: NDArray[np.float64]
    start: NDArray[np.int64]
    size: NDArray[np.int64]
    gain: NDArray[np.float64]

    def total(self, values: NDArray[np.float64] | NDArray[np.int64]) -> NDArray[np.float64]:
        """Sum a value per group, ``(n_groups,)``, over the groups of each query."""
        return _sum_at(self.query, values, self.n_queries)


def group_ties(
    distances: NDArray[np.floating],
    gains: NDArray[np.bool_] | NDArray[np.float64],
    excluded: NDArray[np.bool_],
    *,
    n_levels: int | None,
) -> TieGroups:
    """Group the items of each query by exactly equal distance, nearest first.

    Parameters
    ----------
    distances : (n_queries, n_items) float
        Whole numbers below 2**51.
    gains : (n_queries, n_items) bool or float64
        What finding an item is worth: relevant or not, or 0 to 1.
    excluded : (n_queries, n_items) bool
        Items that are not in the query's ranking.
    n_levels : int or None
        Distances are 0 to ``n_levels - 1``: they are counted. None: they are sorted.
    """
    if n_levels is None:
        query, distance, size, gain = _sort_groups(distances, gains, excluded)
    else:
        query, distance, size, gain = _count_groups(distances, gains, excluded, n_levels)
    start = _before(query, size).astype(np.int64)
    return TieGroups(len(distances), query, distance, start, size, gain)


def average_precision_of_ties(groups: TieGroups, *, k: int | None = None) -> NDArray[np.float64]:
    """Compute the expected average precision of each query, among the first k ranks if given.

    Parameters
    ----------
    groups : TieGroups
        With gains of 0 and 1.

    Returns
    -------
    (n_queries,) float64
        Divided by the number R of relevant items, with `k` by ``min(R, k)``; NaN where R is 0.
    """
    n_relevant = groups.total(groups.gain)
    before = _before(groups.query, groups.gain)
    found = groups.gain > 0  # groups without a hit add nothing: at most R remain per query
    start, size, hits = groups.start[found], groups.size[found], groups.gain[found]
    taken = size if k is None else np.clip(k - start, 0, size)
    slope = (hits - 1) / np.maximum(size - 1, 1)
    reciprocals = _harmonic_difference(start, taken)
    terms = (before[found] + 1 - slope * (start + 1)) * reciprocals + slope * taken
    sums = _sum_at(groups.query[found], hits / size * terms, groups.n_queries)
    return _divide(sums, n_relevant if k is None else np.minimum(n_relevant, float(k)))


def gain_within(groups: TieGroups, k: int) -> NDArray[np.float64]:
    """Compute the expected sum of gains among the first k ranks of each query, ``(n_queries,)``."""
    reached = groups.start < k
    start, size = groups.start[reached], groups.size[reached]
    shares = np.minimum(k - start, size) / size
    return _sum_at(groups.query[reached], groups.gain[reached] * shares, groups.n_queries)


def discounted_gain_of_ties(groups: TieGroups) -> NDArray[np.float64]:
    """Compute the expected discounted cumulative gain of each query, ``(n_queries,)``.

    Rank ``t`` counts ``1 / log2(1 + t)``; gains are linear (Järvelin and Kekäläinen 2002).
    """
    ranks = np.arange(1, int((groups.start + groups.size).max(initial=0)) + 1)
    terms = 1 / np.log2(ranks.astype(np.longdouble) + 1)
    discounts = _sums_over_ranks(terms, groups.start, groups.size)
    return groups.total(groups.gain / groups.size * discounts)


def best_discounted_gain(
    gains: NDArray[np.float64], excluded: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Compute the discounted cumulative gain of the best order, ``(n_queries,)``.

    Parameters
    ----------
    gains, excluded : (n_queries, n_items)
    """
    falling = -np.sort(-np.where(excluded, 0.0, gains), axis=1)
    return np.asarray(falling @ (1 / np.log2(np.arange(falling.shape[1]) + 2.0)), dtype=np.float64)


def _count_groups(
    distances: NDArray[np.floating],
    gains: NDArray[np.bool_] | NDArray[np.float64],
    excluded: NDArray[np.bool_],
    n_levels: int,
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """Group whole distances by counting; excluded items go to a level of their own."""
    n_queries = len(distances)
    keys = distances.astype(np.int64)
    keys[excluded] = n_levels
    keys += np.arange(n_queries)[:, None] * (n_levels + 1)
    shape, n_keys = (n_queries, n_levels + 1), n_queries * (n_levels + 1)
    sizes = np.bincount(keys.ravel(), minlength=n_keys).reshape(shape)[:, :n_levels]
    if gains.dtype == np.bool_:
        sums = np.bincount(keys[gains], minlength=n_keys).astype(np.float64)
    else:
        sums = _sum_at(keys.ravel(), gains.ravel().astype(np.float64), n_keys)
    query, level = np.nonzero(sizes)
    return query, level.astype(np.float64), sizes[query, level], sums.reshape(shape)[query, level]


def _sort_groups(
    distances: NDArray[np.floating],
    gains: NDArray[np.bool_] | NDArray[np.float64],
    excluded: NDArray[np.bool_],
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """Group any distances by sorting; excluded items come last and are dropped."""
    if not distances.size:
        return np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.int64), np.zeros(0)
    nearest_first, gain = _sort(distances.astype(np.int64), gains, excluded)
    is_first = np.ones(nearest_first.shape, dtype=bool)
    is_first[:, 1:] = nearest_first[:, 1:] != nearest_first[:, :-1]
    firsts = np.flatnonzero(is_first)
    sizes = np.diff(firsts, append=nearest_first.size)
    sums = np.add.reduceat(gain.ravel(), firsts, dtype=np.float64)
    distance = nearest_first.ravel()[firsts]
    kept = distance != EXCLUDED
    n_items = distances.shape[1]
    return firsts[kept] // n_items, distance[kept].astype(np.float64), sizes[kept], sums[kept]


def _sort(
    distances: NDArray[np.int64],
    gains: NDArray[np.bool_] | NDArray[np.float64],
    excluded: NDArray[np.bool_],
) -> tuple[NDArray[np.int64], NDArray[np.int64] | NDArray[np.float64]]:
    """Sort each query's distances, and the gains with them."""
    distances[excluded] = EXCLUDED
    if gains.dtype != np.bool_:
        order = distances.argsort(axis=1)
        in_order = np.take_along_axis(gains, order, axis=1)
        return np.take_along_axis(distances, order, axis=1), in_order.astype(np.float64)
    # Relevance travels in the last bit: sorting numbers is several times as fast as sorting places.
    keys: NDArray[np.int64] = np.sort((distances << 1) | gains.astype(np.bool_), axis=1)
    return keys >> 1, keys & 1


def _before(
    query: NDArray[np.int64], values: NDArray[np.float64] | NDArray[np.int64]
) -> NDArray[np.float64]:
    """Sum the values of the same query's earlier groups; whole numbers stay exact."""
    running = np.cumsum(values, dtype=np.float64) - values
    firsts = np.flatnonzero(np.diff(query, prepend=-1))
    before = running - np.repeat(running[firsts], np.diff(firsts, append=len(query)))
    return np.asarray(before, dtype=np.float64)


def _harmonic_difference(start: NDArray[np.int64], count: NDArray[np.int64]) -> NDArray[np.float64]:
    """Sum ``1 / t`` over the ranks ``t = start + 1 .. start + count``."""
    ranks = np.arange(1, int((start + count).max(initial=0)) + 1)
    return _sums_over_ranks(1 / ranks.astype(np.longdouble), start, count)


def _sums_over_ranks(
    terms: NDArray[np.floating], start: NDArray[np.int64], count: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Sum ``terms[start : start + count]`` for many ranges.

    In extended precision: differences of long sums are multiplied by ranks in the thousands.
    """
    sums = np.concatenate([np.zeros(1, dtype=np.longdouble), np.cumsum(terms)])
    return np.asarray(sums[start + count] - sums[start], dtype=np.float64)


def _sum_at(
    place: NDArray[np.int64], values: NDArray[np.float64] | NDArray[np.int64], n_places: int
) -> NDArray[np.float64]:
    """Sum the values at each place, ``(n_places,)``."""
    return np.asarray(np.bincount(place, weights=values, minlength=n_places), dtype=np.float64)


def _divide(sums: NDArray[np.float64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Divide, NaN where there is nothing to divide by."""
    quotients = np.full(len(sums), np.nan)
    return np.asarray(np.divide(sums, counts, out=quotients, where=counts > 0))
