"""Stage 7, index: write the tables, build the search index, and publish both as one snapshot.

Public: `publish`, `Published`.
"""

from collections import Counter
from dataclasses import dataclass, replace

import pyarrow as pa

from musichash_core.config import PipelineConfig
from musichash_core.errors import MusicHashError
from storage.assembling import (
    SnapshotParts,
    assemble_snapshot,
    is_unchanged,
    with_runs_table,
)
from storage.catalogue import read_catalogue
from storage.errors import ArtefactMissingError
from storage.extracted import read_extracted
from storage.generations import read_model_card, selected_generation
from storage.layout import StoreLayout
from storage.live_tables import LiveTables, collect_tables
from storage.published import published_track_ids
from storage.runs import RunRecord
from storage.snapshots import Snapshot, current_snapshot, publish_snapshot
from storage.store import open_store
from storage.tables import write_part
from tasks.account import Counted, accounted
from tasks.code_health import HealthTables, check_health
from tasks.ledger import closed


@dataclass(frozen=True, slots=True)
class Published:
    """What a run put before readers.

    Attributes
    ----------
    snapshot : Snapshot
        The current one, with its number.
    is_new : bool
        False when the content equals that of the snapshot before, which then stays.
    record : RunRecord
        The run's record with its account filled in.
    """

    snapshot: Snapshot
    is_new: bool
    record: RunRecord


class TooManyFailuresError(MusicHashError):
    """More tracks failed than the configuration allows; nothing is published."""


def publish(
    store: str, config: PipelineConfig, record: RunRecord, *, n_done: int, n_reused: int
) -> Published:
    """Bring together what the catalogue's tracks have, check the account, and publish it.

    Parameters
    ----------
    record : RunRecord
        The run, as the ledger has it so far.
    n_done, n_reused : int
        Tracks that this run extracted, and that it found extracted when it planned.

    Raises
    ------
    ArtefactMissingError
        If tracks are not extracted or encoded yet, or no model is there.
    AccountingError, TooManyFailuresError, CodeHealthAlarmError
    """
    layout = open_store(store)
    generation = selected_generation(layout)
    if generation is None:
        raise ArtefactMissingError(
            f"the store {layout.root} has no model yet; run 'musichash train' first"
        )
    n_bits = int(read_model_card(layout, generation)["config"]["crnn_hash"]["n_bits"])
    catalogue = read_catalogue(layout)
    extracted = read_extracted(layout, config.feature_fingerprint, keep=True)
    tables = collect_tables(layout, catalogue, extracted, generation=generation, n_bits=n_bits)
    current = current_snapshot(layout)
    removed = published_track_ids(layout, current) - set(tables.tracks["track_id"].to_pylist())
    encoded = {"codes": len(tables.codes), "predictions": len(tables.predictions)}
    counted = Counted(n_done, n_reused, len(removed), encoded)
    record = accounted(record, tables.tracks, tables.failures, counted)
    _check_failed_share(record, config.max_failed_share, tables.failures)
    snapshot = _assemble(layout, config, generation, tables, current)
    if current is not None and is_unchanged(current, snapshot):
        return Published(current, is_new=False, record=replace(record, snapshot=current.number))
    check_health(layout, snapshot, HealthTables(tables.codes, tables.predictions), config.health)
    complete = with_runs_table(layout, snapshot, closed(record))
    number = publish_snapshot(layout, complete)
    published = replace(complete, number=number)
    return Published(published, is_new=True, record=replace(record, snapshot=number))


def _check_failed_share(record: RunRecord, max_failed_share: float, failures: pa.Table) -> None:
    n_present = record.seen - record.removed
    n_failed = record.failed + record.quarantined
    if n_failed == n_present:
        raise TooManyFailuresError(
            f"none of the {n_present} tracks could be processed; nothing is published: "
            f"{_reasons(failures)}; mend the files and run again"
        )
    if n_failed > max_failed_share * n_present:
        raise TooManyFailuresError(
            f"{n_failed} of {n_present} tracks failed, more than {max_failed_share:.0%} "
            f"(max_failed_share); nothing is published: {_reasons(failures)}; mend the files or "
            "raise the limit"
        )


def _reasons(failures: pa.Table) -> str:
    """Count the failures by reason, each with an example: they are in no published table yet."""
    examples = {row["code"]: row["path"] for row in reversed(failures.to_pylist())}
    counts = Counter(failures["code"].to_pylist()).most_common()
    return ", ".join(f"{count} {code} (such as {examples[code]})" for code, count in counts)


def _assemble(
    layout: StoreLayout,
    config: PipelineConfig,
    generation: str,
    tables: LiveTables,
    current: Snapshot | None,
) -> Snapshot:
    """Write every file of the next snapshot but the runs table, and list them."""
    contents = {
        "tracks": tables.tracks,
        "predictions": tables.predictions,
        "codes": tables.codes,
        "failures": tables.failures,
    }
    parts = SnapshotParts(
        feature_fingerprint=config.feature_fingerprint,
        generation=generation,
        tables={name: [write_part(layout, name, table)] for name, table in contents.items()},
        receipts=tables.receipts,
        counts={
            "tracks": len(tables.tracks),
            "codes": len(tables.codes),
            "failures": len(tables.failures),
            "partitions": len(tables.partition_ids),
        },
    )
    return assemble_snapshot(
        layout, parts, tables.codes, previous=current, index_config=config.index
    )
