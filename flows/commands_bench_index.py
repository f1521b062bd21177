"""The subcommand ``bench index``: all kinds of index side by side, on made-up codes of real shape.

Public: `add_to`.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table
from typer.core import TyperCommand

from flows.options import console_for, write_json
from flows.progress import RichReporter
from musichash_core.errors import ParameterError

if TYPE_CHECKING:  # loading what it measures takes a while, which --help does not need
    from tasks.bench_index_estimates import RowEstimate

STAGE = "bench"
SEVERAL = ("--codes", "--bits", "--kinds")


class ListError(ParameterError):
    """A list of numbers has something else in it."""

    is_wrong_input = True


class _SpacedLists(TyperCommand):
    """A command whose lists may be separated by spaces too, and ``--json`` name a file."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - typer's own
        return super().parse_args(ctx, _joined(args))


def _joined(args: list[str]) -> list[str]:
    """Give ``--codes 1 2 --json FILE`` as ``--codes 1,2 --json --output FILE``."""
    joined: list[str] = []
    option = ""
    for argument in args:
        if argument.startswith("-"):
            option = argument
            joined.append(argument)
        elif option in SEVERAL and joined[-1] != option:
            joined[-1] += f",{argument}"
        elif option == "--json":
            joined += ["--output", argument]
            option = ""
        else:
            joined.append(argument)
    return joined


def add_to(bench: typer.Typer) -> None:
    """Register the subcommand among those that measure."""
    bench.command("index", cls=_SpacedLists)(bench_index)


def bench_index(
    codes: Annotated[
        str, typer.Option("--codes", help="Sizes: numbers of codes, such as 1000000 10000000.")
    ] = "1000000",
    bits: Annotated[
        str, typer.Option("--bits", help="Lengths of a code: multiples of 64, 256 at most.")
    ] = "64,128",
    kinds: Annotated[
        str,
        typer.Option(
            "--kinds",
            help="Some of flat, ivf, multihash, numpy, numpy-bounded, faiss-flat, usearch; by "
            "default all that are installed.",
        ),
    ] = "",
    queries: Annotated[
        int,
        typer.Option("--queries", min=1, max=100_000, help="Queries; slow kinds are asked fewer."),
    ] = 500,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of codes and queries.")] = 0,
    threads: Annotated[
        int, typer.Option("--threads", min=1, max=256, help="Threads that share the queries.")
    ] = 1,
    uniform: Annotated[
        bool,
        typer.Option(
            "--uniform", help="Codes of independent bits, which no model gives, not clustered ones."
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say how long it takes and how much memory, no more.")
    ] = False,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print the rows as JSON; with a name after it, write a file."),
    ] = False,
    output: Annotated[
        Path | None, typer.Option("--output", help="File for the JSON.", hidden=True)
    ] = None,
) -> None:
    """Build and ask all kinds of index on made-up codes; CPU seconds, bytes, recall.

    Codes lie about centres as those of real tracks do; queries are codes that are not in the index.
    Beside our kinds stand NumPy as one writes it, NumPy with a bound that falls, FAISS's flat index
    and usearch, if it is installed.

    [bold]Examples:[/bold]
    musichash bench index --codes 10000000 --bits 64 --dry-run
    musichash bench index --codes 1000000 10000000 --kinds flat ivf numpy --json rows.json
    """
    from tasks.bench_index import IndexBench, plan_bench
    from tasks.bench_index import bench_index as measure

    bench = IndexBench(
        codes=_numbers("--codes", codes),
        bits=_numbers("--bits", bits),
        kinds=tuple(name for name in kinds.replace(",", " ").split()),
        queries=queries,
        seed=seed,
        threads=threads,
        is_uniform=uniform,
    )
    _check_writable(output)
    is_piped = as_json and output is None
    planned = plan_bench(bench)
    reporter = RichReporter(console_for(as_json=True))
    reporter.say(_estimate_sentence(planned))
    if dry_run:
        _show_plan(planned, as_json=is_piped)
        return
    reporter.start(STAGE, len(planned), "indexes")

    def on_row(row: dict[str, Any]) -> None:
        reporter.advance(STAGE, 1)
        reporter.say(_row_sentence(row))

    rows = measure(bench, on_row=on_row)
    reporter.finish(STAGE, f"{len(rows)} indexes measured")
    if is_piped:
        write_json(rows)
        return
    console_for(as_json=False).print(_table(rows))
    if output is not None:
        _write(output, rows)


