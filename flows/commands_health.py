"""The subcommand ``health``: what the codes of a snapshot are worth, and what changed.

Public: `add_to`, `health_line`.
"""

from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.options import ConfigOption, JsonOption, StoreOption, console_for, write_json
from musichash_core.plain_text import escape_controls

STYLES = {"ok": "green", "warn": "yellow", "alarm": "bold red"}
SHOWN_NEIGHBOURS = 3


def add_to(app: typer.Typer) -> None:
    """Register the subcommand."""
    app.command(rich_help_panel="Questions")(health)


def health_line(found: dict[str, Any]) -> str:
    """Put the health of a snapshot's codes into one line."""
    first = found["findings"][0]["what"] + "; " if found["findings"] else ""
    return f"{found['level']}: {first}{found['sentence']}"


def health(
    store: StoreOption,
    snapshot: Annotated[
        int | None, typer.Option("--snapshot", help="Number of a snapshot; by default the current.")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tell whether the hash codes of a snapshot are fit to search by, and what changed in them.

    Balance, correlation and entropy of the bits, crowding of the codes, the difference from the
    snapshot before, and searches that are repeated night after night. A run measures this before it
    publishes; for older snapshots it is measured now. The thresholds are those of the run, or with
    --config those of its section "health".

    [bold]Examples:[/bold]
    musichash health --store ~/music.store
    musichash health --store ~/music.store --snapshot 17 --json
    """
    from musichash_core.config import load_config
    from tasks.health_answers import snapshot_health

    thresholds = None if config is None else load_config(config).health
    found = snapshot_health(store, number=snapshot, config=thresholds)
    if as_json:
        write_json(found)
        return
    _show(console_for(as_json=False), found)


def _show(console: Console, found: dict[str, Any]) -> None:
    console.print(
        Text(f"snapshot {found['snapshot']}: "),
        Text(found["level"], style=STYLES[found["level"]]),
        sep="",
    )
    console.print(Text(f"  {found['sentence']}"))
    for finding in found["findings"]:
        console.print(
            Text(f"  {finding['level']}: ", style=STYLES[finding["level"]]),
            Text(escape_controls(finding["what"])),
            sep="",
        )
        console.print(Text(f"    {finding['remedy']}"))
    console.print(_figures_table(found))
    if found["largest_bucket_tracks"]:
        console.print(Text("tracks that share the most frequent code, some of them:"))
        for track in found["largest_bucket_tracks"]:
            console.print(Text(escape_controls(f"  {track['path'] or track['track_id']}")))
    if found["canaries"]:
        console.print(_canaries_table(found["canaries"]))


def _figures_table(found: dict[str, Any]) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("measure")
    table.add_column("value", justify="right")
    table.add_column("meaning", overflow="fold")
    for row in _rows(found):
        table.add_row(*row)
    return table


def _rows(found: dict[str, Any]) -> list[tuple[str, str, str]]:
    from tasks.health_table import health_rows

    return [(row.measure, row.value, row.meaning) for row in health_rows(found)]


def _canaries_table(canaries: list[dict[str, Any]]) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), title="canaries", title_justify="left")
    for name in ("genre", "track", "finds itself", "bits from the nearest others"):
        table.add_column(name, overflow="fold")
    for canary in canaries:
        nearest = [
            escape_controls(f"{answer['distance']:3d}  {_file_name(answer)}")
            for answer in canary["neighbours"][:SHOWN_NEIGHBOURS]
        ]
        table.add_row(
            Text(escape_controls(canary["genre"])),
            Text(escape_controls(_file_name(canary))),
            "yes" if canary["finds_itself"] else Text("NO", style=STYLES["alarm"]),
            Text("\n".join(nearest)),
        )
    return table


def _file_name(track: dict[str, Any]) -> str:
    """Name a track by the last part of its path: '--json' has all of it."""
    path: str = track["path"] or track["track_id"]
    return path.rsplit("/", 1)[-1]
