"""Rows that are set aside while work goes on: in memory while they are few, else in a file.

The file is one without a name (`storage.temporary_space`).

Public: `TemporaryRows`, `KEPT_ROWS`.
"""

import os
import weakref
from array import array
from collections.abc import Iterator
from typing import BinaryIO

import pyarrow as pa

from storage.temporary_space import temporary_file, temporary_space

KEPT_ROWS = 65_536
"""Rows up to which they stay in memory."""


class TemporaryRows:
    """Batches of rows that are added one by one and read again by their numbers.

    The file is closed with the last reference to this object.

    Parameters
    ----------
    schema : pyarrow.Schema
        Of every batch.

    Attributes
    ----------
    n_rows : int
        Rows of all batches.
    """

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema
        self.n_rows = 0
        self._kept: list[pa.RecordBatch] = []
        self._file: BinaryIO | None = None
        self._ends = array("q", [0])
        """Where each batch ends in the file."""

    def add(self, batch: pa.RecordBatch) -> None:
        """Set a batch aside.

        Raises
        ------
        TemporarySpaceError
            If the folder for temporary files is full, or cannot be written.
        """
        self.n_rows += batch.num_rows
        if self._file is None and self.n_rows <= KEPT_ROWS:
            self._kept.append(batch)
            return
        with temporary_space():
            if self._file is None:
                self._file = temporary_file()
                weakref.finalize(self, self._file.close)
                for kept in self._kept:
                    self._write(self._file, kept)
                self._kept = []
            self._write(self._file, batch)

    def _write(self, file: BinaryIO, batch: pa.RecordBatch) -> None:
        data = memoryview(batch.serialize())
        self._ends.append(self._ends[-1] + len(data))
        while data:  # past the buffer of the file: closing it must not fail on a full disk
            data = data[os.write(file.fileno(), data) :]

    def __len__(self) -> int:
        """Batches that were added."""
        return len(self._kept) if self._file is None else len(self._ends) - 1

    def __getitem__(self, number: int) -> pa.RecordBatch:
        """Read a batch by its number, from 0."""
        if self._file is None:
            return self._kept[number]
        start, end = self._ends[number], self._ends[number + 1]
        data = os.pread(self._file.fileno(), end - start, start)
        return pa.ipc.read_record_batch(pa.py_buffer(data), self.schema)

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """Read all batches in the order in which they were added."""
        return map(self.__getitem__, range(len(self)))
