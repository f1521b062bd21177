"""The subcommand ``metrics``: figures of a store for a monitoring system.

Public: `add_to`.
"""

from pathlib import Path
from typing import Annotated, Literal

import typer

from flows.options import StoreOption


def add_to(app: typer.Typer) -> None:
    """Register the subcommand."""
    app.command(rich_help_panel="Questions")(metrics)


def metrics(
    store: StoreOption,
    form: Annotated[
        Literal["prometheus", "json"],
        typer.Option("--format", help="Form of what is printed."),
    ] = "prometheus",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            help="Write a file instead, replaced as a whole: JSON if it is named *.json, else "
            "Prometheus' text.",
        ),
    ] = None,
) -> None:
    """Give figures of a store for Prometheus: runs, stages, failures, tables, health, locks.

    Every run leaves the same figures in STORE/runs/metrics when it ends, apart from those of the
    moment. deploy/prometheus has rules for alerts.

    [bold]Examples:[/bold]
    musichash metrics --store ~/music.store
    musichash metrics --store ~/music.store --output /var/lib/node_exporter/musichash.prom
    """
    from tasks.monitoring import metrics_text, store_metrics, write_metrics_file

    found = store_metrics(store)
    if output is not None:
        write_metrics_file(output, found)
        return
    typer.echo(metrics_text(found, is_json=form == "json"), nl=False)
