"""What was published: the snapshots of a store, and whether every byte of them is there.

Public: `list_all`, `show`, `pointed_number`, `check_known`, `verify_everything`.
"""

from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

from storage.atomic import FileDigest
from storage.errors import StoreError, UnknownSnapshotError
from storage.layout import RECEIPT_NAME, StoreLayout
from storage.published import read_table, require_snapshot
from storage.receipts import read_receipt
from storage.runs import read_runs
from storage.snapshots import (
    Snapshot,
    current_snapshot,
    list_snapshots,
    read_pointer,
    read_snapshot,
)
from storage.store import open_store
from storage.verify import absent_partitions, check_sizes, verify_all

N_NAMED_SNAPSHOTS = 5


def list_all(store: str) -> dict[str, Any]:
    """Describe every snapshot, also those that cannot be read, oldest first.

    Returns
    -------
    dict
        ``store``, ``current`` (number or None), ``problem`` (of the pointer, or None) and
        ``snapshots``: each with ``number``, ``is_current``, ``is_readable``, ``problem``,
        ``digest``, ``published``, ``run``, ``kind``, ``generation``, ``feature_fingerprint``,
        ``counts``, ``bytes`` and ``bytes_of_its_own``; None where unknown.
    """
    layout = open_store(store)
    current, problem = pointed_number(layout)
    numbers = sorted({*list_snapshots(layout), *([] if current is None else [current])})
    snapshots: dict[int, Snapshot] = {}
    problems: dict[int, str] = {}
    for number in numbers:
        try:
            snapshots[number] = read_snapshot(layout, number)
        except StoreError as error:
            problems[number] = str(error)
    sizes = _sizes(layout, snapshots.values())
    kinds = _kinds_of_runs(layout)
    rows = []
    for number in numbers:
        row: dict[str, Any] = {
            "number": number,
            "is_current": number == current,
            "is_readable": number in snapshots,
            "problem": problems.get(number),
        }
        row |= dict.fromkeys(("digest", "published", "run", "kind", "generation"))
        row |= dict.fromkeys(("feature_fingerprint", "counts", "bytes", "bytes_of_its_own"))
        if number in snapshots:
            row |= _facts(layout, snapshots[number], kinds) | sizes[number]
        rows.append(row)
    return {
        "store": str(layout.root),
        "current": current,
        "problem": problem,
        "snapshots": rows,
    }


def show(store: str, number: int) -> dict[str, Any]:
    """Describe one snapshot and name its files.

    Raises
    ------
    UnknownSnapshotError
        If there is no such snapshot.
    ArtefactMissingError, DamagedArtefactError
        If its manifest is gone or damaged.
    """
    layout = open_store(store)
    check_known(layout, number)
    snapshot = read_snapshot(layout, number)
    current, _ = pointed_number(layout)
    problems = [asdict(finding) for finding in check_sizes(layout, snapshot)]
    sizes = _sizes(layout, [snapshot, *_readable_others(layout, number)])
    return {
        "number": number,
        "is_current": number == current,
        **_facts(layout, snapshot, _kinds_of_runs(layout)),
        **sizes[number],
        "tables": snapshot.tables,
        "index": snapshot.index,
        "files": [entry.as_dict() for entry in snapshot.files],
        "problems": problems,
    }


def pointed_number(layout: StoreLayout) -> tuple[int | None, str | None]:
    """Give the number that the pointer names, and what is wrong with it or what it names."""
    number = None
    try:
        pointer = read_pointer(layout)
        number = None if pointer is None else pointer.number
        current_snapshot(layout)
    except StoreError as error:
        return number, str(error)
    return number, None


def check_known(layout: StoreLayout, number: int) -> None:
    """Refuse a number that no snapshot has; the one that is pointed at is a snapshot, even if gone.

    Raises
    ------
    UnknownSnapshotError
        It names the latest ones.
    """
    numbers = list_snapshots(layout)
    current, _ = pointed_number(layout)
    if number not in {*numbers, current}:
        shown = ", ".join(map(str, numbers[-N_NAMED_SNAPSHOTS:])) or "none"
        raise UnknownSnapshotError(
            f"there is no snapshot {number} in {layout.root}; the latest are: {shown} ('musichash "
            "snapshots list' lists all)"
        )


