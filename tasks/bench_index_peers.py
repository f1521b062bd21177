"""What the index is measured beside: NumPy, FAISS's own flat index, and usearch where installed.

The first is what is written with NumPy in ten lines, the second the quickest scan that was found
for it: the codes stay in the first cache for some queries at a time, and a look at the least
distance of a block decides whether any of it is looked at.

Public: `Peer`, `NumpyScan`, `BoundedNumpyScan`, `FaissFlat`, `UsearchGraph`, `has_usearch`,
`true_distances`.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from storage.indexes.faiss_library import index_from_bytes, index_to_bytes, on_one_thread

NUMPY_BLOCK = 1 << 16
BOUNDED_BLOCK = 1 << 14
"""Codes compared at a time, in 128 KB at 64 bits; with 4 queries quicker than 4,096 or 65,536."""

BOUNDED_GROUP = 4
"""Queries compared at a time."""

FAR = np.iinfo(np.int32).max


class Peer(Protocol):
    """Something that finds near codes.

    Attributes
    ----------
    parameters : dict
        What it was built and is asked with.
    """

    parameters: dict[str, Any]

    def search(self, queries: NDArray[np.uint8], k: int) -> NDArray[np.int32]:
        """Give the distances ``(n_queries, k)`` of what is found, ascending; `FAR` for nothing."""


def true_distances(
    codes: NDArray[np.uint8], queries: NDArray[np.uint8], k: int
) -> NDArray[np.int32]:
    """Give the `k` smallest distances ``(n_queries, k)`` by NumPy alone."""
    return BoundedNumpyScan(codes).search(queries, k)


class NumpyScan:
    """Count differing bits with NumPy, block by block, and keep the nearest of each block.

    Parameters
    ----------
    codes : (n, code_bytes) uint8
        Of whole 64-bit words.
    """

    def __init__(self, codes: NDArray[np.uint8]) -> None:
        self._words = codes.view(np.uint64)
        self.parameters: dict[str, Any] = {"block": NUMPY_BLOCK}

    def search(self, queries: NDArray[np.uint8], k: int) -> NDArray[np.int32]:
        """Give the nearest distances."""
        found = np.full((len(queries), k), FAR, dtype=np.int32)
        for start in range(0, len(self._words), NUMPY_BLOCK):
            block = self._words[start : start + NUMPY_BLOCK]
            n_kept = min(k, len(block))
            for query, asked in enumerate(queries.view(np.uint64)):
                counts = np.bitwise_count(block ^ asked)
                distances = counts[:, 0]
                for word in range(1, counts.shape[1]):
                    distances = distances + counts[:, word]
                nearest = np.argpartition(distances, n_kept - 1)[:n_kept]
                found[query] = _smallest(found[query], distances[nearest])
        return found


class BoundedNumpyScan:
    """Count differing bits with NumPy, and look only at blocks that have something nearer.

    Parameters
    ----------
    codes : (n, code_bytes) uint8
        Of whole 64-bit words.
    """

    def __init__(self, codes: NDArray[np.uint8]) -> None:
        words = codes.view(np.uint64)
        self._columns = [np.ascontiguousarray(column) for column in words.T]
        self.parameters: dict[str, Any] = {"block": BOUNDED_BLOCK, "queries": BOUNDED_GROUP}

    def search(self, queries: NDArray[np.uint8], k: int) -> NDArray[np.int32]:
        """Give the nearest distances."""
        asked = queries.view(np.uint64)
        found = np.full((len(queries), k), FAR, dtype=np.int32)
        shape = (BOUNDED_GROUP, BOUNDED_BLOCK)
        words, part = np.empty(shape, np.uint64), np.empty(shape, np.uint8)
        counts = np.empty(shape, np.uint8)
        for start in range(0, len(self._columns[0]), BOUNDED_BLOCK):
            block = [column[start : start + BOUNDED_BLOCK] for column in self._columns]
            for first in range(0, len(queries), BOUNDED_GROUP):
                group = asked[first : first + BOUNDED_GROUP, :, None]
                place = np.s_[: len(group), : len(block[0])]
                _count_bits(block, group, words[place], part[place], counts[place])
                least = counts[place].min(axis=1)
                for i in np.flatnonzero(least < found[first : first + len(group), -1]).tolist():
                    near = counts[i, : len(block[0])]
                    near = near[near < found[first + i, -1]]
                    if len(near) > k:
                        near = np.partition(near, k - 1)[:k]
                    found[first + i] = _smallest(found[first + i], near)
        return found


def _count_bits(
    block: list[NDArray[np.uint64]],
    group: NDArray[np.uint64],
    words: NDArray[np.uint64],
    part: NDArray[np.uint8],
    counts: NDArray[np.uint8],
) -> None:
    """Count the bits in which codes and queries differ, without a new array."""
    for number, column in enumerate(block):
        np.bitwise_xor(column, group[:, number], out=words)
        np.bitwise_count(words, out=part if number else counts)
        if number:
            np.add(counts, part, out=counts)


def _smallest(kept: NDArray[np.int32], others: NDArray[np.uint8]) -> NDArray[np.int32]:
    joined = np.sort(np.concatenate([kept, others.astype(np.int32)]))
    smallest: NDArray[np.int32] = joined[: len(kept)]
    return smallest


class FaissFlat:
    """FAISS's exact index.

    Parameters
    ----------
    data : bytes
        Of `FaissFlat.build`.
    """

    def __init__(self, data: bytes) -> None:
        self._index = index_from_bytes(data, "flat")
        self.parameters: dict[str, Any] = {"faiss": on_one_thread().__version__}

    @staticmethod
    def build(codes: NDArray[np.uint8]) -> bytes:
        """Give the index's file."""
        index = on_one_thread().IndexBinaryFlat(codes.shape[1] * 8)
        index.add(codes)
        return index_to_bytes(index)

    def search(self, queries: NDArray[np.uint8], k: int) -> NDArray[np.int32]:
        """Give the nearest distances."""
        on_one_thread()
        distances: NDArray[np.int32] = self._index.search(queries, k)[0]
        return distances


