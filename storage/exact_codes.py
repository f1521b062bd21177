"""Exact search of some of the published codes, for filters that no index can apply.

The codes of the chosen rows are laid side by side and all looked at; answers are rows of the codes
table, in the same order as those of the published index. On a machine with a GPU that
FAISS can use, the same codes may be searched there.

Public: `ExactCodes`, `GraphicsCodes`, `has_graphics_processor`.
"""

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage.indexes import FlatCodes, Neighbours, nobody, on_one_thread

TIES_LOOKED_FOR = 32
"""Answers asked for beyond `k`, which mostly show where the ties with the last one end."""

MAX_GRAPHICS_K = 2048
"""Most answers that FAISS gives from a GPU."""


class ExactCodes:
    """Some rows of the codes table, searched exactly; safe under threads.

    Parameters
    ----------
    codes : (n, code_bytes) uint8
        Codes of the rows.
    rows : (n,) int64
        Which rows of the codes table they are, ascending.
    """

    def __init__(self, codes: NDArray[np.uint8], rows: NDArray[np.int64]) -> None:
        self._rows = rows
        self._codes = FlatCodes(codes)

    @property
    def n_codes(self) -> int:
        """Number of codes that are searched."""
        return len(self._rows)

    def candidates(self, codes: NDArray[np.uint8], k: int) -> list[Neighbours]:
        """Give for each query ``(n, code_bytes)`` the `k` nearest and all that tie with the last.

        Returns
        -------
        list of Neighbours
            By distance, then row.
        """
        k = min(k, self.n_codes)
        if k < 1:
            return [nobody()] * len(codes)
        return [self._of_table(found) for found in self._codes.candidates(codes, k)]

    def within(self, codes: NDArray[np.uint8], radius: int) -> list[Neighbours]:
        """Give for each query all rows at a distance of at most `radius` bits, as `candidates`."""
        if not self.n_codes:
            return [nobody()] * len(codes)
        return [self._of_table(found) for found in self._codes.within(codes, radius)]

    def _of_table(self, found: Neighbours) -> Neighbours:
        return Neighbours(self._rows[found.rows], found.distances)


class GraphicsCodes:
    """All codes on a GPU, for queries in bulk; what it cannot answer is found without it.

    Parameters
    ----------
    codes : (n, code_bytes) uint8
        The codes table's; kept, so not to be changed.

    Notes
    -----
    Answers are exact, the same as those of `ExactCodes`: distances are whole numbers, and which of
    the tied rows come is not left to the GPU. Where ties go beyond what it gives, or radii are
    asked for, all codes are read here.
    """

    def __init__(self, codes: NDArray[np.uint8]) -> None:
        faiss = on_one_thread()
        flat = faiss.IndexBinaryFlat(codes.shape[1] * 8)
        flat.add(np.ascontiguousarray(codes))
        self._resources = faiss.StandardGpuResources()
        self._index: Any = faiss.GpuIndexBinaryFlat(self._resources, flat)
        self._n_codes = len(codes)
        self._without = FlatCodes(codes)
        self._lock = threading.Lock()  # resources of a GPU are for one thread

    def candidates(self, codes: NDArray[np.uint8], k: int) -> list[Neighbours]:
        """Give for each query ``(n, code_bytes)`` the `k` nearest and all that tie with the last.

        Returns
        -------
        list of Neighbours
            By distance, then row.
        """
        queries = np.ascontiguousarray(codes, dtype=np.uint8)
        k = min(k, self._n_codes)
        n_asked = min(k + TIES_LOOKED_FOR, self._n_codes, MAX_GRAPHICS_K)
        if k < 1:
            return [nobody()] * len(queries)
        if k > n_asked:
            return self._without.candidates(queries, k)
        with self._lock:
            distances, rows = self._index.search(queries, n_asked)
        answers = []
        for at, (found, some) in enumerate(zip(distances, rows, strict=True)):
            if n_asked < self._n_codes and found[-1] == found[k - 1]:
                answers += self._without.candidates(queries[at : at + 1], k)
                continue
            is_kept = found <= found[k - 1]
            order = np.lexsort((some[is_kept], found[is_kept]))
            answers.append(
                Neighbours(
                    np.asarray(some[is_kept][order], np.int64),
                    np.asarray(found[is_kept][order], np.int32),
                )
            )
        return answers

    def within(self, codes: NDArray[np.uint8], radius: int) -> list[Neighbours]:
        """Give for each query all rows at a distance of at most `radius` bits: not by the GPU."""
        return self._without.within(np.ascontiguousarray(codes, dtype=np.uint8), radius)


def has_graphics_processor() -> bool:
    """Tell whether FAISS can search on a GPU here."""
    faiss = on_one_thread()
    return hasattr(faiss, "GpuIndexBinaryFlat") and int(faiss.get_num_gpus()) > 0
