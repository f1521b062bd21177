"""The ivf kind: codes lie in lists about centroids, and a query reads the lists nearest to it.

Building falls into parts that can run side by side: `train_ivf` gives an empty index, `build_shard`
a copy of it with a run of rows, and `merge_shards` puts the shards of all rows, in their order,
into one file: the same, to the byte, as that of one shard with all rows.

Public: `IvfParameters`, `ivf_parameters`, `train_ivf`, `build_shard`, `merge_shards`, `build_ivf`,
`empty_ivf`, `IvfLists`.
"""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from musichash_core.index_config import list_count
from storage.indexes.centroids import find_centroids, training_rows
from storage.indexes.faiss_library import index_from_bytes, index_to_bytes, on_one_thread
from storage.indexes.faiss_lists import FaissLists, Found
from storage.indexes.flat import SCAN_FROM
from storage.indexes.neighbours import Neighbours, split_ranges

if TYPE_CHECKING:  # loads a compiler, which only large indexes need
    from storage.indexes.list_scan import ListScan

TRAINING_CODES_PER_LIST = 64
TRAINING_ROUNDS = 6
"""More rounds move the centroids by a few hundredths of a bit on average."""

SHARD_CODES = 1 << 20
"""Codes added at a time where one process builds the whole index."""


@dataclass(frozen=True, slots=True)
class IvfParameters:
    """What decides the bytes of an ivf file, beside its codes.

    Attributes
    ----------
    n_lists : int
        Centroids wanted; fewer where the training codes have fewer distinct ones.
    n_training : int
        Codes that they are trained on, at most.
    n_rounds : int
        Rounds of training, at most.
    """

    n_lists: int
    n_training: int
    n_rounds: int

    def as_dict(self) -> dict[str, int]:
        """Give the JSON form."""
        return asdict(self)


def ivf_parameters(n_codes: int) -> IvfParameters:
    """Give the parameters with which an index of so many codes is built."""
    n_lists = list_count(n_codes)
    return IvfParameters(n_lists, n_lists * TRAINING_CODES_PER_LIST, TRAINING_ROUNDS)


def train_ivf(codes: NDArray[np.uint8], parameters: IvfParameters) -> bytes:
    """Give the file of an empty index with centroids for some codes.

    Parameters
    ----------
    codes : (n, code_bytes) uint8
        All codes of the index to be, or at least its rows ``training_rows(n, n_training)``, in
        order: of those, all are taken.
    """
    sample = codes[training_rows(len(codes), parameters.n_training)]
    centroids = find_centroids(sample, parameters.n_lists, n_rounds=parameters.n_rounds)
    faiss = on_one_thread()
    quantizer = faiss.IndexBinaryFlat(codes.shape[1] * 8)
    quantizer.add(centroids)
    index = faiss.IndexBinaryIVF(quantizer, codes.shape[1] * 8, len(centroids))
    index.is_trained = True
    return index_to_bytes(index)


def build_shard(trained: bytes, codes: NDArray[np.uint8], first_row: int) -> bytes:
    """Give the file of an index with a run of rows.

    Parameters
    ----------
    trained : bytes
        Of `train_ivf`.
    codes : (n, code_bytes) uint8
    first_row : int
        Number of the first of them in the index to be.
    """
    index = index_from_bytes(trained, "ivf")
    if len(codes):
        ids = np.arange(first_row, first_row + len(codes), dtype=np.int64)
        index.add_with_ids(np.ascontiguousarray(codes), ids)
    return index_to_bytes(index)


def merge_shards(shards: Iterable[bytes]) -> bytes:
    """Put shards, in the order of their rows, into one file; one after the other is read."""
    merged = None
    for shard in shards:
        index = index_from_bytes(shard, "ivf")
        if merged is None:
            merged = index
        else:
            merged.merge_from(index, 0)
    if merged is None:
        raise ValueError("no shards were given; an index has at least one, which may be empty")
    return index_to_bytes(merged)


def empty_ivf(data: bytes) -> bytes:
    """Give the file of an empty index with the centroids of another."""
    index = index_from_bytes(data, "ivf")
    index.reset()
    return index_to_bytes(index)