def has_usearch() -> bool:
    """Tell whether usearch is installed, with what it needs."""
    if find_spec("usearch") is None:
        return False
    try:
        import_module("usearch.index")
    except ImportError:
        return False
    return True


class UsearchGraph:
    """A graph of usearch, which finds most of the nearest codes.

    Parameters
    ----------
    data : bytes
        Of `UsearchGraph.build`.
    """

    CONNECTIVITY = 16
    EXPANSION_ADD = 64
    EXPANSION_SEARCH = 64

    def __init__(self, data: bytes) -> None:
        self._index = import_module("usearch.index").Index.restore(data)
        self._index.expansion_search = self.EXPANSION_SEARCH
        self.parameters: dict[str, Any] = {
            "connectivity": self.CONNECTIVITY,
            "expansion_add": self.EXPANSION_ADD,
            "expansion_search": self.EXPANSION_SEARCH,
            "usearch": import_module("usearch").__version__,
        }

    @classmethod
    def build(cls, codes: NDArray[np.uint8]) -> bytes:
        """Give the graph's file."""
        usearch: Any = import_module("usearch.index")
        graph = usearch.Index(
            ndim=codes.shape[1] * 8,
            metric=usearch.MetricKind.Hamming,
            dtype=usearch.ScalarKind.B1,
            connectivity=cls.CONNECTIVITY,
            expansion_add=cls.EXPANSION_ADD,
            expansion_search=cls.EXPANSION_SEARCH,
        )
        graph.add(np.arange(len(codes)), codes, threads=1)
        return bytes(graph.save())

    def search(self, queries: NDArray[np.uint8], k: int) -> NDArray[np.int32]:
        """Give the nearest distances."""
        matches = self._index.search(queries, k, threads=1)
        distances = np.atleast_2d(matches.distances)
        # Of one query it gives what was found, of several as many columns as were asked for.
        n_found = [len(matches)] if len(queries) == 1 else matches.counts
        is_found = np.arange(distances.shape[1]) < np.asarray(n_found)[:, None]
        found = np.full((len(queries), k), FAR, dtype=np.int32)
        found[:, : distances.shape[1]][is_found] = distances[is_found]
        return found
