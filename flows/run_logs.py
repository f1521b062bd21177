"""Where log records go besides the run's log in the store: standard error, and the Prefect UI.

Public: `logging_to_stderr`, `logging_to_ui`, `LogFormat`, `LogLevel`, `FORMAT_VARIABLE`,
`LEVEL_VARIABLE`.
"""

import logging
import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Literal, get_args

from musichash_core.errors import MusicHashError

LogFormat = Literal["text", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]

FORMAT_VARIABLE = "MUSICHASH_LOG_FORMAT"
LEVEL_VARIABLE = "MUSICHASH_LOG_LEVEL"

SHOWN_OF_A_KIND = 5
"""Warnings with the same event and reason that the Prefect UI shows one by one."""

MOST_SHOWN = 200
"""Records of a run in the Prefect UI, whatever happens: its database keeps them all."""

FOR_WARNINGS = 50
"""Of these, those that only warnings and errors may be."""


SAID_ANYWAY = frozenset({"track-failed", "run-failed"})
"""Events that who runs a command is told in its own words: how many tracks failed, why it ended."""


class LogSettingError(MusicHashError):
    """The environment asks for a format or level of the log that there is none of."""

    is_wrong_input = True


class _ToStderr(logging.Handler):
    """Writes lines to what is standard error now: tests and progress bars replace it."""

    def __init__(self, log_format: str | None, level: str | None) -> None:
        super().__init__()
        self._format: Literal["json", "text"] = "json" if log_format == "json" else "text"
        self._is_asked_for = bool(log_format or level)
        self.setLevel((level or ("info" if log_format else "warning")).upper())

    def emit(self, record: logging.LogRecord) -> None:
        if not self._is_asked_for and getattr(record, "event", None) in SAID_ANYWAY:
            return
        # Most commands log nothing, and need not load what makes lines.
        from tasks.run_logs import current_run, lines_as

        if self.formatter is None:
            self.setFormatter(lines_as(self._format))
        record.run = current_run()
        try:
            print(self.format(record), file=sys.stderr, flush=True)  # noqa: T201 - a log
        except (OSError, ValueError):  # nobody reads it any more: that ends no run
            self.setLevel(logging.CRITICAL + 1)


@contextmanager
def logging_to_stderr(
    log_format: LogFormat | None = None, level: LogLevel | None = None
) -> Iterator[None]:
    """Write what is logged to standard error, while the context lasts.

    Nothing is added where a context around this one does so already.

    Parameters
    ----------
    log_format : "text" or "json", optional
        Otherwise that of the variable ``MUSICHASH_LOG_FORMAT``, or text.
    level : str, optional
        The least that is written; otherwise that of ``MUSICHASH_LOG_LEVEL``, or what was asked for
        a format: "info"; or else "warning", without what a command says itself (`SAID_ANYWAY`).

    Raises
    ------
    LogSettingError
        If one of the variables has another value.
    """
    logger = logging.getLogger("musichash")
    if any(isinstance(handler, _ToStderr) for handler in logger.handlers):
        yield
        return
    handler = _ToStderr(
        log_format or _from_environment(FORMAT_VARIABLE, get_args(LogFormat)),
        level or _from_environment(LEVEL_VARIABLE, get_args(LogLevel)),
    )
    passed_on = logger.propagate
    with _passing_on(handler.level):
        logger.addHandler(handler)
        logger.propagate = False  # Prefect's console would show the same once more
        try:
            yield
        finally:
            logger.propagate = passed_on
            logger.removeHandler(handler)


def _passing_on(level: int) -> AbstractContextManager[object]:
    """Let our loggers pass records of a level on; they do so with warnings anyway."""
    if level >= logging.WARNING:
        return nullcontext()
    from tasks.run_logs import level_of_at_most

    return level_of_at_most(level)


def _from_environment(variable: str, allowed: tuple[str, ...]) -> str | None:
    value = os.environ.get(variable, "").lower()
    if not value:
        return None
    if value not in allowed:
        raise LogSettingError(
            f"{variable}={value!r} is none of {', '.join(allowed)}; correct or unset it"
        )
    return value


class _Shown(logging.Filter):
    """Lets pass what somebody who watches a run wants to see, and so much of it."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: Counter[tuple[str, str, str]] = Counter()
        self._n_shown = 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Refuse what is ordinary about one partition, repetitions, and all beyond a number."""
        if record.levelno < logging.WARNING and hasattr(record, "worker"):
            return False
        if record.levelno >= logging.WARNING:
            kind = (record.name, getattr(record, "event", ""), getattr(record, "code", ""))
            self._seen[kind] += 1
            if self._seen[kind] > SHOWN_OF_A_KIND:
                return False
        left = MOST_SHOWN - self._n_shown
        if left <= (0 if record.levelno >= logging.WARNING else FOR_WARNINGS):
            return False
        self._n_shown += 1
        return True

    def left_out(self) -> str | None:
        """Say how often what was not shown one by one."""
        more = {
            " ".join(filter(None, kind[1:])) or kind[0]: count - SHOWN_OF_A_KIND
            for kind, count in self._seen.items()
            if count > SHOWN_OF_A_KIND
        }
        if not more:
            return None
        return "and more of them: " + ", ".join(f"{name} {count}" for name, count in more.items())


@contextmanager
def logging_to_ui() -> Iterator[None]:
    """Show what is logged in the log of this flow run in the Prefect UI, a bounded part of it.

    Also writes to standard error, where nothing around this does: in a run that Prefect started.
    """
    from prefect.logging.handlers import APILogHandler

    from tasks.run_logs import lines_as

    logger = logging.getLogger("musichash")
    handler, shown = APILogHandler(), _Shown()
    handler.setFormatter(lines_as("sentence"))
    handler.addFilter(shown)
    with logging_to_stderr(), _passing_on(logging.INFO):
        logger.addHandler(handler)
        try:
            yield
        finally:
            left_out = shown.left_out()
            if left_out is not None:
                handler.emit(_warning(f"{left_out}; 'musichash logs' shows each"))
            logger.removeHandler(handler)


def _warning(sentence: str) -> logging.LogRecord:
    return logging.LogRecord("musichash", logging.WARNING, "", 0, "%s", (sentence,), None)
