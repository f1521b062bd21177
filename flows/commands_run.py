"""Subcommands that do the work: ``run`` and the stages that it composes, and ``demo``.

Public: `add_to`.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from flows.options import (
    CataloguesOption,
    ConfigOption,
    JsonOption,
    LabelsOption,
    ManifestOption,
    MaybeCataloguesOption,
    RetryOption,
    SchedulerOption,
    ShrinkOption,
    StoreOption,
    WorkerMemoryOption,
    WorkersOption,
    console_for,
    write_json,
)
from flows.progress import RichReporter, reporting

if TYPE_CHECKING:  # these load Dask and Prefect, which --help does not need
    from datetime import datetime

    from flows.cluster import ClusterSettings
    from flows.night import Night
    from musichash_core.config import PipelineConfig
    from tasks.scan import Catalogue

EXIT_WITH_FAILURES = 3

RetrainOption = Annotated[
    bool, typer.Option("--retrain", help="Train a new model although the store has one.")
]
DeviceOption = Annotated[
    Literal["auto", "cpu", "cuda"],
    typer.Option("--device", help="Where models are trained; auto is a GPU where there is one."),
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")
]


def add_to(app: typer.Typer) -> None:
    """Register the subcommands, in the order of the pipeline."""
    app.command()(run)
    app.command()(demo)
    for command in (scan, plan, extract, describe, train, encode, index):
        app.command(rich_help_panel="Stages of a run")(command)


def _settings(
    workers: int | None, worker_memory: int | None, scheduler: str | None
) -> "ClusterSettings":
    from flows.cluster import ClusterSettings

    return ClusterSettings(
        n_workers=workers,
        worker_memory_bytes=None if worker_memory is None else worker_memory * 1_000_000,
        scheduler=scheduler,
    )


def run(
    catalogue: CataloguesOption,
    store: StoreOption,
    labels: LabelsOption = None,
    manifest: ManifestOption = None,
    config: ConfigOption = None,
    dry_run: DryRunOption = False,
    retry_failed: RetryOption = False,
    retrain: RetrainOption = False,
    device: DeviceOption = "auto",
    allow_shrink: ShrinkOption = False,
    workers: WorkersOption = None,
    worker_memory: WorkerMemoryOption = None,
    scheduler: SchedulerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Process what is new in a catalogue: scan, extract, describe, train or load, encode, publish.

    Interrupted at any time, the same command goes on where it stopped. Unchanged tracks are never
    decoded again. Folders of the catalogue are labels to train with; a catalogue with fewer than
    two labels, or with --labels none, is encoded with the shipped default model.

    [bold]Examples:[/bold]
    musichash run --catalogue ~/Music --store ~/music.store
    musichash run --catalogue ~/Music --store ~/music.store --labels none
    """
    from musichash_core.config import load_config
    from tasks.scan import check_catalogues
    from tasks.train import check_device

    settings = load_config(config)
    check_catalogues(catalogue)
    check_device(device)
    if dry_run:
        asked = _Asked(
            retry_failed=retry_failed,
            retrain=retrain,
            allow_shrink=allow_shrink,
            n_workers=_workers_at_once(workers, scheduler),
        )
        _show_fresh_plan(store, catalogue, labels, manifest, settings, asked, as_json=as_json)
        if not as_json:
            typer.echo("dry run: nothing was written")
        return
    from flows.nightly import nightly

    console = console_for(as_json=as_json)
    with reporting(RichReporter(console)):
        account = nightly(
            catalogues=[str(Path(folder).absolute()) for folder in catalogue],
            store=str(Path(store).absolute()),
            labels=labels,
            manifest=manifest,
            config=settings,
            cluster=_settings(workers, worker_memory, scheduler),
            retry_failed=retry_failed,
            allow_shrink=allow_shrink,
            retrain=retrain,
            device=device,
        )
    _conclude(account, as_json=as_json)


