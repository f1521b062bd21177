"""The nightly flow: everything from the catalogue's files to a published snapshot.

``musichash run`` runs it; any Prefect deployment can (entry point ``flows/nightly.py:nightly``).
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, cast

from prefect import flow, runtime
from prefect.states import Completed

from flows.artifacts import publish_run_artifacts
from flows.cluster import Workers
from flows.cluster_needs import check_needs
from flows.cluster_settings import ClusterSettings
from flows.night import Night
from flows.progress import ArtifactReporter, Reporters, current_reporter
from flows.run_logs import logging_to_ui
from flows.run_tags import run_tags, tag_run
from flows.server_connection import connect_as_asked
from flows.server_guard import end_server_with_us, serve_within_process
from flows.stage_tasks import (
    describe_task,
    encode_task,
    extract_task,
    index_task,
    plan_task,
    report_task,
    scan_task,
    train_task,
)
from flows.training_place import check_training_device
from flows.unfinished_runs import leave_account
from musichash_core.config import PipelineConfig
from tasks.ledger import begin_run
from tasks.model_in_force import check_model
from tasks.resources import check_decoder

# Prefect asks for its server before the first line of a flow.
connect_as_asked()
serve_within_process()


def _run_name() -> str:
    """Name the run by its first catalogue and the date."""
    catalogues = runtime.flow_run.parameters.get("catalogues") or ["?"]
    return f"nightly {Path(catalogues[0]).name} {datetime.now(UTC):%Y-%m-%d}"


@flow(
    name="nightly",
    flow_run_name=_run_name,
    description="Scan, extract, describe, train or load, encode and publish a music catalogue.",
    persist_result=False,
    log_prints=False,
    on_failure=[leave_account],
    on_crashed=[leave_account],
    on_cancellation=[leave_account],
)
def nightly(
    catalogues: list[str],
    store: str,
    labels: str | None = None,
    manifest: str | None = None,
    config: PipelineConfig | None = None,
    cluster: ClusterSettings | None = None,
    retry_failed: bool = False,
    allow_shrink: bool = False,
    retrain: bool = False,
    device: Literal["auto", "cpu", "cuda"] = "auto",
) -> dict[str, Any]:
    """Process what is new in a catalogue and publish the result.

    Parameters
    ----------
    catalogues : list of str
        Folders of music files.
    store : str
        Where features, tables, models and indexes live; created if missing.
    labels : str, optional
        CSV, Parquet or JSON lines with the columns "track path", "label", "group"; without it the
        first folder below a catalogue root is a track's label; "none" for no labels at all.
    manifest : str, optional
        CSV, Parquet or JSON lines that names the files to process (columns "path", "id", "label",
        "group", "root"); without it all audio files below the roots are processed.
    config : PipelineConfig, optional
        What to compute; defaults to the built-in settings.
    cluster : ClusterSettings, optional
        Which Dask workers to use; defaults to workers on this machine.
    retry_failed : bool
        Try tracks again that failed for good before.
    allow_shrink : bool
        Accept a catalogue that has lost most of its tracks.
    retrain : bool
        Train a new model although the store has one.
    device : "auto", "cpu" or "cuda"
        Where models are trained; "auto" is a worker with a GPU, or this machine's, where there is
        one.
    """
    end_server_with_us()
    tag_run(run_tags("nightly", store, catalogues))
    store = str(Path(store).absolute())  # workers may stand in another folder
    reporter = Reporters([current_reporter(), ArtifactReporter()])
    settings = config or PipelineConfig()
    where = cluster or ClusterSettings()
    check_needs(where)
    check_training_device(device, where)
    if where.scheduler is None:
        check_decoder(settings.decode)
    catalogue = scan_task(
        store,
        catalogues,
        labels,
        reporter,
        manifest=manifest,
        max_file_mb=settings.decode.max_file_mb,
    ).catalogue
    check_model(store, catalogue, settings, retrain=retrain)
    folders = (store, *(str(Path(root).absolute()) for root in catalogues))
    with logging_to_ui():
        with begin_run(store, create=True) as run, Workers(where, folders=folders) as workers:
            night = Night(
                store=store,
                config=settings,
                run=run,
                workers=workers,
                reporter=reporter,
            )
            plan_task(
                *(night, catalogue),
                retry_failed=retry_failed,
                allow_shrink=allow_shrink,
                retrain=retrain,
            )
            work_and_publish(night, retrain=retrain, device=device)
        account = publish_run_artifacts(night)
    # Prefect shows the message of the state and gives its data to the caller.
    return cast("dict[str, Any]", Completed(message=account["sentence"], data=account))


def work_and_publish(
    night: Night, *, retrain: bool = False, device: Literal["auto", "cpu", "cuda"] = "auto"
) -> None:
    """Do what is planned, from the features to the report; within a flow."""
    extract_task(night)
    if night.config.models.encoder == "musicnn":
        describe_task(night)
    train_task(night, retrain=retrain, device=device)
    encode_task(night)
    index_task(night)
    report_task(night)
