"""Ranked answers: rows of the codes table with their Hamming distances.

Public: `Neighbours`, `rank`, `nobody`, `in_order`, `nearest_of`, `split_ranges`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from musichash_core.codes import asymmetric_distance


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Ranked answers to one query.

    Attributes
    ----------
    rows : (k,) int64
        Rows of the codes table, best first.
    distances : (k,) int32
        Hamming distances.
    """

    rows: NDArray[np.int64]
    distances: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.rows)


def nobody() -> Neighbours:
    """Give the answer to a query that has none."""
    return Neighbours(np.empty(0, np.int64), np.empty(0, np.int32))


def in_order(rows: NDArray[np.int64], distances: NDArray[np.int32]) -> Neighbours:
    """Order answers by distance, then row, whatever order they were found in."""
    order = np.lexsort((rows, distances))
    return Neighbours(np.asarray(rows[order], np.int64), np.asarray(distances[order], np.int32))


def split_ranges(
    limits: NDArray[np.int64], distances: NDArray[np.int32], rows: NDArray[np.int64]
) -> list[Neighbours]:
    """Order the answers to several queries by distance, then row.

    Parameters
    ----------
    limits : (n_queries + 1,) int64
        The answers to query i stand at ``limits[i]`` to ``limits[i + 1]``.
    """
    limits = limits.astype(np.int64)
    query = np.repeat(np.arange(len(limits) - 1), np.diff(limits))
    order = np.lexsort((rows, distances, query))
    rows, distances = rows[order], distances[order].astype(np.int32, copy=False)
    ends = pairwise(limits.tolist())
    return [Neighbours(rows[start:stop], distances[start:stop]) for start, stop in ends]


def nearest_of(parts: Sequence[Neighbours], k: int) -> Neighbours:
    """Give the `k` nearest of several answers to one query, and all that tie with the last."""
    if len(parts) == 1:
        merged = parts[0]
    else:
        merged = in_order(
            np.concatenate([part.rows for part in parts]),
            np.concatenate([part.distances for part in parts]),
        )
    if len(merged) <= k:
        return merged
    n_kept = int(np.searchsorted(merged.distances, merged.distances[k - 1], side="right"))
    return Neighbours(merged.rows[:n_kept], merged.distances[:n_kept])


def rank(
    candidates: Neighbours, query_logits: NDArray[np.float32], codes: NDArray[np.uint8], k: int
) -> Neighbours:
    """Order candidates by Hamming distance, then asymmetric distance, then row; keep `k`.

    Parameters
    ----------
    query_logits : (n_bits,) float32
        Real-valued code of the query.
    codes : (n_candidates, code_bytes) uint8
        Codes of the candidates, in their order.
    """
    asymmetric = asymmetric_distance(query_logits[None], codes)[0]
    order = np.lexsort((candidates.rows, asymmetric, candidates.distances))[:k]
    return Neighbours(candidates.rows[order], candidates.distances[order])
