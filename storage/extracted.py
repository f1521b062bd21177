"""What has been extracted so far, over all partitions of one feature configuration.

Partitions never change, and years of nights leave thousands of them, so what was read of them may
be kept in the work area: two tables of all their rows, with the digests of the files that the rows
are from. Rows whose partition lists other files now, or is gone, are not used. Each of the tables
names the digests of both files of a partition, so that two tables that are not of one reading are
noticed and not used.

Several partitions may hold a track: a backfill and a night may both have extracted it. Then the
first partition by name counts; whoever reads the codes too takes the first that is encoded
(`Extracted.facts_in`).

Years of nights also extract more tracks than fit into memory, so the rows can be had a range of
track ids after the other (`storage.id_ranges`).

Public: `Extracted`, `read_extracted`, `ExtractedRanges`, `extracted_ranges`, `nothing_extracted`.
"""

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pyarrow as pa
import pyarrow.compute as pc

from storage.atomic import make_folder, place_file
from storage.errors import StoreError, TemporarySpaceError
from storage.feature_store import FeaturePartition
from storage.id_ranges import IdRanges, count_ranges
from storage.layout import StoreLayout
from storage.receipts import finished_partitions
from storage.schemas import FAILURES, TRACK_FACTS
from storage.tables import TableWriter, part_schema, part_tables

PARTITION = pa.field("partition_id", pa.string())
_FACTS = TRACK_FACTS.append(PARTITION)
_FAILURES = FAILURES.append(PARTITION)
_SOURCES = b"musichash.partitions"
"""Entry of the kept tables' metadata: digests of the files of each partition that is in them."""

_TABLE_NAMES = ("tracks.parquet", "failures.parquet")


@dataclass(frozen=True, slots=True)
class Extracted:
    """Tracks and failures of all finished partitions.

    Attributes
    ----------
    feature_fingerprint : str
        Of the feature configuration.
    facts : pyarrow.Table
        `storage.schemas.TRACK_FACTS` and ``partition_id``; each track once, of the first partition
        by name that has it; sorted by track_id.
    failures : pyarrow.Table
        `storage.schemas.FAILURES`, one row per track that failed and has not succeeded since, with
        that of the most attempts; sorted by track_id.
    copies : pyarrow.Table
        Like `facts`: all rows of the tracks that several partitions have, sorted by track_id and
        partition.
    """

    feature_fingerprint: str
    facts: pa.Table
    failures: pa.Table
    copies: pa.Table

    def facts_in(self, partition_ids: Collection[str]) -> pa.Table:
        """Give `facts` with each track in the first of some partitions that has it.

        A track that none of them has stays where it is.

        Parameters
        ----------
        partition_ids : collection of str
            The partitions to prefer: those that are encoded.
        """
        preferred = pa.array(sorted(partition_ids), pa.string())
        is_preferred = pc.is_in(self.copies["partition_id"], value_set=preferred)
        chosen = _first_of_each(self.copies.filter(is_preferred))
        if not len(chosen):
            return self.facts
        is_kept = pc.is_in(self.facts["track_id"], value_set=chosen["track_id"].combine_chunks())
        kept = self.facts.filter(pc.invert(is_kept))
        return pa.concat_tables([kept, chosen]).sort_by("track_id")

    @property
    def done_ids(self) -> set[str]:
        """Tracks that have features."""
        return set(self.facts["track_id"].to_pylist())


