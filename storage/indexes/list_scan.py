"""The lists of a large ivf index, read by the compiled scan instead of FAISS.

The lists lie in one array, one after the other, and a query looks at a few runs of it.

Public: `ListScan`.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musichash_core.code_scan import (
    FoundCodes,
    codes_within_runs,
    nearest_codes,
    nearest_in_runs,
)
from storage.indexes.faiss_library import on_one_thread
from storage.indexes.faiss_lists import FaissLists, Found

WORD_BYTES = 8


class ListScan:
    """Lists of codes about centroids, copied from an index; safe under threads.

    Parameters
    ----------
    index : faiss.IndexBinaryIVF
        May go away afterwards.
    """

    def __init__(self, index: Any) -> None:  # noqa: ANN401 - faiss has no types
        faiss = on_one_thread()
        width = index.d // 8
        sizes = [int(index.invlists.list_size(number)) for number in range(index.nlist)]
        self._ends = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        # Whole words, so that no query has to copy all codes to make them so.
        codes = np.zeros((int(self._ends[-1]), -(-width // WORD_BYTES) * WORD_BYTES), np.uint8)
        self._ids = np.empty(len(codes), np.int64)
        self._width = width
        start = 0
        for ids, held in FaissLists(index).contents():
            rows = slice(start, start + len(ids))
            codes[rows, :width], self._ids[rows] = held, ids
            start = rows.stop
        self._codes = codes
        quantizer = faiss.downcast_IndexBinary(index.quantizer)
        self._centroids = self._whole_words(
            faiss.vector_to_array(quantizer.xb).reshape(index.nlist, width)
        )

    def contents(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint8]]]:
        """Give the numbers of all codes, and the codes ``(n, code_bytes)``, in one piece."""
        yield self._ids, self._codes[:, : self._width]

    def nearest(self, queries: NDArray[np.uint8], k: int, n_probed: int) -> Found:
        """Find the `k` nearest of the codes in the lists nearest to each query, and their ties."""
        asked = self._whole_words(queries)
        return self._found(nearest_in_runs(self._codes, asked, k, self._runs(asked, n_probed)))

    def within(self, queries: NDArray[np.uint8], radius: int, n_probed: int) -> Found:
        """Find the codes within `radius` bits in the lists nearest to each query."""
        asked = self._whole_words(queries)
        runs = self._runs(asked, n_probed)
        return self._found(codes_within_runs(self._codes, asked, radius, runs))

    def _whole_words(self, codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
        missing = -codes.shape[1] % WORD_BYTES
        return np.pad(codes, ((0, 0), (0, missing))) if missing else codes

    def _runs(self, asked: NDArray[np.uint8], n_probed: int) -> NDArray[np.int64]:
        """Give the nearest lists as runs ``(n_queries, n_probed, 2)``, the first of equal ones."""
        near = nearest_codes(self._centroids, asked, n_probed)
        lists = near.rows[near.limits[:-1, None] + np.arange(n_probed)]
        return np.stack([self._ends[lists], self._ends[lists + 1]], axis=-1)

    def _found(self, answers: FoundCodes) -> Found:
        return Found(answers.limits, answers.distances, self._ids[answers.rows])
