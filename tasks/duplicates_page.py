"""The page about near-duplicates: groups, and pairs side by side, in one self-contained file.

Public: `write_page`, `MAX_PICTURES`.
"""

from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from musichash_core.recording_match import SAME_RATE
from storage.atomic import write_file
from storage.errors import StoreError
from tasks import report_text
from tasks.duplicates import Duplicates, open_shelf
from tasks.duplicates_answer import track_facts
from tasks.duplicates_pictures import PairPainter
from tasks.html_page import fill_template

TEMPLATE = "duplicates.html.j2"
SHOWN_ROWS = 200
MAX_PICTURES = 500
"""Some 90 kB each."""


def write_page(found: Duplicates, answer: dict[str, Any], path: str, *, n_pictures: int) -> Path:
    """Write the page about an answer.

    Parameters
    ----------
    answer : dict
        From `tasks.duplicates_answer.answer_of`.
    path : str
        The file to write.
    n_pictures : >= 0
        Pairs that are drawn: of each group the pair that is least certain first, because it is
        what a person should look at; then the others.

    Raises
    ------
    StoreError
        If the page cannot be written.
    """
    chosen = _chosen(answer["pairs"], n_pictures)
    tracks = track_facts(found, {pair[end] for pair in chosen for end in ("first_id", "second_id")})
    context = {
        "answer": answer,
        "version": version("musichash"),
        "written": datetime.now(UTC).isoformat(),
        "pairs": _drawn(found, chosen, tracks),
        "n_not_shown": len(answer["pairs"]) - len(chosen),
        "shown_rows": SHOWN_ROWS,
        "same_rate": SAME_RATE,
    }
    target = Path(path).absolute()
    try:
        write_file(target, fill_template(TEMPLATE, context).encode("utf-8"))
    except OSError as error:
        raise StoreError(
            f"the page cannot be written to {target}: {error.strerror}; name another file with "
            "--report"
        ) from error
    return target


def _chosen(pairs: list[dict[str, Any]], n_pictures: int) -> list[dict[str, Any]]:
    """Choose the pairs that are drawn, in the order of the answer."""
    least: dict[int, int] = {}
    for place, pair in enumerate(pairs):
        if pair["tier"] == "same-recording":
            least[pair["group"]] = place  # pairs are sorted from the most certain one
    firsts = sorted(least.values(), key=lambda place: pairs[place]["confidence"])
    doubtful = [place for place, pair in enumerate(pairs) if pair["tier"] != "same-recording"]
    rest = sorted(set(range(len(pairs))) - {*firsts, *doubtful})
    # Half for groups, half for pairs that need a person, and the rest as room allows.
    half = max(n_pictures - len(doubtful), n_pictures // 2)
    order = [*firsts[:half], *doubtful, *firsts[half:], *rest]
    return [pairs[place] for place in sorted(order[:n_pictures])]


def _drawn(
    found: Duplicates, chosen: list[dict[str, Any]], tracks: dict[str, dict[str, Any]]
) -> list[dict[str, Any]]:
    if not chosen:
        return []
    shelf, rows = open_shelf(found)
    fingerprint = found.snapshot.feature_fingerprint
    painter = PairPainter(found.layout, fingerprint, found.plan, shelf, rows)
    shown = []
    for pair in chosen:
        names = [
            report_text.printable(Path(pair[end]).name, 70) for end in ("first_path", "second_path")
        ]
        shown.append(
            {
                "pair": pair,
                "first": tracks[pair["first_id"]],
                "second": tracks[pair["second_id"]],
                "picture": painter.picture(pair, names),
            }
        )
    return shown
