"""The log of each run: JSON lines beside its record in the ledger, ``runs/<run>.jsonl``.

For the operator, and for nothing else: no digest, no manifest and no decision depends on a log. So
what cannot be written to it never ends a run; a line that a kill or a power loss tore is left out
by readers; it is synced once, at its end; and only the logs of the newest runs are kept.

Public: `RunLog`, `read_run_log`, `remove_old_logs`, `logged_runs`.
"""

import json
import logging
import os
from contextlib import suppress
from typing import Any

from storage.atomic import fsync_path, make_folder
from storage.errors import ArtefactMissingError, StoreError
from storage.layout import StoreLayout
from storage.log_lines import JsonLines

KEPT_LOGS = 200
LARGEST_LOG_BYTES = 64_000_000
"""About 250,000 lines: a partition or a failed track is one."""

FULL = '{"level": "warning", "event": "log-full", "message": "the log is full; the rest is lost"}'


class RunLog(logging.Handler):
    """Appends every record to the log of a run, each line in one write.

    Parameters
    ----------
    run_id : str
        Names the file, and is the field ``run`` of each line.
    largest : int
        Bytes after which nothing more is written.

    Attributes
    ----------
    problem : OSError or None
        Why nothing is written any more.
    """

    def __init__(
        self, layout: StoreLayout, run_id: str, *, largest: int = LARGEST_LOG_BYTES
    ) -> None:
        super().__init__()
        self.setFormatter(JsonLines())
        self.run_id = run_id
        self.problem: OSError | None = None
        self._path = layout.run_log_path(run_id)
        self._left = largest
        self._descriptor = -1
        try:
            make_folder(self._path.parent)
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            self._descriptor = os.open(self._path, flags, 0o644)
            n_bytes = os.fstat(self._descriptor).st_size
            self._left -= n_bytes
            if n_bytes:  # a backfill goes on, perhaps behind half a line
                os.write(self._descriptor, b"\n")
        except OSError as error:
            self.problem = error

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line; a disk that does not take it ends the log, not the run."""
        if self._descriptor < 0 or self._left <= 0 or self.problem is not None:
            return
        record.run = self.run_id
        line = f"{self.format(record)}\n".encode(errors="backslashreplace")
        self._left -= len(line)
        if self._left <= 0:
            line = f"{FULL}\n".encode()
        try:
            os.write(self._descriptor, line)
        except OSError as error:
            self.problem = error

    def close(self) -> None:
        """Make durable what was written."""
        self.acquire()
        try:
            if self._descriptor >= 0:
                with suppress(OSError):
                    os.fsync(self._descriptor)
                    fsync_path(self._path.parent)
                os.close(self._descriptor)
                self._descriptor = -1
        finally:
            self.release()
        super().close()


def read_run_log(layout: StoreLayout, run_id: str) -> list[dict[str, Any]]:
    """Read the lines of a run's log; a torn one is left out.

    Raises
    ------
    ArtefactMissingError
        If the run has no log (any more).
    StoreError
        If it cannot be read.
    """
    path = layout.run_log_path(run_id)
    try:
        text = path.read_bytes()
    except FileNotFoundError as error:
        raise ArtefactMissingError(
            f"run {run_id} has no log in {layout.root} (kept are those of the newest {KEPT_LOGS} "
            "runs); 'musichash runs' shows what the ledger says of it"
        ) from error
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}") from error
    lines = []
    for line in text.split(b"\n"):
        with suppress(ValueError):
            content = json.loads(line)
            if isinstance(content, dict):
                lines.append(content)
    return lines


def logged_runs(layout: StoreLayout) -> list[str]:
    """List the runs that have a log, oldest first."""
    if not layout.runs_root.is_dir():
        return []
    return sorted(path.stem for path in layout.runs_root.glob("*.jsonl"))


def remove_old_logs(layout: StoreLayout, *, keep: int = KEPT_LOGS) -> int:
    """Remove the logs of all but the newest runs; give their number."""
    doomed = logged_runs(layout)[:-keep]
    for run_id in doomed:
        with suppress(OSError):  # a log that stays is no harm
            layout.run_log_path(run_id).unlink()
    return len(doomed)
