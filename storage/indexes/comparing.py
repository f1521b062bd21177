"""Which codes of an earlier table a later one still has: by track and by code.

Public: `KeyedCodes`, `keyed_codes`, `CodesOrigin`, `kept_rows`, `KeptRows`, `KEY_COLUMNS`.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from storage.indexes.finding_tracks import track_finder
from storage.packed_codes import packed_codes

KEY_COLUMNS = ("track_id", "code")
"""Columns of the codes table that are compared."""


@dataclass(frozen=True, slots=True, eq=False)
class KeyedCodes:
    """The codes of a table, and whose they are.

    Attributes
    ----------
    track_ids : pyarrow.ChunkedArray of string
        Ascending, each once.
    codes : (n_rows, code_bytes) uint8
        By row.
    """

    track_ids: pa.ChunkedArray
    codes: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.codes)


@dataclass(frozen=True, slots=True)
class CodesOrigin:
    """Where the codes of a table come from.

    Attributes
    ----------
    generation : str
        Model generation that computed them.
    rows_of : tuple of str
        Digests of the parts of the table, through which its rows count.
    """

    generation: str
    rows_of: tuple[str, ...]


def keyed_codes(table: pa.Table) -> KeyedCodes:
    """Take the codes, and whose they are, from a codes table with at least `KEY_COLUMNS`."""
    return KeyedCodes(table["track_id"], packed_codes(table))


@dataclass(frozen=True, slots=True, eq=False)
class KeptRows:
    """What a later table still has of an earlier one.

    Attributes
    ----------
    rows : (n_earlier,) int64
        The later row with the same track and code, or -1.
    lost_codes : (n_lost, code_bytes) uint8
        The codes of those that are -1, in order.
    """

    rows: NDArray[np.int64]
    lost_codes: NDArray[np.uint8]


def kept_rows(earlier: Iterable[KeyedCodes], later: KeyedCodes) -> KeptRows:
    """Find the rows of an earlier table in a later one, both sorted by track id.

    Parameters
    ----------
    earlier : iterable of KeyedCodes
        The earlier table, in parts.
    later : KeyedCodes
    """
    find = track_finder(later.track_ids)
    kept: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
    lost: list[NDArray[np.uint8]] = [np.empty((0, later.codes.shape[1]), np.uint8)]
    for part in earlier:
        if not len(part):
            continue
        rows = np.concatenate([find(chunk) for chunk in part.track_ids.chunks])
        if len(later):
            rows[(later.codes[rows] != part.codes).any(axis=1)] = -1
        kept.append(rows)
        lost.append(part.codes[rows < 0])
    return KeptRows(np.concatenate(kept), np.concatenate(lost))