def build_ivf(
    codes: NDArray[np.uint8],
    parameters: IvfParameters,
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> bytes:
    """Give the file of an index of packed codes ``(n, code_bytes)``, by row.

    Parameters
    ----------
    on_progress : callable, optional
        Called with the number of codes in lists and of all.
    """
    index = index_from_bytes(train_ivf(codes, parameters), "ivf")
    for start in range(0, len(codes), SHARD_CODES):
        part = np.ascontiguousarray(codes[start : start + SHARD_CODES])
        on_one_thread()
        index.add_with_ids(part, np.arange(start, start + len(part), dtype=np.int64))
        if on_progress is not None:
            on_progress(start + len(part), len(codes))
    return index_to_bytes(index)


class IvfLists:
    """Lists of codes, ready to be searched; safe under threads.

    Few codes are searched by FAISS and many by the compiled scan, as in `storage.indexes.flat`.

    Parameters
    ----------
    base : bytes
        File of the index.
    n_probed : int
        Lists that a query reads.
    delta : bytes, optional
        File of an index with the same centroids, whose numbers go on after those of the base.
    died : (n,) int64, optional
        Numbers of codes of the base that no longer count.
    rows_of : callable, optional
        Gives for numbers of codes the rows of the codes table; by default they are the same.

    Attributes
    ----------
    n_codes, n_bits, n_lists : int
        Codes, their length, and the lists that they lie in.
    n_probed : int
    """

    is_exact = False

    def __init__(
        self,
        base: bytes,
        n_probed: int,
        *,
        delta: bytes | None = None,
        died: NDArray[np.int64] | None = None,
        rows_of: Callable[[NDArray[np.int64]], NDArray[np.int64]] | None = None,
    ) -> None:
        index = index_from_bytes(base, "ivf")
        self._rows_of = rows_of
        if died is not None and len(died):
            _remove(index, died)
        if delta is not None:
            index.merge_from(index_from_bytes(delta, "ivf"), 0)
        self.n_codes = int(index.ntotal)
        self.n_bits = int(index.d)
        self.n_lists = int(index.nlist)
        self.probe(n_probed)
        self._lists = _searched(index)

    def probe(self, n_probed: int) -> None:
        """Read so many lists from now on; not while another thread searches."""
        self.n_probed = min(n_probed, self.n_lists)

    def codes(self) -> NDArray[np.uint8]:
        """Give all codes ``(n_codes, code_bytes)`` by row, read from the lists."""
        codes = np.zeros((self.n_codes, self.n_bits // 8), np.uint8)
        is_met = np.zeros(self.n_codes, dtype=bool)
        for ids, held in self._lists.contents():
            rows = self._rows(ids)
            codes[rows] = held
            is_met[rows] = True
        if not is_met.all():
            raise ValueError("two codes of the lists have the same row")
        return codes

    def _rows(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        return ids if self._rows_of is None else self._rows_of(ids)

    def distances_at(self, queries: NDArray[np.uint8], k: int, n_probed: int) -> NDArray[np.int32]:
        """Give the `k` smallest distances ``(n, k)`` that reading so many lists finds.

        Where they hold fewer codes, the greatest number stands for those that are missing.
        """
        found = self._lists.nearest(queries, k, min(n_probed, self.n_lists))
        rank = np.arange(len(found.ids)) - np.repeat(found.limits[:-1], np.diff(found.limits))
        query = np.repeat(np.arange(len(queries)), np.diff(found.limits))
        distances = np.full((len(queries), k), np.iinfo(np.int32).max, np.int32)
        distances[query[rank < k], rank[rank < k]] = found.distances[rank < k]
        return distances

    def candidates(self, queries: NDArray[np.uint8], k: int) -> list[Neighbours]:
        """Give for each query the `k` nearest, 1 to `n_codes`, and all that tie with the last.

        Of the codes in the lists that are read; if these hold fewer than `k`, more are read.
        """
        n_probed = self.n_probed
        answers = self._split(self._lists.nearest(queries, k, n_probed))
        short = [at for at, answer in enumerate(answers) if len(answer) < k]
        while short and n_probed < self.n_lists:
            n_probed = min(4 * n_probed, self.n_lists)
            more = self._split(self._lists.nearest(queries[short], k, n_probed))
            for at, answer in zip(short, more, strict=True):
                answers[at] = answer
            short = [at for at in short if len(answers[at]) < k]
        return answers

    def within(self, queries: NDArray[np.uint8], radius: int) -> list[Neighbours]:
        """Give for each query the rows within `radius` bits in the lists that are read."""
        return self._split(self._lists.within(queries, radius, self.n_probed))

    def _split(self, found: Found) -> list[Neighbours]:
        return split_ranges(found.limits, found.distances, self._rows(found.ids))


def _remove(index: Any, died: NDArray[np.int64]) -> None:  # noqa: ANN401 - faiss has no types
    is_dead = np.zeros(int(index.ntotal), dtype=bool)
    is_dead[died] = True
    bits = np.packbits(is_dead, bitorder="little")
    index.remove_ids(on_one_thread().IDSelectorBitmap(bits))


def _searched(index: Any) -> "FaissLists | ListScan":  # noqa: ANN401 - faiss has no types
    """Choose what reads the lists of an index."""
    if index.ntotal < SCAN_FROM:
        return FaissLists(index)
    from storage.indexes.list_scan import ListScan  # loads a compiler

    return ListScan(index)
