"""A search index, loaded and ready to answer in rows of the codes table, whatever its kind.

Public: `HashIndex`.
"""

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from musichash_core.errors import ParameterError
from musichash_core.index_config import IndexKind
from storage.indexes.changes import no_changes
from storage.indexes.faiss_library import ForeignIndexError
from storage.indexes.flat import build_flat
from storage.indexes.ivf import build_ivf, ivf_parameters
from storage.indexes.neighbours import Neighbours, nobody
from storage.indexes.parts import IndexParts, ServedCodes, damaged_index, read_parts, serve
from storage.layout import StoreLayout
from storage.snapshots import Snapshot


class HashIndex:
    """A loaded index; it is only read, and safe under threads.

    Attributes
    ----------
    n_codes : int
        Codes that it answers for: rows of the codes table.
    n_bits : int
        Length of a code.
    kind : str
        ``flat``, ``ivf`` or ``multihash``.
    is_exact : bool
        Whether it misses nothing.
    info : dict
        The description beside it; empty where it was made in memory.
    """

    def __init__(self, served: ServedCodes, *, kind: IndexKind, info: dict[str, Any]) -> None:
        self._served = served
        self.kind = kind
        self.info = info
        self.n_bits = served.n_bits
        self.n_codes = served.n_codes
        self.is_exact = served.is_exact

    @classmethod
    def load(cls, layout: StoreLayout, snapshot: Snapshot) -> Self:
        """Load the index of a snapshot, if its bytes are those that the snapshot lists.

        Raises
        ------
        ArtefactMissingError, DamagedArtefactError
            If a file is missing or differs, is none that FAISS reads, or is of other codes than
            the snapshot's; the message says how to have it rebuilt.
        """
        info, parts = read_parts(layout, snapshot)
        try:
            index = cls.of_parts(parts, info=info.as_dict())
        except ForeignIndexError as error:
            what = f"cannot be used: {error}"
            raise damaged_index(layout, snapshot.index, what) from error
        if (index.n_codes, index.n_bits) != (info.n_codes, info.n_bits):
            what = (
                f"holds {index.n_codes} codes of {index.n_bits} bits, {info.n_codes} of "
                f"{info.n_bits} are described"
            )
            raise damaged_index(layout, snapshot.index, what)
        return index

    @classmethod
    def of_parts(cls, parts: IndexParts, info: dict[str, Any] | None = None) -> Self:
        """Make an index of what is stored of it.

        Raises
        ------
        ForeignIndexError
            If a part is none.
        """
        return cls(serve(parts), kind=parts.kind, info=info or {})

    @classmethod
    def of_codes(
        cls, codes: NDArray[np.uint8], *, kind: IndexKind = "flat", n_probed: int | None = None
    ) -> Self:
        """Make an index of codes ``(n, code_bytes)`` in memory.

        Parameters
        ----------
        n_probed : int, optional
            Lists that a query of an ivf index reads; by default all, which is exact and slow.
        """
        if kind == "ivf":
            parameters = ivf_parameters(len(codes))
            base = build_ivf(codes, parameters)
            n_probed = n_probed or parameters.n_lists
        else:
            base, n_probed = build_flat(codes), None
        n_bits = codes.shape[1] * 8
        changes = no_changes(codes.shape[1])
        return cls.of_parts(IndexParts(kind, n_bits, base, len(codes), None, changes, {}, n_probed))

    def candidates(self, codes: NDArray[np.uint8], k: int) -> list[Neighbours]:
        """Find for each query the `k` nearest rows and all rows that tie with the last of them.

        Parameters
        ----------
        codes : (n, code_bytes) uint8
            The queries.

        Returns
        -------
        list of Neighbours
            By distance, then row; at least ``min(k, n_codes)`` each. An ivf index gives those of
            the lists that it reads: nearer codes, and ties, may lie in others.

        Raises
        ------
        ParameterError
            If the codes have another width than the index.
        """
        queries = self._queries(codes)
        k = min(k, self.n_codes)
        if k < 1 or not len(queries):
            return [nobody()] * len(queries)
        return self._served.candidates(queries, k)

    def within(self, codes: NDArray[np.uint8], radius: int) -> list[Neighbours]:
        """Find for each query all rows at a distance of at most `radius` bits.

        Flat and multihash indexes miss none; an ivf index gives what the lists hold that it reads.

        Parameters
        ----------
        codes : (n, code_bytes) uint8
            The queries.

        Returns
        -------
        list of Neighbours
            By distance, then row.

        Raises
        ------
        ParameterError
            If the codes have another width than the index.
        """
        queries = self._queries(codes)
        if radius < 0 or not self.n_codes or not len(queries):
            return [nobody()] * len(queries)
        return self._served.within(queries, min(radius, self.n_bits))

    def _queries(self, codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
        queries = np.ascontiguousarray(codes, dtype=np.uint8)
        if queries.ndim != 2 or queries.shape[1] * 8 != self.n_bits:
            raise ParameterError(
                f"the query has {queries.shape[-1] * 8} bits, the index {self.n_bits}; "
                "encode it with the model of the index"
            )
        return queries

    def codes(self) -> NDArray[np.uint8]:
        """Give the codes ``(n_codes, code_bytes)`` that it answers for, by row.

        Raises
        ------
        ValueError
            If an ivf index has two codes for one row, and none for another.
        """
        return self._served.codes()

    def holds(self, codes: NDArray[np.uint8]) -> bool:
        """Whether the index answers for exactly these codes ``(n, code_bytes)``, row by row."""
        try:
            return bool(np.array_equal(self.codes(), codes))
        except (ValueError, IndexError):
            return False
