"""What people write to narrow a search, read: genres, spans of seconds and of years.

Public: `filters_of`.
"""

import math
import re
from collections.abc import Callable, Sequence
from typing import TypeVar

from musichash_core.errors import ParameterError
from storage.row_filters import Filters

N = TypeVar("N", int, float)

_SPAN = re.compile(r"\s*(?P<first>[^-\s]*)\s*-\s*(?P<last>[^-\s]*)\s*")
_MINUTES = re.compile(r"(\d+):([0-5]\d(?:\.\d*)?)")
_SECONDS = re.compile(r"\d+(?:\.\d*)?|\.\d+")
_YEAR = re.compile(r"\d{4}")
FIRST_YEAR, LAST_YEAR = 0, 9999


def filters_of(
    *,
    genres: Sequence[str] = (),
    labels: Sequence[str] = (),
    collections: Sequence[str] = (),
    duration: str | None = None,
    year: str | None = None,
) -> Filters:
    """Read what a search is narrowed to.

    Parameters
    ----------
    genres, labels, collections : sequence of str
        See `Filters`.
    duration : str, optional
        Seconds, or minutes and seconds: ``60-300``, ``1:00-5:00``, ``60-``, ``-300``.
    year : str, optional
        ``1990-1999``, ``1990-``, ``-1999``, ``1995``.

    Raises
    ------
    ParameterError
        If a span is none.
    """
    return Filters(
        tuple(genres),
        tuple(labels),
        tuple(collections),
        None
        if duration is None
        else _span(
            duration, _seconds, 0.0, math.inf, "--duration wants seconds or m:ss, such as 60-300"
        ),
        None
        if year is None
        else _span(year, _year, FIRST_YEAR, LAST_YEAR, "--year wants years, such as 1990-1999"),
    )


def _span(
    text: str, read: Callable[[str], N | None], least: N, greatest: N, wanted: str
) -> tuple[N, N]:
    """Read ``first-last``, of which one may be left out, or one value for both."""
    match = _SPAN.fullmatch(text)
    first, last = (text, text) if match is None else (match["first"], match["last"])
    ends = read(first) if first else least, read(last) if last else greatest
    if None in ends or not (first or last):
        raise ParameterError(f"{text!r}: {wanted}; leave one end out to leave it open")
    lower, upper = ends
    assert lower is not None
    assert upper is not None
    if lower > upper:
        raise ParameterError(f"{text!r} ends before it begins: {wanted}")
    return lower, upper


def _seconds(text: str) -> float | None:
    minutes = _MINUTES.fullmatch(text.strip())
    if minutes is not None:
        return 60.0 * int(minutes[1]) + float(minutes[2])
    return float(text) if _SECONDS.fullmatch(text.strip()) else None


def _year(text: str) -> int | None:
    return int(text) if _YEAR.fullmatch(text.strip()) else None
