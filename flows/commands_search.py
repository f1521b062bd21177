"""The subcommand that finds similar tracks: ``search``.

Public: `add_to`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

from flows.options import (
    ClusterOption,
    ConfigOption,
    JsonOption,
    SchedulerOption,
    StoreOption,
    WorkerMemoryOption,
    cluster_from,
    console_for,
    write_json,
)
from flows.progress import RichReporter
from musichash_core.plain_text import escape_controls

if TYPE_CHECKING:  # imported when the command runs, so that --help answers at once
    from flows.cluster_settings import ClusterSettings
    from musichash_core.config import PipelineConfig
    from tasks.search import Answer, Match
    from tasks.search_bulk import BulkQuestion

SHOWN_GENRES = 3
NUMBERS = {"rank", "distance", "p", "window", "at"}


def add_to(app: typer.Typer) -> None:
    """Register the subcommand."""
    app.command(rich_help_panel="Questions")(search)


def search(
    store: StoreOption,
    track: Annotated[
        str | None, typer.Option("--track", help="A track of the catalogue: its id or its path.")
    ] = None,
    file: Annotated[
        str | None, typer.Option("--file", help="An audio file, in the catalogue or not.")
    ] = None,
    code: Annotated[
        str | None, typer.Option("--code", help="A hash code in hexadecimal, as export writes it.")
    ] = None,
    k: Annotated[int, typer.Option("-k", help="Most answers, 1 to 10000.")] = 10,
    radius: Annotated[
        int | None,
        typer.Option("--radius", help="Only tracks at a Hamming distance of at most so many bits."),
    ] = None,
    genre: Annotated[
        list[str] | None,
        typer.Option("--genre", help="Only tracks of this predicted genre; may be repeated."),
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option("--label", help="Only tracks that were given this label; may be repeated."),
    ] = None,
    collection: Annotated[
        list[str] | None,
        typer.Option(
            "--collection",
            help="Only tracks of this collection, or below this folder; may be repeated.",
        ),
    ] = None,
    duration: Annotated[
        str | None,
        typer.Option("--duration", help="Only tracks of this length: 60-300, 1:00-5:00, 60-."),
    ] = None,
    year: Annotated[
        str | None,
        typer.Option("--year", help="Only tracks whose tags name such a year: 1990-1999, 1990-."),
    ] = None,
    by: Annotated[
        Literal["track", "segments", "auto"],
        typer.Option(
            "--by",
            help="What is compared: whole tracks (what sounds alike), windows of ten seconds (what "
            "has the same sound in it, and where), or, with auto, both for an audio file of 10 to "
            "35 s.",
        ),
    ] = "auto",
    is_explained: Annotated[
        bool,
        typer.Option("--explain", help="Say of each answer why it was found: bits, genres, tags."),
    ] = False,
    queries: Annotated[
        str | None,
        typer.Option(
            "--queries",
            help="Many questions: Parquet, CSV or JSON lines with the column 'track_id', 'path' or "
            "'code'. The answers go to --output.",
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output", help="Parquet file for the answers to --queries: a row per query and rank."
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            min=1,
            max=1024,
            help="Worker processes that answer --queries; by default this process does.",
        ),
    ] = None,
    worker_memory: WorkerMemoryOption = None,
    scheduler: SchedulerOption = None,
    cluster: ClusterOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find the tracks that sound most like a track, an audio file, or a code.

    Ranked by Hamming distance between hash codes; ties by asymmetric distance, then by id. With
    filters, the nearest of the tracks that pass them.

    [bold]Examples:[/bold]
    musichash search --store ~/music.store --track jazz/take5.ogg --explain
    musichash search --store ~/music.store --file excerpt.wav -k 5
    musichash search --store ~/music.store --file excerpt.wav --by segments
    musichash search --store ~/music.store --track jazz/take5.ogg --genre jazz --year 1955-1965
    musichash search --store ~/music.store --code 9f3c00ab12ff8e01 --radius 6
    musichash search --store ~/music.store --queries asked.parquet --output found.parquet
    """
    from tasks.search import Reach, open_catalogue
    from tasks.search_filters import filters_of

    _check_one_question(track=track, file=file, code=code, queries=queries)
    of_queries = {
        "--output": output,
        "--workers": workers,
        "--worker-memory": worker_memory,
        "--scheduler": scheduler,
        "--cluster": cluster,
    }
    _check_options_of_queries(of_queries, queries)
    reach = Reach(k, radius)
    filters = filters_of(
        genres=genre or (),
        labels=label or (),
        collections=collection or (),
        duration=duration,
        year=year,
    )
    if by == "segments" and (code is not None or queries is not None):
        raise typer.BadParameter("--by segments is for --file and --track")
    needs_settings = file is not None or queries is not None or config is not None
    settings = _settings(config) if needs_settings else None
    if queries is not None:
        if output is None or is_explained:
            raise typer.BadParameter("--queries needs an --output, and takes no --explain")
        from tasks.search_bulk import BulkQuestion

        root = str(Path(store).absolute())  # workers may stand in another folder
        asked = BulkQuestion(root, queries, output, settings or _settings(config), reach, filters)
        where = cluster_from(workers, worker_memory, scheduler, cluster)
        _answer_in_bulk(asked, where, as_json=as_json)
        return
    with open_catalogue(store, settings) as catalogue:
        if track is not None:
            answer = catalogue.search_track(
                *(track, reach, filters),
                by="track" if by == "auto" else by,
                is_explained=is_explained,
            )
        elif file is not None:
            answer = catalogue.search_file(file, reach, filters, by=by, is_explained=is_explained)
        else:
            answer = catalogue.search_code(str(code), reach, filters, is_explained=is_explained)
    if as_json:
        write_json(answer.as_dict())
        return
    console = console_for(as_json=False)
    console.print(Text(_title(answer)))  # no title of the table, which would break it at its width
    console.print(_table(answer) if answer.matches else "no track is left to show")
    if is_explained:
        _print_reasons(console, answer)