def _readable_others(layout: StoreLayout, number: int) -> list[Snapshot]:
    others = [other for other in list_snapshots(layout) if other != number]
    # Of one that is damaged the files are not known, so it shares none.
    return [snapshot for other in others if (snapshot := _read_if_whole(layout, other))]


def _read_if_whole(layout: StoreLayout, number: int) -> Snapshot | None:
    try:
        return read_snapshot(layout, number)
    except StoreError:
        return None


def _kinds_of_runs(layout: StoreLayout) -> dict[str, str]:
    try:
        return {record.run_id: record.kind for record in read_runs(layout)}
    except StoreError:  # the ledger is no part of a snapshot
        return {}


def _facts(layout: StoreLayout, snapshot: Snapshot, kinds: dict[str, str]) -> dict[str, Any]:
    run = _publisher(layout, snapshot)
    finished = run.get("finished")
    return {
        "digest": snapshot.digest,
        "published": finished.isoformat() if finished else None,
        "run": run.get("run_id"),
        "kind": kinds.get(run.get("run_id", "")),
        "generation": snapshot.generation,
        "feature_fingerprint": snapshot.feature_fingerprint,
        "counts": snapshot.counts,
    }


def _publisher(layout: StoreLayout, snapshot: Snapshot) -> dict[str, Any]:
    """Give the run that published a snapshot: the last row of its own runs table."""
    try:
        rows: list[dict[str, Any]] = read_table(layout, snapshot, "runs")[-1:].to_pylist()
    except (StoreError, KeyError):  # damage is what 'verify' is for
        return {}
    return rows[0] if rows else {}


def _sizes(layout: StoreLayout, snapshots: Iterable[Snapshot]) -> dict[int, dict[str, int]]:
    """Give the bytes that each snapshot lists, and those that no other of them lists."""
    bytes_of: dict[FileDigest, int] = {}
    n_listing: dict[FileDigest, int] = {}
    for snapshot in (listed := list(snapshots)):
        for entry in snapshot.files:
            n_listing[entry] = n_listing.get(entry, 0) + 1
            if entry not in bytes_of:
                bytes_of[entry] = entry.size + _inner_bytes(layout, entry)
    return {
        snapshot.number: {
            "bytes": sum(bytes_of[entry] for entry in snapshot.files),
            "bytes_of_its_own": sum(
                bytes_of[entry] for entry in snapshot.files if n_listing[entry] == 1
            ),
        }
        for snapshot in listed
    }


def _inner_bytes(layout: StoreLayout, entry: FileDigest) -> int:
    """Give the bytes of the files that a listed receipt stands for."""
    if not entry.path.endswith(f"/{RECEIPT_NAME}"):
        return 0
    try:
        return sum(inner.size for inner in read_receipt((layout.root / entry.path).parent).files)
    except StoreError:
        return 0


def verify_everything(
    store: str, *, on_progress: Callable[[int, int], None] | None = None
) -> dict[str, Any]:
    """Re-read every byte of every snapshot, of the pointer and of the manifests.

    Returns
    -------
    dict
        ``snapshots``, ``files``, ``bytes``, ``findings`` (empty when all is well) and
        ``not_fetched``, as in `tasks.status.verify_store`.

    Raises
    ------
    ArtefactMissingError
        If no snapshot is there.
    """
    layout = open_store(store)
    if not list_snapshots(layout):
        require_snapshot(layout)
    findings, n_files, n_bytes = verify_all(layout, on_progress=on_progress)
    numbers = list_snapshots(layout)
    readable = [snapshot for number in numbers if (snapshot := _read_if_whole(layout, number))]
    return {
        "snapshots": numbers,
        "files": n_files,
        "bytes": n_bytes,
        "findings": [asdict(finding) for finding in findings],
        "not_fetched": absent_partitions(layout, readable),
    }
