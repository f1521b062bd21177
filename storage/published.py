"""Reading what is published: the tables of a snapshot.

Public: `read_table`, `read_batches`, `sorted_rows`, `published_track_ids`, `published_ids`,
`table_paths`, `snapshot_entry`, `require_snapshot`, `explain_missing`.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from storage.atomic import FileDigest
from storage.errors import ArtefactMissingError
from storage.layout import StoreLayout
from storage.schemas import TRACKS
from storage.snapshots import Snapshot, current_snapshot
from storage.sorted_rows import SortedRows
from storage.tables import part_batches, part_schema, read_part


def require_snapshot(layout: StoreLayout) -> Snapshot:
    """Give the current snapshot.

    Raises
    ------
    ArtefactMissingError
        If nothing has been published yet.
    """
    snapshot = current_snapshot(layout)
    if snapshot is None:
        raise ArtefactMissingError(
            f"the store {layout.root} has published nothing yet; "
            f"complete it with 'musichash run --catalogue DIR --store {layout.root}'"
        )
    return snapshot


def table_paths(layout: StoreLayout, snapshot: Snapshot, name: str) -> list[Path]:
    """List the Parquet files of a table, in row order."""
    return [layout.root / path for path in snapshot.tables[name]]


def read_table(
    layout: StoreLayout, snapshot: Snapshot, name: str, *, columns: Sequence[str] | None = None
) -> pa.Table:
    """Read a table of a snapshot, all of it or some columns, in row order.

    Raises
    ------
    ArtefactMissingError
        If a part is gone: collected while it was read, or lost.
    """
    with _saying_what_is_gone(layout, snapshot):
        return pa.concat_tables(
            [read_part(path, columns=columns) for path in table_paths(layout, snapshot, name)]
        )


def read_batches(
    layout: StoreLayout, snapshot: Snapshot, name: str, *, columns: Sequence[str] | None = None
) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """Give the schema of a table of a snapshot, and its rows, in order and a few at a time.

    Parameters
    ----------
    columns : sequence of str, optional
        Names of the columns of the rows; without it, all.
    """
    paths = table_paths(layout, snapshot, name)
    with _saying_what_is_gone(layout, snapshot):
        schema = part_schema(paths[0])
    return schema, _batches(layout, snapshot, paths, columns)


def _batches(
    layout: StoreLayout, snapshot: Snapshot, paths: list[Path], columns: Sequence[str] | None
) -> Iterator[pa.RecordBatch]:
    with _saying_what_is_gone(layout, snapshot):
        for path in paths:
            yield from part_batches(path, columns)


@contextmanager
def _saying_what_is_gone(layout: StoreLayout, snapshot: Snapshot) -> Iterator[None]:
    """Turn a missing part into a sentence about its snapshot."""
    try:
        yield
    except ArtefactMissingError as error:
        raise ArtefactMissingError(explain_missing(layout, snapshot, str(error))) from error


def explain_missing(layout: StoreLayout, snapshot: Snapshot, what: str) -> str:
    """Say why a file of a snapshot may be missing, and what to do.

    Parameters
    ----------
    what : str
        The file and that it is missing.
    """
    if layout.snapshot_path(snapshot.number).exists():
        return (
            f"{what}, which snapshot {snapshot.number} lists; 'musichash reconcile --store "
            f"{layout.root}' rebuilds what can be, 'musichash snapshots list' shows what to roll "
            "back to"
        )
    return (
        f"snapshot {snapshot.number} is no longer whole: 'musichash gc' removed it while it was "
        f"read ({what}); ask again to read the current one"
    )


def published_track_ids(layout: StoreLayout, snapshot: Snapshot | None) -> set[str]:
    """Give the tracks of a snapshot; none of None, which is what is current before the first."""
    if snapshot is None:
        return set()
    table = read_table(layout, snapshot, "tracks", columns=["track_id"])
    return set(table["track_id"].to_pylist())


def sorted_rows(
    layout: StoreLayout, snapshot: Snapshot, name: str, columns: Sequence[str]
) -> SortedRows:
    """Give a table of a snapshot that is sorted by track_id, a range of ids after the other.

    Parameters
    ----------
    name : str
        ``tracks``, ``predictions`` or ``codes``.
    columns : sequence of str
        Names of the columns to read; track_id is one of them.
    """
    schema, batches = read_batches(layout, snapshot, name, columns=columns)
    chosen = pa.schema([schema.field(column) for column in columns])
    pieces = (pa.Table.from_batches([batch]).select(columns) for batch in batches)
    return SortedRows(pieces, chosen, source=f"the published table {name}")


def published_ids(layout: StoreLayout, snapshot: Snapshot | None) -> SortedRows:
    """Give the tracks of a snapshot, as the column track_id, a range of them after the other."""
    if snapshot is None:
        return SortedRows((), pa.schema([TRACKS.field("track_id")]), source="nothing")
    return sorted_rows(layout, snapshot, "tracks", ["track_id"])


def snapshot_entry(snapshot: Snapshot, path: str) -> FileDigest:
    """Give the listed size and digest of one file of a snapshot."""
    return next(entry for entry in snapshot.files if entry.path == path)
