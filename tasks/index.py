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
from storage.generations import read_model_card, selected_generation
from storage.indexes import KEY_COLUMNS
from storage.layout import StoreLayout
from storage.live_tables import LiveTables, Wanted, WrittenTables, collect_tables, write_tables
from storage.runs import RunRecord
from storage.snapshots import Snapshot, current_snapshot, publish_snapshot
from storage.store import open_store
from storage.tables import read_part
from tasks.account import Counted, accounted
from tasks.code_health import check_health
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
    current = current_snapshot(layout)
    wanted = Wanted(config.feature_fingerprint, generation, n_bits)
    with collect_tables(
        layout, read_catalogue(layout), wanted, current=current, keep=True
    ) as tables:
        counted = Counted(n_done, n_reused, tables.n_removed)
        record = accounted(record, tables.n_tracks, tables.failures, counted)
        _check_failed_share(record, config.max_failed_share, tables.failures)
        written = write_tables(layout, tables)
    encoded = {name: written.n_rows[name] for name in ("codes", "predictions")}
    account = replace(counted, encoded=encoded)
    accounted(record, written.n_rows["tracks"], tables.failures, account)
    snapshot = _assemble(layout, config, tables, written, current)
    if current is not None and is_unchanged(current, snapshot):
        return Published(current, is_new=False, record=replace(record, snapshot=current.number))
    check_health(layout, snapshot, config.health)
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
    tables: LiveTables,
    written: WrittenTables,
    current: Snapshot | None,
) -> Snapshot:
    """Build the index, and list every file of the next snapshot but the runs table."""
    parts = SnapshotParts(
        feature_fingerprint=tables.wanted.feature_fingerprint,
        generation=tables.wanted.generation,
        tables={name: [part] for name, part in written.parts.items()},
        receipts=tables.receipts,
        counts={name: written.n_rows[name] for name in ("tracks", "codes", "failures")}
        | {"partitions": len(tables.partition_ids)},
    )
    codes = read_part(layout.root / written.parts["codes"].path, columns=KEY_COLUMNS)
    return assemble_snapshot(layout, parts, codes, previous=current, index_config=config.index)
