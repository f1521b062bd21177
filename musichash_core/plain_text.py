r"""Text that came out of files, made safe to keep and to show.

A name or a tag may hold what acts on a terminal: escape sequences, line ends, marks that turn the
direction of writing. Shown text has such characters as Python writes them: ``\x1b``, ``\u202e``.

Public: `escape_controls`, `escape_controls_in_json`, `remove_controls`.
"""

import re
import unicodedata

_JOINERS = frozenset("\u200c\u200d")
"""Format characters that Persian, Indic scripts and emoji need; they act on their neighbours."""

_ACTING = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories of what acts instead of being seen: controls, formats, line separators."""


def _is_acting(character: str) -> bool:
    return unicodedata.category(character) in _ACTING and character not in _JOINERS


def escape_controls(text: str) -> str:
    r"""Write control, format and line-separating characters of a text as ``\n`` or ``\u202e``."""
    if text.isprintable():
        return text
    return "".join(
        character.encode("unicode_escape").decode("ascii") if _is_acting(character) else character
        for character in text
    )


def escape_controls_in_json(text: str) -> str:
    r"""Write such characters in a JSON document as ``\uNNNN``: it stays the same document.

    Line feeds stay, because a document has them between its values only.
    """
    if text.replace("\n", "").isprintable():
        return text
    return "".join(
        _json_escape(character) if _is_acting(character) and character != "\n" else character
        for character in text
    )


def _json_escape(character: str) -> str:
    code = ord(character)
    if code < 0x10000:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 | code >> 10:04x}\\u{0xDC00 | code & 0x3FF:04x}"


_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\s]+")


def remove_controls(text: str) -> str:
    """Put one space for each run of white space and control characters, and none at the ends."""
    return _CONTROLS.sub(" ", text).strip()
