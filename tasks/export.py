"""Export: a published table as CSV, JSON lines or Parquet, for other programs.

Public: `export_table`, `print_table`, `write_table`, `ExportFormat`.
"""

import difflib
import secrets
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from musichash_core.errors import ParameterError
from storage.atomic import LEFTOVER_PREFIX, place_file
from storage.errors import StoreError
from storage.published import read_batches, require_snapshot
from storage.store import open_store
from storage.table_text import csv_pieces, json_pieces

ExportFormat = Literal["csv", "jsonl", "parquet"]


def export_table(
    store: str, table: str, output: str, *, form: ExportFormat = "csv", is_raw: bool = False
) -> int:
    """Write a table of the published snapshot to a file; give the number of rows.

    The file appears whole or not at all. What is there and is no plain file (a pipe, a device) is
    written to as it is.

    Parameters
    ----------
    table : str
        tracks, predictions, codes, failures or runs.
    output : str
        The file; replaced if it exists.
    is_raw : bool
        In CSV, leave text that a spreadsheet would run.

    Raises
    ------
    ParameterError
        If there is no such table.
    StoreError
        If the file cannot be written.
    """
    path = Path(output)
    try:
        if path.exists() and not path.is_file():
            with path.open("wb") as file:
                return write_table(store, table, file, form=form, is_raw=is_raw)
        path = path.resolve()  # where a link leads is replaced, not the link
        temporary = path.with_name(f"{LEFTOVER_PREFIX}{secrets.token_hex(4)}")
        try:
            with temporary.open("xb") as file:
                n_rows = write_table(store, table, file, form=form, is_raw=is_raw)
            place_file(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        if isinstance(error, StoreError):
            raise
        raise StoreError(
            f"{path} cannot be written: {error.strerror}; name another file with --output"
        ) from error
    return n_rows


def print_table(
    store: str, table: str, *, form: ExportFormat = "csv", is_raw: bool = False
) -> None:
    """Write a table of the published snapshot to standard output, where nothing of it may act.

    Raises
    ------
    ParameterError
        If there is no such table, or a terminal or pipe would be given Parquet.
    StoreError
        If standard output cannot be written.
    """
    if form == "parquet":
        raise ParameterError("Parquet needs a file: name one with --output")
    try:
        write_table(
            *(store, table, sys.stdout.buffer),
            form=form,
            is_raw=is_raw,
            for_terminal=sys.stdout.isatty(),
        )
        sys.stdout.flush()
    except BrokenPipeError:
        raise  # who read it has enough
    except OSError as error:
        if isinstance(error, StoreError):
            raise
        raise StoreError(f"standard output cannot be written: {error.strerror}") from error


def write_table(
    store: str,
    table: str,
    file: BinaryIO,
    *,
    form: ExportFormat = "csv",
    is_raw: bool = False,
    for_terminal: bool = False,
) -> int:
    """Write a table of the published snapshot to an open file; give the number of rows.

    Parameters
    ----------
    table, is_raw
        As for `export_table`.
    for_terminal : bool
        Write control characters as escapes, so that none acts on a terminal.

    Raises
    ------
    ParameterError
        If there is no such table.
    """
    layout = open_store(store)
    snapshot = require_snapshot(layout)
    if table not in snapshot.tables:
        near = difflib.get_close_matches(table, snapshot.tables, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ParameterError(
            f"there is no table {table!r}{hint} (there are {', '.join(sorted(snapshot.tables))})"
        )
    schema, batches = read_batches(layout, snapshot, table)
    counted = _Counted(batches)
    if form == "parquet":
        with pq.ParquetWriter(file, schema, compression="zstd", write_page_checksum=True) as writer:
            for batch in counted:
                writer.write_batch(batch)
        return counted.n_rows
    pieces = (
        csv_pieces(counted, schema, is_raw=is_raw, for_terminal=for_terminal)
        if form == "csv"
        else json_pieces(counted, schema)
    )
    for piece in pieces:
        file.write(piece.encode())
    return counted.n_rows


class _Counted:
    """Batches, and the number of rows of those that were taken."""

    def __init__(self, batches: Iterable[pa.RecordBatch]) -> None:
        self._batches = batches
        self.n_rows = 0

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        for batch in self._batches:
            self.n_rows += len(batch)
            yield batch
