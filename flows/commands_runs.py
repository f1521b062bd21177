"""The subcommand ``runs``: what the ledger says of every run, and of one run's stages.

Public: `add_to`, `runs_table`, `describe_totals`, `where_the_reason_is`.
"""

from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from flows.options import JsonOption, StoreOption, console_for, write_json
from flows.run_words import ACCOUNT, UNFINISHED, account_sentence, place_of_stage
from musichash_core.plain_text import escape_controls

SHOWN_RUNS = 20


def add_to(app: typer.Typer) -> None:
    """Register the subcommand."""
    app.command(rich_help_panel="Questions")(runs)


def runs(
    store: StoreOption,
    run_id: Annotated[
        str | None,
        typer.Argument(help="A run, or how its id begins: shows the numbers of its stages."),
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", min=0, help="How many of the newest runs to list; 0: all.")
    ] = SHOWN_RUNS,
    as_json: JsonOption = False,
) -> None:
    """List the runs of a store, newest first, with what each did and what all did together.

    A run is [bold]done[/bold], [bold]done-with-failures[/bold], [bold]failed[/bold] (it stopped
    with an error), [bold]killed[/bold] (it ended without a word), or [bold]running[/bold].

    [bold]Examples:[/bold]
    musichash runs --store ~/music.store --limit 7
    musichash runs 20260131T0200 --store ~/music.store
    """
    from tasks.status import list_runs, show_run

    console = console_for(as_json=False)
    if run_id is not None:
        run = show_run(store, run_id)
        if as_json:
            write_json(run)
            return
        for line in _describe_run(run, store):
            console.print(Text(escape_controls(line)))
        if run["stages"]:
            console.print(_stages_table(run["stages"]))
        return
    found = list_runs(store, limit=limit or None)
    if as_json:
        write_json(found)
        return
    if not found["n_runs"]:
        console.print(Text(escape_controls(f"{found['store']}: no run yet")))
        return
    title = f"{len(found['runs'])} of {found['n_runs']} runs, newest first (times in UTC)"
    console.print(runs_table(found["runs"], title))
    console.print(Text(describe_totals(found["n_runs"], found["totals"])))


def runs_table(found: Sequence[dict[str, Any]], title: str) -> Table:
    """Lay out runs, one per row; the account reads like the sum that it is."""
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in ("run", "kind", "state"):
        table.add_column(name, overflow="fold")
    for name in (f"seen = {' + '.join(ACCOUNT)}", "audio", "CPU", "wall", "snap-shot"):
        table.add_column(name, justify="right", overflow="fold")
    for run in found:
        table.add_row(
            *(Text(escape_controls(run[name])) for name in ("run_id", "kind", "state")),
            _account(run),
            *(_clock(run[name]) for name in ("audio_s", "cpu_s", "wall_s")),
            str(run["snapshot"] or ""),
        )
    return table


def describe_totals(n_runs: int, totals: dict[str, Any]) -> str:
    """Say what all runs did together."""
    states = ", ".join(f"{count} {state}" for state, count in totals["by_state"].items())
    return (
        f"{n_runs} runs ({states}); {totals['done']} tracks and {totals['audio_s'] / 3600:.2f} "
        f"hours of audio decoded, {totals['cpu_s'] / 3600:.2f} CPU-hours, "
        f"{totals['wall_s'] / 3600:.2f} hours by the clock"
    )


def where_the_reason_is(run: dict[str, Any], store: str) -> str | None:
    """Name the command that tells why a run stopped; None for one that did not."""
    if run["state"] not in UNFINISHED:
        return None
    return f"'musichash logs {run['run_id']} --store {store}' tells why"


def _describe_run(run: dict[str, Any], store: str) -> list[str]:
    end = run["finished"] or ("still at work" if run["state"] == "running" else "unknown")
    snapshot = run["snapshot"]
    reason = where_the_reason_is(run, store)
    return [
        f"run {run['run_id']}: {run['kind']}, {run['state']}",
        f"  started   {run['started']}, end {end}, {_clock(run['wall_s'])} by the clock",
        f"  account   {account_sentence(run)}",
        f"  work      {_clock(run['audio_s'])} of audio decoded, {_clock(run['cpu_s'])} of CPU "
        f"time, at most {run['peak_memory_bytes'] / 1e6:.0f} MB of memory per worker",
        "  snapshot  " + ("none published" if snapshot is None else str(snapshot)),
        *([f"  reason    {reason}"] if reason else []),
    ]


def _stages_table(stages: dict[str, dict[str, float]]) -> Table:
    table = Table(title="stages", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("stage")
    for name in ("done", "reused", "failed", "audio", "CPU s", "wall s", "MB", "MB/worker"):
        table.add_column(name, justify="right", overflow="fold")
    for name in sorted(stages, key=place_of_stage):
        of = stages[name]
        table.add_row(
            Text(escape_controls(name)),
            *(f"{of[number]:.0f}" for number in ("n_done", "n_reused", "n_failed")),
            _clock(of["audio_s"]),
            f"{of['cpu_s']:.1f}",
            f"{of['wall_s']:.1f}",
            f"{of['n_bytes'] / 1e6:.1f}",
            f"{of['peak_memory_bytes'] / 1e6:.0f}",
        )
    return table


def _account(run: dict[str, Any]) -> str:
    return f"{run['seen']} = " + " + ".join(str(run[name]) for name in ACCOUNT)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
