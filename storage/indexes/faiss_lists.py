"""The lists of an ivf index, read by FAISS.

Public: `FaissLists`, `Found`.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from storage.indexes.faiss_library import on_one_thread

TIES_LOOKED_FOR = 32
"""Answers asked for beyond `k`, which mostly show where the ties with the last one end."""


class Found(NamedTuple):
    """Answers to some queries, as FAISS gives those of a range.

    Attributes
    ----------
    limits : (n_queries + 1,) int64
        The answers to query i stand at ``limits[i]`` to ``limits[i + 1]``.
    distances : (n_answers,) int32
    ids : (n_answers,) int64
        Numbers of codes.
    """

    limits: NDArray[np.int64]
    distances: NDArray[np.int32]
    ids: NDArray[np.int64]


class FaissLists:
    """Lists of codes about centroids; safe under threads that all read the same number of lists.

    Parameters
    ----------
    index : faiss.IndexBinaryIVF
    """

    def __init__(self, index: Any) -> None:  # noqa: ANN401 - faiss has no types
        self._index = index
        self._n_codes = int(index.ntotal)

    def contents(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint8]]]:
        """Give the numbers of the codes of each list, and the codes ``(n, code_bytes)``."""
        faiss = on_one_thread()
        lists, width = self._index.invlists, self._index.d // 8
        for number in range(self._index.nlist):
            size = lists.list_size(number)
            if size:
                held = faiss.rev_swig_ptr(lists.get_codes(number), size * width)
                yield faiss.rev_swig_ptr(lists.get_ids(number), size), held.reshape(size, width)

    def nearest(self, queries: NDArray[np.uint8], k: int, n_probed: int) -> Found:
        """Find the `k` nearest of the codes in the lists nearest to each query, and their ties.

        In ascending order of distance for each query, of which there is at least one.
        """
        faiss = on_one_thread()
        read = faiss.SearchParametersIVF(nprobe=n_probed)
        n_asked = min(k + TIES_LOOKED_FOR, self._n_codes)
        left = np.arange(len(queries))
        parts = []
        while len(left):
            distances, ids = self._index.search(queries[left], n_asked, params=read)
            has_more = self._may_have_more(distances, ids, k) & (n_asked < self._n_codes)
            is_answer = (distances <= distances[:, k - 1 : k]) & (ids >= 0) & ~has_more[:, None]
            query = np.repeat(left, is_answer.sum(axis=1))
            parts.append((query, distances[is_answer], ids[is_answer]))
            left, n_asked = left[has_more], min(4 * n_asked, self._n_codes)
        queried, near, numbers = (np.concatenate(some) for some in zip(*parts, strict=True))
        order = np.argsort(queried, kind="stable")
        counts = np.bincount(queried, minlength=len(queries))
        limits = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return Found(limits, near[order], numbers[order])

    @staticmethod
    def _may_have_more(
        distances: NDArray[np.int32], ids: NDArray[np.int64], k: int
    ) -> NDArray[np.bool_]:
        """Tell of which queries all answers tie with the k-th, as some not asked for may."""
        is_tied: NDArray[np.bool_] = (distances[:, -1] == distances[:, k - 1]) & (ids[:, -1] >= 0)
        return is_tied

    def within(self, queries: NDArray[np.uint8], radius: int, n_probed: int) -> Found:
        """Find the codes within `radius` bits in the lists nearest to each query."""
        on_one_thread()
        self._index.nprobe = n_probed  # a range takes no parameters
        limits, distances, ids = self._index.range_search(queries, radius + 1)  # it is exclusive
        return Found(limits.astype(np.int64), distances, ids)
