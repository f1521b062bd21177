"""Finding the rows of tracks in a table sorted by track id, some thousands at a time.

Ids are hashes of 32 hex digits. Their first halves are read as numbers, which sort as the ids do,
and the whole ids confirm what is found. Blocks are small enough for the processor's cache: over
whole columns of ten million ids the same takes several times as long.

Public: `track_finder`, `TrackFinder`.
"""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

ID_CHARACTERS = 32
WORD_BYTES = 8

BLOCK_IDS = 1 << 13

TrackFinder = Callable[[pa.Array], NDArray[np.int64]]
"""Gives the rows of some track ids, ascending ones, or -1 where there is none."""


def track_finder(track_ids: pa.ChunkedArray) -> TrackFinder:
    """Give what finds rows by track id.

    Parameters
    ----------
    track_ids : pyarrow.ChunkedArray of string
        Of the table: ascending, each once.
    """
    column = track_ids.chunk(0) if track_ids.num_chunks == 1 else track_ids.combine_chunks()
    words = _id_words(column)
    if words is None:
        return _AnyFinder(column)
    keys = np.empty(len(words), np.uint64)
    for start in range(0, len(words), BLOCK_IDS):
        block = slice(start, start + BLOCK_IDS)
        keys[block] = _keys(words[block])
        reached = keys[max(0, start - 1) : start + BLOCK_IDS]
        if not (reached[1:] > reached[:-1]).all():
            return _AnyFinder(column)
    return _HashFinder(keys, words)


class _HashFinder:
    def __init__(self, keys: NDArray[np.uint64], words: NDArray[np.uint64]) -> None:
        self._keys, self._words = keys, words

    def __call__(self, track_ids: pa.Array) -> NDArray[np.int64]:
        words = _id_words(track_ids)
        if words is None:
            return np.full(len(track_ids), -1, np.int64)
        keys = _keys(words)
        first = int(np.searchsorted(self._keys, keys.min()))
        end = int(np.searchsorted(self._keys, keys.max(), side="right"))
        near = self._keys[first:end]
        if not len(near):
            return np.full(len(track_ids), -1, np.int64)
        places = np.minimum(np.searchsorted(near, keys), len(near) - 1)
        is_other = (self._words[first:end][places] != words).any(axis=1)
        return np.where(is_other, -1, places + first).astype(np.int64, copy=False)


class _AnyFinder:
    """Finds ids of any kind, and those whose first halves are not enough."""

    def __init__(self, track_ids: pa.Array) -> None:
        self._track_ids = track_ids

    def __call__(self, track_ids: pa.Array) -> NDArray[np.int64]:
        rows = pc.fill_null(pc.index_in(track_ids, value_set=self._track_ids), -1)
        return np.asarray(rows.to_numpy(zero_copy_only=False), dtype=np.int64)


def _id_words(track_ids: pa.Array) -> NDArray[np.uint64] | None:
    """Give ids of 32 characters as ``(n, 4)`` words; None if one has another length."""
    n_ids = len(track_ids)
    if not n_ids or track_ids.null_count:
        return None
    _, offsets, data = track_ids.buffers()
    kind = np.int64 if pa.types.is_large_string(track_ids.type) else np.int32
    ends = np.frombuffer(offsets, kind)[track_ids.offset : track_ids.offset + n_ids + 1]
    if ends[-1] - ends[0] != n_ids * ID_CHARACTERS or not (np.diff(ends) == ID_CHARACTERS).all():
        return None
    text = np.frombuffer(data, np.uint8)[ends[0] : ends[-1]]
    return text.view("<u8").reshape(n_ids, ID_CHARACTERS // WORD_BYTES)


def _keys(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Read the first 16 characters as hex digits.

    Of other characters it makes some number, the same for the same ones.
    """
    values = words[:, :2].byteswap()  # the first character is in the highest byte now
    values = (values & np.uint64(0x0F0F0F0F0F0F0F0F)) + np.uint64(9) * (
        (values >> np.uint64(6)) & np.uint64(0x0101010101010101)
    )
    for shift, mask in ((4, 0x00FF00FF00FF00FF), (8, 0x0000FFFF0000FFFF), (16, 0xFFFFFFFF)):
        values = (values | (values >> np.uint64(shift))) & np.uint64(mask)
    return np.asarray((values[:, 0] << np.uint64(32)) | values[:, 1], dtype=np.uint64)
