"""Rows of many tracks, spread over ranges of track ids, so that a few can be in memory at once.

Track ids are hashes, so ranges of equal width hold about equally many tracks, and the ranges one
after another are all tracks sorted by id. What is worked out for each track from the rows that bear
its id, in several tables, is worked out range by range.

Rows that one range holds stay in memory. Those of more go to a temporary file without a name, which
is gone when the process is, however it ends.

Public: `IdRanges`, `count_ranges`, `first_id_after`, `RANGE_ROWS`.
"""

from collections.abc import Iterator
from contextlib import suppress
from typing import Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from storage.fixed_ids import fixed_ids
from storage.temporary_space import temporary_file, temporary_space

RANGE_ROWS = 65_536
"""Rows that a range has at most, as a rule."""

BUFFER_ROWS = 65_536
"""Rows that are kept until they are written, sorted by range."""

_PREFIX_DIGITS = 4
MAX_RANGES = 16**_PREFIX_DIGITS

_DIGITS = np.zeros(256, np.int64)
_DIGITS[np.frombuffer(b"0123456789abcdef", np.uint8)] = np.arange(16)


def count_ranges(n_rows: int) -> int:
    """Give how many ranges some rows are spread over: a power of two, 1 for up to `RANGE_ROWS`."""
    n_ranges = 1
    while n_ranges < MAX_RANGES and n_ranges * RANGE_ROWS < n_rows:
        n_ranges *= 2
    return n_ranges


def first_id_after(number: int, n_ranges: int) -> str | None:
    """Give the beginning of the ids of the range after one; None for the last."""
    if number + 1 == n_ranges:
        return None
    return f"{(number + 1) * (MAX_RANGES // n_ranges):0{_PREFIX_DIGITS}x}"


class IdRanges:
    """Takes rows in any order, and gives those of one range of track ids after another.

    Parameters
    ----------
    schema : pyarrow.Schema
        Of the rows; with the column ``track_id``.
    n_ranges : int
        As `count_ranges` gives it: the same for all tables that are worked on together.
    """

    def __init__(self, schema: pa.Schema, n_ranges: int) -> None:
        self.schema = schema
        self.n_ranges = n_ranges
        self._waiting: list[pa.Table] = []
        self._n_waiting = 0
        self._spilled: _Spilled | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Forget all rows."""
        self._waiting = []
        if self._spilled is not None:
            self._spilled.close()

    def add(self, rows: pa.Table) -> None:
        """Add rows of the schema.

        Raises
        ------
        TemporarySpaceError
            If the folder for temporary files is full, or cannot be written.
        """
        if not len(rows):
            return
        self._waiting.append(rows)
        self._n_waiting += len(rows)
        if self.n_ranges > 1 and self._n_waiting >= BUFFER_ROWS:
            self._spill()

    def _spill(self) -> None:
        rows = pa.concat_tables([self.schema.empty_table(), *self._waiting]).combine_chunks()
        self._waiting, self._n_waiting = [], 0
        ranges = self._numbers_of(rows)
        order = np.argsort(ranges, kind="stable")
        if self._spilled is None:
            self._spilled = _Spilled(self.schema, self.n_ranges)
        self._spilled.write(
            rows.take(pa.array(order)),
            np.searchsorted(ranges[order], np.arange(self.n_ranges + 1)),
        )

    def _numbers_of(self, rows: pa.Table) -> NDArray[np.int64]:
        """Tell in which range each row is."""
        return _range_numbers(rows["track_id"], self.n_ranges)

    def table(self, number: int) -> pa.Table:
        """Give the rows of a range, in the order in which they were added.

        Nothing can be added after that.
        """
        if self.n_ranges == 1:
            return pa.concat_tables([self.schema.empty_table(), *self._waiting])
        if self._waiting:
            self._spill()
        if self._spilled is None:
            return self.schema.empty_table()
        return self._spilled.read(number)

    def tables(self) -> Iterator[pa.Table]:
        """Give the rows of each range, one after another."""
        for number in range(self.n_ranges):
            yield self.table(number)


def _range_numbers(track_ids: pa.ChunkedArray, n_ranges: int) -> NDArray[np.int64]:
    ids = np.ascontiguousarray(fixed_ids(track_ids).astype(f"S{_PREFIX_DIGITS}"))
    letters = ids.view(np.uint8).reshape(len(ids), _PREFIX_DIGITS)
    prefix = np.zeros(len(ids), np.int64)
    for place in range(_PREFIX_DIGITS):
        prefix = 16 * prefix + _DIGITS[letters[:, place]]
    numbers: NDArray[np.int64] = prefix * n_ranges // MAX_RANGES
    return numbers


class _Spilled:
    """Pieces of ranges in a file: random access to each."""

    def __init__(self, schema: pa.Schema, n_ranges: int) -> None:
        self._schema = schema
        self._pieces: list[list[int]] = [[] for _ in range(n_ranges)]
        self._n_pieces = 0
        self._reader: pa.RecordBatchFileReader | None = None
        with temporary_space():
            self._file = temporary_file()
            options = pa.ipc.IpcWriteOptions(compression="lz4")
            self._writer = pa.ipc.new_file(self._file, schema, options=options)

    def write(self, rows: pa.Table, starts: NDArray[np.int64]) -> None:
        """Write rows sorted by range; ``starts`` says where each begins, and where all end."""
        (batch,) = rows.to_batches()
        with temporary_space():
            for number in np.flatnonzero(np.diff(starts)).tolist():
                first, end = int(starts[number]), int(starts[number + 1])
                self._writer.write_batch(batch.slice(first, end - first))
                self._pieces[number].append(self._n_pieces)
                self._n_pieces += 1

    def read(self, number: int) -> pa.Table:
        if self._reader is None:
            with temporary_space():
                self._writer.close()
                self._file.flush()
            self._reader = pa.ipc.open_file(self._file)
        batches = [self._reader.get_batch(piece) for piece in self._pieces[number]]
        return pa.Table.from_batches(batches, self._schema).combine_chunks()

    def close(self) -> None:
        self._reader = None
        with suppress(OSError):  # of what could not be written on a full disk, nothing is wanted
            self._file.close()
