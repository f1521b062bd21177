"""Where log records of a run go: its log in the store, and from the workers to the run's process.

Everything logs in the ordinary way, to a logger below ``musichash``, with what it is about given as
``extra`` (see `storage.log_lines.FIELDS`). A worker gives what was logged during a call back with
its result, and the run's process logs it as if it had happened there.

Public: `logging_run`, `level_of_at_most`, `current_run`, `log_partition`, `call_and_listen`,
`Overheard`, `relay`, `lines_as`, `show_log`, `shown_line`, `LEVELS`.
"""

import logging
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

from musichash_core.plain_text import escape_controls
from musichash_core.records import PartitionSummary
from storage.errors import ArtefactMissingError
from storage.layout import StoreLayout
from storage.log_lines import (
    FIELDS,
    ROOT_LOGGER,
    JsonLines,
    TextLines,
    fields_of,
    message_of,
    text_of_line,
)
from storage.run_logs import RunLog, logged_runs, read_run_log, remove_old_logs
from storage.runs import UnknownRunError
from storage.store import open_store

MOST_OVERHEARD = 40
"""Records that one call gives back: what crosses a process border stays small."""

LEVELS = ("debug", "info", "warning", "error")
SHOWN_PLACES = TextLines.WHERE[1:]
"""Fields of a line that are shown behind its message: all but the run."""

_runs: list[str] = []
"""Runs whose log this process writes now."""


@contextmanager
def level_of_at_most(level: int) -> Iterator[logging.Logger]:
    """Let our loggers pass records of a level on, while the context lasts."""
    logger = logging.getLogger(ROOT_LOGGER)
    before = logger.level
    if before == logging.NOTSET or before > level:
        logger.setLevel(level)
    try:
        yield logger
    finally:
        logger.setLevel(before)


@contextmanager
def logging_run(layout: StoreLayout, run_id: str) -> Iterator[None]:
    """Write what is logged to the log of a run, while the context lasts; remove old logs."""
    remove_old_logs(layout)
    handler = RunLog(layout, run_id)
    with level_of_at_most(logging.INFO) as logger:
        logger.addHandler(handler)
        _runs.append(run_id)
        try:
            yield
        finally:
            _runs.remove(run_id)
            logger.removeHandler(handler)
            handler.close()


def current_run() -> str | None:
    """Give the run whose log this process writes now."""
    return _runs[-1] if _runs else None


def log_partition(stage: str, summary: PartitionSummary, wall_s: float) -> None:
    """Log what became of one partition."""
    logging.getLogger(f"{ROOT_LOGGER}.tasks.{stage}").info(
        "partition %s: %d tracks, %d failed, %.0f s of audio in %.1f s",
        summary.partition_id,
        summary.n_done,
        summary.n_failed,
        summary.audio_s,
        wall_s,
        extra={
            "event": "partition-done",
            "stage": stage,
            "partition": summary.partition_id,
            "n_done": summary.n_done,
            "n_failed": summary.n_failed,
            "audio_s": summary.audio_s,
            "cpu_s": summary.cpu_s,
            "wall_s": wall_s,
            "n_bytes": summary.n_bytes,
        },
    )


# --- on workers ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Overheard:
    """The result of a call on a worker, and what was logged meanwhile.

    Attributes
    ----------
    outcome : object
        What the function gave.
    records : list of dict
        ``level``, ``logger``, ``created`` (seconds since 1970), ``message``, ``fields``.
    """

    outcome: Any
    records: list[dict[str, Any]] = field(default_factory=list)


_overheard: ContextVar[list[dict[str, Any]] | None] = ContextVar("overheard", default=None)


class _Listener(logging.Handler):
    """Keeps what is logged during a call, up to a number of records."""

    def emit(self, record: logging.LogRecord) -> None:
        records = _overheard.get()
        if records is None or len(records) > MOST_OVERHEARD:
            return
        if len(records) == MOST_OVERHEARD:
            message, fields = "more of this call is not logged", {}
        else:
            message, fields = message_of(record), fields_of(record)
        records.append(
            {
                "level": record.levelno,
                "logger": record.name,
                "created": record.created,
                "message": message,
                "fields": fields | {"worker": _this_worker()},
            }
        )


@cache
def _listen() -> None:
    logger = logging.getLogger(ROOT_LOGGER)
    logger.setLevel(logging.INFO)
    logger.addHandler(_Listener())


@cache
def _this_worker() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


def call_and_listen(function: Callable[..., Any], *arguments: object) -> Overheard:
    """Call a function on a worker; give its result with what was logged meanwhile."""
    _listen()
    records: list[dict[str, Any]] = []
    token = _overheard.set(records)
    try:
        return Overheard(function(*arguments), records)
    finally:
        _overheard.reset(token)


def relay(overheard: Overheard) -> Any:  # noqa: ANN401 - what the function gave
    """Log here what was logged on a worker; give the result."""
    for said in overheard.records:
        logger = logging.getLogger(said["logger"])
        if logger.isEnabledFor(said["level"]):
            record = logger.makeRecord(
                *(said["logger"], said["level"], "", 0, "%s", (said["message"],), None),
                extra={name: said["fields"][name] for name in FIELDS if name in said["fields"]},
            )
            record.created = said["created"]
            logger.handle(record)
    return overheard.outcome


# --- for people ----------------------------------------------------------------------------------


def lines_as(form: Literal["json", "text", "sentence"]) -> logging.Formatter:
    """Give what makes lines of records; a sentence is text without time and level."""
    return JsonLines() if form == "json" else TextLines(with_time=form == "text")


def show_log(
    store: str, name: str | None = None, *, level: str = "info", stage: str | None = None
) -> dict[str, Any]:
    """Give the log of a run.

    Parameters
    ----------
    name : str, optional
        The run, or how its id begins; the newest that has a log when not given.
    level : str
        The least of `LEVELS` to give.
    stage : str, optional
        Give the lines of this stage only.

    Returns
    -------
    dict
        ``run`` and ``lines``, oldest first.

    Raises
    ------
    ArtefactMissingError
        If the store has no log.
    UnknownRunError
        If there is no such log, or several begin so.
    """
    layout = open_store(store)
    run_id = _logged_run(layout, name)
    lines = [
        line
        for line in read_run_log(layout, run_id)
        if _rank(line.get("level")) >= LEVELS.index(level)
        and (stage is None or line.get("stage") == stage)
    ]
    return {"store": str(layout.root), "run": run_id, "lines": lines}


def shown_line(line: dict[str, Any]) -> str:
    """Write a line of a run's log for people; which run it is of they have asked for."""
    begin = f"{line.get('time', '')} {line.get('level', ''):<7} "
    return escape_controls(begin) + text_of_line(line, SHOWN_PLACES)


def _logged_run(layout: StoreLayout, name: str | None) -> str:
    known = logged_runs(layout)
    if not known:
        raise ArtefactMissingError(
            f"{layout.root} has no log yet: 'musichash run' and all other commands that process "
            "tracks write one"
        )
    if name is None:
        return known[-1]
    found = [name] if name in known else [each for each in known if each.startswith(name)]
    if len(found) == 1:
        return found[0]
    what = f"the logs of {len(found)} runs begin" if found else "no run that has a log begins"
    raise UnknownRunError(f"{what} with {name!r}; the latest are: {', '.join(known[-5:])}")


def _rank(level: object) -> int:
    return LEVELS.index(level) if level in LEVELS else len(LEVELS)
