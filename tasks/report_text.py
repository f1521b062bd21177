"""How the report writes names that others chose, and quantities with their units.

Track names are untrusted: Jinja2 escapes what means something in HTML, `printable` what cannot be
seen or changes the order of reading.

Public: `printable`, `bytes_text`, `seconds_text`, `count_text`, `time_text`.
"""

import unicodedata
from datetime import UTC, datetime

INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode categories that are written as escapes: control, direction, surrogate, unassigned..."""

BYTE_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
FIRST_LONG_S = 120.0
"""Up to here a time is given in seconds alone."""


def printable(text: str, limit: int = 200) -> str:
    r"""Write a name so that every character of it can be seen.

    Parameters
    ----------
    limit : >= 3
        Longer names lose their middle, because the beginning and the end tell most.

    Returns
    -------
    str
        Control, direction and unassigned characters appear as ``\xNN``, ``\uNNNN``.
    """
    if len(text) > limit:
        head = (limit - 1) // 3
        text = f"{text[:head]}…{text[len(text) - (limit - 1 - head) :]}"
    return "".join(
        character
        if unicodedata.category(character) not in INVISIBLE
        else character.encode("unicode_escape", "backslashreplace").decode("ascii")
        for character in text
    )


def bytes_text(n_bytes: float) -> str:
    """Write a size in decimal units: ``123 MB``."""
    value, unit = float(n_bytes), 0
    while value >= 999.5 and unit < len(BYTE_UNITS) - 1:
        value, unit = value / 1000.0, unit + 1
    return f"{value:.3g} {BYTE_UNITS[unit]}" if value < 999.5 else f"{value:.0f} {BYTE_UNITS[unit]}"


def seconds_text(seconds: float) -> str:
    """Write a time: ``12.3 s``, ``5 min 20 s``, ``3 h 04 min``, ``12,345 h``."""
    if seconds < FIRST_LONG_S:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60.0)
    if seconds < 3570.0:
        whole = round(seconds)
        return f"{whole // 60} min {whole % 60:02d} s"
    if minutes < 6000:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{seconds / 3600.0:,.0f} h"


def count_text(count: float) -> str:
    """Write a whole number with thousands separated."""
    return f"{count:,.0f}"


def time_text(moment: str) -> str:
    """Write an ISO 8601 time as ``2026-03-04 05:06``, in UTC."""
    return datetime.fromisoformat(moment).astimezone(UTC).strftime("%Y-%m-%d %H:%M")