def _numbers(option: str, text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part.replace("_", "")) for part in text.replace(",", " ").split())
    except ValueError:
        raise ListError(
            f"{option} {text!r} is no list of whole numbers; give some such as 1000000 10000000"
        ) from None


def _check_writable(output: Path | None) -> None:
    """Refuse a file that cannot be written before minutes of work, not after."""
    if output is not None and not output.absolute().parent.is_dir():
        raise ListError(f"--json {output}: the folder {output.absolute().parent} does not exist")


def _write(output: Path, rows: list[dict[str, Any]]) -> None:
    import json

    output.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


def _estimate_sentence(planned: "list[RowEstimate]") -> str:
    minutes = sum(row.cpu_s for row in planned) / 60
    memory = max(row.memory_bytes for row in planned)
    return (
        f"{len(planned)} indexes: about {minutes:.1f} minutes of CPU and {memory / 1e9:.1f} GB of "
        "memory"
    )


def _show_plan(planned: "list[RowEstimate]", *, as_json: bool) -> None:
    if as_json:
        from dataclasses import asdict

        write_json([asdict(row) for row in planned])
        return
    table = Table(box=SIMPLE_HEAD)
    table.add_column("kind")
    for name in ("codes", "bits", "queries", "CPU s, about", "MB, about"):
        table.add_column(name, justify="right")
    for row in planned:
        table.add_row(
            row.kind,
            f"{row.codes:,}",
            str(row.bits),
            str(row.queries),
            f"{row.cpu_s:.1f}",
            f"{row.memory_bytes / 1e6:.0f}",
        )
    console_for(as_json=False).print(table)


def _row_sentence(row: dict[str, Any]) -> str:
    return (
        f"{row['kind']}, {row['codes']:,} x {row['bits']}: built in {row['build_cpu_s']:.1f} CPU "
        f"s, {row['queries_per_cpu_s']:,.0f} queries per CPU s at recall "
        f"{row['distance_recall_at_10']:.3f}"
    )


_COLUMNS: tuple[tuple[str, str, str], ...] = (
    ("codes", "codes", ","),
    ("bits", "bits", ""),
    ("build CPU s", "build_cpu_s", ".2f"),
    ("MB", "megabytes", ".1f"),
    ("load s", "load_s", ".2f"),
    ("queries/CPU s", "queries_per_cpu_s", ",.0f"),
    ("one query, ms", "single_query_ms", ".2f"),
    ("recall@10", "distance_recall_at_10", ".3f"),
    ("add 10,000, CPU s", "append_cpu_s", ".2f"),
    ("of a rebuild", "append_share", ".1%"),
    ("peak MB", "peak_memory_mb", ".0f"),
)


def _table(rows: list[dict[str, Any]]) -> Table:
    title = "; ".join(
        sorted(
            {
                f"{row['machine']}, {row['threads']} thread(s), {row['distribution']} codes"
                for row in rows
            }
        )
    )
    table = Table(box=SIMPLE_HEAD, title=title)
    table.add_column("kind")
    for heading, _, _ in _COLUMNS:
        table.add_column(heading, justify="right")
    for row in rows:
        shown = row | {"megabytes": row["bytes"] / 1e6}
        table.add_row(
            row["kind"],
            *("" if shown[key] is None else format(shown[key], how) for _, key, how in _COLUMNS),
        )
    return table
