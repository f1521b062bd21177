"""Predictions and codes of the next snapshot: taken over from the current one where they are its.

Reading the codes of a track from the partition that holds them costs a few milliseconds per
partition, and years of nights leave thousands of them. The current snapshot has most of the rows in
one file. A row of it is taken over only where it must be what the partition holds:

- the snapshot is of the same features and generation, and the file is the one that it lists;
- every partition that it lists is still there with the receipt that it lists;
- the track's facts are in one of those partitions.

Then the row was read from that partition: of several partitions with a track the first by name
counts that is encoded, and one that comes before it was not encoded yet, and so is not listed.

Public: `EncodedReader`, `EncodedRows`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from storage.atomic import FileDigest, digest_file
from storage.encoded_store import code_pieces, read_encoded
from storage.errors import StoreError
from storage.layout import RECEIPT_NAME, StoreLayout
from storage.schemas import PREDICTIONS, codes_schema
from storage.snapshots import Snapshot, current_snapshot
from storage.sorted_rows import SortedRows
from storage.tables import part_tables


class EncodedRows(NamedTuple):
    """What a generation says of some tracks, sorted by track_id.

    Attributes
    ----------
    predictions, codes : pyarrow.Table
        `storage.schemas.PREDICTIONS` and ``codes_schema``.
    """

    predictions: pa.Table
    codes: pa.Table


class EncodedReader:
    """Brings together predictions and codes of tracks, a range of their ids after the other.

    Parameters
    ----------
    receipts : iterable of FileDigest
        Of the features and of the codes of the partitions that will be asked for, as they are now.
    generation : str
        The model that made the codes.
    n_bits : int
        Their length.
    """

    def __init__(
        self,
        layout: StoreLayout,
        receipts: Iterable[FileDigest],
        *,
        generation: str,
        n_bits: int,
    ) -> None:
        self._layout, self._generation, self._n_bits = layout, generation, n_bits
        # Parquet gives the parts of lists other names, and a joined table has those of its first.
        self._nothing = EncodedRows(PREDICTIONS.empty_table(), codes_schema(n_bits).empty_table())
        self._carried: _Carried | None = None
        with suppress(StoreError, OSError):  # partitions have all that a damaged snapshot has
            self._carried = _carried(layout, receipts, generation, n_bits)

    def rows(self, facts: pa.Table, before: str | None = None) -> EncodedRows:
        """Give the rows of some tracks, sorted by track_id.

        Parameters
        ----------
        facts : pyarrow.Table
            With the columns ``track_id`` and ``partition_id``: where the row of each track is. All
            ids are greater than those asked for before.
        before : str, optional
            What the ids are smaller than; without it, they are the last.
        """
        wanted = facts.select(["track_id", "partition_id"])
        carried = self._taken_over(wanted, before)
        is_carried = pc.is_in(
            wanted["track_id"], value_set=carried.codes["track_id"].combine_chunks()
        )
        left = wanted.filter(pc.invert(is_carried))
        read = [self._nothing, carried]
        for partition_id in sorted(pc.unique(left["partition_id"]).to_pylist()):
            of_partition = left.filter(pc.equal(left["partition_id"], partition_id))["track_id"]
            folder = self._layout.encoded_partition_path(self._generation, partition_id)
            tables = (
                table.filter(pc.is_in(table["track_id"], value_set=of_partition.combine_chunks()))
                for table in read_encoded(folder, self._n_bits)
            )
            read.append(EncodedRows(*tables))
        return EncodedRows(
            *(pa.concat_tables(tables).sort_by("track_id") for tables in zip(*read, strict=True))
        )

    def _taken_over(self, wanted: pa.Table, before: str | None) -> EncodedRows:
        """Give the rows that the current snapshot has of some tracks; none when they may differ."""
        if self._carried is None:
            return self._nothing
        try:
            published = [table.below(before) for table in self._carried.tables]
        except (StoreError, OSError):
            self._carried = None
            return self._nothing
        is_listed = pc.is_in(wanted["partition_id"], value_set=self._carried.partition_ids)
        ids = wanted["track_id"].filter(is_listed).combine_chunks()
        return EncodedRows(
            *(table.filter(pc.is_in(table["track_id"], value_set=ids)) for table in published)
        )


class _Carried(NamedTuple):
    """The published predictions and codes, and the partitions that they were read from."""

    tables: tuple[SortedRows, SortedRows]
    partition_ids: pa.Array


def _carried(
    layout: StoreLayout, receipts: Iterable[FileDigest], generation: str, n_bits: int
) -> _Carried | None:
    """Open what the current snapshot has; None when it may differ from what the partitions have."""
    snapshot = current_snapshot(layout)
    if snapshot is None or snapshot.generation != generation:
        return None
    listed = {entry.path: entry for entry in snapshot.files}
    for name in ("predictions", "codes"):
        for path in snapshot.tables[name]:
            if digest_file(layout.root / path, layout.root) != listed[path]:
                return None
    partition_ids = _listed_partitions(layout, snapshot, receipts)
    if partition_ids is None:
        return None

    def opened(
        name: str, schema: pa.Schema, pieces: Callable[[Path], Iterator[pa.Table]]
    ) -> SortedRows:
        paths = [layout.root / path for path in snapshot.tables[name]]
        return SortedRows(
            chain.from_iterable(map(pieces, paths)), schema, source=f"the published table {name}"
        )

    tables = (
        opened("predictions", PREDICTIONS, lambda path: part_tables(path, PREDICTIONS)),
        opened("codes", codes_schema(n_bits), lambda path: code_pieces(path, n_bits)),
    )
    return _Carried(tables, pa.array(sorted(partition_ids), pa.string()))


def _listed_partitions(
    layout: StoreLayout, snapshot: Snapshot, receipts: Iterable[FileDigest]
) -> set[str] | None:
    """Name the partitions of a snapshot; None when one of them is gone or was made anew."""
    now: Mapping[str, FileDigest] = {entry.path: entry for entry in receipts}
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
