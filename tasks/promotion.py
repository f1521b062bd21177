"""Promotion: publish the current snapshot's tracks with the codes of another model generation.

Nothing is scanned, decoded or computed: the tracks and failures are those that are published, so a
scan that is not finished does not matter. Tables and index are written first, then the generation
is announced, then the snapshot's pointer is replaced, which decides; see `storage.generations`.

Public: `promote`, `Promoted`, `preview_comparison`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from storage.assembling import SnapshotParts, assemble_snapshot, with_runs_table
from storage.comparisons import write_comparison
from storage.encoded_store import EncodedTables, gather_encoded
from storage.errors import DamagedArtefactError
from storage.extracted import read_extracted
from storage.generations import (
    announce_generation,
    code_length,
    find_generation,
    read_model_card,
    select_generation,
)
from storage.layout import StoreLayout
from storage.published import read_table, require_snapshot, snapshot_entry
from storage.receipts import partition_receipts
from storage.runs import RunRecord
from storage.schemas import PUBLISHED_FACTS, TRACKS
from storage.snapshots import Snapshot, publish_snapshot
from storage.store import open_store
from storage.tables import table_of, write_part
from tasks.account import Counted, accounted
from tasks.code_health import check_health
from tasks.generation_comparison import Comparing, compare_encoded
from tasks.ledger import closed
from tasks.promotion_plan import PromotionPlan, check_complete, ok_tracks, plan_for


@dataclass(frozen=True, slots=True)
class Promoted:
    """What a promotion put before readers.

    Attributes
    ----------
    snapshot : Snapshot
        The current one, with its number.
    is_new : bool
        False when the current snapshot was of the generation already, and stays.
    record : RunRecord
        The run's record with its account filled in.
    comparison : dict or None
        With the generation before; None when nothing changed.
    """

    snapshot: Snapshot
    is_new: bool
    record: RunRecord
    comparison: dict[str, Any] | None


def preview_comparison(store: str, plan: PromotionPlan) -> dict[str, Any]:
    """Compare as a promotion would; stores nothing."""
    layout = open_store(store)
    snapshot = require_snapshot(layout)
    tracks = read_table(layout, snapshot, "tracks")
    return _compare(layout, snapshot, plan, tracks, _codes_of(layout, plan, tracks))


def promote(store: str, record: RunRecord, generation: str) -> Promoted:
    """Publish the current snapshot's tracks with the codes of a generation, and put it in force.

    The caller holds the store. Killed at any point, either the generation before is in force and
    published, or this one; never codes of both.

    Parameters
    ----------
    record : RunRecord
        The run, as the ledger has it so far.
    generation : str
        Its name, or the beginning of it.

    Raises
    ------
    UnknownGenerationError, IncompleteGenerationError, AccountingError, CodeHealthAlarmError
    """
    layout = open_store(store)
    current = require_snapshot(layout)
    plan = plan_for(layout, current, find_generation(layout, generation))
    tracks = read_table(layout, current, "tracks")
    failures = read_table(layout, current, "failures")
    record = accounted(record, len(tracks), failures, Counted(reused=len(ok_tracks(tracks))))
    if plan.is_done:
        select_generation(layout, plan.generation)
        return Promoted(current, False, replace(record, snapshot=current.number), None)
    check_complete(plan)
    encoded = _codes_of(layout, plan, tracks)
    comparison = _compare(layout, current, plan, tracks, encoded)
    write_comparison(layout, comparison)
    snapshot = _assemble(layout, current, plan, tracks, encoded)
    check_health(layout, snapshot)
    complete = with_runs_table(layout, snapshot, closed(record))
    announce_generation(layout, plan.generation)
    number = publish_snapshot(layout, complete)
    select_generation(layout, plan.generation)
    return Promoted(
        replace(complete, number=number), True, replace(record, snapshot=number), comparison
    )


def _codes_of(layout: StoreLayout, plan: PromotionPlan, tracks: pa.Table) -> EncodedTables:
    """Read the rows of the published tracks, from the plan's partitions and no others."""
    needed = ok_tracks(tracks)["track_id"].to_pylist()
    n_bits = code_length(read_model_card(layout, plan.generation))
    encoded = gather_encoded(
        layout, plan.generation, n_bits, needed, partition_ids=plan.partition_ids
    )
    n_missing = plan.n_unencoded + plan.n_unextracted
    if len(encoded.codes) != len(needed) - n_missing:
        raise DamagedArtefactError(
            f"the partitions below {layout.encoded_root(plan.generation)} hold codes of "
            f"{len(encoded.codes)} tracks, {len(needed) - n_missing} should be there; remove that "
            f"folder and run 'musichash backfill --model {plan.generation}'"
        )
    return encoded


def _compare(
    layout: StoreLayout,
    current: Snapshot,
    plan: PromotionPlan,
    tracks: pa.Table,
    encoded: EncodedTables,
) -> dict[str, Any]:
    """Compare what is published with what would be."""
    published = EncodedTables(
        *(read_table(layout, current, name) for name in ("predictions", "codes"))
    )
    return compare_encoded(
        (plan.before, plan.generation), (published, encoded), tracks, Comparing()
    )


def _assemble(
    layout: StoreLayout,
    current: Snapshot,
    plan: PromotionPlan,
    tracks: pa.Table,
    encoded: EncodedTables,
) -> Snapshot:
    tables = {
        name: [snapshot_entry(current, path) for path in current.tables[name]]
        for name in ("tracks", "failures")
    }
    if plan.feature_fingerprint != current.feature_fingerprint:
        facts = read_extracted(layout, plan.feature_fingerprint).facts
        tables["tracks"] = [write_part(layout, "tracks", _with_facts(tracks, facts))]
    tables["predictions"] = [write_part(layout, "predictions", encoded.predictions)]
    tables["codes"] = [write_part(layout, "codes", encoded.codes)]
    parts = SnapshotParts(
        feature_fingerprint=plan.feature_fingerprint,
        generation=plan.generation,
        tables=tables,
        receipts=partition_receipts(
            layout, plan.feature_fingerprint, plan.generation, plan.partition_ids
        ),
        counts={
            "tracks": current.counts["tracks"],
            "codes": len(encoded.codes),
            "failures": current.counts["failures"],
            "partitions": len(plan.partition_ids),
        },
    )
    return assemble_snapshot(layout, parts, encoded.codes, previous=current)


def _with_facts(tracks: pa.Table, facts: pa.Table) -> pa.Table:
    """Say of each track what the extraction of the features found that the snapshot names."""
    selected = facts.select(["track_id", *PUBLISHED_FACTS]).to_pylist()
    known: Mapping[str, dict[str, Any]] = {row["track_id"]: row for row in selected}
    rows = [
        row | known[row["track_id"]] if row["status"] == "ok" else row for row in tracks.to_pylist()
    ]
    return table_of(rows, TRACKS)
