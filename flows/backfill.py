"""The backfill flow: fill a store beside its nightly runs, over days if need be.

``musichash backfill`` runs it; any Prefect deployment can (entry point
``flows/backfill.py:backfill``).
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

from prefect import flow, runtime, tags
from prefect.artifacts import create_table_artifact
from prefect.states import Completed

from flows.artifacts import publish_run_artifacts
from flows.backfill_tables import describe_left
from flows.beside_runs import BesideRuns, writing_when_free
from flows.cluster import Workers
from flows.cluster_needs import check_needs
from flows.cluster_settings import ClusterSettings
from flows.night import Night
from flows.nightly import work_and_publish
from flows.progress import ArtifactReporter, Reporter, Reporters, current_reporter
from flows.run_logs import logging_to_ui
from flows.run_tags import run_tags, tag_run
from flows.server_guard import end_server_with_us
from flows.stage_tasks import (
    describe_task,
    encode_task,
    extract_task,
    plan_task,
    scan_collection_task,
)
from flows.unfinished_runs import leave_account
from musichash_core.config import PipelineConfig
from tasks.backfill import extend, resume_or_begin, working_beside_runs
from tasks.backfill_orders import BackfillError, Order, Request, order_of
from tasks.backfill_plan import plan_of, unfinished_partitions, work_left
from tasks.backfill_progress import Progress, progress_of
from tasks.backfill_publish import end, registered, with_collection
from tasks.backfill_sessions import SessionLog, with_sessions
from tasks.ledger import OpenRun, UnrecordedRun
from tasks.model_in_force import check_model
from tasks.resources import check_decoder
from tasks.scan import Collection, Found

STEPS = {"extract": extract_task, "describe": describe_task, "encode": encode_task}


def _run_name() -> str:
    """Name the run by what it fills."""
    given = runtime.flow_run.parameters
    what = given.get("collection") or given.get("model") or "features"
    return f"backfill {what} {Path(given.get('store', '?')).name}"


@flow(
    name="backfill",
    flow_run_name=_run_name,
    description="Fill a store with a new collection, model or feature configuration beside its "
    "nightly runs, which come first.",
    persist_result=False,
    log_prints=False,
    on_failure=[leave_account],
    on_crashed=[leave_account],
    on_cancellation=[leave_account],
)
def backfill(  # noqa: PLR0913 - the parameters of a flow
    store: str,
    collection: str | None = None,
    catalogue: str | None = None,
    labels: str | None = None,
    manifest: str | None = None,
    model: str | None = None,
    features: PipelineConfig | None = None,
    config: PipelineConfig | None = None,
    cluster: ClusterSettings | None = None,
    limit_hours: float | None = None,
) -> dict[str, Any]:
    """Fill what a store lacks, partition by partition; the same call goes on where it stopped.

    Parameters
    ----------
    store : str
        Where features, tables, models and indexes live; a collection creates it if missing.
    collection : str, optional
        Name of a new collection: its music is processed, then published and registered.
    catalogue : str, optional
        Folder of the collection's music.
    labels, manifest : str, optional
        Of the collection; as for the nightly flow.
    model : str, optional
        Generation to encode every published track with; nothing is published.
    features : PipelineConfig, optional
        Configuration to extract every published track anew with; nothing is published.
    config : PipelineConfig, optional
        That of the nightly runs; defaults to the built-in settings.
    cluster : ClusterSettings, optional
        Which Dask workers to use; defaults to workers on this machine.
    limit_hours : float, optional
        After which no more partitions begin.
    """
    end_server_with_us()
    store = str(Path(store).absolute())
    reporter = Reporters([current_reporter(), ArtifactReporter()])
    settings = features or config or PipelineConfig()
    where = cluster or ClusterSettings()
    check_needs(where)
    order = order_of(store, Request(collection, catalogue, labels, manifest, model, features))
    if where.scheduler is None and order.kind != "model":
        check_decoder(settings.decode)
    pace = BesideRuns(store, reporter, limit_hours)
    # What it fills is known only now.
    names = (*run_tags("backfill", store, [catalogue]), order.name)
    tag_run(names)
    with tags(*names), logging_to_ui():
        progress = _fill(store, order, settings, where, pace, reporter)
        account: dict[str, Any] = {"state": "stopped", "snapshot": None}
        if progress.is_complete:
            with writing_when_free(store, pace) as run:
                if run is not None:
                    account = _conclude(store, order, settings, where, run, reporter)
        account |= {"backfill": progress.numbers}
        _show(progress)
    message = f"{account['state']}; {progress.sentence}"
    # Prefect shows the message of the state and gives its data to the caller.
    return cast("dict[str, Any]", Completed(message=message, data=account))


def _fill(
    store: str,
    order: Order,
    settings: PipelineConfig,
    where: ClusterSettings,
    pace: BesideRuns,
    reporter: Reporter,
) -> Progress:
    """Do the long work, beside the runs; give how far it came."""
    folders = [store] if order.collection is None else [store, order.collection.root]
    with working_beside_runs(store, order), Workers(where, pace=pace, folders=folders) as workers:
        scan = _scanning(store, order, settings, reporter)
        state, _ = resume_or_begin(store, order, settings, scan, write=True)
        so_far = progress_of(store, state)
        reporter.say(f"{so_far.sentence}; left: {describe_left(so_far)}")
        log = SessionLog(store, state)
        pace.on_waited = log.waited
        night = Night(
            store=store,
            config=settings,
            run=UnrecordedRun(),
            workers=workers,
            reporter=reporter,
        )
        night.feature_fingerprint = state.feature_fingerprint
        night.on_partition = log.finished
        try:
            _work_through(night, log, pace)
        finally:
            state = log.close()
        progress = progress_of(store, state)
        reporter.say(progress.sentence)
        return progress


def _scanning(
    store: str, order: Order, settings: PipelineConfig, reporter: Reporter
) -> Callable[[Collection], Found]:
    """Give what finds the files of a collection."""
    return partial(
        scan_collection_task,
        store,
        reporter=reporter,
        backfill=order.name,
        max_file_mb=settings.decode.max_file_mb,
    )


def _work_through(night: Night, log: SessionLog, pace: BesideRuns) -> None:
    """Take every partition through all steps, also of tracks that are published meanwhile."""
    left_before: set[str] | None = None
    while True:
        for step in log.state.steps:
            work = work_left(night.store, log.state)
            night.plan = plan_of(log.state, work)
            night.only = work.partition_ids
            STEPS[step](night)
            if pace.is_over():
                return
        work_left(night.store, log.state)  # partitions that were cut have other names now
        left = unfinished_partitions(night.store, log.state)
        if left and left == left_before:
            raise BackfillError(
                f"{len(left)} partition(s) stay unfinished (one is {min(left)}); run "
                "'musichash verify' and report this"
            )
        left_before = left
        if not left and not extend(night.store, log.state, night.config):
            return


def _conclude(
    store: str,
    order: Order,
    settings: PipelineConfig,
    where: ClusterSettings,
    run: OpenRun,
    reporter: Reporter,
) -> dict[str, Any]:
    """Record a complete backfill, and publish it if it is a collection; under the lock."""
    account: dict[str, Any] = {"state": "complete", "snapshot": None}
    if order.collection is not None:
        with Workers(where, folders=[store]) as workers, registered(store, order.collection):
            night = Night(store=store, config=settings, run=run, workers=workers, reporter=reporter)
            found = _scanning(store, order, settings, reporter)(order.collection)
            catalogue = with_collection(store, order.collection, found.catalogue)
            check_model(store, catalogue, settings)
            plan_task(night, catalogue)
            work_and_publish(night)
        account |= publish_run_artifacts(night)
    run.record = with_sessions(run.record, store, order.name)
    end(store, order.name)
    return account


def _show(progress: Progress) -> None:
    """Leave in the Prefect UI how far the backfill is."""
    create_table_artifact(
        key="backfill",
        table=[
            {
                "step": step["step"],
                "partitions": step["n_partitions"],
                "done": step["n_done"],
                "hours of audio": round(step["audio_s"] / 3600, 2),
                "audio seconds per second": round(step["audio_per_s"], 1),
            }
            for step in progress.numbers["steps"]
        ],
        description=progress.sentence,
    )
