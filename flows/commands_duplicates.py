"""Subcommand ``duplicates``: near-duplicates of the published catalogue, with their evidence.

Public: `add_to`, `pairs_table`.
"""

from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.options import ConfigOption, JsonOption, StoreOption, console_for, write_json
from flows.progress import RichReporter
from musichash_core.plain_text import escape_controls

SHOWN_GROUPS = 25
SHOWN_PAIRS = 40


class ListedTier(StrEnum):
    """What can be listed."""

    EXACT = "exact"
    SAME_RECORDING = "same-recording"
    LIKELY_SAME = "likely-same"
    SIMILAR_ONLY = "similar-only"


LISTED = (ListedTier.EXACT, ListedTier.SAME_RECORDING, ListedTier.LIKELY_SAME)

UNITS = {
    "fingerprint": "partitions",
    "landmarks": "parts",
    "codes": "tracks",
    "windows": "tracks",
    "compare": "pairs",
    "chromaprint": "tracks",
}
"""Steps, and what each counts."""


def add_to(app: typer.Typer) -> None:
    """Register the subcommand."""
    app.command(rich_help_panel="Questions")(duplicates)


def duplicates(
    store: StoreOption,
    tier: Annotated[
        list[ListedTier] | None,
        typer.Option(
            "--tier",
            help="What to list; may be given several times. All but similar-only by default.",
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output", help="File for all that is listed: .parquet or .csv for pairs, .json."
        ),
    ] = None,
    report: Annotated[
        str | None, typer.Option("--report", help="HTML page with pictures of the pairs.")
    ] = None,
    pictures: Annotated[
        int, typer.Option("--pictures", min=0, max=500, help="Pairs drawn in the page.")
    ] = 30,
    radius: Annotated[
        int | None,
        typer.Option(
            "--radius",
            min=0,
            max=1024,
            help="Bits that the codes of a pair proposed by them may differ by; a tenth of the "
            "code.",
        ),
    ] = None,
    per_track: Annotated[
        int,
        typer.Option("--per-track", min=1, max=1000, help="Pairs proposed per track and source."),
    ] = 20,
    is_fresh: Annotated[
        bool, typer.Option("--fresh", help="Compare all pairs again, whatever was kept of them.")
    ] = False,
    with_chromaprint: Annotated[
        bool,
        typer.Option(
            "--chromaprint",
            help="Ask the library Chromaprint about likely pairs too: decodes two minutes of each "
            "track again. Needs: pip install 'musichash\\[chromaprint]', and libchromaprint.",
        ),
    ] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find tracks that are the same recording, in another encoding, cut, louder, or nearly so.

    Pairs are proposed by landmarks of their sound, by near hash codes and by windows of ten seconds
    that agree, and confirmed by a fingerprint made of the stored features: nothing is decoded
    again, but with --chromaprint. Tiers: exact (the same bytes in several places), same-recording
    (another encoding, sample rate or level, up to 6 s cut at an end), likely-same (a person must
    listen: an excerpt, an edit, another master), similar-only.
    Nothing is merged or removed. What was compared is kept, so that asking again costs little.

    [bold]Examples:[/bold]
    musichash duplicates --store ~/music.store
    musichash duplicates --store ~/music.store --report duplicates.html --output pairs.csv
    musichash duplicates --store ~/music.store --tier same-recording --json
    musichash duplicates --store ~/music.store --chromaprint
    """
    from musichash_core.config import load_config
    from tasks.duplicates import DuplicateOptions, find_duplicates
    from tasks.duplicates_answer import answer_of, check_output, write_answer

    if output is not None:
        check_output(output)
    console = console_for(as_json=as_json)
    found = find_duplicates(
        store,
        load_config(config),
        DuplicateOptions(
            radius=radius, per_track=per_track, is_fresh=is_fresh, with_chromaprint=with_chromaprint
        ),
        on_progress=_showing(RichReporter(console)),
    )
    answer = answer_of(found, [one.value for one in ListedTier if one in (tier or LISTED)])
    written = []
    if output is not None:
        written.append(str(write_answer(answer, output)))
    if report is not None:
        from tasks.duplicates_page import write_page

        written.append(str(write_page(found, answer, report, n_pictures=pictures)))
    if as_json:
        write_json(answer)
        return
    _print_answer(console, answer)
    for path in written:
        console.print(Text(escape_controls(f"written: {path}")))


def _showing(reporter: RichReporter) -> Any:  # noqa: ANN401 - a callable of three
    """Give what tells the progress of each step: a bar of its own."""
    begun: dict[str, int] = {}

    def on_progress(step: str, n_done: int, total: int) -> None:
        if step not in begun:
            begun[step] = 0
            reporter.start(step, total, UNITS[step])
        reporter.advance(step, n_done - begun[step])
        begun[step] = n_done
        if n_done == total:
            reporter.finish(step, f"{total:,} {UNITS[step]}")

    return on_progress


def _print_answer(console: Console, answer: dict[str, Any]) -> None:
    counts, tiers = answer["counts"], answer["tiers"]
    console.print(
        Text(
            f"snapshot {answer['snapshot']}: {_counted(counts['compared_tracks'], 'track')}, "
            f"{_counted(counts['proposed'], 'pair')} compared; "
            f"{_counted(tiers['exact'], 'track')} in several places, "
            f"{_counted(tiers['same-recording'], 'pair')} of one recording in "
            f"{_counted(len(answer['groups']), 'group')}, {tiers['likely-same']:,} likely the "
            f"same, {tiers['similar-only']:,} similar only"
        )
    )
    for note in answer["notes"]:
        console.print(Text(f"  note: {note}", style="yellow"))
    for track in answer["exact"][:SHOWN_GROUPS]:
        console.print(Text(escape_controls(f"exact: {' = '.join(track['locations'])}")))
    _say_more(console, len(answer["exact"]) - SHOWN_GROUPS)
    for group in answer["groups"][:SHOWN_GROUPS]:
        console.print(_group_table(group))
    _say_more(console, len(answer["groups"]) - SHOWN_GROUPS)
    doubtful = [pair for pair in answer["pairs"] if pair["tier"] != "same-recording"]
    if doubtful:
        console.print(pairs_table(doubtful[:SHOWN_PAIRS]))
    _say_more(console, len(doubtful) - SHOWN_PAIRS)


def _counted(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def _say_more(console: Console, n_more: int) -> None:
    if n_more > 0:
        console.print(f"  ... and {n_more:,} more: use --output or --json", highlight=False)


def _group_table(group: dict[str, Any]) -> Table:
    table = Table(
        title=f"same recording, group {group['group']}: {len(group['members'])} tracks, least "
        f"confidence {group['least_confidence']:.2f}{_heard(group)}",
        title_justify="left",
        box=SIMPLE_HEAD,
    )
    for name in ("", "coding", "kbit/s", "Hz", "length", "track"):
        is_number = name in {"kbit/s", "Hz", "length"}
        table.add_column(name, justify="right" if is_number else "left", overflow="fold")
    for member in group["members"]:
        table.add_row(
            "best" if member["looks_best"] else "",
            Text(escape_controls(member["codec"])),
            str(member["kbit_per_s"]),
            str(member["sr"]),
            f"{member['duration_s']:.1f} s",
            Text(escape_controls(member["path"])),
        )
    return table


def _heard(group: dict[str, Any]) -> str:
    """Say what Chromaprint makes of a group, where it was asked."""
    if group["most_chromaprint_error"] is None:
        return ""
    return f", up to {group['most_chromaprint_error']:.1%} of Chromaprint's bits differ"


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def pairs_table(pairs: list[dict[str, Any]]) -> Table:
    """Lay out pairs that are not surely one recording; the two tracks one above the other."""
    table = Table(title="to be heard by a person", title_justify="left", box=SIMPLE_HEAD)
    for name in ("tier", "shared", "bits differ", "Chromaprint", "compared", "why", "tracks"):
        is_number = name in {"bits differ", "Chromaprint", "compared"}
        table.add_column(name, justify="right" if is_number else "left", overflow="fold")
    for pair in pairs:
        compared = pair["compared_s"]
        table.add_row(
            pair["tier"],
            pair["relation"],
            _share(pair["bit_error_rate"]),
            _share(pair["chromaprint_error"]),
            "" if compared is None else f"{compared:.0f} s",
            pair["reason"],
            # The line between the two is ours; whatever stands in a name is not.
            Text("\n".join(escape_controls(pair[end]) for end in ("first_path", "second_path"))),
        )
    return table
