"""The record of its owner that a lock file holds: who it is, and its last sign of life.

Public: `LockOwner`, `UNKNOWN`, `read_record`, `write_record`, `this_machine`.
"""

import json
import os
import socket
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path

_RECORD_BYTES = 1024
"""Records are padded to this length, so that one is replaced by a single write."""

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class LockOwner:
    """Who holds a lock; `str` gives it as a phrase for messages.

    Attributes
    ----------
    host, pid : str, int
        The process.
    what : str
        What it does: the command.
    started, heartbeat : str
        When it took the lock, and its last sign of life: ISO 8601 in UTC, by its own clock.
    run_id : str or None
        Its run in the ledger.
    machine : str
        The running kernel; tells machines with the same host name apart.
    token : str
        Differs each time that the lock is taken.
    beats : int
        Counts signs of life, so that they differ also where a clock stands still.
    """

    host: str
    pid: int
    what: str
    started: str
    heartbeat: str
    run_id: str | None = None
    machine: str = ""
    token: str = ""
    beats: int = 0

    def __str__(self) -> str:
        run = f" run {self.run_id}" if self.run_id else ""
        return (
            f"{self.what}{run}, pid {self.pid} on {self.host}, since {self.started}, "
            f"last sign of life {self.heartbeat}"
        )

    @property
    def is_here(self) -> bool:
        """Whether flock sees this owner: it runs, or ran, under this kernel."""
        if self.machine:
            return self.machine == this_machine()
        return self.host == socket.gethostname()


UNKNOWN = LockOwner("an unknown host", 0, "an unknown process", "an unknown time", "unknown")
"""Whoever wrote a record that is torn."""


def read_record(path: Path) -> LockOwner | None:
    """Read a lock file: None when its last owner gave it back, `UNKNOWN` when it is torn."""
    try:
        data = path.read_bytes()[:_RECORD_BYTES].strip(b"\0 \n")
    except FileNotFoundError:
        return None
    if not data:
        return None
    try:
        content = json.loads(data)
        known = {field.name for field in fields(LockOwner)}
        owner = LockOwner(**{name: value for name, value in content.items() if name in known})
        is_whole = datetime.fromisoformat(owner.heartbeat).tzinfo is not None
        is_whole &= isinstance(owner.token, str) and isinstance(owner.machine, str)
        is_whole &= isinstance(owner.run_id, str | None)
    except (ValueError, TypeError, AttributeError):
        return UNKNOWN
    return owner if is_whole else UNKNOWN


def write_record(descriptor: int, owner: LockOwner) -> None:
    """Replace what an open lock file holds, in one write."""
    data = json.dumps(asdict(owner)).encode()
    os.pwrite(descriptor, data.ljust(_RECORD_BYTES), 0)


def this_machine() -> str:
    """Name the running kernel; the host name where the system does not tell."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return socket.gethostname()
