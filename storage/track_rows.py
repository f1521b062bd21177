"""From identities to rows of a table that is sorted by ``track_id``, and back.

An identity of 32 hex digits is held as two 64-bit numbers, 16 bytes a row, of those row groups
that were asked for; which one an identity lies in is known from the bounds noted in the file.

Public: `TrackRows`.
"""

import re
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from storage.errors import DamagedArtefactError
from storage.served_table import GroupedArray, ServedTable

ID_DIGITS = 32
_ID = re.compile(r"[0-9a-f]{32}")
_PREFIX = re.compile(r"[0-9a-f]{1,32}")


class TrackRows:
    """Which row each track has; safe under threads.

    Parameters
    ----------
    table : ServedTable
        Sorted by its column ``track_id``.
    """

    def __init__(self, table: ServedTable) -> None:
        self._table = table
        self._words = GroupedArray(
            table, "track_id", shape=(2,), dtype=np.uint64, convert=_ids_to_words
        )
        starts = table.starts
        self._bounds = [
            noted or (self._id_at(int(starts[group])), self._id_at(int(starts[group + 1]) - 1))
            for group, noted in enumerate(table.bounds("track_id"))
        ]
        self._last_ids = [last for _, last in self._bounds]

    def rows_beginning(self, prefix: str) -> NDArray[np.int64]:
        """Give the rows of the identities that begin with some hex digits, ascending."""
        if _PREFIX.fullmatch(prefix) is None:
            return np.empty(0, np.int64)
        lowest, highest = prefix.ljust(ID_DIGITS, "0"), prefix.ljust(ID_DIGITS, "f")
        found = [np.empty(0, np.int64)]
        group = bisect_left(self._last_ids, lowest)
        while group < len(self._bounds) and self._bounds[group][0] <= highest:
            words = self._words.group(group)
            first, stop = _place(words, lowest, "left"), _place(words, highest, "right")
            found.append(np.arange(first, stop) + self._table.starts[group])
            group += 1
        return np.concatenate(found)

    def rows_of(self, track_ids: Sequence[str]) -> NDArray[np.int64]:
        """Give the row of each identity; -1 for one that the table does not have."""
        rows = np.full(len(track_ids), -1, np.int64)
        by_group: dict[int, list[int]] = {}
        for at, track_id in enumerate(track_ids):
            if _ID.fullmatch(track_id):
                group = bisect_left(self._last_ids, track_id)
                if group < len(self._bounds):
                    by_group.setdefault(group, []).append(at)
        for group, places in by_group.items():
            words = self._words.group(group)
            wanted = _words_of("".join(track_ids[at] for at in places))
            found = np.searchsorted(words[:, 0], wanted[:, 0]).clip(max=len(words) - 1)
            is_it = (words[found] == wanted).all(axis=1)
            for at, place, is_first in zip(places, found, is_it, strict=True):
                # Others may begin with the same 16 digits and come before it.
                place_of_id = int(place) if is_first else _place(words, track_ids[at], "left")
                if is_first or _is_at(words, place_of_id, track_ids[at]):
                    rows[at] = self._table.starts[group] + place_of_id
        return rows

    def ids_of(self, rows: NDArray[np.int64]) -> list[str]:
        """Give the identity of each row."""
        digits = self._words.take(rows).astype(">u8").tobytes().hex()
        return [digits[start : start + ID_DIGITS] for start in range(0, len(digits), ID_DIGITS)]

    def _id_at(self, row: int) -> str:
        return self.ids_of(np.array([row]))[0]


def _ids_to_words(column: pa.ChunkedArray) -> NDArray[Any]:
    """Give identities as ``(n, 2)`` numbers, the first digits in the first."""
    try:
        words = np.frombuffer(b"".join(map(_ids_to_bytes, column.chunks)), ">u8").reshape(-1, 2)
    except ValueError as error:
        raise _no_identities() from error
    if len(words) != len(column):
        raise _no_identities()
    return words


def _ids_to_bytes(chunk: pa.StringArray) -> bytes:
    _, offsets, digits = chunk.buffers()
    if not len(chunk):
        return b""
    ends = np.frombuffer(offsets, np.int32)[chunk.offset : chunk.offset + len(chunk) + 1]
    first, last = int(ends[0]), int(ends[-1])
    return bytes.fromhex(digits.slice(first, last - first).to_pybytes().decode("ascii"))


def _no_identities() -> DamagedArtefactError:
    return DamagedArtefactError(
        "a published table holds identities that are not 32 hex digits; run 'musichash verify'"
    )


def _words_of(digits: str) -> NDArray[np.uint64]:
    return np.frombuffer(bytes.fromhex(digits), ">u8").reshape(-1, 2).astype(np.uint64)


def _is_at(words: NDArray[np.uint64], place: int, track_id: str) -> bool:
    return place < len(words) and bool((words[place] == _words_of(track_id)[0]).all())


def _place(words: NDArray[np.uint64], track_id: str, side: Literal["left", "right"]) -> int:
    """Give the place of an identity among sorted ones, as `numpy.searchsorted` does."""
    first, second = (np.uint64(int(part, 16)) for part in (track_id[:16], track_id[16:]))
    start = int(np.searchsorted(words[:, 0], first, side="left"))
    stop = int(np.searchsorted(words[:, 0], first, side="right"))
    return start + int(np.searchsorted(words[start:stop, 1], second, side=side))
