r"""Text that came out of files, made safe to keep and to show.

A name or a tag may hold what acts on a terminal: escape sequences, line ends, marks that turn the
direction of writing. Shown text has such characters as Python writes them: ``\x1b``, ``\u202e``.

Public: `escape_controls`, `unescape_controls`, `escape_controls_in_json`, `remove_controls`.
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


_ESCAPES = re.compile(r"\\(?:[nrt]|x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8})")


def unescape_controls(text: str) -> str:
    r"""Give the text of which `escape_controls` made another: of what somebody copied off a screen.

    A text that held such a spelling itself, a backslash and an ``n``, is not told from one that
    was made so.
    """
    return _ESCAPES.sub(_unescaped, text)


def _unescaped(spelled: re.Match[str]) -> str:
    try:
        character = spelled[0].encode("ascii").decode("unicode_escape")
    except UnicodeDecodeError:  # beyond the last character that there is
        return spelled[0]
    is_half = unicodedata.category(character) == "Cs"  # of a pair: no text of a table holds one
    return character if _is_acting(character) and not is_half else spelled[0]


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
