"""Predictions and codes of the next snapshot: taken over from the current one where they are its.

Reading the codes of a track from the partition that holds them costs a few milliseconds per
partition, and years of nights leave thousands of them. The current snapshot has most of the rows in
one file. A row of it is taken over only where it must be what the partition holds:

- the snapshot is of the same features and generation, and the file is the one that it lists;
- every partition that it lists is still there with the receipt that it lists;
- the track's facts are in one of those partitions.

Then the row was read from that partition: of several partitions with a track the first by name
counts that is encoded, and one that comes before it was not encoded yet, and so is not listed.

Public: `encoded_rows`, `EncodedRows`.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from storage.atomic import FileDigest, digest_file
from storage.encoded_store import read_codes, read_encoded
from storage.errors import StoreError
from storage.layout import RECEIPT_NAME, StoreLayout
from storage.schemas import PREDICTIONS, codes_schema
from storage.snapshots import Snapshot, current_snapshot
from storage.tables import read_part


class EncodedRows(NamedTuple):
    """What a generation says of some tracks, sorted by track_id.

    Attributes
    ----------
    predictions, codes : pyarrow.Table
        `storage.schemas.PREDICTIONS` and ``codes_schema``.
    """

    predictions: pa.Table
    codes: pa.Table


def encoded_rows(
    layout: StoreLayout,
    facts: pa.Table,
    receipts: Iterable[FileDigest],
    *,
    generation: str,
    n_bits: int,
) -> EncodedRows:
    """Bring together predictions and codes of some tracks.

    Parameters
    ----------
    facts : pyarrow.Table
        With the columns ``track_id`` and ``partition_id``: where the row of each track is.
    receipts : iterable of FileDigest
        Of the features and of the codes of these partitions, as they are now.
    """
    wanted = facts.select(["track_id", "partition_id"])
    # Parquet gives the parts of lists other names, and a joined table has those of its first part.
    nothing = EncodedRows(PREDICTIONS.empty_table(), codes_schema(n_bits).empty_table())
    carried = _carried(layout, wanted, receipts, generation, n_bits) or nothing
    is_carried = pc.is_in(wanted["track_id"], value_set=carried.codes["track_id"].combine_chunks())
    left = wanted.filter(pc.invert(is_carried))
    read = [nothing, carried]
    for partition_id in sorted(pc.unique(left["partition_id"]).to_pylist()):
        of_partition = left.filter(pc.equal(left["partition_id"], partition_id))["track_id"]
        folder = layout.encoded_partition_path(generation, partition_id)
        tables = (
            table.filter(pc.is_in(table["track_id"], value_set=of_partition.combine_chunks()))
            for table in read_encoded(folder, n_bits)
        )
        read.append(EncodedRows(*tables))
    return EncodedRows(
        *(pa.concat_tables(tables).sort_by("track_id") for tables in zip(*read, strict=True))
    )


def _carried(
    layout: StoreLayout,
    wanted: pa.Table,
    receipts: Iterable[FileDigest],
    generation: str,
    n_bits: int,
) -> EncodedRows | None:
    """Give the rows that the current snapshot has of some tracks; None when they may differ."""
    try:
        snapshot = current_snapshot(layout)
        if snapshot is None or snapshot.generation != generation:
            return None
        predictions = _published(
            layout, snapshot, "predictions", lambda path: read_part(path, PREDICTIONS)
        )
        codes = _published(layout, snapshot, "codes", lambda path: read_codes(path, n_bits))
    except (StoreError, OSError):  # the partitions have all that a damaged snapshot has
        return None
    if predictions is None or codes is None:
        return None
    listed = _listed_partitions(layout, snapshot, receipts)
    if listed is None:
        return None
    is_listed = pc.is_in(wanted["partition_id"], value_set=pa.array(sorted(listed), pa.string()))
    ids = wanted["track_id"].filter(is_listed).combine_chunks()
    return EncodedRows(
        *(
            table.filter(pc.is_in(table["track_id"], value_set=ids))
            for table in (predictions, codes)
        )
    )


def _published(
    layout: StoreLayout, snapshot: Snapshot, name: str, read: Callable[[Path], pa.Table]
) -> pa.Table | None:
    """Read a published table; None when a file of it is not the one that was published."""
    listed = {entry.path: entry for entry in snapshot.files}
    parts = []
    for path in snapshot.tables[name]:
        if digest_file(layout.root / path, layout.root) != listed[path]:
            return None
        parts.append(read(layout.root / path))
    return pa.concat_tables(parts)


def _listed_partitions(
    layout: StoreLayout, snapshot: Snapshot, receipts: Iterable[FileDigest]
) -> set[str] | None:
    """Name the partitions of a snapshot; None when one of them is gone or was made anew."""
    now = {entry.path: entry for entry in receipts}
    listed: set[str] = set()
    for entry in snapshot.files:
        path = layout.root / entry.path
        if path.name != RECEIPT_NAME or path.parent == layout.model_path(snapshot.generation):
            continue
        if path.is_file() and (now.get(entry.path) or digest_file(path, layout.root)) == entry:
            listed.add(path.parent.name)
        else:
            return None
    return listed
