"""Subcommands that do everything: ``run``, and ``demo``.

Public: `add_to`.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from flows.options import (
    EXIT_WITH_FAILURES,
    CataloguesOption,
    ClusterOption,
    ConfigOption,
    DeviceOption,
    DryRunOption,
    JsonOption,
    LabelsOption,
    ManifestOption,
    RetrainOption,
    RetryOption,
    SchedulerOption,
    ShrinkOption,
    StoreOption,
    WorkerMemoryOption,
    WorkersOption,
    check_device_of,
    cluster_from,
    console_for,
    write_json,
)
from flows.progress import RichReporter, reporting
from flows.run_tags import tagged


def add_to(app: typer.Typer) -> None:
    """Register the subcommands."""
    app.command()(run)
    app.command()(demo)


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
    cluster: ClusterOption = None,
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

    settings = load_config(config)
    check_catalogues(catalogue)
    where = cluster_from(workers, worker_memory, scheduler, cluster)
    check_device_of(where, device)
    if dry_run:
        from flows.commands_plan import AskedOfPlan, show_fresh_plan, workers_at_once

        asked = AskedOfPlan(
            retry_failed=retry_failed,
            retrain=retrain,
            allow_shrink=allow_shrink,
            n_workers=workers_at_once(where),
        )
        show_fresh_plan(store, catalogue, labels, manifest, settings, asked, as_json=as_json)
        if not as_json:
            typer.echo("dry run: nothing was written")
        return
    from flows.nightly import nightly

    console = console_for(as_json=as_json)
    with reporting(RichReporter(console)), tagged("nightly", store, catalogue):
        account = nightly(
            catalogues=[str(Path(folder).absolute()) for folder in catalogue],
            store=str(Path(store).absolute()),
            labels=labels,
            manifest=manifest,
            config=settings,
            cluster=where,
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
        store, cluster=cluster_from(workers, None, None, None), console=console_for(as_json=as_json)
    )
    _conclude(account, as_json=as_json)
