"""What a store holds, for people and for JSON: its snapshot, its last runs, its failures.

Public: `store_status`, `list_failures`, `verify_store`.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from musichash_core.failure_codes import FAILURE_CODES
from storage.hash_index import read_index_info
from storage.published import read_table, require_snapshot, table_paths
from storage.runs import read_runs
from storage.snapshots import current_snapshot, list_snapshots
from storage.store import open_store
from storage.verify import verify_snapshot

RECENT_RUNS = 5


def store_status(store: str) -> dict[str, Any]:
    """Describe a store: snapshot, counts, table files, index, last runs.

    Raises
    ------
    ArtefactMissingError
        If the folder is no store.
    """
    layout = open_store(store)
    snapshot = current_snapshot(layout)
    status: dict[str, Any] = {
        "store": str(layout.root),
        "snapshot": None,
        "snapshots": list_snapshots(layout),
        "runs": [asdict(record) for record in read_runs(layout)[-RECENT_RUNS:]],
    }
    if snapshot is not None:
        failures = read_table(layout, snapshot, "failures")
        status |= {
            "snapshot": snapshot.number,
            "digest": snapshot.digest,
            "generation": snapshot.generation,
            "feature_fingerprint": snapshot.feature_fingerprint,
            "counts": snapshot.counts,
            "failures_by_code": dict(sorted(Counter(failures["code"].to_pylist()).items())),
            "tables": {
                name: [str(path) for path in table_paths(layout, snapshot, name)]
                for name in sorted(snapshot.tables)
            },
            "index": {"path": str(layout.root / snapshot.index)}
            | read_index_info(layout, snapshot.index_info),
        }
    return status


def list_failures(store: str) -> list[dict[str, Any]]:
    """List the published failures by path, each with the cause and the remedy of its code."""
    layout = open_store(store)
    rows: list[dict[str, Any]] = read_table(
        layout, require_snapshot(layout), "failures"
    ).to_pylist()
    rows.sort(key=lambda row: row["path"])
    for row in rows:
        reason = FAILURE_CODES[row["code"]]
        row["cause"], row["remedy"] = reason.cause, reason.remedy
    return rows


def verify_store(
    store: str, *, on_progress: Callable[[int, int], None] | None = None
) -> dict[str, Any]:
    """Re-read every byte of the current snapshot and compare it with the manifest.

    Returns
    -------
    dict
        ``snapshot``, ``files``, ``bytes`` and ``findings`` (empty when all is well).
    """
    layout = open_store(store)
    snapshot = require_snapshot(layout)
    findings, n_files, n_bytes = verify_snapshot(layout, snapshot, on_progress=on_progress)
    return {
        "snapshot": snapshot.number,
        "files": n_files,
        "bytes": n_bytes,
        "findings": [asdict(finding) for finding in findings],
    }
