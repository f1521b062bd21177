"""Subcommands for single stages of a run, in the order of the pipeline.

Public: `add_to`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from flows.commands_index import (
    DryRunOption,
    KindOption,
    MaxLatencyOption,
    MaxMemoryOption,
    ShowOption,
    index_by_hand,
    preview_index,
    publish_index,
    show_index,
)
from flows.options import (
    EXIT_WITH_FAILURES,
    CataloguesOption,
    ClusterOption,
    ConfigOption,
    DeviceOption,
    JsonOption,
    LabelsOption,
    ManifestOption,
    RetryOption,
    SchedulerOption,
    StoreOption,
    WorkerMemoryOption,
    WorkersOption,
    check_device_of,
    cluster_from,
    console_for,
    write_json,
)
from flows.progress import RichReporter

if TYPE_CHECKING:  # these load Dask and Prefect, which --help does not need
    from flows.cluster_settings import ClusterSettings
    from flows.night import Night


def add_to(app: typer.Typer) -> None:
    """Register the subcommands, in the order of the pipeline."""
    for command in (scan, extract, describe, train, encode, index):
        app.command(rich_help_panel="Stages of a run")(command)


def scan(
    catalogue: CataloguesOption,
    store: StoreOption,
    labels: LabelsOption = None,
    manifest: ManifestOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find the audio files of a catalogue, identify new and changed ones, read labels.

    [bold]Examples:[/bold]
    musichash scan --catalogue ~/Music --store ~/music.store
    musichash scan --catalogue ~/Music --store ~/music.store --manifest tonight.csv
    """
    from flows.scan_stages import scan_stage
    from musichash_core.config import load_config
    from tasks.ledger import holding
    from tasks.scan import record

    settings = load_config(config)
    reporter = RichReporter(console_for(as_json=as_json))
    found = scan_stage(
        store,
        catalogue,
        labels,
        reporter,
        manifest=manifest,
        max_file_mb=settings.decode.max_file_mb,
    )
    with holding(store, create=True, kind="scan"):
        record(store, found.catalogue)
    if as_json:
        write_json(found.counts)


@contextmanager
def _night(
    kind: str, store: str, config: Path | None, cluster: "ClusterSettings", *, as_json: bool
) -> Iterator["Night"]:
    """Open a store for a single stage."""
    from flows.cluster import Workers
    from flows.night import Night
    from musichash_core.config import load_config
    from tasks.ledger import begin_run

    settings = load_config(config)
    absolute = str(Path(store).absolute())
    with begin_run(absolute, kind=kind) as opened, Workers(cluster, folders=[absolute]) as pool:
        yield Night(
            store=absolute,
            config=settings,
            run=opened,
            workers=pool,
            reporter=RichReporter(console_for(as_json=as_json)),
        )


def extract(
    store: StoreOption,
    config: ConfigOption = None,
    retry_failed: RetryOption = False,
    workers: WorkersOption = None,
    worker_memory: WorkerMemoryOption = None,
    scheduler: SchedulerOption = None,
    cluster: ClusterOption = None,
    as_json: JsonOption = False,
) -> None:
    """Decode the scanned tracks that are new and store their features.

    [bold]Example:[/bold] musichash extract --store ~/music.store --workers 8
    """
    from flows.stages import extract_stage, plan_stage
    from tasks.scan import recorded

    where = cluster_from(workers, worker_memory, scheduler, cluster)
    with _night("extract", store, config, where, as_json=as_json) as night:
        plan_stage(night, recorded(store), retry_failed=retry_failed)
        summary = extract_stage(night)
    if as_json:
        write_json(asdict(summary))
    raise typer.Exit(EXIT_WITH_FAILURES if summary.n_failed else 0)


def describe(
    store: StoreOption,
    config: ConfigOption = None,
    workers: WorkersOption = None,
    worker_memory: WorkerMemoryOption = None,
    scheduler: SchedulerOption = None,
    cluster: ClusterOption = None,
    as_json: JsonOption = False,
) -> None:
    """Describe the tracks that have features: what the default encoder trains on and encodes.

    [bold]Example:[/bold] musichash describe --store ~/music.store
    """
    from flows.stages import describe_stage

    where = cluster_from(workers, worker_memory, scheduler, cluster)
    with _night("describe", store, config, where, as_json=as_json) as night:
        summary = describe_stage(night)
    if as_json:
        write_json(asdict(summary))


def train(
    store: StoreOption,
    config: ConfigOption = None,
    device: DeviceOption = "auto",
    scheduler: SchedulerOption = None,
    cluster: ClusterOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train a new model generation on the labelled tracks that have features.

    It is put in force only where the store has no model yet; else it is a candidate, which
    'musichash backfill --model' fills, 'musichash models compare' judges and 'musichash models
    promote' publishes. Interrupted at any time, the same command goes on where it stopped. With a
    cluster it is trained on a worker that offers a GPU, if there is one; else in this process.

    [bold]Examples:[/bold]
    musichash train --store ~/music.store --config small.toml
    musichash train --store ~/music.store --cluster deploy/clusters/scheduler.toml --device cuda
    """
    from flows.stages import plan_stage, train_stage
    from tasks.scan import recorded

    where = cluster_from(None, None, scheduler, cluster)
    check_device_of(where, device)
    with _night("train", store, config, where, as_json=as_json) as night:
        plan_stage(night, recorded(store), retrain=True)
        summary = train_stage(night, retrain=True, as_candidate=True, device=device)
    if as_json:
        write_json(asdict(summary))


def encode(
    store: StoreOption,
    config: ConfigOption = None,
    workers: WorkersOption = None,
    worker_memory: WorkerMemoryOption = None,
    scheduler: SchedulerOption = None,
    cluster: ClusterOption = None,
    as_json: JsonOption = False,
) -> None:
    """Predict genres and compute hash codes of the tracks that have features and no codes yet.

    [bold]Example:[/bold] musichash encode --store ~/music.store
    """
    from flows.stages import encode_stage

    where = cluster_from(workers, worker_memory, scheduler, cluster)
    with _night("encode", store, config, where, as_json=as_json) as night:
        summary = encode_stage(night)
    if as_json:
        write_json(asdict(summary))


def index(
    store: StoreOption,
    config: ConfigOption = None,
    show: ShowOption = False,
    kind: KindOption = None,
    max_memory: MaxMemoryOption = None,
    max_latency: MaxLatencyOption = None,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write the tables, build the search index, and publish both as a snapshot.

    With --show, a kind or a budget it is about what is published already: the tables stay, and only
    the index is told or built anew. What is chosen by hand stays in force in later nights, as long
    as their configuration says nothing about the index.

    [bold]Examples:[/bold]
    musichash index --store ~/music.store
    musichash index --store ~/music.store --show
    musichash index --store ~/music.store --max-memory 2GB --max-latency 5ms --dry-run
    """
    wanted = index_by_hand(kind, max_memory, max_latency, config=config)
    if show:
        if wanted.is_by_hand or dry_run:
            raise typer.BadParameter("--show says what is published; leave the other options out")
        show_index(store, as_json=as_json)
        return
    if dry_run:
        preview_index(store, wanted, as_json=as_json)
        return
    if wanted.is_by_hand:
        publish_index(store, wanted, as_json=as_json)
        return
    from flows.stages import index_stage

    with _night(
        "index", store, config, cluster_from(None, None, None, None), as_json=as_json
    ) as night:
        summary = index_stage(night)
    if as_json:
        write_json(asdict(summary))
    raise typer.Exit(EXIT_WITH_FAILURES if summary.n_failed else 0)
