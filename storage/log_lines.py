r"""Log records as lines: JSON for programs, text for people; safe to show, and without secrets.

All our loggers lie below the logger ``musichash``. What a record is about stands in fields of it,
given as ``extra`` where it is logged: see `FIELDS`. A line is short, whatever it is about, and what
came out of files has its control characters escaped. Public: `ROOT_LOGGER`, `FIELDS`, `fields_of`,
`message_of`, `text_of_line`, `JsonLines`, `TextLines`, `hide_secrets`.
"""

import json
import logging
import os
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import cache

from musichash_core.plain_text import escape_controls, escape_controls_in_json

ROOT_LOGGER = "musichash"

FIELDS = (
    "event",
    "run",
    "stage",
    "partition",
    "track",
    "path",
    "code",
    "worker",
    "n_done",
    "n_reused",
    "n_failed",
    "audio_s",
    "cpu_s",
    "gpu_s",
    "wall_s",
    "n_bytes",
    "peak_memory_bytes",
    "snapshot",
    "state",
)
"""What a record may be about, in the order of a line."""

LONGEST_MESSAGE = 600
LONGEST_VALUE = 300
LONGEST_SEARCHED = 20_000
"""Characters of a text in which secrets are looked for; what is shown is the begin of these."""


SECRET_NAMES = re.compile(
    r"SECRET|PASSWORD|PASSWD|PASSPHRASE|TOKEN|CREDENTIAL|AUTH_STRING|_KEY(_ID)?$|CONNECTION_URL|"
    r"DATABASE_URL"
)
"""Of variables of the environment whose values are hidden wherever they appear."""

NAMES_OF_PLACES = re.compile(r"(_FILE|_PATH|_DIR|_HOME|_URI|_ENDPOINT)$")
SHORTEST_SECRET = 6
HIDDEN = "***"

_USER_AND_PASSWORD = re.compile(r"(://[^/\s:@]{0,256}):\S{0,1024}@")
_NAMED_SECRET = re.compile(
    r"(?i)\b(authorization|x-amz-(?:signature|credential|security-token)|password|passwd|"
    r"(?:aws_)?secret(?:_access)?_key|(?:access_|session_|auth_)?token|api_?key|auth_string)"
    r"(['\"]?\s*[=:]\s*['\"]?)(?:(?:basic|bearer)\s+)?[^\s&,;'\"]+"
)


@cache
def _names_a_secret(variable: str) -> bool:
    return bool(SECRET_NAMES.search(variable)) and not NAMES_OF_PLACES.search(variable)


def hide_secrets(text: str) -> str:
    """Replace what is secret in a text by ``***``.

    That is: the values of variables of the environment that are named like secrets, the password of
    any URL, and what follows the name of a secret, such as ``Authorization:`` or ``password=``.
    """
    for name, value in os.environ.items():
        if _names_a_secret(name):
            # "name:password", or a URL with both, is a secret by its second part alone, too.
            for secret in (value, value.rpartition(":")[2]):
                if len(secret) >= SHORTEST_SECRET:
                    text = text.replace(secret, HIDDEN)
    text = _USER_AND_PASSWORD.sub(rf"\1:{HIDDEN}@", text)
    return _NAMED_SECRET.sub(rf"\1\2{HIDDEN}", text)


def fields_of(record: logging.LogRecord) -> dict[str, str | int | float]:
    """Give what a record is about: those of `FIELDS` that it has, cut to a bounded length."""
    found: dict[str, str | int | float] = {}
    for name in FIELDS:
        value = getattr(record, name, None)
        if isinstance(value, str):
            found[name] = _shown(value, LONGEST_VALUE)
        elif isinstance(value, float):
            found[name] = round(value, 3)
        elif isinstance(value, int):
            found[name] = value
    return found


def message_of(record: logging.LogRecord) -> str:
    """Give what a record says, with its error: of bounded length, and without secrets."""
    text = record.getMessage()
    if record.exc_info and record.exc_info[1] is not None:
        error = record.exc_info[1]
        text += f" ({type(error).__name__}: {error})"
    return _shown(text, LONGEST_MESSAGE)


def _shown(text: str, longest: int) -> str:
    return _cut(hide_secrets(text[:LONGEST_SEARCHED]), longest)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 3] + "..."


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class JsonLines(logging.Formatter):
    """One JSON object per record: ``time``, ``level``, ``logger``, its fields, ``message``."""

    def format(self, record: logging.LogRecord) -> str:
        """Give the line, without its end."""
        line = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            **fields_of(record),
            "message": message_of(record),
        }
        return escape_controls_in_json(json.dumps(line, ensure_ascii=False))


class TextLines(logging.Formatter):
    """One line of text per record: time, level, stage, message, and where it happened.

    Parameters
    ----------
    with_time : bool
        Whether time and level are part of the line.
    """

    WHERE = ("run", "partition", "track", "code", "worker")

    def __init__(self, *, with_time: bool = True) -> None:
        super().__init__()
        self._with_time = with_time

    def format(self, record: logging.LogRecord) -> str:
        """Give the line, without its end."""
        begin = f"{_time(record)} {record.levelname:<7} " if self._with_time else ""
        line = {**fields_of(record), "message": message_of(record)}
        return begin + text_of_line(line, self.WHERE)


def text_of_line(line: Mapping[str, object], where: Iterable[str]) -> str:
    """Write the fields of a line as text: its stage, its message, and where it happened.

    Parameters
    ----------
    where : iterable of str
        Fields that are shown behind the message.
    """
    stage = f"{line['stage']}: " if "stage" in line else ""
    place = " ".join(f"{name}={line[name]}" for name in where if name in line)
    text = f"{stage}{line.get('message', '')}"
    return escape_controls(f"{text} [{place}]" if place else text)
