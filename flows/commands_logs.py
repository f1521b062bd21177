"""The subcommand ``logs``: what a run logged, line by line.

Public: `add_to`.
"""

from typing import Annotated

import typer

from flows.options import JsonOption, StoreOption
from flows.run_logs import LogLevel
from musichash_core.plain_text import escape_controls_in_json


def add_to(app: typer.Typer) -> None:
    """Register the subcommand."""
    app.command(rich_help_panel="Questions")(logs)


def logs(
    store: StoreOption,
    run_id: Annotated[
        str | None,
        typer.Argument(help="A run, or how its id begins; the newest that has a log by default."),
    ] = None,
    level: Annotated[LogLevel, typer.Option("--level", help="Least level to show.")] = "info",
    stage: Annotated[
        str | None, typer.Option("--stage", help="Show the lines of this stage only.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show the log of a run: stages, partitions, each track that failed, work that workers died of.

    It lies beside the run's record in the ledger, as JSON lines: STORE/runs/RUN.jsonl. The logs of
    the newest 200 runs are kept.

    [bold]Examples:[/bold]
    musichash logs --store ~/music.store
    musichash logs --store ~/music.store 20261123 --level warning --stage extract
    """
    import json

    from tasks.run_logs import show_log, shown_line

    found = show_log(store, run_id, level=level, stage=stage)
    for line in found["lines"]:
        if as_json:
            typer.echo(escape_controls_in_json(json.dumps(line, ensure_ascii=False)))
        else:
            typer.echo(shown_line(line))
    if not found["lines"] and not as_json:
        typer.echo(f"run {found['run']} logged nothing of that kind")
