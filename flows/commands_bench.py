"""Subcommands that measure: ``bench extract``, ``bench robustness`` and ``bench index``.

Public: `add_to`.
"""

from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from flows import commands_bench_index
from flows.options import ConfigOption, JsonOption, StoreOption, console_for, write_json
from flows.progress import RichReporter
from musichash_core.plain_text import escape_controls

bench = typer.Typer(
    help="Measure this machine's speed, and how well codes stand changes.", no_args_is_help=True
)


def add_to(app: typer.Typer) -> None:
    """Register the subcommands."""
    commands_bench_index.add_to(bench)
    app.add_typer(bench, name="bench", rich_help_panel="Questions")


@bench.callback()
def _group() -> None:
    """Measure this machine's speed, and how well codes stand changes."""


@bench.command()
def extract(
    files: Annotated[
        list[str] | None,
        typer.Argument(help="Audio files; the sample catalogue by default."),
    ] = None,
    repeat: Annotated[
        int, typer.Option("--repeat", min=1, max=100, help="Passes of each kind; medians count.")
    ] = 1,
    config: ConfigOption = None,
) -> None:
    """Decode and extract files on one thread, and the same files with plain librosa; print JSON.

    [bold]Example:[/bold] musichash bench extract ~/Music/jazz/*.flac --repeat 3
    """
    from flows.sample import sample_files
    from musichash_core.config import load_config
    from tasks.bench import bench_extract

    paths = files or sample_files()
    reporter = RichReporter(console_for(as_json=True))
    reporter.start("bench", 3 * repeat * len(paths), "passes")
    measured = bench_extract(
        paths,
        load_config(config).features,
        repeat=repeat,
        on_progress=lambda *_: reporter.advance("bench", 1),
    )
    reporter.finish("bench", f"{measured['times_faster_than_librosa']:.1f} times librosa's speed")
    write_json(measured)


@bench.command()
def robustness(
    store: StoreOption,
    tracks: Annotated[
        int, typer.Option("--tracks", min=1, max=100_000, help="Tracks to measure on.")
    ] = 50,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Change published tracks as files are changed, and see what becomes of their codes.

    Tracks are coded as MP3 and Ogg Vorbis, begun later, resampled, made softer and cut; each
    version is encoded and searched for. The report shows the last result.

    [bold]Example:[/bold] musichash bench robustness --store ~/music.store --tracks 100
    """
    from musichash_core.config import load_config
    from tasks.robustness import measure_robustness

    settings = load_config(config)
    reporter = RichReporter(console_for(as_json=as_json))
    bars: set[int] = set()

    def on_progress(_: int, total: int) -> None:
        if not bars:
            bars.add(total)
            reporter.start("bench", total, "tracks")
        reporter.advance("bench", 1)

    figures = measure_robustness(store, settings, n_tracks=tracks, on_progress=on_progress)
    n_left_out = len(figures["left_out"])
    reporter.finish(
        "bench",
        f"{figures['n_tracks']} tracks of snapshot {figures['snapshot']}, codes of "
        f"{figures['n_bits']} bits"
        + (f"; {n_left_out} could not be decoded and were left out" if n_left_out else ""),
    )
    if as_json:
        write_json(figures)
        return
    console = console_for(as_json=False)
    console.print(_robustness_table(figures["rows"]))
    for track in figures["left_out"]:
        console.print(Text(escape_controls(f"  left out: {track['path']}: {track['reason']}")))


def _robustness_table(rows: list[dict[str, Any]]) -> Table:
    table = Table(box=SIMPLE_HEAD)
    table.add_column("version", overflow="fold")
    for name in ("tracks", "bits changed", "95 % of tracks below", "finds its track first"):
        table.add_column(name, justify="right", overflow="fold")
    for row in rows:
        shares = ("mean_changed_share", "p95_changed_share", "found_first_share")
        table.add_row(
            row["version"], str(row["n_tracks"]), *(f"{row[name]:.1%}" for name in shares)
        )
    return table
