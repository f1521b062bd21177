"""Parquet files: written with page checksums in one fixed way, read with the checksums verified.

Public: `table_of`, `write_rows`, `write_table`, `write_part`, `read_part`, `part_schema`,
`part_batches`, `part_length`, `read_part_rows`.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from storage.atomic import FileDigest, digest_file, make_folder, place_file
from storage.errors import ArtefactMissingError, DamagedArtefactError, FormatVersionError
from storage.layout import StoreLayout

ROW_GROUP_ROWS = 65_536
BATCH_ROWS = 8_192
"""Rows held at once where a table is read a few at a time."""


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
    pq.write_table(
        table,
        path,
        row_group_size=ROW_GROUP_ROWS,
        compression="zstd",
        write_page_checksum=True,
        use_dictionary=True,
        version="2.6",
    )


def write_part(layout: StoreLayout, name: str, table: pa.Table) -> FileDigest:
    """Store a part of a published table under the name of its content.

    Parameters
    ----------
    name : str
        Name of the table.
    table : pyarrow.Table
        Rows in their final order.

    Returns
    -------
    FileDigest
        With the path below the store root.
    """
    folder = layout.table_root(name)
    make_folder(folder)
    temporary = folder / ".tmp-part.parquet"
    # Where chunks end decides where pages end, and must not depend on where the rows are from.
    write_table(temporary, table.combine_chunks())
    digest = digest_file(temporary, layout.root)
    final = layout.table_part_path(name, digest.sha256)
    place_file(temporary, final)
    return FileDigest(layout.relative(final), digest.size, digest.sha256)


@contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    """Open a Parquet file; what goes wrong while it is read becomes an error of ours."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            yield file
    except FileNotFoundError as error:
        raise ArtefactMissingError(f"{path} does not exist") from error
    except (OSError, ValueError, MemoryError, pa.ArrowException) as error:
        raise DamagedArtefactError(f"{path} is damaged: {error}; run 'musichash verify'") from error


def part_schema(path: Path) -> pa.Schema:
    """Give the columns of a Parquet file; raises like `read_part`."""
    with _opened(path) as file:
        return file.schema_arrow


def part_batches(path: Path, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Give the rows of a Parquet file, `BATCH_ROWS` at a time; raises like `read_part`."""
    with _opened(path) as file:
        yield from file.iter_batches(BATCH_ROWS, columns=columns)


def part_length(path: Path) -> int:
    """Give the number of rows of a Parquet file; raises like `read_part`."""
    with _opened(path) as file:
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
    with _opened(path) as file:
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
    with _opened(path) as file:
        table = file.read(columns=columns)
    if schemas and not any(map(table.schema.equals, schemas)):
        nearest = min(schemas, key=lambda schema: abs(len(schema) - len(table.schema)))
        raise FormatVersionError(
            f"{path} does not have the expected columns ({_differences(table.schema, nearest)}); "
            "it was written by another version of musichash, or with other settings"
        )
    return table


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