class ExtractedRanges:
    """Gives what has been extracted, a range of track ids after the other.

    Parameters
    ----------
    feature_fingerprint : str
        Of the feature configuration.
    facts, failures : IdRanges
        All rows of all finished partitions, with their ``partition_id``.
    """

    def __init__(self, feature_fingerprint: str, facts: IdRanges, failures: IdRanges) -> None:
        self.feature_fingerprint = feature_fingerprint
        self.n_ranges = facts.n_ranges
        self._facts, self._failures = facts, failures

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Forget all rows."""
        self._facts.close()
        self._failures.close()

    def of_range(self, number: int) -> Extracted:
        """Give the tracks and failures of a range."""
        ordered = self._facts.table(number).sort_by(
            [("track_id", "ascending"), ("partition_id", "ascending")]
        )
        facts = _first_of_each(ordered)
        failures = _open_failures(self._failures.table(number), facts["track_id"])
        return Extracted(self.feature_fingerprint, facts, failures, _repeated(ordered))


def read_extracted(
    layout: StoreLayout, feature_fingerprint: str, *, keep: bool = False
) -> Extracted:
    """Read the facts and failures of every finished partition; see `extracted_ranges`."""
    with extracted_ranges(layout, feature_fingerprint, n_ranges=1, keep=keep) as ranges:
        return ranges.of_range(0)


def extracted_ranges(
    layout: StoreLayout,
    feature_fingerprint: str,
    *,
    n_ranges: int | None = None,
    n_others: int = 0,
    columns: Collection[str] | None = None,
    keep: bool = False,
) -> ExtractedRanges:
    """Read the facts and failures of every finished partition, to be had range by range.

    Parameters
    ----------
    n_ranges : int, optional
        As many as `storage.id_ranges.count_ranges` gives for the rows, or for `n_others`, by
        default.
    n_others : int
        Rows of the table that is worked on together with these.
    columns : collection of str, optional
        Columns of the facts to have besides ``track_id`` and ``partition_id``; all by default.
    keep : bool
        Keep in the work area what was read, so that the next reading opens new partitions only;
        for those who hold the store's lock, and read all columns.

    Raises
    ------
    DamagedArtefactError
        If a file that a partition's receipt lists is missing or has another size.
    TemporarySpaceError
        If there is no room for rows that do not stay in memory.
    """
    assert columns is None or not keep
    root = layout.features_root(feature_fingerprint)
    before = _kept_sources(layout, feature_fingerprint)
    sources, n_rows = _sources(root)
    n_ranges = n_ranges or count_ranges(max(n_rows, n_others))
    gathered = _Gathering(n_ranges, columns)
    try:
        gathered.take_kept(layout, feature_fingerprint, before, sources)
    except TemporarySpaceError:  # the partitions would find no more room
        gathered.close()
        raise
    except (StoreError, pa.ArrowInvalid):
        gathered.close()
        gathered, before = _Gathering(n_ranges, columns), {}
    for partition_id, digests in sources.items():
        if before.get(partition_id) != digests:
            gathered.take_partition(FeaturePartition(root / partition_id))
    if keep and sources != before:
        _keep(layout, feature_fingerprint, gathered, sources)
    return ExtractedRanges(feature_fingerprint, gathered.facts, gathered.failures)


def nothing_extracted(feature_fingerprint: str, *, n_ranges: int) -> ExtractedRanges:
    """Give what has been extracted where there is no store yet."""
    nothing = _Gathering(n_ranges, None)
    return ExtractedRanges(feature_fingerprint, nothing.facts, nothing.failures)


_Sources = dict[str, list[str]]
"""Of each partition the digests of the files that rows are from."""


def _sources(root: Path) -> tuple[_Sources, int]:
    """Give the files of the finished partitions, and how many rows they have at least."""
    sources: _Sources = {}
    n_rows = 0
    for partition_id in finished_partitions(root):
        receipt = FeaturePartition(root / partition_id).receipt
        digests = {entry.path: entry.sha256 for entry in receipt.files}
        sources[partition_id] = [digests.get(name, "") for name in _TABLE_NAMES]
        n_rows += receipt.n_done
    return sources, n_rows


class _Gathering:
    """Rows of partitions, as they are gathered."""

    def __init__(self, n_ranges: int, columns: Collection[str] | None) -> None:
        wanted = {"track_id", "partition_id"}.union(_FACTS.names if columns is None else columns)
        facts = pa.schema([field for field in _FACTS if field.name in wanted])
        self.facts = IdRanges(facts, n_ranges)
        self.failures = IdRanges(_FAILURES, n_ranges)

    def close(self) -> None:
        self.facts.close()
        self.failures.close()

    def take_kept(
        self, layout: StoreLayout, feature_fingerprint: str, before: _Sources, now: _Sources
    ) -> None:
        """Take what was kept of partitions that are still there as they were."""
        unchanged = [name for name, digests in now.items() if before.get(name) == digests]
        wanted = pa.array(unchanged, pa.string())
        paths = _kept_paths(layout, feature_fingerprint) if unchanged else ()
        for rows, path in zip((self.facts, self.failures), paths, strict=False):
            for piece in part_tables(path, rows.schema, columns=rows.schema.names):
                plain = piece.replace_schema_metadata()
                rows.add(plain.filter(pc.is_in(plain["partition_id"], value_set=wanted)))

    def take_partition(self, partition: FeaturePartition) -> None:
        name, receipt = partition.folder.name, partition.receipt
        if receipt.n_done:
            facts = _with_partition(partition.facts(), name)
            self.facts.add(facts.select(self.facts.schema.names))
        if receipt.n_failed:
            self.failures.add(_with_partition(partition.failures(), name))


def _kept_paths(layout: StoreLayout, feature_fingerprint: str) -> tuple[Path, Path]:
    return (
        layout.facts_cache_path(feature_fingerprint),
        layout.failures_cache_path(feature_fingerprint),
    )


def _kept_sources(layout: StoreLayout, feature_fingerprint: str) -> _Sources:
    """Say what the kept tables are from; nothing when there are none, or not of one reading."""
    try:
        said = [
            json.loads(part_schema(path).metadata[_SOURCES])
            for path in _kept_paths(layout, feature_fingerprint)
        ]
    except (StoreError, TypeError, KeyError, ValueError):
        return {}
    facts, failures = said
    return facts if facts == failures else {}  # else a run was killed between the two


def _keep(
    layout: StoreLayout, feature_fingerprint: str, gathered: _Gathering, sources: _Sources
) -> None:
    make_folder(layout.work_root)
    metadata = {_SOURCES: json.dumps(sources).encode()}
    paths = _kept_paths(layout, feature_fingerprint)
    for path, rows in zip(paths, (gathered.facts, gathered.failures), strict=True):
        temporary = path.with_name(f".tmp-{path.name}")
        schema = rows.schema.with_metadata(metadata)
        with TableWriter(temporary, schema) as writer:
            for table in rows.tables():
                writer.add(table.replace_schema_metadata(metadata))
            writer.finish()
        place_file(temporary, path)


def _with_partition(table: pa.Table, partition_id: str) -> pa.Table:
    return table.append_column(PARTITION, pa.array([partition_id] * len(table), pa.string()))


def _first_of_each(table: pa.Table) -> pa.Table:
    """Keep the first row of each track_id in a table sorted by it."""
    return table.filter(_is_new(table)) if len(table) else table


def _repeated(table: pa.Table) -> pa.Table:
    """Keep the rows of each track_id that several rows have, in a table sorted by it."""
    if not len(table):
        return table
    is_new = _is_new(table)
    is_last = pa.concat_arrays([is_new[1:], pa.array([True])])
    return table.filter(pc.invert(pc.and_(is_new, is_last)))


def _is_new(table: pa.Table) -> pa.Array:
    """Mark where another track_id begins, in a table of at least one row."""
    ids = table["track_id"].combine_chunks()
    return pa.concat_arrays([pa.array([True]), pc.not_equal(ids[1:], ids[:-1])])


def _open_failures(failures: pa.Table, done_ids: pa.ChunkedArray) -> pa.Table:
    is_done = pc.is_in(failures["track_id"], value_set=done_ids.combine_chunks())
    still_failed = failures.filter(pc.invert(is_done)).sort_by(
        [("track_id", "ascending"), ("attempts", "descending"), ("partition_id", "ascending")]
    )
    return _first_of_each(still_failed).drop_columns("partition_id").cast(FAILURES)
