"""What a store holds, for people and for JSON: its snapshot, its runs, its failures.

Public: `store_status`, `list_runs`, `show_run`, `list_failures`, `verify_store`.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, TypeVar

from musichash_core.failure_codes import FAILURE_CODES
from storage.backfills import BackfillState, open_backfills
from storage.errors import StoreError
from storage.indexes import read_index_info
from storage.layout import StoreLayout
from storage.lock_records import LockOwner
from storage.published import read_table, require_snapshot, table_paths
from storage.runs import RunRecord, find_run, read_runs
from storage.snapshots import Snapshot, current_snapshot, list_snapshots
from storage.store import beside_owner, lock_owner, open_store
from storage.verify import absent_partitions, verify_snapshot
from tasks.health_answers import kept_health
from tasks.living_runs import seen_from_outside

RECENT_RUNS = 5

T = TypeVar("T")

_NOTHING: dict[str, Any] = {}
_UNKNOWN_FAILED: dict[str, Any] = {"failed_share": None, "failures_by_code": None}

EXTRACT_STAGE = "extract"
"""The stage whose tracks and audio are decoded for the first time."""


def store_status(store: str) -> dict[str, Any]:
    """Describe a store: snapshot, counts, table files, index, last runs, and who works on it.

    ``health`` is what was found of the codes when the snapshot was published, or None where nothing
    is kept. Changes nothing, and works on a read-only store. What cannot be read is left out or
    empty, and ``problem`` says why: one line for each, or None.

    Raises
    ------
    ArtefactMissingError
        If the folder is no store.
    """
    layout = open_store(store)
    problems: list[str] = []
    snapshot = _readable(lambda: current_snapshot(layout), None, problems)
    runs = _readable(lambda: read_runs(layout), list[RunRecord](), problems)
    records = seen_from_outside(layout, runs)
    backfills = _readable(lambda: open_backfills(layout), list[BackfillState](), problems)
    status: dict[str, Any] = {
        "store": str(layout.root),
        "snapshot": None,
        "snapshots": list_snapshots(layout),
        "runs": [asdict(record) for record in records[-RECENT_RUNS:]],
        "totals": _totals(records),
        "writer": _owner(lock_owner(layout)),
        "backfill_worker": _owner(beside_owner(layout)),
        "backfills": [
            {name: getattr(state, name) for name in ("name", "kind", "target", "begun")}
            for state in backfills
        ],
    }
    if snapshot is not None:
        status |= {
            "snapshot": snapshot.number,
            "digest": snapshot.digest,
            "generation": snapshot.generation,
            "feature_fingerprint": snapshot.feature_fingerprint,
            "counts": snapshot.counts,
            **_readable(lambda: _failed(layout, snapshot), _UNKNOWN_FAILED, problems),
            "tables": {
                name: [str(path) for path in table_paths(layout, snapshot, name)]
                for name in sorted(snapshot.tables)
            },
            "index": {"path": str(layout.root / snapshot.index)}
            | _readable(lambda: read_index_info(layout, snapshot.index_info), _NOTHING, problems),
            "health": kept_health(layout, snapshot),
        }
    return status | {"problem": "\n".join(problems) or None}


def _readable(read: Callable[[], T], otherwise: T, problems: list[str]) -> T:
    """Read something that may be damaged; then note why, and go on with something else."""
    try:
        return read()
    except (StoreError, OSError) as error:
        problems.append(str(error))
        return otherwise


def _failed(layout: StoreLayout, snapshot: Snapshot) -> dict[str, Any]:
    codes = read_table(layout, snapshot, "failures")["code"].to_pylist()
    return {
        "failed_share": _share(len(codes), len(codes) + snapshot.counts["codes"]),
        "failures_by_code": dict(sorted(Counter(codes).items())),
    }


def list_runs(store: str, *, limit: int | None = None) -> dict[str, Any]:
    """List the runs of the ledger, newest first, with totals over all of them.

    Parameters
    ----------
    limit : int, optional
        Give only so many of the newest; the totals are of all.

    Returns
    -------
    dict
        ``runs``; ``n_runs``; ``totals``: runs by state, tracks that were decoded (each once,
        however often it was reused), seconds of audio, CPU and clock.
    """
    layout = open_store(store)
    records = seen_from_outside(layout, read_runs(layout))
    newest = records[::-1] if limit is None else records[::-1][:limit]
    return {
        "store": str(layout.root),
        "runs": [asdict(record) for record in newest],
        "n_runs": len(records),
        "totals": _totals(records),
    }


def show_run(store: str, name: str) -> dict[str, Any]:
    """Give one run of the ledger with the numbers of each stage.

    Parameters
    ----------
    name : str
        Its id, or how the id begins.

    Raises
    ------
    UnknownRunError
        If there is none, or several begin so.
    """
    layout = open_store(store)
    (record,) = seen_from_outside(layout, [find_run(layout, name)])
    return asdict(record)


def _totals(records: Sequence[RunRecord]) -> dict[str, Any]:
    return {
        "by_state": dict(sorted(Counter(record.state for record in records).items())),
        "done": sum(_n_decoded(record) for record in records),
        "audio_s": sum(record.audio_s for record in records),
        "cpu_s": sum(record.cpu_s for record in records),
        "wall_s": sum(record.wall_s for record in records),
    }


def _n_decoded(record: RunRecord) -> int:
    """Give the tracks that a run decoded, also one that was killed before it could publish.

    Such tracks are reused by the run that publishes them, so each counts once.
    """
    stage = record.stages.get(EXTRACT_STAGE)
    return record.done if stage is None else int(stage["n_done"])


def _owner(owner: LockOwner | None) -> dict[str, Any] | None:
    if owner is None:
        return None
    names = ("what", "run_id", "host", "pid", "started", "heartbeat")
    return {name: getattr(owner, name) for name in names}


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


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
        ``snapshot``, ``files``, ``bytes``, ``findings`` (empty when all is well) and
        ``not_fetched``: partitions that this folder, fetched from a replica, was made without.
    """
    layout = open_store(store)
    snapshot = require_snapshot(layout)
    findings, n_files, n_bytes = verify_snapshot(layout, snapshot, on_progress=on_progress)
    return {
        "snapshot": snapshot.number,
        "files": n_files,
        "bytes": n_bytes,
        "findings": [asdict(finding) for finding in findings],
        "not_fetched": absent_partitions(layout, [snapshot]),
    }
