"""Collecting garbage: what no kept snapshot, no next run and no backfill needs.

Even what removes needs some kilobytes: for its lock, its record and its log. On a disk that is full
to the last byte the store's report makes room for them; the next run writes it anew.

Public: `plan_garbage`, `collect_garbage`.
"""

import errno
from collections.abc import Callable
from typing import Any

from musichash_core.config import PipelineConfig
from musichash_core.errors import ParameterError
from storage.backfills import open_backfills, read_backfills
from storage.errors import StoreError
from storage.garbage import AlsoNeeded, Collection, collect, measure_leftovers, plan_collection
from storage.layout import StoreLayout
from storage.store import beside_owner, holding_off_backfills, lock_owner, open_store
from tasks.ledger import begin_run


def plan_garbage(
    store: str, config: PipelineConfig, *, keep: int, with_models: bool = False
) -> dict[str, Any]:
    """Say what a garbage collection would remove; changes nothing and needs no lock."""
    layout = open_store(store)
    is_quiet = lock_owner(layout) is None and beside_owner(layout) is None
    leftovers = measure_leftovers(layout) if is_quiet else (0, 0)
    return _told(_planned(layout, config, keep, with_models), leftovers)


def collect_garbage(
    store: str,
    config: PipelineConfig,
    *,
    keep: int,
    with_models: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Remove what no kept snapshot, no next run and no backfill needs; say what it was.

    Parameters
    ----------
    config : PipelineConfig
        What the next run computes: features of its settings are needed by it.
    keep : int
        How many of the newest snapshots stay; the current one stays always.
    with_models : bool
        Whether models go too that no kept snapshot and no open backfill is of, and that are not
        in force.

    Raises
    ------
    StoreLockedError
        If a run is writing.
    """
    layout = open_store(store)
    try:
        return _collected(layout, config, keep, with_models, on_progress)
    except StoreError as error:
        if not _is_full(error) or not layout.report_path.exists():
            raise
        layout.report_path.unlink(missing_ok=True)
    return _collected(layout, config, keep, with_models, on_progress)


def _collected(
    layout: StoreLayout,
    config: PipelineConfig,
    keep: int,
    with_models: bool,
    on_progress: Callable[[int, int], None] | None,
) -> dict[str, Any]:
    is_quiet = lock_owner(layout) is None and beside_owner(layout) is None
    leftovers = measure_leftovers(layout) if is_quiet else (0, 0)  # the lock's taker sweeps them
    with begin_run(str(layout.root), kind="gc"), holding_off_backfills(layout) as is_alone:
        plan = _planned(layout, config, keep, with_models)
        collect(layout, plan, is_alone=is_alone, on_progress=on_progress)
    return _told(plan, leftovers)


def _is_full(error: BaseException) -> bool:
    """Tell whether an error comes of a disk, or a quota, that is full."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in {errno.ENOSPC, errno.EDQUOT}:
            return True
        cause = cause.__cause__
    return False


def _planned(
    layout: StoreLayout, config: PipelineConfig, keep: int, with_models: bool
) -> Collection:
    if keep < 1:
        raise ParameterError(f"--keep {keep}: at least 1 snapshot must be kept")
    begun = open_backfills(layout)
    ended = [state for state in read_backfills(layout) if not state.is_open]
    needs = AlsoNeeded(
        whole_fingerprints=frozenset(state.feature_fingerprint for state in begun),
        whole_generations=frozenset(state.generation for state in begun if state.generation),
        fingerprints=frozenset(
            {config.feature_fingerprint, *(state.feature_fingerprint for state in ended)}
        ),
    )
    return plan_collection(layout, keep=keep, also_needed=needs, with_models=with_models)


def _told(plan: Collection, leftovers: tuple[int, int]) -> dict[str, Any]:
    kinds: dict[str, dict[str, int]] = {}
    for removal in plan.removals:
        sums = kinds.setdefault(removal.kind, {"count": 0, "bytes": 0})
        sums["count"] += 1
        sums["bytes"] += removal.n_bytes
    if leftovers[0]:
        kinds["left-over of a killed run"] = {"count": leftovers[0], "bytes": leftovers[1]}
    return {
        "kept": list(plan.kept),
        "removed": list(plan.removed),
        "bytes": plan.n_bytes + leftovers[1],
        "kinds": kinds,
        "paths": [removal.path for removal in plan.removals],
    }
