"""Parquet files: written with page checksums in one fixed way, read with the checksums verified.

Public: `table_of`, `write_rows`, `write_table`, `TableWriter`, `write_part`, `PartWriter`,
`read_part`, `part_schema`, `part_batches`, `part_tables`, `part_length`, `read_part_rows`,
`opened_part`, `check_columns`, `PARQUET_SETTINGS`, `ROW_GROUP_ROWS`, `BATCH_ROWS`,
`STREAM_BYTES`.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import pyarrow as pa
import pyarrow.parquet as pq

from storage.atomic import FileDigest, digest_file, make_folder, place_file
from storage.errors import ArtefactMissingError, DamagedArtefactError, FormatVersionError
from storage.layout import StoreLayout

ROW_GROUP_ROWS = 65_536
BATCH_ROWS = 8_192
"""Rows held at once where a table is read a few at a time."""

PARQUET_SETTINGS: dict[str, Any] = {
    "compression": "zstd",
    "write_page_checksum": True,
    "use_dictionary": True,
    "version": "2.6",
}
"""How each Parquet file of a store is written, besides `ROW_GROUP_ROWS`."""

STREAM_BYTES = 1 << 20
"""Bytes of each column that are read ahead there; without a limit, all of a row group."""


def table_of(rows: Sequence[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    """Make an Arrow table of plain rows; every row must have every column of the schema."""
    names = schema.names
    columns = {name: [row[name] for row in rows] for name in names}
    return pa.table(columns, schema=schema)


def write_rows(path: Path, rows: Sequence[dict[str, Any]], schema: pa.Schema) -> None:
    """Write rows to a new Parquet file, in the order given."""
    write_table(path, table_of(rows, schema))


def write_table(path: Path, table: pa.Table) -> None:
    """Write a table to a new Parquet file, in the order given."""
    with _written(path, table.schema, PARQUET_SETTINGS) as writer:
        writer.write_table(table, row_group_size=ROW_GROUP_ROWS)


@contextmanager
def _written(
    place: Path | BinaryIO, schema: pa.Schema, settings: Mapping[str, Any]
) -> Iterator[pq.ParquetWriter]:
    """Open a new Parquet file; one with a name is removed where it cannot be written."""
    try:
        with pq.ParquetWriter(place, schema, **settings) as writer:
            yield writer
    except Exception:
        if isinstance(place, Path):
            with suppress(OSError):
                place.unlink()  # on a full disk every byte counts
        raise


def write_part(layout: StoreLayout, name: str, table: pa.Table) -> FileDigest:
    """Store a part of a published table under the name of its content; see `PartWriter`.

    Parameters
    ----------
    table : pyarrow.Table
        Rows in their final order.
    """
    with PartWriter(layout, name, table.schema) as writer:
        writer.add(table)
        return writer.place()


class TableWriter:
    """Writes a new Parquet file, a few rows at a time.

    The bytes depend on the rows alone, not on how many are added at once.

    Parameters
    ----------
    place : Path or binary file
        Where to.
    schema : pyarrow.Schema
        Of the rows.
    settings : mapping
        How the file is written; as pyarrow's ``ParquetWriter`` takes it.
    """

    def __init__(
        self,
        place: Path | BinaryIO,
        schema: pa.Schema,
        settings: Mapping[str, Any] = PARQUET_SETTINGS,
    ) -> None:
        self.n_rows = 0
        self._waiting = schema.empty_table()
        self._stack = ExitStack()
        self._writer = self._stack.enter_context(_written(place, schema, settings))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def close(self) -> None:
        """Close the file as it is."""
        self._stack.close()

    def add(self, table: pa.Table) -> None:
        """Add rows, in their final order."""
        self.n_rows += len(table)
        waiting = pa.concat_tables([self._waiting, table])
        while len(waiting) >= ROW_GROUP_ROWS:
            self._write(waiting.slice(0, ROW_GROUP_ROWS))
            waiting = waiting.slice(ROW_GROUP_ROWS)
        self._waiting = waiting

    def _write(self, rows: pa.Table) -> None:
        # Where chunks end decides where pages end, and must not depend on where the rows are from.
        self._writer.write_table(rows.combine_chunks(), row_group_size=ROW_GROUP_ROWS)

    def finish(self) -> None:
        """Write the last rows and close the file; nothing can be added after that."""
        if len(self._waiting) or not self.n_rows:
            self._write(self._waiting)
        self._stack.close()


class PartWriter(TableWriter):
    """Stores a part of a published table, a few rows at a time, under the name of its content.

    Parameters
    ----------
    name : str
        Name of the table.
    schema : pyarrow.Schema
        Of the rows.
    """

    def __init__(self, layout: StoreLayout, name: str, schema: pa.Schema) -> None:
        self._layout, self._name = layout, name
        folder = layout.table_root(name)
        make_folder(folder)
        self._temporary = folder / ".tmp-part.parquet"
        super().__init__(self._temporary, schema)

    def place(self) -> FileDigest:
        """Finish the part and put it in place; give its digest, with the path below the store."""
        self.finish()
        digest = digest_file(self._temporary, self._layout.root)
        final = self._layout.table_part_path(self._name, digest.sha256)
        place_file(self._temporary, final)
        return FileDigest(self._layout.relative(final), digest.size, digest.sha256)


@contextmanager
def opened_part(
    path: Path, source: pa.NativeFile | None = None, *, buffer_size: int = 0
) -> Iterator[pq.ParquetFile]:
    """Open a Parquet file; what goes wrong while it is read becomes an error of ours.

    Parameters
    ----------
    source : pyarrow.NativeFile, optional
        The file of that name, where it is open already; it stays open.
    buffer_size : int
        Bytes of each column that are read ahead; 0 for all of a row group.

    Raises
    ------
    ArtefactMissingError, DamagedArtefactError
        Like `read_part`.
    """
    try:
        with pq.ParquetFile(
            path if source is None else source,
            page_checksum_verification=True,
            pre_buffer=False,  # else what was read stays in memory until the file is closed
            buffer_size=buffer_size,
        ) as file:
            yield file
    except FileNotFoundError as error:
        raise ArtefactMissingError(f"{path} does not exist") from error
    except (OSError, ValueError, MemoryError, pa.ArrowException) as error:
        raise DamagedArtefactError(f"{path} is damaged: {error}; run 'musichash verify'") from error


def part_schema(path: Path) -> pa.Schema:
    """Give the columns of a Parquet file; raises like `read_part`."""
    with opened_part(path) as file:
        return file.schema_arrow


def part_batches(path: Path, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Give the rows of a Parquet file, `BATCH_ROWS` at a time; raises like `read_part`."""
    with opened_part(path, buffer_size=STREAM_BYTES) as file:
        yield from file.iter_batches(BATCH_ROWS, columns=columns)


