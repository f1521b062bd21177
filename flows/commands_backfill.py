"""Subcommands for work beside the nightly runs: ``backfill`` and ``collections``.

Public: `add_to`.
"""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.options import (
    ClusterOption,
    ConfigOption,
    JsonOption,
    LabelsOption,
    ManifestOption,
    SchedulerOption,
    StoreOption,
    WorkerMemoryOption,
    WorkersOption,
    cluster_from,
    console_for,
    write_json,
)
from flows.progress import RichReporter, reporting
from flows.run_tags import tagged
from musichash_core.plain_text import escape_controls

if TYPE_CHECKING:  # these load Dask and Prefect, which --help does not need
    from musichash_core.config import PipelineConfig
    from tasks.backfill_orders import Order, Request

EXIT_WITH_FAILURES = 3

collections_app = typer.Typer(
    help="The collections that every run of a store scans besides the roots it is given.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)


def add_to(app: typer.Typer) -> None:
    """Register the subcommands."""
    app.command()(backfill)
    app.add_typer(collections_app, name="collections")


def backfill(
    store: StoreOption,
    collection: Annotated[
        str | None, typer.Option("--collection", help="Name of a new collection to add.")
    ] = None,
    catalogue: Annotated[
        str | None, typer.Option("--catalogue", help="Folder of the collection's music files.")
    ] = None,
    labels: LabelsOption = None,
    manifest: ManifestOption = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", help="Generation to encode every published track with (or how it begins)."
        ),
    ] = None,
    features: Annotated[
        Path | None,
        typer.Option(
            "--features", help="TOML file: extract every published track with its features."
        ),
    ] = None,
    config: ConfigOption = None,
    workers: WorkersOption = None,
    worker_memory: WorkerMemoryOption = None,
    scheduler: SchedulerOption = None,
    cluster: ClusterOption = None,
    limit_hours: Annotated[
        float | None,
        typer.Option("--limit-hours", min=0.0, help="Begin nothing more after so many hours."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")
    ] = False,
    status: Annotated[
        bool, typer.Option("--status", help="Say how far backfills are, and do nothing.")
    ] = False,
    abandon: Annotated[
        bool, typer.Option("--abandon", help="Give an unfinished backfill up.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Fill a store with a new collection, model or feature configuration, beside the nightly runs.

    Runs come first: while one writes to the store, no partition begins. Stopped at any time, the
    same command goes on where it stopped. A collection is published when it is complete, and every
    run scans it from then on; for models and features nothing is published.

    [bold]Examples:[/bold]
    musichash backfill --collection radio --catalogue /mnt/radio --store ~/music.store
    musichash backfill --model g-0123456789ab --store ~/music.store --limit-hours 8
    musichash backfill --features new.toml --store ~/music.store --dry-run
    musichash backfill --status --store ~/music.store
    """
    from musichash_core.config import load_config
    from tasks.backfill_orders import BackfillError, Request, order_of

    if sum((dry_run, status, abandon)) > 1:
        raise BackfillError("--dry-run, --status and --abandon exclude one another; give one")
    if features is not None and config is not None:
        raise BackfillError("--features names the configuration already; leave out --config")
    request = Request(
        collection, catalogue, labels, manifest, model, load_config(features) if features else None
    )
    if status:
        _show_status(store, request, as_json=as_json)
        return
    order = order_of(store, request)
    settings = request.features or load_config(config)
    if dry_run:
        _show_plan(store, order, settings, workers, as_json=as_json)
        return
    if abandon:
        from tasks.backfill import abandon as give_up

        give_up(store, order)
        typer.echo(
            f"the backfill {order.name} is given up; what it filled goes with 'musichash gc'"
        )
        return
    from flows.backfill import backfill as backfill_flow

    console = console_for(as_json=as_json)
    with reporting(RichReporter(console)), tagged("backfill", store, [catalogue]):
        account = backfill_flow(
            store=str(Path(store).absolute()),
            collection=collection,
            catalogue=None if order.collection is None else order.collection.root,
            labels=None if order.collection is None else order.collection.labels,
            manifest=None if order.collection is None else order.collection.manifest,
            model=None if model is None else order.target,
            features=request.features,
            config=settings,
            cluster=cluster_from(workers, worker_memory, scheduler, cluster),
            limit_hours=limit_hours,
        )
    _conclude(store, order, account, as_json=as_json)


def _conclude(store: str, order: "Order", account: dict[str, Any], *, as_json: bool) -> None:
    """Print what a backfill came to, with the next step, and choose the exit code."""
    n_failed = account["backfill"]["failed"]
    if as_json:
        write_json(account)
    else:
        if account["state"] == "stopped":
            typer.echo("stopped at the time limit; the same command goes on from there")
        else:
            typer.echo(_next_step(store, order, account))
        if n_failed:
            typer.echo(f"{n_failed} track(s) failed")
    raise typer.Exit(EXIT_WITH_FAILURES if n_failed else 0)


def _next_step(store: str, order: "Order", account: dict[str, Any]) -> str:
    """Say what a complete backfill is good for."""
    if order.collection is not None:
        return (
            f"published as snapshot {account['snapshot']}; the collection {order.target!r} is "
            "registered, and every run scans it"
        )
    if order.kind == "model":
        from tasks.generations import generation_in_force

        return (
            f"every published track has codes of {order.target}; see what would change with "
            f"'musichash models compare {generation_in_force(store)} {order.target}', and publish "
            f"it with 'musichash models promote {order.target}'"
        )
    return (
        f"every published track has features {order.target}; with the same file as --config, "
        "'musichash train' makes a model that reads them, 'musichash backfill --model' fills it "
        "and 'musichash models promote' publishes it; from then on the nightly runs, and searches "
        "with a file, need that --config too"
    )


def _show_status(store: str, request: "Request", *, as_json: bool) -> None:
    from flows.backfill_tables import show_backfill
    from tasks.backfill_orders import backfill_name
    from tasks.backfill_progress import list_progress

    name = backfill_name(store, request)
    found = list_progress(store, name)
    if as_json:
        write_json({"backfills": [progress.numbers for progress in found]})
        return
    for progress in found:
        show_backfill(progress)
    if not found:
        which = f"no backfill {name}" if name else "no backfill"
        typer.echo(escape_controls(f"{which} was begun in this store"))


def _show_plan(
    store: str, order: "Order", settings: "PipelineConfig", workers: int | None, *, as_json: bool
) -> None:
    from flows.backfill_tables import show_backfill
    from flows.scan_stages import scan_collection_stage
    from tasks.backfill import resume_or_begin
    from tasks.backfill_progress import progress_of

    scan = partial(
        scan_collection_stage,
        store,
        reporter=RichReporter(console_for(as_json=as_json)),
        backfill=order.name,
        max_file_mb=settings.decode.max_file_mb,
    )
    state, plan = resume_or_begin(store, order, settings, scan, write=False)
    progress = progress_of(store, state, plan, n_workers=workers)
    if as_json:
        write_json(progress.numbers)
    else:
        show_backfill(progress)
        typer.echo("dry run: nothing was written")


@collections_app.command("list")
def list_(store: StoreOption, as_json: JsonOption = False) -> None:
    """List the registered collections with their folders.

    [bold]Example:[/bold] musichash collections list --store ~/music.store
    """
    from flows.backfill_tables import show_collections
    from tasks.registered_collections import list_collections

    found = list_collections(store)
    if as_json:
        write_json({"collections": found})
        return
    show_collections(found)


@collections_app.command("remove")
def remove(
    name: Annotated[str, typer.Argument(help="Name of the collection.")],
    store: StoreOption,
    as_json: JsonOption = False,
) -> None:
    """Deregister a collection: its tracks leave with the next run, unless that is given its folder.

    As for a disk that is not mounted, that run, and every night, stops until one is given
    --allow-shrink.

    [bold]Example:[/bold] musichash collections remove radio --store ~/music.store
    """
    from tasks.registered_collections import deregister

    removed = deregister(store, name)
    if as_json:
        write_json({"removed": removed})
    else:
        where = escape_controls(removed["root"])
        typer.echo(
            f"the collection {name!r} ({where}) is deregistered; a run stops before its tracks "
            "leave: give the next one --allow-shrink"
        )
