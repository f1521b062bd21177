"""Going back to an earlier snapshot.

Public: `roll_back`, `SnapshotRefusedError`.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from storage.errors import ArtefactMissingError, StoreError
from storage.generations import announce_generation, select_generation, selected_generation
from storage.layout import StoreLayout
from storage.runs import read_runs
from storage.snapshots import list_snapshots, point_at, read_snapshot
from storage.store import open_store
from storage.verify import Finding, check_sizes, verify_snapshot
from tasks.ledger import begin_run
from tasks.snapshots import check_known, pointed_number

Progress = Callable[[int, int], None]
_SHOWN_FINDINGS = 3


class SnapshotRefusedError(StoreError):
    """A snapshot cannot be made the current one, because it is not whole."""


def roll_back(
    store: str,
    number: int | None = None,
    *,
    with_bytes: bool = False,
    dry_run: bool = False,
    on_progress: Progress | None = None,
) -> dict[str, Any]:
    """Make a snapshot the current one again, and its model generation the one in force.

    Readers see the one snapshot or the other, and so does the next run: killed before the pointer
    is replaced, nothing has changed; killed after it, all has.

    Parameters
    ----------
    number : int, optional
        The snapshot; by default the newest readable one before the current.
    with_bytes : bool
        Compare every byte of it with its manifest first, not only sizes.
    dry_run : bool
        Check, and change nothing.

    Raises
    ------
    UnknownSnapshotError
        If there is no snapshot of that number.
    ArtefactMissingError, DamagedArtefactError
        If there is none to go back to, or its manifest is gone or damaged.
    SnapshotRefusedError
        If a file of it is missing or changed.
    """
    layout = open_store(store)
    if number is not None:  # a slip of the keyboard is no run of the ledger
        check_known(layout, number)
    if dry_run:
        return _rolled_back(layout, number, with_bytes, on_progress)
    with begin_run(store, kind="rollback") as run:
        done = _rolled_back(layout, number, with_bytes, on_progress)
        _go_to(layout, done["snapshot"], done["generation"], run.check_still_writing)
        run.record = replace(run.record, snapshot=done["snapshot"])
    return done


def _rolled_back(
    layout: StoreLayout, number: int | None, with_bytes: bool, on_progress: Progress | None
) -> dict[str, Any]:
    before, _ = pointed_number(layout)
    snapshot = read_snapshot(layout, _one_before(layout, before) if number is None else number)
    if with_bytes:
        findings, _, _ = verify_snapshot(layout, snapshot, on_progress=on_progress)
        findings = [finding for finding in findings if finding.problem != "extra"]
    else:
        findings = check_sizes(layout, snapshot)
    if findings:
        raise SnapshotRefusedError(_why_refused(layout, snapshot.number, findings))
    features = _feature_fingerprint(layout, before)
    return {
        "snapshot": snapshot.number,
        "before": before,
        "digest": snapshot.digest,
        "generation": snapshot.generation,
        "feature_fingerprint": snapshot.feature_fingerprint,
        "changes_features": features not in {None, snapshot.feature_fingerprint},
        "counts": snapshot.counts,
        "next_number": max([*list_snapshots(layout), before or 0]) + 1,
    }


def _go_to(
    layout: StoreLayout, number: int, generation: str, check_still_writing: Callable[[], None]
) -> None:
    try:
        announce_generation(layout, generation)
    except StoreError:  # none is in force, or what is current cannot be read
        select_generation(layout, generation)
    check_still_writing()
    point_at(layout, number)
    if selected_generation(layout) != generation:
        raise StoreError(f"{layout.generation_path} does not name {generation}; roll back again")
    select_generation(layout, generation)


def _one_before(layout: StoreLayout, current: int | None) -> int:
    """Give the newest readable snapshot before the current one; the newest, if that is unknown."""
    numbers = [entry for entry in list_snapshots(layout) if current is None or entry < current]
    seen = _ended_with(layout)
    # A manifest whose publishing was killed was never before a reader: others come first.
    for number in sorted(numbers, key=lambda entry: (entry in seen, entry), reverse=True):
        try:
            return read_snapshot(layout, number).number
        except StoreError:
            continue
    raise ArtefactMissingError(
        f"the store {layout.root} has no snapshot before {current}: there is nothing to go back to"
        if current is not None
        else f"the store {layout.root} has no snapshot to go back to; 'musichash run' publishes one"
    )


def _ended_with(layout: StoreLayout) -> set[int | None]:
    """Give the snapshots that were current when some run ended."""
    try:
        return {record.snapshot for record in read_runs(layout)}
    except StoreError:  # the ledger is damaged: then all are alike
        return set()


def _feature_fingerprint(layout: StoreLayout, number: int | None) -> str | None:
    try:
        return None if number is None else read_snapshot(layout, number).feature_fingerprint
    except StoreError:
        return None


def _why_refused(layout: StoreLayout, number: int, findings: list[Finding]) -> str:
    shown = ", ".join(f"{one.path} is {one.problem}" for one in findings[:_SHOWN_FINDINGS])
    dots = f" and {len(findings) - _SHOWN_FINDINGS} more" if len(findings) > _SHOWN_FINDINGS else ""
    return (
        f"snapshot {number} is not whole ({shown}{dots}), nothing was changed; choose another from "
        f"'musichash snapshots list --store {layout.root}'"
    )