def _conclude(account: dict[str, Any], *, as_json: bool) -> None:
    """Print a run's account and choose the exit code."""
    n_failed = account["run"]["failed"] + account["run"]["quarantined"]
    if as_json:
        write_json(account)
    elif n_failed:
        typer.echo(
            f"done with {n_failed} failure(s): 'musichash failures' tells why and what to do"
        )
    raise typer.Exit(EXIT_WITH_FAILURES if n_failed else 0)


def demo(
    store: Annotated[
        str, typer.Option("--store", help="Where to build the demonstration store.")
    ] = "demo/store",
    workers: WorkersOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run the whole pipeline on the sample catalogue of real music, and search in it.

    Needs a checkout of the repository, which holds the music. One file of it is damaged on
    purpose, so this ends with exit code 3.

    [bold]Example:[/bold] musichash demo --store /tmp/demo-store
    """
    from flows.demonstration import demonstrate

    account = demonstrate(
        store, cluster=_settings(workers, None, None), console=console_for(as_json=as_json)
    )
    _conclude(account, as_json=as_json)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is asked of a run that is only planned."""

    retry_failed: bool
    retrain: bool
    allow_shrink: bool
    n_workers: int


def _workers_at_once(workers: int | None, scheduler: str | None) -> int:
    """Give the workers that an estimate counts on; here, never more than can compute at once."""
    n_cores = os.cpu_count() or 1
    if workers is None:
        return n_cores
    return workers if scheduler is not None else min(workers, n_cores)


def _show_fresh_plan(
    store: str,
    catalogue: list[str],
    labels: str | None,
    manifest: str | None,
    config: "PipelineConfig",
    asked: _Asked,
    *,
    as_json: bool,
) -> None:
    """Scan, and say what a run would do; writes nothing."""
    from flows.stages import check_model, scan_stage

    found = scan_stage(
        store,
        catalogue,
        labels,
        RichReporter(console_for(as_json=as_json)),
        manifest=manifest,
        max_file_mb=config.decode.max_file_mb,
    )
    check_model(store, found.catalogue, config, retrain=asked.retrain)
    _show_plan(store, found.catalogue, config, asked, scanned=None, as_json=as_json)


def _show_plan(
    store: str,
    catalogue: "Catalogue",
    config: "PipelineConfig",
    asked: _Asked,
    *,
    scanned: "datetime | None",
    as_json: bool,
) -> None:
    """Say what a run would do; `scanned` is when the catalogue was recorded, None for just now."""
    from flows.wording import describe_plan, plan_tables
    from tasks.plan import make_plan

    made = make_plan(
        store,
        catalogue,
        config,
        retry_failed=asked.retry_failed,
        allow_shrink=True,
        retrain=asked.retrain,
    )
    made = replace(
        made,
        n_workers=asked.n_workers,
        refusal=None if asked.allow_shrink else made.refusal,
    )
    if as_json:
        when = None if scanned is None else scanned.isoformat(timespec="seconds")
        write_json(made.counts | {"scanned_at": when})
        return
    console = console_for(as_json=False)
    reporter = RichReporter(console)
    if scanned is not None:
        reporter.finish("scan", f"recorded {scanned:%Y-%m-%d %H:%M} UTC; --catalogue scans afresh")
    reporter.finish("plan", describe_plan(made))
    for table in plan_tables(made):
        console.print(table)
    if made.refusal is not None:
        reporter.say(f"a run would stop here: {made.refusal}")


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
    from flows.stages import scan_stage
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


def plan(
    store: StoreOption,
    catalogue: MaybeCataloguesOption = None,
    labels: LabelsOption = None,
    manifest: ManifestOption = None,
    config: ConfigOption = None,
    retry_failed: RetryOption = False,
    retrain: RetrainOption = False,
    workers: WorkersOption = None,
    scheduler: SchedulerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what is new, changed, moved, removed, done or failed, and what the work will cost.

    Core hours, GPU hours, bytes and time come from the rates that this store's own runs measured;
    before the first run they are guesses, and are called so. Writes nothing.

    [bold]Examples:[/bold]
    musichash plan --store ~/music.store --catalogue ~/Music
    musichash plan --store ~/music.store --workers 8 --json
    """
    from musichash_core.config import load_config
    from tasks.plan import scanned_at
    from tasks.scan import check_catalogues, recorded

    settings = load_config(config)
    asked = _Asked(
        retry_failed=retry_failed,
        retrain=retrain,
        allow_shrink=False,
        n_workers=_workers_at_once(workers, scheduler),
    )
    if catalogue:
        check_catalogues(catalogue)
        _show_fresh_plan(store, catalogue, labels, manifest, settings, asked, as_json=as_json)
        return
    if labels is not None or manifest is not None:
        raise typer.BadParameter(
            "--labels and --manifest need --catalogue: without it, what the last recorded scan "
            "found counts, with the labels that it read"
        )
    _show_plan(store, recorded(store), settings, asked, scanned=scanned_at(store), as_json=as_json)


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
    with begin_run(absolute, kind=kind) as opened, Workers(cluster) as pool:
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
    as_json: JsonOption = False,
) -> None:
    """Decode the scanned tracks that are new and store their features.

    [bold]Example:[/bold] musichash extract --store ~/music.store --workers 8
    """
    from flows.stages import extract_stage, plan_stage
    from tasks.scan import recorded

    cluster = _settings(workers, worker_memory, scheduler)
    with _night("extract", store, config, cluster, as_json=as_json) as night:
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
    as_json: JsonOption = False,
) -> None:
    """Describe the tracks that have features: what the default encoder trains on and encodes.

    [bold]Example:[/bold] musichash describe --store ~/music.store
    """
    from flows.stages import describe_stage

    cluster = _settings(workers, worker_memory, scheduler)
    with _night("describe", store, config, cluster, as_json=as_json) as night:
        summary = describe_stage(night)
    if as_json:
        write_json(asdict(summary))


def train(
    store: StoreOption,
    config: ConfigOption = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Train a new model generation on the labelled tracks that have features.

    It is put in force only where the store has no model yet; else it is a candidate, which
    'musichash backfill --model' fills, 'musichash models compare' judges and 'musichash models
    promote' publishes. Interrupted at any time, the same command goes on where it stopped.

    [bold]Example:[/bold] musichash train --store ~/music.store --config small.toml
    """
    from flows.stages import plan_stage, train_stage
    from tasks.scan import recorded
    from tasks.train import check_device

    check_device(device)
    with _night("train", store, config, _settings(None, None, None), as_json=as_json) as night:
        plan_stage(night, recorded(store))
        summary = train_stage(night, retrain=True, as_candidate=True, device=device)
    if as_json:
        write_json(asdict(summary))


def encode(
    store: StoreOption,
    config: ConfigOption = None,
    workers: WorkersOption = None,
    worker_memory: WorkerMemoryOption = None,
    scheduler: SchedulerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Predict genres and compute hash codes of the tracks that have features and no codes yet.

    [bold]Example:[/bold] musichash encode --store ~/music.store
    """
    from flows.stages import encode_stage

    cluster = _settings(workers, worker_memory, scheduler)
    with _night("encode", store, config, cluster, as_json=as_json) as night:
        summary = encode_stage(night)
    if as_json:
        write_json(asdict(summary))


def index(store: StoreOption, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Write the tables, build the search index, and publish both as a snapshot.

    [bold]Example:[/bold] musichash index --store ~/music.store
    """
    from flows.stages import index_stage

    with _night("index", store, config, _settings(None, None, None), as_json=as_json) as night:
        summary = index_stage(night)
    if as_json:
        write_json(asdict(summary))
    raise typer.Exit(EXIT_WITH_FAILURES if summary.n_failed else 0)
