"""The subcommand about published data sets: ``dataset``.

Public: `add_to`.
"""

from typing import Annotated, Any, Literal

import typer

from flows.options import JsonOption, write_json
from musichash_core.plain_text import escape_controls


def add_to(app: typer.Typer) -> None:
    """Register the subcommand."""
    app.command(rich_help_panel="Questions")(dataset)


def dataset(
    name: Annotated[
        str | None, typer.Argument(help="Which data set; --list shows their names.")
    ] = None,
    root: Annotated[
        str | None, typer.Argument(help="Folder that holds it, as its makers hand it out.")
    ] = None,
    output: Annotated[
        str | None, typer.Option("--output", help="The manifest to write, a .csv file.")
    ] = None,
    split: Annotated[
        Literal["train", "validation", "test"] | None,
        typer.Option("--split", help="Only this part of the published split."),
    ] = None,
    split_number: Annotated[
        int, typer.Option("--split-number", min=0, help="Which published split, if several.")
    ] = 0,
    is_list: Annotated[
        bool, typer.Option("--list", help="List the data sets and the layouts expected.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a published data set (GTZAN, FMA, Ballroom ...) as a manifest; nothing is downloaded.

    Genres become labels and artists groups; the published split and tags are columns of their own.
    What is missing, corrupt or a known duplicate is left out, and said.

    [bold]Examples:[/bold]
    musichash dataset --list
    musichash dataset gtzan ~/data/gtzan --output gtzan.csv
    musichash run --catalogue ~/data/gtzan --manifest gtzan.csv --store ~/gtzan.store
    """
    from tasks.dataset import list_datasets, write_manifest

    if is_list:
        _show_list(list_datasets(), as_json=as_json)
        return
    if name is None or root is None or output is None:
        raise typer.BadParameter(
            "name a data set, its folder and the --output FILE.csv, or ask for --list"
        )
    written = write_manifest(name, root, output, split=split, split_number=split_number)
    if as_json:
        write_json(written)
    else:
        _show(written)


def _show_list(known: list[dict[str, str]], *, as_json: bool) -> None:
    if as_json:
        write_json(known)
        return
    for about in known:
        typer.echo(f"{about['name']}: {about['title']}")
        for key in ("layout", "homepage", "licence"):
            typer.echo(f"  {key + ':':<9} {about[key]}")


def _show(written: dict[str, Any]) -> None:
    splits = ", ".join(f"{count} {split}" for split, count in written["splits"].items())
    lines = [
        f"{written['tracks']} tracks of {written['title']} are in {written['manifest']}: "
        f"{len(written['genres'])} genres, {len(written['tags'])} tags, "
        f"{written['groups']} groups" + (f"; {splits}" if splits else ""),
    ]
    for note in written["notes"]:
        examples = ", ".join(note["examples"])
        more = " ..." if note["n_tracks"] > len(note["examples"]) else ""
        lines.append(
            f"  {note['kind']}: {note['n_tracks']} tracks: {note['text']} ({examples}{more})"
        )
    lines.append(f"  licence: {written['licence']}")
    lines.append(f"  cite: {written['citation']}")
    for line in lines:
        typer.echo(escape_controls(line))
