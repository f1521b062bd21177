"""Reading what is published: the tables of a snapshot.

Public: `read_table`, `read_batches`, `published_track_ids`, `table_paths`, `snapshot_entry`,
`require_snapshot`.
"""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from storage.atomic import FileDigest
from storage.errors import ArtefactMissingError
from storage.layout import StoreLayout
from storage.snapshots import Snapshot, current_snapshot
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


def read_table(layout: StoreLayout, snapshot: Snapshot, name: str) -> pa.Table:
    """Read a whole table of a snapshot, in row order."""
    return pa.concat_tables([read_part(path) for path in table_paths(layout, snapshot, name)])


def read_batches(
    layout: StoreLayout, snapshot: Snapshot, name: str
) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """Give the schema of a table of a snapshot, and its rows, in order and a few at a time."""
    paths = table_paths(layout, snapshot, name)
    return part_schema(paths[0]), (batch for path in paths for batch in part_batches(path))


def published_track_ids(layout: StoreLayout) -> set[str]:
    """Give the tracks of the current snapshot; empty before the first."""
    snapshot = current_snapshot(layout)
    if snapshot is None:
        return set()
    return set(read_table(layout, snapshot, "tracks")["track_id"].to_pylist())


def snapshot_entry(snapshot: Snapshot, path: str) -> FileDigest:
    """Give the listed size and digest of one file of a snapshot."""
    return next(entry for entry in snapshot.files if entry.path == path)
