"""Subcommand ``plan``, and what ``run --dry-run`` shows.

Public: `add_to`, `show_fresh_plan`, `AskedOfPlan`, `workers_at_once`.
"""

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import typer

from flows.options import (
    ClusterOption,
    ConfigOption,
    JsonOption,
    LabelsOption,
    ManifestOption,
    MaybeCataloguesOption,
    RetrainOption,
    RetryOption,
    SchedulerOption,
    StoreOption,
    WorkersOption,
    console_for,
    write_json,
)
from flows.progress import RichReporter

if TYPE_CHECKING:  # these load what --help does not need
    from datetime import datetime

    from flows.cluster_settings import ClusterSettings
    from musichash_core.config import PipelineConfig
    from tasks.scan import Catalogue


def add_to(app: typer.Typer) -> None:
    """Register the subcommand."""
    app.command(rich_help_panel="Stages of a run")(plan)


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
    cluster: ClusterOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what is new, changed, moved, removed, done or failed, and what the work will cost.

    Core hours, GPU hours, bytes and time come from the rates that this store's own runs measured;
    before the first run they are guesses, and are called so. Writes nothing.

    [bold]Examples:[/bold]
    musichash plan --store ~/music.store --catalogue ~/Music
    musichash plan --store ~/music.store --workers 8 --json
    """
    from flows.cluster_settings import read_cluster_settings
    from musichash_core.config import load_config
    from tasks.plan import scanned_at
    from tasks.scan import check_catalogues, recorded

    settings = load_config(config)
    where = read_cluster_settings(cluster, n_workers=workers, scheduler=scheduler)
    asked = AskedOfPlan(
        retry_failed=retry_failed,
        retrain=retrain,
        allow_shrink=False,
        n_workers=workers_at_once(where),
    )
    if catalogue:
        check_catalogues(catalogue)
        show_fresh_plan(store, catalogue, labels, manifest, settings, asked, as_json=as_json)
        return
    if labels is not None or manifest is not None:
        raise typer.BadParameter(
            "--labels and --manifest need --catalogue: without it, what the last recorded scan "
            "found counts, with the labels that it read"
        )
    _show_plan(store, recorded(store), settings, asked, scanned=scanned_at(store), as_json=as_json)


@dataclass(frozen=True, slots=True)
class AskedOfPlan:
    """What is asked of a run that is only planned."""

    retry_failed: bool
    retrain: bool
    allow_shrink: bool
    n_workers: int


def workers_at_once(where: "ClusterSettings") -> int:
    """Give the workers that an estimate counts on; here, never more than can compute at once."""
    n_cores = os.cpu_count() or 1
    if where.n_described is None:
        return n_cores
    return where.n_described if where.is_elsewhere else min(where.n_described, n_cores)


def show_fresh_plan(
    store: str,
    catalogue: list[str],
    labels: str | None,
    manifest: str | None,
    config: "PipelineConfig",
    asked: AskedOfPlan,
    *,
    as_json: bool,
) -> None:
    """Scan, and say what a run would do; writes nothing."""
    from flows.scan_stages import scan_stage
    from tasks.model_in_force import check_model

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
    asked: AskedOfPlan,
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
