"""What the nearest items say of a query: does the first share its artist, how do ten vote.

Items at the same distance share what is to be given out, so the order of the database is nothing.

Public: `first_neighbours`, `FirstNeighbours`, `vote_of_neighbours`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from musichash_core.errors import ParameterError
from musichash_core.evaluation.rankings import Ranking, query_blocks
from musichash_core.evaluation.relevance import JudgedTracks, judge, number_names
from musichash_core.evaluation.tie_groups import gain_within, group_ties

N_VOTERS = 10
"""The k of the nearest-neighbour classifier."""


@dataclass(frozen=True, slots=True)
class FirstNeighbours:
    """How often the nearest other item shares an attribute (artist, album).

    Attributes
    ----------
    agreement : (n_queries,) float64
        Share of the nearest items that have the query's value; 0 or 1 without ties. NaN where the
        query's value is unknown or there is no other item.
    chance : (n_queries,) float64
        Share of all other items that have it; NaN likewise.
    """

    agreement: NDArray[np.float64]
    chance: NDArray[np.float64]

    @property
    def has_match(self) -> NDArray[np.bool_]:
        """Whether any other item has the query's value, ``(n_queries,)`` bool."""
        return np.asarray(self.chance > 0)

    def figures(self) -> dict[str, float]:
        """Average over queries of known value, and over those that could be answered at all.

        Averages of no queries are 0.
        """
        known = ~np.isnan(self.agreement)
        return {
            "n_known": float(known.sum()),
            "share": _mean(self.agreement[known]),
            "chance": _mean(self.chance[known]),
            "n_matchable": float(self.has_match.sum()),
            "share_of_matchable": _mean(self.agreement[self.has_match]),
            "chance_of_matchable": _mean(self.chance[self.has_match]),
        }


def first_neighbours(
    ranking: Ranking,
    query_ids: NDArray[np.generic],
    item_ids: NDArray[np.generic],
    query_values: NDArray[np.str_],
    item_values: NDArray[np.str_],
) -> FirstNeighbours:
    """Measure how often the nearest other item shares the query's artist, album or the like.

    Only the query's own track is left out of its ranking, not its group: the group is the question.

    Parameters
    ----------
    query_ids : (n_queries,), item_ids : (n_items,) str or integer
        Of tracks.
    query_values : (n_queries,), item_values : (n_items,) str
        The attribute; the empty string is unknown and equals nothing.
    """
    _check_lengths(ranking, query_ids, item_ids)
    _check_lengths(ranking, query_values, item_values)
    query_tracks, item_tracks = number_names(query_ids, item_ids)
    query_numbers, item_numbers = number_names(query_values, item_values)
    agreement, chance = np.empty(ranking.n_queries), np.empty(ranking.n_queries)
    for rows in query_blocks(ranking):
        same = query_numbers[rows, None] == item_numbers
        own = query_tracks[rows, None] == item_tracks
        groups = group_ties(ranking.distances(rows), same, own, n_levels=ranking.n_levels)
        n_others = groups.total(groups.size)
        is_known = (query_values[rows] != "") & (n_others > 0)
        agreement[rows] = np.where(is_known, gain_within(groups, 1), np.nan)
        shares = groups.total(groups.gain) / np.maximum(n_others, 1)
        chance[rows] = np.where(is_known, shares, np.nan)
    return FirstNeighbours(agreement, chance)


def vote_of_neighbours(
    ranking: Ranking, queries: JudgedTracks, items: JudgedTracks, *, k: int = N_VOTERS
) -> NDArray[np.float64]:
    """Classify each query by the genres of its k nearest items, and say how right that is.

    Items nearer than the k-th have one vote each; those at its distance share the votes that are
    left evenly. Genres with the most votes share the decision evenly.

    Parameters
    ----------
    queries, items : JudgedTracks
        With genres. The query's own track and group do not vote.
    k : >= 1
        All items vote when there are fewer.

    Returns
    -------
    (n_queries,) float64
        1 for right, 0 for wrong, a fraction for a shared decision; NaN where nobody votes.
    """
    _check_lengths(ranking, queries.track_ids, items.track_ids)
    if k < 1:
        raise ParameterError(f"k={k}: at least one neighbour must vote")
    judgement = judge(queries, items)
    if judgement.has_tags:
        raise ParameterError("neighbours vote on genres, labels (n,); these are tags (n, n_tags)")
    query_genres = judgement.query_labels.astype(np.int64)
    item_genres = judgement.item_labels.astype(np.int64)
    n_genres = int(max(query_genres.max(initial=0), item_genres.max(initial=0))) + 1
    rightness = np.empty(ranking.n_queries)
    for rows in query_blocks(ranking):
        distances = np.where(judgement.excluded(rows), np.inf, ranking.distances(rows))
        votes = _count_votes(distances, item_genres, n_genres, min(k, ranking.n_items))
        is_winner = votes == votes.max(axis=1, keepdims=True)
        own = np.take_along_axis(is_winner, query_genres[rows, None], axis=1)[:, 0]
        rightness[rows] = np.where(votes.any(axis=1), own / is_winner.sum(axis=1), np.nan)
    return rightness


def _count_votes(
    distances: NDArray[np.floating], genres: NDArray[np.int64], n_genres: int, k: int
) -> NDArray[np.int64]:
    """Count votes, ``(n_queries, n_genres)``, in a unit per query that keeps them whole."""
    n_queries = len(distances)
    if k == 0:
        return np.zeros((n_queries, n_genres), dtype=np.int64)
    last = np.partition(distances, k - 1, axis=1)[:, k - 1 : k]
    # Fewer than k items left: all of them are nearer than infinity, and none is tied.
    nearer = _count_by_genre(distances < last, genres, n_genres)
    tied = _count_by_genre((distances == last) & np.isfinite(last), genres, n_genres)
    n_tied = np.maximum(tied.sum(axis=1, keepdims=True), 1)
    left = k - nearer.sum(axis=1, keepdims=True)
    return np.asarray(nearer * n_tied + left * tied)


def _count_by_genre(
    is_voter: NDArray[np.bool_], genres: NDArray[np.int64], n_genres: int
) -> NDArray[np.int64]:
    """Count the marked items of each genre, ``(n_queries, n_genres)``."""
    query, item = np.nonzero(is_voter)
    counts = np.bincount(query * n_genres + genres[item], minlength=len(is_voter) * n_genres)
    return counts.reshape(len(is_voter), n_genres)


def _check_lengths(
    ranking: Ranking, of_queries: NDArray[np.generic], of_items: NDArray[np.generic]
) -> None:
    """Refuse facts that do not belong to the ranking's rows."""
    if len(of_queries) != ranking.n_queries or len(of_items) != ranking.n_items:
        raise ParameterError(
            f"a ranking of {ranking.n_queries} queries and {ranking.n_items} items, but facts of "
            f"{len(of_queries)} and {len(of_items)}: want one per row"
        )


def _mean(values: NDArray[np.float64]) -> float:
    """Average; 0 for nothing."""
    return float(values.mean()) if len(values) else 0.0
