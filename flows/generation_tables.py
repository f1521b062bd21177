"""How model generations, and comparisons of them, are shown on a terminal.

Public: `show_generations`, `show_comparison`, `comparison_sentence`.
"""

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from flows.options import console_for
from musichash_core.plain_text import escape_controls

SHOWN_CHANGES = 8


def show_generations(described: list[dict[str, Any]]) -> None:
    """Print one line per generation, and what is known of candidates and damaged ones."""
    console = console_for(as_json=False)
    if not described:
        console.print("no models yet: 'musichash run' or 'musichash train' makes the first one")
        return
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in ("generation", "state", "stored (UTC)", "encoder", "features"):
        table.add_column(name, overflow="fold")
    for name in ("bits", "genres", "accuracy", "mAP", "encoded", "snapshots"):
        table.add_column(name, justify="right", overflow="fold")
    for entry in described:
        table.add_row(*(Text(escape_controls(cell)) for cell in _cells(entry)))
    console.print(table)
    for line in (line for entry in described for line in _remarks(entry)):
        console.print(Text(escape_controls(line)))


def _remarks(entry: dict[str, Any]) -> list[str]:
    remarks = []
    if entry["problem"]:
        remarks.append(f"{entry['generation']}: {entry['problem']}")
    if (comparison := entry["comparison"]) is not None:
        remarks.append(
            f"{entry['generation']} against {comparison['with']}: "
            f"{comparison['agreement']:.1%} keep their genre, "
            f"{comparison['neighbour_overlap']:.1%} of the {comparison['k']} nearest stay"
        )
    return remarks


def _cells(entry: dict[str, Any]) -> list[str]:
    encoded = f"{entry['n_encoded']} of {entry['n_published']}"
    snapshots = _ranges(entry["snapshots"])
    stored = entry["stored"][:16].replace("T", " ")
    beginning = [entry["generation"], entry["state"], stored]
    if entry["problem"]:
        return [*beginning, "?", "?", "?", "?", "?", "?", encoded, snapshots]
    figures = entry["validation"]
    encoder = entry["encoder"] + (" (shipped)" if entry["origin"] == "default" else "")
    return [
        *beginning,
        encoder,
        entry["feature_fingerprint"],
        str(entry["n_bits"]),
        str(len(entry["genres"])),
        *("" if figures[name] is None else f"{figures[name]:.2f}" for name in ("accuracy", "map")),
        encoded,
        snapshots,
    ]


def _ranges(numbers: list[int]) -> str:
    """Write ascending numbers shortly: 1-3, 7."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def show_comparison(compared: dict[str, Any]) -> None:
    """Print genres, neighbours, codes, and the tracks whose neighbours changed most."""
    console = console_for(as_json=False)
    console.print(Text(escape_controls(comparison_sentence(compared))))
    predictions, neighbours = compared["predictions"], compared["neighbours"]
    table = Table(title="genres", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in (f"genre by {compared['first']}", "tracks", "kept"):
        table.add_column(name, justify="left" if name.startswith("genre") else "right")
    for genre, counts in predictions["per_genre"].items():
        table.add_row(
            Text(escape_controls(genre)), str(counts["n_tracks"]), f"{counts['share']:.1%}"
        )
    console.print(table)
    for change in predictions["changes"][:SHOWN_CHANGES]:
        line = f"  {change['n_tracks']} from {change['first']} to {change['second']}"
        console.print(Text(escape_controls(line)))
    console.print(
        Text(
            f"neighbours of {neighbours['n_queries']} tracks: {neighbours['share_unchanged']:.1%} "
            f"keep all {neighbours['k']}, {neighbours['share_all_new']:.1%} keep none"
        )
    )
    for place in ("first", "second"):
        codes = compared["codes"][place]
        console.print(
            Text(
                f"codes of {compared[place]}: {codes['n_bits']} bits, {codes['n_distinct']} "
                f"different in {codes['n_codes']}, at most {codes['largest_bucket']} equal; mean "
                f"bias {codes['mean_bias']:.3f}, mean correlation {codes['mean_correlation']:.3f}"
            )
        )
    if compared["canaries"]:
        console.print("tracks whose neighbours change most:")
    for line in (line for canary in compared["canaries"] for line in _canary_lines(canary)):
        console.print(Text(escape_controls(line)))


def _canary_lines(canary: dict[str, Any]) -> list[str]:
    genres, nearest = canary["genre"], canary["nearest"]
    return [
        f"  {canary['path']}: {canary['overlap']:.0%} kept, "
        f"{genres['first']} -> {genres['second']}",
        f"    nearest before: {', '.join(nearest['first'])}",
        f"    nearest after:  {', '.join(nearest['second'])}",
    ]


def comparison_sentence(compared: dict[str, Any]) -> str:
    """Say in one sentence how far two generations agree."""
    predictions, neighbours = compared["predictions"], compared["neighbours"]
    kappa = predictions["kappa"]
    agreement = f"{predictions['agreement']:.1%} keep their genre"
    if kappa is not None:
        agreement += f" (kappa {kappa:.2f})"
    return (
        f"{compared['first']} and {compared['second']} on {compared['n_common']} of "
        f"{compared['n_published']} tracks: {agreement}, {neighbours['overlap']:.1%} of the "
        f"{neighbours['k']} nearest neighbours stay ({neighbours['overlap_by_chance']:.1%} would "
        "by chance)"
    )
