"""Backfills: what to fill, the plan of collection x partition, and what is left of it.

Public: `resume_or_begin`, `resume`, `begin`, `extend`, `abandon`, `working_beside_runs`,
`writer_of`.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from musichash_core.config import PipelineConfig
from musichash_core.records import Partition
from storage.backfills import (
    PLAN,
    BackfillState,
    Step,
    begin_backfill,
    drop_backfill,
    read_backfill,
    read_plan,
    write_plan,
)
from storage.catalogue import Catalogue, read_catalogue
from storage.collections import Collection, check_is_free, read_collections
from storage.errors import ArtefactMissingError
from storage.extracted import Extracted, read_extracted
from storage.generations import model_settings, read_model_card, selected_generation
from storage.layout import StoreLayout
from storage.published import published_track_ids
from storage.snapshots import current_snapshot
from storage.source_files import CatalogueRows
from storage.store import create_store, lock_owner, open_store, working_beside, writing
from tasks.backfill_orders import BackfillError, Order
from tasks.backfill_plan import plan_table
from tasks.plan import make_plan
from tasks.run_logs import logging_run
from tasks.scan import Found

_SETTINGS = ("root", "labels", "manifest")


def resume_or_begin(
    store: str,
    order: Order,
    config: PipelineConfig,
    scan: Callable[[Collection], Found],
    *,
    write: bool,
) -> tuple[BackfillState, pa.Table]:
    """Give the open backfill of an order and its plan, or begin it; see `resume` and `begin`.

    Parameters
    ----------
    scan : callable
        Finds the files of a collection; called if the order is for one and begins.
    """
    state = resume(store, order, config)
    if state is not None:
        return state, read_plan(open_store(store), state.name)
    catalogue = None if order.collection is None else scan(order.collection).catalogue
    return begin(store, order, config, catalogue, write=write)


def resume(store: str, order: Order, config: PipelineConfig) -> BackfillState | None:
    """Give the open backfill of an order; None when there is none and it must begin.

    Raises
    ------
    BackfillError
        If it was begun with other settings.
    CollectionError
        If the collection's name or root is registered otherwise.
    """
    layout = open_store(store)
    if order.collection is not None:
        check_is_free(order.collection, read_collections(layout))
    state = read_backfill(layout, order.name)
    if state is None or not state.is_open:
        return None
    if state.settings != _settings(order):
        raise BackfillError(
            f"the backfill {order.name} was begun with {_spoken(state.settings)}, not "
            f"{_spoken(_settings(order))}; go on as it began, or give it up with --abandon"
        )
    wanted = _fingerprint(layout, order, config)
    if state.feature_fingerprint != wanted:
        raise BackfillError(
            f"the backfill {order.name} was begun with features {state.feature_fingerprint}, the "
            f"configuration makes {wanted}; use the --config it began with, or give it up with "
            "--abandon"
        )
    steps, generation = _steps(layout, order, config)
    return replace(state, steps=steps, generation=generation)


def _settings(order: Order) -> dict[str, Any]:
    if order.collection is None:
        return {}
    return {name: getattr(order.collection, name) for name in _SETTINGS}


def _spoken(settings: dict[str, Any]) -> str:
    return ", ".join(f"{name} {settings[name] or 'not given'}" for name in _SETTINGS)


def _fingerprint(layout: StoreLayout, order: Order, config: PipelineConfig) -> str:
    if order.kind == "model":
        return str(read_model_card(layout, order.target)["feature_fingerprint"])
    return config.feature_fingerprint


def _steps(
    layout: StoreLayout, order: Order, config: PipelineConfig
) -> tuple[tuple[Step, ...], str | None]:
    """Say what is done to each partition, and whose codes are made."""
    if order.kind == "model":
        return _model_steps(layout, order.target), order.target
    steps: tuple[Step, ...] = ("extract",)
    if config.models.encoder == "musicnn":
        steps = ("extract", "describe")
    if order.kind == "features":
        return steps, None
    generation = selected_generation(layout)
    if generation is None:  # the publishing run will train, or install, the first one
        return steps, None
    return (*steps, "encode"), generation


def _model_steps(layout: StoreLayout, generation: str) -> tuple[Step, ...]:
    """Say what a generation needs of each partition that has features."""
    reads = model_settings(read_model_card(layout, generation)).encoder
    return ("describe", "encode") if reads == "musicnn" else ("encode",)


def begin(
    store: str, order: Order, config: PipelineConfig, catalogue: Catalogue | None, *, write: bool
) -> tuple[BackfillState, pa.Table]:
    """Make the plan of a backfill, and store it.

    Parameters
    ----------
    catalogue : Catalogue, optional
        What a scan of the collection found; the other kinds take what is published.
    write : bool
        Whether to store it; a dry run does not.

    Returns
    -------
    state, plan
        The backfill and its plan, a table of `storage.backfills.PLAN`.

    Raises
    ------
    BackfillError
        If nothing is published that could be filled.
    ArtefactMissingError
        If there is no such generation, or published tracks have no features that it reads.
    """
    layout = open_store(store)
    steps, generation = _steps(layout, order, config)
    state = BackfillState(
        name=order.name,
        kind=order.kind,
        target=order.target,
        steps=steps,
        feature_fingerprint=_fingerprint(layout, order, config),
        begun=datetime.now(UTC).isoformat(timespec="seconds"),
        generation=generation,
        settings=_settings(order),
    )
    plan = _plan_table(layout, state, config, catalogue, except_ids=set())
    if write:
        begin_backfill(layout, state, plan)
    return state, plan


def extend(store: str, state: BackfillState, config: PipelineConfig) -> int:
    """Add to a plan what was published since it was made; give the number of tracks added.

    A collection is looked through again when it is published, so nothing is added to its plan.
    """
    layout = open_store(store)
    if state.kind == "collection":
        return 0
    plan = read_plan(layout, state.name)
    known = set(plan["track_id"].to_pylist())
    added = _plan_table(layout, state, config, None, except_ids=known)
    if len(added):
        write_plan(layout, state.name, pa.concat_tables([plan, added]))
    return len(added)


def _plan_table(
    layout: StoreLayout,
    state: BackfillState,
    config: PipelineConfig,
    catalogue: Catalogue | None,
    *,
    except_ids: set[str],
) -> pa.Table:
    wanted: set[str] = set()
    if catalogue is None:
        wanted = published_track_ids(layout, current_snapshot(layout)) - except_ids
        if not wanted and not except_ids:
            raise BackfillError(
                f"the store {layout.root} has published no tracks to fill; publish some first "
                f"with 'musichash run --catalogue DIR --store {layout.root}'"
            )
        if not wanted:
            return PLAN.empty_table()
        catalogue = _published_places(layout, wanted)
    extracted = read_extracted(layout, state.feature_fingerprint)
    if state.kind == "model":
        _check_has_features(layout, state, wanted, extracted)
    to_extract: Sequence[Partition] = ()
    if "extract" in state.steps:
        to_extract = make_plan(str(layout.root), catalogue, config, allow_shrink=True).partitions
    return plan_table(state, catalogue, to_extract, extracted)


def _published_places(layout: StoreLayout, track_ids: set[str]) -> Catalogue:
    """Give where the last run found some published tracks."""
    table = read_catalogue(layout).table
    wanted = pa.array(sorted(track_ids), pa.string())
    return Catalogue(CatalogueRows(table.filter(pc.is_in(table["track_id"], value_set=wanted))), ())


def _check_has_features(
    layout: StoreLayout, state: BackfillState, wanted: set[str], extracted: Extracted
) -> None:
    failed = set(extracted.failures["track_id"].to_pylist())
    missing = wanted - extracted.done_ids - failed
    if missing:
        raise ArtefactMissingError(
            f"{len(missing)} of {len(wanted)} published tracks have no features "
            f"{state.feature_fingerprint}, which the model {state.generation} reads; extract them "
            f"first with 'musichash backfill --features CONFIG.toml --store {layout.root}' and the "
            "configuration that the model was trained with"
        )


@contextmanager
def working_beside_runs(store: str, order: Order) -> Iterator[None]:
    """Hold the right of one backfill to work beside the runs; a collection may found the store.

    Raises
    ------
    StoreError
        If there is no such store, it cannot be written, or another backfill is at work.
    """
    layout = create_store(store) if order.kind == "collection" else open_store(store)
    name = f"backfill-{order.name}"
    with working_beside(layout, what=f"backfill {order.name}"), logging_run(layout, name):
        yield


def writer_of(store: str) -> str | None:
    """Say who writes to a store now; None when nobody does."""
    owner = lock_owner(open_store(store))
    return None if owner is None else str(owner)


def abandon(store: str, order: Order) -> None:
    """Give an open backfill up; what it filled stays until ``gc`` removes it.

    Raises
    ------
    BackfillError
        If none is open.
    """
    layout = open_store(store)
    state = read_backfill(layout, order.name)
    if state is None or not state.is_open:
        raise BackfillError(
            f"no backfill {order.name} is open in {layout.root}; 'musichash backfill --status' "
            "lists those that are"
        )
    with working_beside(layout, what=f"backfill {order.name}"), writing(layout, what="backfill"):
        drop_backfill(layout, order.name)
