"""Putting a snapshot together from parts of tables: the index, the list of files, the digest.

Public: `assemble_snapshot`, `SnapshotParts`, `with_runs_table`, `with_index`, `index_files`,
`is_unchanged`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

import pyarrow as pa

from musichash_core.index_config import IndexConfig
from storage.atomic import FileDigest, digest_file
from storage.errors import FingerprintMismatchError
from storage.generations import read_model_card
from storage.indexes import (
    BaseBuilder,
    CodesOrigin,
    WrittenIndex,
    build_ivf,
    keyed_codes,
    settings_in_force,
    write_index,
)
from storage.layout import RECEIPT_NAME, StoreLayout
from storage.runs import RunRecord, read_runs, run_rows
from storage.schemas import RUNS
from storage.snapshots import SNAPSHOT_FORMAT, Snapshot, content_digest
from storage.tables import table_of, write_part


@dataclass(frozen=True, slots=True)
class SnapshotParts:
    """What a snapshot is made of, all of it stored already.

    Attributes
    ----------
    feature_fingerprint, generation : str
        Feature settings and model generation of all rows.
    tables : mapping of str to sequence of FileDigest
        The parts of each table but the runs, in row order.
    receipts : sequence of FileDigest
        Of the features and of the codes of every partition that holds one of the tracks.
    counts : dict of str to int
        Rows of the tables ``tracks``, ``codes`` and ``failures``; number of ``partitions``.
    """

    feature_fingerprint: str
    generation: str
    tables: Mapping[str, Sequence[FileDigest]]
    receipts: Sequence[FileDigest]
    counts: dict[str, int]


def assemble_snapshot(
    layout: StoreLayout,
    parts: SnapshotParts,
    codes: pa.Table,
    *,
    previous: Snapshot | None = None,
    index_config: IndexConfig | None = None,
    builder: BaseBuilder = build_ivf,
) -> Snapshot:
    """Write the index of a snapshot, and list every file of it but the runs table.

    Parameters
    ----------
    codes : pyarrow.Table
        The codes table, sorted by track_id.
    previous : Snapshot, optional
        The current one: its index is carried on where little has changed.
    index_config : IndexConfig, optional
        Of the configuration; without it, the index is made by the settings of the one before.
    builder : callable
        Builds the lists of an ivf index.

    Raises
    ------
    FingerprintMismatchError
        If the generation reads other features than those of the partitions.
    RecallError, IndexBudgetError
        If no index may be published.
    """
    read = read_model_card(layout, parts.generation)["feature_fingerprint"]
    if read != parts.feature_fingerprint:
        raise FingerprintMismatchError(
            f"the model {parts.generation} reads features {read}, those to publish are "
            f"{parts.feature_fingerprint}; use the configuration it was trained with"
        )
    written = write_index(
        layout,
        keyed_codes(codes),
        CodesOrigin(parts.generation, tuple(part.sha256 for part in parts.tables["codes"])),
        settings=settings_in_force(layout, previous, index_config),
        previous=previous,
        builder=builder,
    )
    model = digest_file(layout.model_path(parts.generation) / RECEIPT_NAME, layout.root)
    listed = [part for table in parts.tables.values() for part in table]
    files = [*listed, *written.files, model, *parts.receipts]
    snapshot = Snapshot(
        number=0,
        feature_fingerprint=parts.feature_fingerprint,
        generation=parts.generation,
        tables={name: [part.path for part in table] for name, table in parts.tables.items()},
        index=written.index.path,
        index_info=written.info.path,
        counts=parts.counts,
        files=tuple(sorted(files, key=lambda entry: entry.path)),
    )
    return replace(snapshot, digest=content_digest(snapshot))


def with_runs_table(layout: StoreLayout, snapshot: Snapshot, closed: RunRecord) -> Snapshot:
    """Add the runs table, which differs after every run and has no part in the digest.

    Parameters
    ----------
    closed : RunRecord
        The run that publishes, as it will stand when it has ended well.
    """
    earlier = [entry for entry in read_runs(layout) if entry.run_id != closed.run_id]
    part = write_part(layout, "runs", table_of(run_rows([*earlier, closed]), RUNS))
    return replace(
        snapshot,
        tables=snapshot.tables | {"runs": [part.path]},
        files=tuple(sorted((*snapshot.files, part), key=lambda entry: entry.path)),
    )


def index_files(snapshot: Snapshot) -> set[str]:
    """Give the paths of the files that are the index of a snapshot."""
    folder = PurePosixPath(snapshot.index).parent
    return {entry.path for entry in snapshot.files if PurePosixPath(entry.path).parent == folder}


def with_index(snapshot: Snapshot, written: WrittenIndex) -> Snapshot:
    """Give the same content with another index, and without a runs table."""
    gone = index_files(snapshot) | set(snapshot.tables.get("runs", ()))
    kept = [entry for entry in snapshot.files if entry.path not in gone]
    following = replace(
        snapshot,
        tables={name: paths for name, paths in snapshot.tables.items() if name != "runs"},
        index=written.index.path,
        index_info=written.info.path,
        files=tuple(sorted((*kept, *written.files), key=lambda entry: entry.path)),
        format=SNAPSHOT_FORMAT,
    )
    return replace(following, digest=content_digest(following))


def is_unchanged(current: Snapshot, following: Snapshot) -> bool:
    """Tell whether two snapshots hold the same in the same files, the runs table aside.

    Equal digests are not enough: partitions made anew under other names hold the same tracks.
    """
    held = {entry for entry in current.files if entry.path not in current.tables["runs"]}
    return current.digest == following.digest and held == set(following.files)
