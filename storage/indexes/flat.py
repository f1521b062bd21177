"""The flat kind: every code is compared with the query, so answers are exact.

On disk it is FAISS's, with the codes in the order of their rows. Few codes are searched by FAISS;
many by `musichash_core.code_scan`, which reads a code several times quicker and gives the ties in
the same pass, and costs some tenths of a second to load.

Public: `FlatCodes`, `build_flat`, `flat_codes`.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage.indexes.faiss_library import index_from_bytes, index_to_bytes, on_one_thread
from storage.indexes.neighbours import Neighbours, nobody, split_ranges

SCAN_FROM = 200_000
"""Codes from which loading the compiled scan pays, at the latest after some thousand queries."""


def build_flat(codes: NDArray[np.uint8]) -> bytes:
    """Give the file of an exact index of packed codes ``(n, code_bytes)``, in row order."""
    return index_to_bytes(_flat_index(codes))


def flat_codes(data: bytes) -> NDArray[np.uint8]:
    """Give the codes ``(n, code_bytes)`` uint8 of a file that `build_flat` wrote.

    Raises
    ------
    ForeignIndexError
        If it is none.
    """
    index = index_from_bytes(data, "flat")
    codes: NDArray[np.uint8] = on_one_thread().vector_to_array(index.xb)
    return codes.reshape(int(index.ntotal), index.d // 8)


def _flat_index(codes: NDArray[np.uint8]) -> Any:  # noqa: ANN401 - faiss has no types
    index = on_one_thread().IndexBinaryFlat(codes.shape[1] * 8)
    index.add(np.ascontiguousarray(codes))
    return index


class FlatCodes:
    """Codes in row order, ready to be searched; safe under threads.

    Parameters
    ----------
    codes : (n, code_bytes) uint8
        Kept, so not to be changed.
    """

    is_exact = True

    def __init__(self, codes: NDArray[np.uint8]) -> None:
        self._codes = np.ascontiguousarray(codes)
        self._index = _flat_index(codes) if len(codes) < SCAN_FROM else None

    @property
    def n_codes(self) -> int:
        """Number of codes."""
        return len(self._codes)

    @property
    def n_bits(self) -> int:
        """Length of a code in bits."""
        return 8 * int(self._codes.shape[1])

    def codes(self) -> NDArray[np.uint8]:
        """Give the codes ``(n, code_bytes)``, by row."""
        return self._codes

    def candidates(self, queries: NDArray[np.uint8], k: int) -> list[Neighbours]:
        """Give for each query the `k` nearest, 1 to `n_codes`, and all that tie with the last."""
        if self._index is None:
            from musichash_core.code_scan import nearest_codes

            return _answers(nearest_codes(self._codes, queries, k))
        on_one_thread()
        nearest, _ = self._index.search(queries, k)
        radii = nearest[:, -1]
        found = [nobody()] * len(queries)
        for radius in np.unique(radii).tolist():
            chosen = np.flatnonzero(radii == radius)
            for at, answer in zip(chosen, self.within(queries[chosen], radius), strict=True):
                found[at] = answer
        return found

    def within(self, queries: NDArray[np.uint8], radius: int) -> list[Neighbours]:
        """Give for each query all rows at a distance of at most `radius` bits."""
        if self._index is None:
            from musichash_core.code_scan import codes_within

            return _answers(codes_within(self._codes, queries, radius))
        on_one_thread()
        return split_ranges(*self._index.range_search(queries, radius + 1))  # it is exclusive


def _answers(found: Any) -> list[Neighbours]:  # noqa: ANN401 - its module loads a compiler
    n_queries = len(found.limits) - 1
    return [Neighbours(*found.of_query(query)) for query in range(n_queries)]
