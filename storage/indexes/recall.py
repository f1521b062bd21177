"""How much of the truth an index finds, and how long a query takes.

Distances are compared, not rows: most queries tie at the last rank, and any of the tied is right.

Public: `RecallSample`, `sample_recall`, `MeasuredRecall`, `measured_recall`, `measure_latency`,
`RECALL_K`.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from storage.indexes.centroids import training_rows
from storage.indexes.flat import SCAN_FROM

RECALL_K = 10
RECALL_QUERIES = 200
TUNING_QUERIES = 1000
"""Their mean strays from that of all codes by less than a hundredth."""

PLAIN_COMPARISONS = 200_000_000
"""Distances that plain NumPy may compute to check an exact index: a few seconds."""

BLOCK_CODES = 1 << 17
"""Codes compared at a time; they stay in the cache meanwhile."""

LATENCY_QUERIES = 200


@dataclass(frozen=True, slots=True, eq=False)
class RecallSample:
    """Codes of an index to ask for, and the truth about each.

    Attributes
    ----------
    queries : (n, code_bytes) uint8
        Evenly spaced codes of the index.
    k : int
        Nearest codes asked for: `RECALL_K` and the code itself, or all.
    farthest : (n,) int64
        The distance of the last of them, by brute force.
    """

    queries: NDArray[np.uint8]
    k: int
    farthest: NDArray[np.int64]

    def recalls(self, distances: NDArray[np.int32]) -> NDArray[np.float64]:
        """Give for each query the share of the nearest distances found, the code itself left out.

        Parameters
        ----------
        distances : (n, k) int32
            As found, ascending.
        """
        if self.k < 2:
            return np.ones(len(self.queries))
        hits = (distances <= self.farthest[:, None]).sum(axis=1) - 1
        return np.asarray(np.clip(hits / (self.k - 1), 0, 1), dtype=np.float64)


def sample_recall(codes: NDArray[np.uint8], *, is_exact: bool, is_tuned: bool) -> RecallSample:
    """Choose codes of an index, and find what is nearest to them by comparing them with all.

    Parameters
    ----------
    codes : (n, code_bytes) uint8
        All that the index answers for.
    is_exact : bool
        Whether the index itself compares all codes: then plain NumPy says what is true. It takes
        so much longer that fewer codes are asked for where there are many.
    is_tuned : bool
        Whether something is chosen by the sample, which takes a larger one.
    """
    k = min(RECALL_K + 1, len(codes))
    n_queries = TUNING_QUERIES if is_tuned else RECALL_QUERIES
    if is_exact:
        n_queries = max(10, min(n_queries, PLAIN_COMPARISONS // max(1, len(codes))))
    queries = np.ascontiguousarray(codes[training_rows(len(codes), n_queries)])
    if not k:
        return RecallSample(queries, 0, np.empty(0, np.int64))
    if is_exact or len(codes) < SCAN_FROM:
        return RecallSample(queries, k, _farthest(queries, codes, k))
    from musichash_core.code_scan import nearest_codes

    found = nearest_codes(codes, queries, k)
    return RecallSample(queries, k, found.distances[found.limits[:-1] + k - 1].astype(np.int64))


def _farthest(queries: NDArray[np.uint8], codes: NDArray[np.uint8], k: int) -> NDArray[np.int64]:
    """Give for each query the distance of its k-th nearest code, by counting bits."""
    width = np.uint64 if codes.shape[1] % 8 == 0 else np.uint8
    asked, words = queries.view(width), np.ascontiguousarray(codes).view(width)
    farthest = np.empty(len(queries), np.int64)
    for number, query in enumerate(asked):
        nearest = np.empty(0, np.int64)
        for start in range(0, len(words), BLOCK_CODES):
            block = np.bitwise_count(words[start : start + BLOCK_CODES] ^ query)
            distances = block[:, 0] if block.shape[1] == 1 else block.sum(axis=1, dtype=np.int64)
            if len(distances) > k:
                distances = np.partition(distances, k - 1)[:k]
            nearest = np.sort(np.concatenate([nearest, distances]))[:k]
        farthest[number] = nearest[-1]
    return farthest


@dataclass(frozen=True, slots=True)
class MeasuredRecall:
    """What an index found of a sample.

    Attributes
    ----------
    mean : float
        Share of the nearest distances that was found, over the queries.
    error : float
        Standard error of the mean.
    n_queries : int
    """

    mean: float
    error: float
    n_queries: int


def measured_recall(
    sample: RecallSample, find: Callable[[NDArray[np.uint8], int], NDArray[np.int32]]
) -> MeasuredRecall:
    """Measure the share of the nearest distances that is found.

    Parameters
    ----------
    find : callable
        Gives the smallest distances ``(n, k)`` that an index finds for queries.
    """
    n_queries = len(sample.queries)
    if not n_queries:
        return MeasuredRecall(1.0, 0.0, 0)
    recalls = sample.recalls(find(sample.queries, sample.k))
    error = float(recalls.std() / np.sqrt(n_queries))
    return MeasuredRecall(float(recalls.mean()), error, n_queries)


def measure_latency(
    search: Callable[[NDArray[np.uint8], int], object],
    codes: NDArray[np.uint8],
    *,
    k: int = RECALL_K,
    n_queries: int = LATENCY_QUERIES,
) -> dict[str, float]:
    """Time queries one at a time.

    Parameters
    ----------
    search : callable
        `HashIndex.candidates`.
    codes : (n, code_bytes) uint8
        Codes to ask for; evenly spaced ones are taken.

    Returns
    -------
    dict
        ``latency_ms_median`` and ``latency_ms_p95``, by the clock, ``cpu_ms_mean``, and
        ``n_queries``.
    """
    queries = codes[training_rows(len(codes), n_queries)]
    for query in queries[:3]:
        search(query[None], k)  # the first ones wait for what is loaded late
    seconds = []
    cpu_start = time.process_time()
    for query in queries:
        start = time.perf_counter()
        search(query[None], k)
        seconds.append(time.perf_counter() - start)
    cpu_s = time.process_time() - cpu_start
    if not seconds:
        return {"latency_ms_median": 0.0, "latency_ms_p95": 0.0, "cpu_ms_mean": 0.0, "n_queries": 0}
    return {
        "latency_ms_median": round(1000 * float(np.median(seconds)), 4),
        "latency_ms_p95": round(1000 * float(np.quantile(seconds, 0.95)), 4),
        "cpu_ms_mean": round(1000 * cpu_s / len(seconds), 4),
        "n_queries": len(seconds),
    }
