"""Subcommands that measure: ``bench extract``.

Public: `add_to`.
"""

from typing import Annotated

import typer

from flows.options import ConfigOption, console_for, write_json
from flows.progress import RichReporter

bench = typer.Typer(help="Measure this machine's speed.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Register the subcommands."""
    app.add_typer(bench, name="bench", rich_help_panel="Questions")


@bench.callback()
def _group() -> None:
    """Measure this machine's speed."""


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
