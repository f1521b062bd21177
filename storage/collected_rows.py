"""Rows of a table that are taken a few thousand at a time, wherever they are.

Few rows are in memory. Many are in a Parquet file: one of the store, or a temporary one without a
name. A file is opened once, so it is read to its end also when its name is given to another one.

Public: `RowBatches`, `Rows`, `MemoryRows`, `FileRows`, `RowCollector`, `open_rows`, `in_order`,
`PLACE`, `MEMORY_ROWS`.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Protocol, Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from storage.errors import ArtefactMissingError, DamagedArtefactError, TemporarySpaceError
from storage.tables import (
    BATCH_ROWS,
    PARQUET_SETTINGS,
    STREAM_BYTES,
    TableWriter,
    check_columns,
    opened_part,
    write_table,
)
from storage.temporary_space import temporary_file, temporary_space

MEMORY_ROWS = 65_536
"""Rows that stay in memory; 15 MB of a catalogue. More are in a file."""

COPY_BYTES = 1 << 20

PLACE = ("root", "path_raw")
"""The columns that catalogues are sorted by."""


class RowBatches(Protocol):
    """Rows of one schema in a fixed order."""

    @property
    def table(self) -> pa.Table:
        """All rows, in memory."""

    def batches(self, columns: Sequence[str], *, first_root: str = "") -> Iterator[pa.RecordBatch]:
        """Give some columns of the rows in their order, at most `BATCH_ROWS` rows at a time.

        Parameters
        ----------
        first_root : str
            Rows of a catalogue with a root before this one may be left out.
        """


class MemoryRows:
    """Rows that are in memory.

    Parameters
    ----------
    table : pyarrow.Table
        The rows.
    """

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def batches(self, columns: Sequence[str], *, first_root: str = "") -> Iterator[pa.RecordBatch]:
        """Give some columns of the rows in their order; see `RowBatches.batches`."""
        del first_root  # to leave rows out takes longer than to give them
        for batch in self.table.select(list(columns)).to_batches(max_chunksize=BATCH_ROWS):
            if len(batch):
                yield batch

    def write(self, path: Path) -> None:
        """Write the rows to a new Parquet file; the bytes depend on the rows alone."""
        write_table(path, self.table.combine_chunks())


class FileRows:
    """Rows of an open Parquet file that is written as `storage.tables.write_table` does.

    Parameters
    ----------
    file : pyarrow.NativeFile
        The file; open as long as this object is there.
    path : Path, optional
        Its name in the store; a temporary file has none.
    """

    def __init__(self, file: pa.NativeFile, path: Path | None = None) -> None:
        self._file, self._path = file, path
        with self._opened() as part:
            self.schema: pa.Schema = part.schema_arrow
            self._n_rows = int(part.metadata.num_rows)

    @contextmanager
    def _opened(self) -> Iterator[pq.ParquetFile]:
        try:
            with opened_part(self._path or Path(), self._file, buffer_size=STREAM_BYTES) as part:
                yield part
        except DamagedArtefactError as error:
            if self._path is not None:
                raise
            raise TemporarySpaceError(
                f"reading a temporary file back failed: {error.__cause__}; check the disk that it "
                "lay on, or name another folder with the environment variable TMPDIR"
            ) from error

    def __len__(self) -> int:
        return self._n_rows

    @property
    def table(self) -> pa.Table:
        """All rows, in memory.

        Raises
        ------
        DamagedArtefactError, TemporarySpaceError
            If a page of the store's file, or of a temporary one, is not what was written.
        """
        with self._opened() as part:
            return part.read()

    def batches(self, columns: Sequence[str], *, first_root: str = "") -> Iterator[pa.RecordBatch]:
        """Give some columns of the rows in their order; see `RowBatches.batches`.

        Raises
        ------
        DamagedArtefactError, TemporarySpaceError
            If a page of the store's file, or of a temporary one, is not what was written.
        """
        names = list(columns)
        with self._opened() as part:
            groups = [
                number
                for number in range(part.num_row_groups)
                if not first_root or _reaches(part.metadata.row_group(number), first_root)
            ]
            # Threads would save a tenth of a second in a million rows, and take 50 MB.
            for batch in part.iter_batches(
                BATCH_ROWS, row_groups=groups, columns=names, use_threads=False
            ):
                yield batch.select(names)  # the file gives them in its own order

    def write(self, path: Path) -> None:
        """Copy the file."""
        n_bytes = self._file.size()
        try:
            with path.open("wb") as copy:
                for start in range(0, n_bytes, COPY_BYTES):
                    copy.write(self._file.read_at(min(COPY_BYTES, n_bytes - start), start))
        except OSError:
            path.unlink(missing_ok=True)  # on a full disk every byte counts
            raise


def _reaches(group: pq.RowGroupMetaData, first_root: str) -> bool:
    """Whether a row group may have a root that is not before this one."""
    for number in range(group.num_columns):
        column = group.column(number)
        if column.path_in_schema == "root":
            found = column.statistics
            return found is None or not found.has_min_max or bool(found.max >= first_root)
    return True


Rows = MemoryRows | FileRows
"""Rows that are counted, read and stored without asking where they are."""


def open_rows(path: Path, schema: pa.Schema) -> Rows:
    """Open a Parquet file of the store; few rows are read at once.

    Raises
    ------
    ArtefactMissingError
        If it does not exist.
    DamagedArtefactError
        If it cannot be read. Where there are many rows, `Rows.batches` finds damaged pages.
    FormatVersionError
        If its columns are not those of the schema.
    """
    try:
        file = pa.OSFile(str(path))
    except FileNotFoundError as error:
        raise ArtefactMissingError(f"{path} does not exist") from error
    except OSError as error:
        raise DamagedArtefactError(f"{path} is damaged: {error}; run 'musichash verify'") from error
    rows = FileRows(file, path)
    check_columns(path, rows.schema, schema)
    return rows if len(rows) > MEMORY_ROWS else MemoryRows(rows.table)


class RowCollector:
    """Takes rows in their final order, and gives them back.

    More than `MEMORY_ROWS` go to a temporary file. That of a catalogue is, to the byte, what
    `storage.tables.write_table` makes of all rows at once, however many are added at a time.

    Parameters
    ----------
    schema : pyarrow.Schema
        Of the rows.
    settings : mapping
        How the temporary file is written; as pyarrow's ``ParquetWriter`` takes it.
    """

    def __init__(self, schema: pa.Schema, settings: Mapping[str, Any] = PARQUET_SETTINGS) -> None:
        self._schema, self._settings = schema, settings
        self._waiting: list[pa.Table] = []
        self._n_rows = 0
        self._file: BinaryIO | None = None
        self._writer: TableWriter | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        for opened in (self._writer, self._file):
            if opened is not None:
                with suppress(OSError):  # what could not be written cannot be finished either
                    opened.close()

    def add(self, rows: pa.Table) -> None:
        """Add rows.

        Raises
        ------
        TemporarySpaceError
            If the folder for temporary files is full, or cannot be written.
        """
        self._waiting.append(rows)
        self._n_rows += len(rows)
        if self._n_rows > MEMORY_ROWS:
            self._write()

    def _write(self) -> None:
        with temporary_space():
            if self._file is None:
                self._file = temporary_file()
            if self._writer is None:
                self._writer = TableWriter(self._file, self._schema, self._settings)
            for rows in self._waiting:
                self._writer.add(rows)
        self._waiting = []

    def finish(self) -> Rows:
        """Give the rows; none can be added after that.

        Raises
        ------
        TemporarySpaceError
            If the folder for temporary files is full.
        """
        if self._file is None or self._writer is None:
            return MemoryRows(pa.concat_tables([self._schema.empty_table(), *self._waiting]))
        with temporary_space():
            self._writer.finish()
            self._file.flush()
            name = f"/proc/self/fd/{self._file.fileno()}"  # it has no other
            return FileRows(pa.OSFile(name))


def in_order(rows: RowBatches) -> RowBatches:
    """Give rows of a catalogue sorted by root and path; those that are sorted are given back.

    A scan writes them sorted. Others are sorted in memory; rows of the same place stay in their
    order.
    """
    return rows if _is_in_order(rows) else MemoryRows(_sorted(rows.table))


def _sorted(table: pa.Table) -> pa.Table:
    return table.sort_by([(name, "ascending") for name in PLACE])


def _is_in_order(rows: RowBatches) -> bool:
    last: pa.RecordBatch | None = None
    for batch in rows.batches(PLACE):
        joined = [batch] if last is None else [last, batch]
        roots, paths = pa.Table.from_batches(joined).combine_chunks().columns
        before = pc.less(roots[:-1], roots[1:])
        is_same = pc.equal(roots[:-1], roots[1:])
        goes_on = pc.and_(is_same, pc.less_equal(paths[:-1], paths[1:]))
        if not pc.all(pc.or_(before, goes_on), min_count=0).as_py():
            return False
        last = batch.slice(len(batch) - 1)
    return True
