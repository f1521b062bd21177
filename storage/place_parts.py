"""Rows of many places, spread over parts by a checksum, so that a few can be in memory at once.

A place is looked up among others in one part: those of equal name are in the same.

Public: `PlaceParts`.
"""

import zlib

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from storage.id_ranges import IdRanges


class PlaceParts(IdRanges):
    """Takes rows in any order, and gives those of one part after another.

    Parameters
    ----------
    schema : pyarrow.Schema
        Of the rows; with the column ``place``.
    n_ranges : int
        Parts: as `storage.id_ranges.count_ranges` gives it, the same for all tables that are looked
        up in one another.
    """

    def _numbers_of(self, rows: pa.Table) -> NDArray[np.int64]:
        sums = map(zlib.crc32, rows["place"].cast(pa.binary()).to_pylist())
        return np.fromiter(sums, np.int64, len(rows)) % self.n_ranges
