"""Putting a snapshot together from parts of tables: the index, the list of files, the digest.

Public: `assemble_snapshot`, `SnapshotParts`, `partition_receipts`, `with_runs_table`,
`is_unchanged`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from storage.atomic import FileDigest, digest_file
from storage.errors import FingerprintMismatchError
from storage.generations import read_model_card
from storage.hash_index import write_index
from storage.layout import RECEIPT_NAME, StoreLayout
from storage.runs import RunRecord, read_runs, run_rows
from storage.schemas import RUNS
from storage.snapshots import Snapshot, content_digest
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
    layout: StoreLayout, parts: SnapshotParts, codes: NDArray[np.uint8]
) -> Snapshot:
    """Write the index of a snapshot, and list every file of it but the runs table.

    Parameters
    ----------
    codes : (n, code_bytes) uint8
        Of the codes table, in its row order.

    Raises
    ------
    FingerprintMismatchError
        If the generation reads other features than those of the partitions.
    """
    read = read_model_card(layout, parts.generation)["feature_fingerprint"]
    if read != parts.feature_fingerprint:
        raise FingerprintMismatchError(
            f"the model {parts.generation} reads features {read}, those to publish are "
            f"{parts.feature_fingerprint}; use the configuration it was trained with"
        )
    index, info = write_index(
        layout,
        codes,
        generation=parts.generation,
        codes_sha256=[part.sha256 for part in parts.tables["codes"]],
    )
    model = digest_file(layout.model_path(parts.generation) / RECEIPT_NAME, layout.root)
    listed = [part for table in parts.tables.values() for part in table]
    files = [*listed, index, info, model, *parts.receipts]
    snapshot = Snapshot(
        number=0,
        feature_fingerprint=parts.feature_fingerprint,
        generation=parts.generation,
        tables={name: [part.path for part in table] for name, table in parts.tables.items()},
        index=index.path,
        index_info=info.path,
        counts=parts.counts,
        files=tuple(sorted(files, key=lambda entry: entry.path)),
    )
    return replace(snapshot, digest=content_digest(snapshot))


def partition_receipts(
    layout: StoreLayout, feature_fingerprint: str, generation: str, partition_ids: Sequence[str]
) -> list[FileDigest]:
    """Digest the receipts of the features and of the codes of some partitions."""
    folders = [
        folder
        for partition_id in partition_ids
        for folder in (
            layout.feature_partition_path(feature_fingerprint, partition_id),
            layout.encoded_partition_path(generation, partition_id),
        )
    ]
    return [digest_file(folder / RECEIPT_NAME, layout.root) for folder in folders]


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


def is_unchanged(current: Snapshot, following: Snapshot) -> bool:
    """Tell whether two snapshots hold the same in the same files, the runs table aside.

    Equal digests are not enough: partitions made anew under other names hold the same tracks.
    """
    held = {entry for entry in current.files if entry.path not in current.tables["runs"]}
    return current.digest == following.digest and held == set(following.files)
