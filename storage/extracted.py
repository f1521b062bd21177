"""What has been extracted so far, over all partitions of one feature configuration.

Partitions never change, and years of nights leave thousands of them, so what was read of them may
be kept in the work area: two tables of all their rows, with the digests of the files that the rows
are from. Rows whose partition lists other files now, or is gone, are not used. Each of the tables
names the digests of both files of a partition, so that two tables that are not of one reading are
noticed and not used.

Several partitions may hold a track: a backfill and a night may both have extracted it. Then the
first partition by name counts; whoever reads the codes too takes the first that is encoded
(`Extracted.facts_in`).

Public: `Extracted`, `read_extracted`.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from storage.atomic import make_folder, place_file
from storage.errors import StoreError
from storage.feature_store import FeaturePartition
from storage.layout import StoreLayout
from storage.receipts import finished_partitions
from storage.schemas import FAILURES, TRACK_FACTS
from storage.tables import read_part, write_table

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


class _Gathered(NamedTuple):
    """All rows of some partitions, and from which files they are."""

    facts: pa.Table
    failures: pa.Table
    sources: Mapping[str, list[str]]


_NOTHING = _Gathered(_FACTS.empty_table(), _FAILURES.empty_table(), {})


def read_extracted(
    layout: StoreLayout, feature_fingerprint: str, *, keep: bool = False
) -> Extracted:
    """Read the facts and failures of every finished partition.

    Parameters
    ----------
    keep : bool
        Keep in the work area what was read, so that the next reading opens new partitions only;
        for those who hold the store's lock.

    Raises
    ------
    DamagedArtefactError
        If a file that a partition's receipt lists is missing or has another size.
    """
    before = _kept(layout, feature_fingerprint)
    now = _gathered(layout.features_root(feature_fingerprint), before)
    if keep and now.sources != before.sources:
        _keep(layout, feature_fingerprint, now)
    ordered = now.facts.sort_by([("track_id", "ascending"), ("partition_id", "ascending")])
    facts = _first_of_each(ordered)
    failures = _open_failures(now.failures, facts["track_id"])
    return Extracted(feature_fingerprint, facts, failures, _repeated(ordered))


def _gathered(root: Path, before: _Gathered) -> _Gathered:
    """Take the rows of unchanged partitions from those gathered before, and read the others."""
    sources: dict[str, list[str]] = {}
    read: list[FeaturePartition] = []
    for partition_id in finished_partitions(root):
        partition = FeaturePartition(root / partition_id)
        digests = {entry.path: entry.sha256 for entry in partition.receipt.files}
        sources[partition_id] = [digests.get(name, "") for name in _TABLE_NAMES]
        if before.sources.get(partition_id) != sources[partition_id]:
            read.append(partition)
    fresh = {partition.folder.name for partition in read}
    kept_ids = pa.array([name for name in sources if name not in fresh], pa.string())
    facts, failures = (
        [table.filter(pc.is_in(table["partition_id"], value_set=kept_ids))]
        for table in (before.facts, before.failures)
    )
    for partition in read:
        if partition.receipt.n_done:
            facts.append(_with_partition(partition.facts(), partition.folder.name))
        if partition.receipt.n_failed:
            failures.append(_with_partition(partition.failures(), partition.folder.name))
    return _Gathered(pa.concat_tables(facts), pa.concat_tables(failures), sources)


def _kept_paths(layout: StoreLayout, feature_fingerprint: str) -> tuple[Path, Path]:
    return (
        layout.facts_cache_path(feature_fingerprint),
        layout.failures_cache_path(feature_fingerprint),
    )


def _kept(layout: StoreLayout, feature_fingerprint: str) -> _Gathered:
    """Read what was kept; nothing when there is nothing sound."""
    facts_path, failures_path = _kept_paths(layout, feature_fingerprint)
    try:
        facts, failures = read_part(facts_path, _FACTS), read_part(failures_path, _FAILURES)
        said = [json.loads(table.schema.metadata[_SOURCES]) for table in (facts, failures)]
    except (StoreError, TypeError, KeyError, ValueError):
        return _NOTHING
    if said[0] != said[1]:  # a run was killed between the two
        return _NOTHING
    plain = (table.replace_schema_metadata() for table in (facts, failures))
    return _Gathered(next(plain), next(plain), said[0])


def _keep(layout: StoreLayout, feature_fingerprint: str, gathered: _Gathered) -> None:
    make_folder(layout.work_root)
    metadata = {_SOURCES: json.dumps(gathered.sources).encode()}
    paths = _kept_paths(layout, feature_fingerprint)
    for path, table in zip(paths, (gathered.facts, gathered.failures), strict=True):
        temporary = path.with_name(f".tmp-{path.name}")
        write_table(temporary, table.combine_chunks().replace_schema_metadata(metadata))
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
