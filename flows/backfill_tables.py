"""How backfills and registered collections are shown on a terminal.

Public: `show_backfill`, `describe_left`, `show_collections`.
"""

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from flows.options import console_for
from flows.wording import describe_seconds
from musichash_core.plain_text import escape_controls
from tasks.backfill_progress import Progress, StepProgress


def show_backfill(progress: Progress) -> None:
    """Print how far a backfill is, step by step, what is left, and what its sessions took."""
    console = console_for(as_json=False)
    console.print(Text(escape_controls(progress.sentence)))
    if not progress.state.is_open:
        return
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("step")
    for name in ("partitions", "done", "audio", "done", "audio per second", "core time left"):
        table.add_column(name, justify="right")
    table.add_column("rate is")
    for step in progress.steps:
        table.add_row(*_cells(step))
    console.print(table)
    console.print(Text(f"  left: {describe_left(progress)}"))
    numbers = progress.numbers
    if numbers["sessions"]:
        sessions = f"{numbers['sessions']} session{'s' if numbers['sessions'] > 1 else ''}"
        worked, waited = (
            describe_seconds(3600 * numbers[name]) for name in ("worked_hours", "waited_hours")
        )
        console.print(
            Text(f"  {sessions} since {numbers['begun']}: {worked} at work, {waited} waiting")
        )


def _cells(step: StepProgress) -> tuple[str, ...]:
    is_over = step.n_done == step.n_partitions
    return (
        step.step,
        str(step.n_partitions),
        str(step.n_done),
        describe_seconds(step.audio_s),
        describe_seconds(step.audio_done_s),
        "" if is_over and not step.is_measured else f"{step.audio_per_s:.0f} s",
        "" if is_over else describe_seconds(step.core_s),
        "measured here" if step.is_measured else "" if is_over else "that of the runs, or a guess",
    )


def describe_left(progress: Progress) -> str:
    """Say what the rest of a backfill takes."""
    if progress.is_complete:
        return "nothing"
    numbers = progress.numbers
    return (
        f"about {describe_seconds(progress.eta_s)} by the clock, "
        f"{describe_seconds(3600 * numbers['core_hours_left'])} of core time, "
        f"{numbers['bytes_left'] / 1e6:.1f} MB to write"
    )


def show_collections(collections: list[dict[str, Any]]) -> None:
    """Print the registered collections: names, folders, and their files of labels and names."""
    console = console_for(as_json=False)
    if not collections:
        console.print("no collection is registered; 'musichash backfill --collection' adds one")
        return
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in ("name", "folder", "labels", "manifest"):
        table.add_column(name, overflow="fold")
    for one in collections:
        cells = (one["name"], one["root"], one["labels"] or "", one["manifest"] or "")
        table.add_row(*(Text(escape_controls(cell)) for cell in cells))
    console.print(table)
