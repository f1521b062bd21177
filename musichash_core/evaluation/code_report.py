"""One set of codes judged from all sides: retrieval, asymmetric retrieval, voting, health.

Public: `report_codes`, `CodeReport`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from musichash_core.codes import logits_to_codes
from musichash_core.errors import ParameterError
from musichash_core.evaluation.neighbours import vote_of_neighbours
from musichash_core.evaluation.rankings import asymmetric_ranking, hamming_ranking
from musichash_core.evaluation.relevance import JudgedTracks
from musichash_core.evaluation.retrieval import RetrievalScores, score_ranking
from musichash_core.metrics import CodeStatistics, code_statistics


@dataclass(frozen=True, slots=True)
class CodeReport:
    """Everything measured of one hashing method at one length.

    Attributes
    ----------
    n_bits : int
    hamming : RetrievalScores
        Binary query against binary database.
    asymmetric : RetrievalScores
        Real-valued query against binary database.
    votes : (n_queries,) float64, or None
        How right the ten nearest codes are about the genre; None for tags.
    statistics : CodeStatistics
        Of the database's codes.
    """

    n_bits: int
    hamming: RetrievalScores
    asymmetric: RetrievalScores
    votes: NDArray[np.float64] | None
    statistics: CodeStatistics

    def figures(self) -> dict[str, float]:
        """Give the row of a table: averages over queries, and the health of the codes."""
        statistics = self.statistics
        rows = {"n_bits": float(self.n_bits)} | self.hamming.figures()
        for name in ("map", "map_at_100"):
            rows[f"asymmetric_{name}"] = self.asymmetric.figures()[name]
        if self.votes is not None and not np.isnan(self.votes).all():
            rows["knn_accuracy"] = float(np.nanmean(self.votes))
        return rows | {
            "n_items": float(statistics.n_codes),
            "n_distinct_codes": float(statistics.n_distinct),
            "largest_bucket_share": statistics.largest_bucket / statistics.n_codes,
            "mean_bit_bias": statistics.mean_bias,
            "mean_bit_correlation": statistics.mean_correlation,
        }


def report_codes(
    query_logits: NDArray[np.floating],
    item_logits: NDArray[np.floating],
    queries: JudgedTracks,
    items: JudgedTracks,
) -> CodeReport:
    """Judge the codes of a hashing method: the signs of its hash logits.

    Parameters
    ----------
    query_logits : (n_queries, n_bits) float
        Hash logits; ``n_bits`` a multiple of 8.
    item_logits : (n_items, n_bits) float
        Of the database; at least one.
    queries, items : JudgedTracks
        Row by row.

    Raises
    ------
    ParameterError
        Shapes do not fit, logits are not finite, or no query has anything to find.
    """
    if not (np.isfinite(query_logits).all() and np.isfinite(item_logits).all()):
        raise ParameterError("hash logits contain NaN or infinity; the model is damaged")
    query_codes, item_codes = logits_to_codes(query_logits), logits_to_codes(item_logits)
    ranking = hamming_ranking(query_codes, item_codes)
    return CodeReport(
        n_bits=query_logits.shape[1],
        hamming=score_ranking(ranking, queries, items),
        asymmetric=score_ranking(asymmetric_ranking(query_logits, item_codes), queries, items),
        votes=vote_of_neighbours(ranking, queries, items) if queries.labels.ndim == 1 else None,
        statistics=code_statistics(item_codes),
    )
