"""The multihash kind: hash tables over parts of the codes, exact within a few bits.

If two codes differ in fewer bits than there are parts, one part is the same in both, so the tables
miss nothing within that many bits. On disk it is the flat file: tables are built when it is loaded,
because FAISS must never read a hash index from a file. What lies beyond the reach of the tables,
and the nearest codes, are found by reading all codes; so every answer is exact.

Tables pay where codes are many, spread, and asked for within two or three bits. Where many codes
share a part, as those of a trained model do, reading all of them has been quicker at every size
that was measured: 14,000 queries per CPU second against 3,000 at a million codes.

Public: `MultiHashTables`.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from musichash_core.index_config import hash_shape
from storage.indexes.faiss_library import on_one_thread
from storage.indexes.flat import FlatCodes
from storage.indexes.neighbours import Neighbours, split_ranges


class MultiHashTables:
    """Hash tables over codes in row order, ready to be searched; safe under threads.

    Parameters
    ----------
    codes : (n, code_bytes) uint8
        Kept, so not to be changed.
    """

    is_exact = True

    def __init__(self, codes: NDArray[np.uint8]) -> None:
        self._flat = FlatCodes(codes)
        self.n_hashes, self.hash_bits = hash_shape(len(codes), codes.shape[1] * 8)
        self._tables: Any = on_one_thread().IndexBinaryMultiHash(
            codes.shape[1] * 8, self.n_hashes, self.hash_bits
        )
        self._tables.nflip = 0  # flipped bits reach farther, for more than reading all codes costs
        self._tables.add(np.ascontiguousarray(codes))

    @property
    def n_codes(self) -> int:
        """Number of codes."""
        return self._flat.n_codes

    @property
    def n_bits(self) -> int:
        """Length of a code in bits."""
        return self._flat.n_bits

    @property
    def reach(self) -> int:
        """Distance within which the tables miss no code."""
        return self.n_hashes - 1

    def codes(self) -> NDArray[np.uint8]:
        """Give the codes ``(n, code_bytes)``, by row."""
        return self._flat.codes()

    def candidates(self, queries: NDArray[np.uint8], k: int) -> list[Neighbours]:
        """Give for each query the `k` nearest, 1 to `n_codes`, and all that tie with the last."""
        return self._flat.candidates(queries, k)

    def within(self, queries: NDArray[np.uint8], radius: int) -> list[Neighbours]:
        """Give for each query all rows at a distance of at most `radius` bits."""
        if radius > self.reach:
            return self._flat.within(queries, radius)
        on_one_thread()
        return split_ranges(*self._tables.range_search(queries, radius + 1))  # it is exclusive
