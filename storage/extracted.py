"""What has been extracted so far, over all partitions of one feature configuration.

Public: `Extracted`, `read_extracted`.
"""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from storage.feature_store import FeaturePartition
from storage.layout import StoreLayout
from storage.receipts import finished_partitions
from storage.schemas import FAILURES, TRACK_FACTS


@dataclass(frozen=True, slots=True)
class Extracted:
    """Tracks and failures of all finished partitions.

    Attributes
    ----------
    facts : pyarrow.Table
        `storage.schemas.TRACK_FACTS` and ``partition_id``; each track once, sorted by track_id.
    failures : pyarrow.Table
        `storage.schemas.FAILURES`, one row per track that failed and has not succeeded since, with
        that of the most attempts; sorted by track_id.
    """

    facts: pa.Table
    failures: pa.Table

    @property
    def done_ids(self) -> set[str]:
        """Tracks that have features."""
        return set(self.facts["track_id"].to_pylist())


def read_extracted(layout: StoreLayout, feature_fingerprint: str) -> Extracted:
    """Read the facts and failures of every finished partition."""
    root = layout.features_root(feature_fingerprint)
    facts: list[pa.Table] = [_with_partition(TRACK_FACTS.empty_table(), "")]
    failures: list[pa.Table] = [FAILURES.empty_table()]
    for partition_id in finished_partitions(root):
        partition = FeaturePartition(root / partition_id)
        if partition.receipt.n_done:
            facts.append(_with_partition(partition.facts(), partition_id))
        if partition.receipt.n_failed:
            failures.append(partition.failures())
    all_facts = _first_of_each(pa.concat_tables(facts).sort_by("track_id"))
    return Extracted(all_facts, _open_failures(pa.concat_tables(failures), all_facts["track_id"]))


def _with_partition(table: pa.Table, partition_id: str) -> pa.Table:
    column = pa.array([partition_id] * len(table), pa.string())
    return table.append_column("partition_id", column)


def _first_of_each(table: pa.Table) -> pa.Table:
    """Keep the first row of each track_id in a table sorted by it."""
    ids = table["track_id"].combine_chunks()
    if len(ids) < 2:
        return table
    is_new = pc.not_equal(ids[1:], ids[:-1])
    return table.filter(pa.concat_arrays([pa.array([True]), is_new]))


def _open_failures(failures: pa.Table, done_ids: pa.ChunkedArray) -> pa.Table:
    still_failed = failures.filter(pc.invert(pc.is_in(failures["track_id"], value_set=done_ids)))
    latest = _first_of_each(
        still_failed.sort_by([("track_id", "ascending"), ("attempts", "descending")])
    )
    return latest.cast(FAILURES)
