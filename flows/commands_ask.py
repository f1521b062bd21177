"""Subcommands that ask: ``status``, ``failures``, ``export``, ``verify``, ``report``.

Public: `add_to`.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.text import Text

from flows.commands_health import STYLES as HEALTH_STYLES
from flows.commands_health import health_line
from flows.commands_runs import describe_totals, runs_table, where_the_reason_is
from flows.options import ConfigOption, JsonOption, StoreOption, console_for, write_json
from musichash_core.plain_text import escape_controls

EXIT_FAILED = 1
SHOWN_FAILURES = 50
SHOWN_SNAPSHOTS = 10
STANDARD_OUTPUT = "-"

SCAN_STAGE = "scan"
"""Failures of this stage are looked at by every run, whatever their code."""


def add_to(app: typer.Typer) -> None:
    """Register the subcommands."""
    for command in (status, failures, export, verify, report):
        app.command(rich_help_panel="Questions")(command)


def status(store: StoreOption, as_json: JsonOption = False) -> None:
    """Show what a store holds: its snapshot, its tables, its last runs, and who works on it.

    [bold]Example:[/bold] musichash status --store ~/music.store --json
    """
    from tasks.status import store_status

    found = store_status(store)
    if as_json:
        write_json(found)
        return
    console = console_for(as_json=False)
    if found["snapshot"] is None:
        unknown = "the current snapshot cannot be read" if found["problem"] else None
        console.print(
            Text(escape_controls(f"{found['store']}: {unknown or 'nothing published yet'}"))
        )
    else:
        counts = ", ".join(f"{count} {name}" for name, count in found["counts"].items())
        share = found["failed_share"]
        failed = "" if share is None else f"; {share:.1%} of the tracks failed"
        console.print(
            Text(
                f"{found['store']}: snapshot {found['snapshot']}, model {found['generation']}; "
                f"{counts}{failed}"
            )
        )
        for name, paths in found["tables"].items():
            console.print(Text(f"  {name:<12} {' '.join(paths)}"))
        console.print(_health_of(found["health"]))
    for line in (found["problem"] or "").splitlines():
        console.print(Text(escape_controls(f"  problem: {line}"), style="red"))
    for line in _work_under_way(found):
        console.print(Text(escape_controls(line)))
    console.print(runs_table(found["runs"][::-1], "last runs (times in UTC)"))
    last = found["runs"][-1] if found["runs"] else None
    reason = where_the_reason_is(last, store) if last else None
    if last and reason:
        console.print(Text(escape_controls(f"the last run is {last['state']}: {reason}")))
    console.print(Text(describe_totals(sum(found["totals"]["by_state"].values()), found["totals"])))


def _health_of(found: dict[str, Any] | None) -> Text:
    """Say how the codes are, in one line."""
    if found is None:
        return Text("  health       not measured yet: 'musichash health' does it")
    line = Text("  health       ")
    line.append(found["level"], style=HEALTH_STYLES[found["level"]])
    return line.append(escape_controls(health_line(found).removeprefix(found["level"])))


def _work_under_way(found: dict[str, Any]) -> list[str]:
    """Say who writes, and which backfills are not finished."""
    lines = []
    for name, doing in (("writer", "writes now"), ("backfill_worker", "backfills now")):
        owner = found[name]
        if owner is not None:
            run = f" run {owner['run_id']}" if owner["run_id"] else ""
            lines.append(
                f"  {doing}: {owner['what']}{run}, pid {owner['pid']} on {owner['host']}, since "
                f"{owner['started']}, last sign of life {owner['heartbeat']}"
            )
    lines += [
        f"  unfinished backfill: {backfill['kind']} {backfill['target']}, begun {backfill['begun']}"
        for backfill in found["backfills"]
    ]
    return lines


def failures(store: StoreOption, as_json: JsonOption = False) -> None:
    """List the tracks that could not be processed, why, and what to do about each reason.

    [bold]Example:[/bold] musichash failures --store ~/music.store
    """
    from tasks.status import list_failures

    rows = list_failures(store)
    if as_json:
        write_json(rows)
        return
    console = console_for(as_json=False)
    if not rows:
        console.print("no failures")
        return
    by_code: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_code.setdefault(row["code"], []).append(row)
    for code, entries in sorted(by_code.items(), key=lambda item: -len(item[1])):
        is_tried_again = all(row["retryable"] or row["stage"] == SCAN_STAGE for row in entries)
        again = "tried again by the next run" if is_tried_again else "not tried again"
        console.print(f"[bold red]{code}[/bold red]: {len(entries)} track(s), {again}")
        console.print(f"  cause:  {entries[0]['cause']}", highlight=False)
        console.print(f"  remedy: {entries[0]['remedy']}", highlight=False)
        for row in entries[:SHOWN_FAILURES]:
            line = f"  - {row['path']}: {row['message']} (attempt {row['attempts']})"
            console.print(Text(escape_controls(line)))
        if len(entries) > SHOWN_FAILURES:
            console.print(f"  ... and {len(entries) - SHOWN_FAILURES} more: use --json")


def export(
    table: Annotated[str, typer.Argument(help="tracks, predictions, codes, failures or runs.")],
    store: StoreOption,
    form: Annotated[
        Literal["csv", "jsonl", "parquet"], typer.Option("--format", help="What to write.")
    ] = "csv",
    output: Annotated[
        str, typer.Option("--output", help="File to write; - is standard output.")
    ] = STANDARD_OUTPUT,
    is_raw: Annotated[
        bool,
        typer.Option("--raw", help="Leave text in CSV that a spreadsheet would run as a formula."),
    ] = False,
) -> None:
    """Write a table of the published snapshot as CSV, JSON lines or Parquet.

    In CSV, text that a spreadsheet would run as a formula gets an apostrophe in front. Lists and
    maps are JSON text, bytes are hexadecimal.

    [bold]Examples:[/bold]
    musichash export tracks --store ~/music.store --output tracks.csv
    musichash export codes --store ~/music.store --format parquet --output codes.parquet
    """
    from tasks.export import export_table, print_table

    if output != STANDARD_OUTPUT:
        n_rows = export_table(store, table, output, form=form, is_raw=is_raw)
        typer.echo(escape_controls(f"{n_rows} rows of {table} are in {output}"))
        return
    print_table(store, table, form=form, is_raw=is_raw)


def verify(
    store: StoreOption,
    is_all: Annotated[
        bool, typer.Option("--all", help="Check every snapshot that the store keeps.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Re-read every byte of the published snapshot and compare it with its manifest.

    Ends with exit code 1 when anything is missing, changed or left over. In a folder that was
    fetched from a replica without the partitions, these are left out, and their number is told.

    [bold]Examples:[/bold]
    musichash verify --store ~/music.store
    musichash verify --store ~/music.store --all
    """
    from flows.progress import RichReporter
    from tasks.snapshots import verify_everything
    from tasks.status import verify_store

    reporter = RichReporter(console_for(as_json=as_json))
    has_begun = False

    def on_progress(_: int, total: int) -> None:
        nonlocal has_begun
        if not has_begun:
            reporter.start("verify", total, "entries")
            has_begun = True
        reporter.advance("verify", 1)

    if is_all:
        found = verify_everything(store, on_progress=on_progress)
        what = _named_snapshots(found["snapshots"])
    else:
        found = verify_store(store, on_progress=on_progress)
        what = f"snapshot {found['snapshot']}"
    problems = found["findings"]
    n_absent = len(found["not_fetched"])
    reporter.finish(
        "verify",
        f"{what}: {found['files']} files, {found['bytes'] / 1e6:.1f} MB read; "
        + (f"{len(problems)} problem(s)" if problems else "all as published")
        + (f"; {n_absent} partition folder(s) were not fetched" if n_absent else ""),
    )
    if as_json:
        write_json(found)
    else:
        for finding in problems:
            typer.echo(escape_controls(f"  {finding['path']}: {finding['problem']}"))
        if problems:
            way_out = f"'musichash reconcile --store {store} --dry-run' says what can be mended"
            typer.echo(escape_controls(way_out))
    raise typer.Exit(EXIT_FAILED if problems else 0)


def _named_snapshots(numbers: list[int]) -> str:
    if not numbers:
        return "no snapshots"
    shown = ", ".join(map(str, numbers[-SHOWN_SNAPSHOTS:]))
    dots = "... " if len(numbers) > SHOWN_SNAPSHOTS else ""
    return f"{len(numbers)} snapshot{'s' if len(numbers) > 1 else ''} ({dots}{shown})"


def report(
    store: StoreOption,
    output: Annotated[
        Path | None, typer.Option("--output", help="File to write; report.html in the store.")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a self-contained HTML page about the published snapshot.

    [bold]Example:[/bold] musichash report --store ~/music.store --output night.html
    """
    from musichash_core.config import load_config
    from tasks.report import write_report

    path = write_report(store, load_config(config), None if output is None else str(output))
    if as_json:
        write_json({"report": str(path)})
    else:
        typer.echo(str(path))