def part_length(path: Path) -> int:
    """Give the number of rows of a Parquet file; raises like `read_part`."""
    with opened_part(path) as file:
        return int(file.metadata.num_rows)


def read_part_rows(path: Path, rows: range, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a run of rows of a Parquet file, and no row group that has none of them.

    Parameters
    ----------
    rows : range
        Of step 1, within the file.

    Raises
    ------
    ArtefactMissingError, DamagedArtefactError
        Like `read_part`.
    """
    with opened_part(path) as file:
        ends = [0]
        for number in range(file.num_row_groups):
            ends.append(ends[-1] + file.metadata.row_group(number).num_rows)
        groups = [
            number
            for number, (start, end) in enumerate(pairwise(ends))
            if start < rows.stop and end > rows.start
        ]
        table = file.read_row_groups(groups, columns=columns)
    first = ends[groups[0]] if groups else 0
    return table.slice(rows.start - first, len(rows))


def read_part(path: Path, *schemas: pa.Schema, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a Parquet file, verifying its page checksums.

    Parameters
    ----------
    schemas : pyarrow.Schema
        The columns that it may have; without one, any.
    columns : sequence of str, optional
        Names of the columns to read; without it, all.

    Raises
    ------
    ArtefactMissingError
        If the file does not exist.
    DamagedArtefactError
        If a checksum or the structure is wrong.
    FormatVersionError
        If its columns are not those of a schema.
    """
    with opened_part(path) as file:
        table = file.read(columns=columns)
    check_columns(path, table.schema, *schemas)
    return table


def part_tables(
    path: Path, *schemas: pa.Schema, columns: Sequence[str] | None = None
) -> Iterator[pa.Table]:
    """Give the rows of a Parquet file, `BATCH_ROWS` at a time; raises like `read_part`."""
    for batch in part_batches(path, columns):
        check_columns(path, batch.schema, *schemas)
        yield pa.Table.from_batches([batch])


def check_columns(path: Path, found: pa.Schema, *schemas: pa.Schema) -> None:
    """Refuse columns of a file that are not those of a schema; without schemas, nothing.

    Raises
    ------
    FormatVersionError
        With the differences from the nearest schema.
    """
    if schemas and not any(map(found.equals, schemas)):
        nearest = min(schemas, key=lambda schema: abs(len(schema) - len(found)))
        raise FormatVersionError(
            f"{path} does not have the expected columns ({_differences(found, nearest)}); "
            "it was written by another version of musichash, or with other settings"
        )


def _differences(found: pa.Schema, wanted: pa.Schema) -> str:
    """Name the columns that two schemas do not share, with their types."""
    in_file, expected = (
        {f"{field.name}: {field.type}{'' if field.nullable else ' not null'}" for field in schema}
        for schema in (found, wanted)
    )
    sides = []
    if expected - in_file:
        sides.append(f"expected is {', '.join(sorted(expected - in_file))}")
    if in_file - expected:
        sides.append(f"found is {', '.join(sorted(in_file - expected))}")
    return "; ".join(sides) or "their order differs"
