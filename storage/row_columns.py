"""The columns that a file of rows may have, by name, and what such a file is for.

A required column that is missing, a repeated one, and one that seems misspelt are refused by name;
other columns are passed by.

Public: `RowFile`, `Column`, `find_columns`, `named`.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from storage.errors import RowFileError

SIMILARITY = 0.8
"""From this on a column's name is taken for a misspelt one (`difflib`: 1 is equal)."""

SHORT_NAME = 3
"""Of names up to this length only another case or spaces count as misspelt: ``uid`` is not ``id``.
"""

_NAMED_COLUMNS = 12
_NAMED_CHARACTERS = 40


class Column(NamedTuple):
    """A column that a file may have, under one name or several.

    Attributes
    ----------
    names : tuple of str
        What it may be called; the first is the one to recommend.
    is_required : bool
        Whether a file without it is refused.
    """

    names: tuple[str, ...]
    is_required: bool = False


@dataclass(frozen=True, slots=True)
class RowFile:
    """What a file of rows is for, and what it may hold.

    Attributes
    ----------
    kind, option : str
        What messages call it, and the option that names it.
    error : type of RowFileError
        What is raised.
    columns : tuple of Column
        In the order of `TextRow.values`.
    """

    kind: str
    option: str
    error: type[RowFileError]
    columns: tuple[Column, ...]


def find_columns(
    path: Path, what: RowFile, names: Sequence[str]
) -> tuple[list[int | None], tuple[str, ...]]:
    """Give where each column asked for stands, and the names of the others."""
    places = [_find_column(path, what, names, column) for column in what.columns]
    others = tuple(name for place, name in enumerate(names) if place not in places)
    for column, place in zip(what.columns, places, strict=True):
        if place is not None:
            continue
        near = _nearest(column, others)
        if column.is_required:
            hint = f" (did you mean it by {near!r}?)" if near else ""
            raise what.error(
                f"{path} has the columns {named(names)} and lacks {column.names[0]!r}{hint}; "
                f"known are {named([column.names[0] for column in what.columns])}"
            )
        if near:
            raise what.error(
                f"{path} has a column {near!r}; did you mean {column.names[0]!r}? Rename it, or "
                "give it a name that is not so like that one"
            )
    return places, others


def named(names: Sequence[str]) -> str:
    """List the names of columns for a message; not all of very many, and none at full length."""
    shown = [repr(name[:_NAMED_CHARACTERS]) for name in names[:_NAMED_COLUMNS]]
    if len(names) > _NAMED_COLUMNS:
        shown.append("...")
    return ", ".join(shown) or "(none)"


def _find_column(path: Path, what: RowFile, names: Sequence[str], column: Column) -> int | None:
    found = [place for place, name in enumerate(names) if name in column.names]
    if len(found) > 1:
        raise what.error(
            f"{path} has more than one column {column.names[0]!r} "
            f"({named([names[place] for place in found])}); keep one of them"
        )
    return found[0] if found else None


def _nearest(column: Column, names: Sequence[str]) -> str | None:
    """Give the name most like a column's, if any is."""
    by_plain = {name.strip().lower(): name for name in names}
    for wanted in column.names:
        if wanted in by_plain:
            return by_plain[wanted]
        if len(wanted) <= SHORT_NAME:
            continue
        if near := difflib.get_close_matches(wanted, by_plain, n=1, cutoff=SIMILARITY):
            return by_plain[near[0]]
    return None
