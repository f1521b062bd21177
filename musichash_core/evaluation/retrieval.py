"""How well queries find what they should in a database (METHOD 7): the scores of every query.

All scores are expectations over the orders of tied items, so permuting the database changes
nothing. Scores are kept per query, because differences between methods are tested by query group;
a query with nothing to find has NaN everywhere and counts nowhere.

Public: `score_ranking`, `RetrievalScores`, `RadiusScores`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from musichash_core.errors import ParameterError
from musichash_core.evaluation.rankings import Ranking, query_blocks
from musichash_core.evaluation.relevance import JudgedTracks, Judgement, judge
from musichash_core.evaluation.tie_groups import (
    TieGroups,
    average_precision_of_ties,
    best_discounted_gain,
    discounted_gain_of_ties,
    gain_within,
    group_ties,
)

SHORT_RANKS = 100
"""The k of mAP@k."""

PRECISION_RANKS = (10, 100, 500)
"""The k of P@k."""

RADIUS = 2
"""Bits: the ball that hash tables look up."""


@dataclass(frozen=True, slots=True)
class RadiusScores:
    """What lies within each Hamming radius, 0 to ``n_bits``.

    Attributes
    ----------
    precision : (n_queries, n_bits + 1) float64
        Of the items in the ball; 0 for an empty one. NaN in the rows of unanswerable queries.
    recall : (n_queries, n_bits + 1) float64
    is_empty : (n_queries, n_bits + 1) float64
        1 for an empty ball, 0 for another.
    """

    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    is_empty: NDArray[np.float64]

    def curve(self) -> dict[str, NDArray[np.float64]]:
        """Average over the queries: precision, recall and empty share by radius."""
        return {
            "precision": np.nanmean(self.precision, axis=0),
            "recall": np.nanmean(self.recall, axis=0),
            "empty_share": np.nanmean(self.is_empty, axis=0),
        }


@dataclass(frozen=True, slots=True)
class RetrievalScores:
    """Scores of every query; NaN where a query has nothing to find.

    Attributes
    ----------
    n_ranked, n_relevant : (n_queries,) int64
        Items in the ranking (own track and group left out), and relevant ones among them.
    average_precision, average_precision_at_100 : (n_queries,) float64
    ranks : tuple of int
    precision_at : (n_queries, len(ranks)) float64
        Ranks beyond the last item hold nothing relevant.
    ndcg : (n_queries,) float64, or None
        Graded by the overlap of tags; None for genres.
    radius : RadiusScores or None
        None for distances that are not counts of bits.
    """

    n_ranked: NDArray[np.int64]
    n_relevant: NDArray[np.int64]
    average_precision: NDArray[np.float64]
    average_precision_at_100: NDArray[np.float64]
    ranks: tuple[int, ...]
    precision_at: NDArray[np.float64]
    ndcg: NDArray[np.float64] | None
    radius: RadiusScores | None

    @property
    def is_answerable(self) -> NDArray[np.bool_]:
        """Whether each query has something to find, ``(n_queries,)`` bool."""
        return self.n_relevant > 0

    def recall_at(self) -> NDArray[np.float64]:
        """Give the expected share of the relevant items among the first k of `ranks`."""
        found = self.precision_at * np.array(self.ranks)
        return np.asarray(found / np.maximum(self.n_relevant, 1)[:, None])

    def figures(self) -> dict[str, float]:
        """Average over the answerable queries; the rows of a table, ready for JSON.

        Precision at k is left out when the database has fewer than k items in any ranking. The
        chance level is the share of relevant items: what a random order gives.
        """
        answered = self.is_answerable
        rows = {
            "n_queries": float(len(answered)),
            "n_answered": float(answered.sum()),
            "chance": float((self.n_relevant[answered] / self.n_ranked[answered]).mean()),
            "map": float(np.nanmean(self.average_precision)),
            f"map_at_{SHORT_RANKS}": float(np.nanmean(self.average_precision_at_100)),
        }
        for k, precisions in zip(self.ranks, self.precision_at.T, strict=True):
            if k <= self.n_ranked[answered].max():
                rows[f"precision_at_{k}"] = float(np.nanmean(precisions))
        if self.ndcg is not None:
            rows["ndcg"] = float(np.nanmean(self.ndcg))
        if self.radius is not None:
            for name, values in self.radius.curve().items():
                rows[f"radius_{RADIUS}_{name}"] = float(values[min(RADIUS, len(values) - 1)])
        return rows


def score_ranking(
    ranking: Ranking,
    queries: JudgedTracks,
    items: JudgedTracks,
    *,
    ranks: tuple[int, ...] = PRECISION_RANKS,
) -> RetrievalScores:
    """Score every query of a ranking.

    Parameters
    ----------
    ranking : Ranking
        From `hamming_ranking`, `asymmetric_ranking` or `cosine_ranking`.
    queries, items : JudgedTracks
        Of the ranking's queries and items, row by row.
    ranks : tuple of int
        The k of precision at k, each at least 1; many of them make a curve.

    Raises
    ------
    ParameterError
        Lengths differ, a rank is below 1, or no query has anything to find.
    """
    if ranking.n_queries != len(queries) or ranking.n_items != len(items):
        raise ParameterError(
            f"a ranking of {ranking.n_queries} queries and {ranking.n_items} items, but labels of "
            f"{len(queries)} and {len(items)}: want one per row"
        )
    if any(k < 1 for k in ranks):
        raise ParameterError(f"ranks={ranks}: at least one rank must count")
    judgement = judge(queries, items)
    blocks = [_score_block(ranking, judgement, rows, ranks) for rows in query_blocks(ranking)]
    if not any(block.is_answerable.any() for block in blocks):
        raise ParameterError(
            f"none of {len(queries)} queries has a relevant item outside its own group among "
            f"{len(items)} items; the database needs a second group of some genre"
        )
    return _join(blocks)


def _score_block(
    ranking: Ranking, judgement: Judgement, rows: slice, ranks: tuple[int, ...]
) -> RetrievalScores:
    """Score some queries."""
    distances, excluded = ranking.distances(rows), judgement.excluded(rows)
    groups = group_ties(distances, judgement.relevant(rows), excluded, n_levels=ranking.n_levels)
    n_relevant = groups.total(groups.gain)
    nothing = np.where(n_relevant > 0, 0.0, np.nan)
    precisions = [gain_within(groups, k) / k + nothing for k in ranks]
    return RetrievalScores(
        n_ranked=groups.total(groups.size).astype(np.int64),
        n_relevant=n_relevant.astype(np.int64),
        average_precision=average_precision_of_ties(groups),
        average_precision_at_100=average_precision_of_ties(groups, k=SHORT_RANKS),
        ranks=ranks,
        precision_at=np.stack(precisions, axis=1) if ranks else np.zeros((len(nothing), 0)),
        ndcg=_graded(ranking, judgement, rows, distances, excluded),
        radius=None if ranking.n_levels is None else _radius_scores(groups, ranking.n_levels),
    )


def _graded(
    ranking: Ranking,
    judgement: Judgement,
    rows: slice,
    distances: NDArray[np.floating],
    excluded: NDArray[np.bool_],
) -> NDArray[np.float64] | None:
    """Compute the tie-aware nDCG with the overlap of tags as gain."""
    if not judgement.has_tags:
        return None
    gains = judgement.gains(rows)
    groups = group_ties(distances, gains, excluded, n_levels=ranking.n_levels)
    best = best_discounted_gain(gains, excluded)
    gained = discounted_gain_of_ties(groups)
    return np.asarray(np.divide(gained, best, out=np.full(len(best), np.nan), where=best > 0))


def _radius_scores(groups: TieGroups, n_levels: int) -> RadiusScores:
    """Count what lies within each radius."""
    place = groups.query * n_levels + groups.distance.astype(np.int64)
    n_places, shape = groups.n_queries * n_levels, (groups.n_queries, n_levels)
    sizes = np.bincount(place, groups.size, minlength=n_places).reshape(shape).cumsum(axis=1)
    hits = np.bincount(place, groups.gain, minlength=n_places).reshape(shape).cumsum(axis=1)
    nothing = np.where(hits[:, -1:] > 0, 0.0, np.nan)
    return RadiusScores(
        precision=hits / np.maximum(sizes, 1) + nothing,
        recall=hits / np.maximum(hits[:, -1:], 1) + nothing,
        is_empty=(sizes == 0) + nothing,
    )


def _join(blocks: list[RetrievalScores]) -> RetrievalScores:
    """Put the queries of several blocks in one record."""
    ndcg = [block.ndcg for block in blocks if block.ndcg is not None]
    radii = [block.radius for block in blocks if block.radius is not None]
    return RetrievalScores(
        n_ranked=np.concatenate([block.n_ranked for block in blocks]),
        n_relevant=np.concatenate([block.n_relevant for block in blocks]),
        average_precision=np.concatenate([block.average_precision for block in blocks]),
        average_precision_at_100=np.concatenate(
            [block.average_precision_at_100 for block in blocks]
        ),
        ranks=blocks[0].ranks,
        precision_at=np.concatenate([block.precision_at for block in blocks]),
        ndcg=np.concatenate(ndcg) if ndcg else None,
        radius=_join_radii(radii) if radii else None,
    )


def _join_radii(radii: list[RadiusScores]) -> RadiusScores:
    """Put the queries of several blocks in one record."""
    return RadiusScores(
        precision=np.concatenate([one.precision for one in radii]),
        recall=np.concatenate([one.recall for one in radii]),
        is_empty=np.concatenate([one.is_empty for one in radii]),
    )
