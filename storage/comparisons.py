"""Comparisons of two model generations, one JSON file per pair; the last one made is kept.

Public: `write_comparison`, `read_comparison`.
"""

from pathlib import Path
from typing import Any

from storage.atomic import read_json
from storage.errors import ArtefactMissingError, other_format
from storage.kept_work import keep_json
from storage.layout import StoreLayout

COMPARISON_FORMAT = 1


def write_comparison(layout: StoreLayout, comparison: dict[str, Any]) -> Path:
    """Store how far two generations agree, durably; give the place of the file.

    Parameters
    ----------
    comparison : dict
        JSON with ``first`` and ``second``, the names of the generations.

    Raises
    ------
    StoreError
        If the store cannot be written.
    """
    path = layout.comparison_path(comparison["first"], comparison["second"])
    content = comparison | {"format": COMPARISON_FORMAT}
    keep_json(path, content, "the comparison")
    return path


def read_comparison(layout: StoreLayout, first: str, second: str) -> dict[str, Any] | None:
    """Read what was stored of a pair, in this order; None when they were never compared.

    Raises
    ------
    FormatVersionError
        If another version of musichash wrote it.
    """
    path = layout.comparison_path(first, second)
    try:
        comparison = read_json(path)
    except ArtefactMissingError:
        return None
    found = comparison.pop("format", None)
    if found != COMPARISON_FORMAT:
        again = f"or compare again: 'musichash models compare {first} {second}'"
        raise other_format(str(path), found, COMPARISON_FORMAT, instead=again)
    return comparison
