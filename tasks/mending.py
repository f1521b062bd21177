"""Bringing features, tables, codes and index of a store into agreement again.

Public: `reconcile_store`.
"""

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

from storage.reconciling import Reconciled, reconcile
from storage.store import holding_off_backfills, open_store
from tasks.ledger import begin_run, closed


def reconcile_store(
    store: str,
    *,
    dry_run: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Check all partitions and the current snapshot, and mend what can be mended.

    Returns
    -------
    dict
        ``is_mended``, ``snapshot`` (the current one afterwards), ``steps``, ``disagreements``,
        ``lost`` (tracks whose features were removed), ``files``, ``bytes`` and ``dry_run``.

    Raises
    ------
    StoreLockedError
        If a run is writing.
    StoreError
        If the current snapshot cannot be found: the message says what to roll back to.
    """
    layout = open_store(store)
    if dry_run:
        return _told(reconcile(layout, dry_run=True, on_progress=on_progress), dry_run=True)
    with begin_run(store, kind="reconcile") as run, holding_off_backfills(layout):
        done = reconcile(layout, record=closed(run.record), on_progress=on_progress)
        run.record = replace(run.record, snapshot=done.snapshot)
    return _told(done, dry_run=False)


def _told(done: Reconciled, *, dry_run: bool) -> dict[str, Any]:
    return {
        "is_mended": done.is_mended,
        "snapshot": done.snapshot,
        "steps": [asdict(step) for step in done.steps],
        "disagreements": [entry.what for entry in done.disagreements],
        "lost": asdict(done.lost),
        "files": done.n_files,
        "bytes": done.n_bytes,
        "dry_run": dry_run,
    }