def _settings(path: Path | None) -> "PipelineConfig":
    from musichash_core.config import load_config  # loads what features are made with

    return load_config(path)


def _check_one_question(**questions: str | None) -> None:
    given = [name for name, value in questions.items() if value is not None]
    if len(given) != 1:
        raise typer.BadParameter("name either a --file or a --track, or else a --code or --queries")


def _check_options_of_queries(options: Mapping[str, object], queries: str | None) -> None:
    """Refuse options that one question would not heed."""
    given = [name for name, value in options.items() if value is not None]
    if given and queries is None:
        raise typer.BadParameter(
            f"{given[0]} is for --queries; the answer to one question is printed, as JSON with "
            "--json"
        )


def _answer_in_bulk(asked: "BulkQuestion", cluster: "ClusterSettings", *, as_json: bool) -> None:
    from flows.bulk_search import search_in_bulk

    reporter = RichReporter(console_for(as_json=as_json))
    account = search_in_bulk(asked, cluster=cluster, reporter=reporter)
    if as_json:
        write_json(account)


# --- for people ----------------------------------------------------------------------------------


def _table(answer: "Answer") -> Table:
    table = Table(box=SIMPLE_HEAD)
    by_segments = answer.by != "track"
    names = ["rank", "distance", "genre", "p", "label", "track"]
    for name in names[:-1] + (["window", "at"] if by_segments else []) + names[-1:]:
        justify: JustifyMethod = "right" if name in NUMBERS else "left"
        table.add_column(name, justify=justify, overflow="fold")
    for match in answer.matches:
        cells: list[str | Text] = [
            *(str(match.rank), str(match.distance), Text(escape_controls(match.genre))),
            *(f"{match.probability:.2f}", Text(escape_controls(match.label or ""))),
            *([_bits(match.window_distance), _clock(match.starts_s)] if by_segments else []),
            Text(escape_controls(match.path)),
        ]
        table.add_row(*cells)
    return table


def _title(answer: "Answer") -> str:
    among = f"{answer.n_codes} tracks"
    if answer.filters:
        among = f"{answer.n_selected} of {among} that pass the filters"
    title = f"Nearest to {answer.query} among {among} ({answer.n_bits} bits)"
    if answer.n_within is not None:
        title += f"; {answer.n_within} within {answer.radius} bits"
    if not answer.is_exact:
        by = "of an ivf index" if answer.by == "track" else "by several windows"
        title += f"; {by}, which may miss some"
    return escape_controls(title)


def _bits(distance: float | None) -> str:
    return "" if distance is None else f"{distance:.1f}"


def _clock(seconds: float | None) -> str:
    return "" if seconds is None else f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def _print_reasons(console: Console, answer: "Answer") -> None:
    """Say of the query what is known, and of each match what speaks for it."""
    about = answer.about or {}
    if "genre" in about:
        console.print(
            Text(escape_controls(f"{answer.query}: {_likeliest(about['probabilities'])}"))
        )
    for match in answer.matches:
        console.print(Text(escape_controls(f"{match.rank:>3}. {match.path}"), style="bold"))
        for line in _reasons(match):
            console.print(Text(escape_controls(f"     {line}")))


def _reasons(match: "Match") -> Sequence[str]:
    why: dict[str, Any] = match.why or {}
    unsure = "" if why["bits_unsure"] is None else f", {why['bits_unsure']} of them unsure"
    asymmetric = "" if match.asymmetric is None else f"; asymmetric distance {match.asymmetric:.2f}"
    lines = [
        f"bits: {match.distance} differ ({why['bits_only_in_query']} set in the query alone, "
        f"{why['bits_only_in_match']} in the match alone{unsure}){asymmetric}",
        f"genres: {_likeliest(why['probabilities'])}",
    ]
    if "shared" in why:
        lines[1] += f"; {why['genre_overlap']:.0%} in common"
        shared = ", ".join(f"{name} {value}" for name, value in why["shared"].items())
        lines.append(f"shared: {shared or 'nothing'}")
        lines.append(
            f"length: {_clock(match.duration_s)}, {_difference(why['duration_difference_s'])}"
        )
    return lines


def _difference(longer_s: float) -> str:
    rounded = round(longer_s, 1)
    if not rounded:
        return "as long"
    return f"{abs(rounded)} s {'longer' if rounded > 0 else 'shorter'}"


def _likeliest(probabilities: dict[str, float]) -> str:
    first = sorted(probabilities.items(), key=lambda pair: -pair[1])[:SHOWN_GENRES]
    return ", ".join(f"{genre} {share:.2f}" for genre, share in first)
