"""Locks that one process holds, with the owner's name and signs of life in the lock file.

On one machine flock decides, and it ends with its process. Some network file systems do not show a
flock to other machines. So the lock file also holds a record of its owner, which a thread renews
every `HEARTBEAT_S` seconds. Whoever finds the record of another machine watches it: a record that
changes has a living owner; one that stays the same for `STALE_AFTER_S` seconds has none, and is
taken over. Times in the record are for people only. No clock is compared with another one, so a
clock that is wrong, or is set, neither blocks anybody nor takes a lock from its owner.

An owner whose machine stood still for longer than that finds another name in the file when it goes
on, and knows from then on that it lost the lock (`HeldLock.is_lost`). Lock files are never removed.

Public: `HeldLock`, `OccupiedError`, `take_lock`, `share_lock`, `owner_of`.
"""

import fcntl
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from storage.lock_records import UNKNOWN, LockOwner, read_record, this_machine, write_record
from storage.log_lines import ROOT_LOGGER

HEARTBEAT_S = 5.0
"""How often an owner gives a sign of life."""

STALE_AFTER_S = 30.0
"""How long the record of another machine must stay the same before its owner counts as dead."""

_FIRST_BEAT_S = 1.0
"""Sooner than the others: of two machines that took a lock at once, one finds out here."""

_LOOK_EVERY_S = 0.2
_LONGEST_WHAT = 200

log = logging.getLogger(f"{ROOT_LOGGER}.{__name__}")


class OccupiedError(Exception):
    """Somebody else holds the lock.

    Attributes
    ----------
    owner : LockOwner
        As far as it is known.
    """

    def __init__(self, owner: LockOwner) -> None:
        super().__init__(str(owner))
        self.owner = owner


class HeldLock:
    """A lock that this process holds, and the thread that gives its signs of life.

    Attributes
    ----------
    owner : LockOwner
        This process, as the lock file has it.
    previous : LockOwner or None
        The owner before, if it ended without giving the lock back.
    """

    def __init__(self, path: Path, descriptor: int, what: str, previous: LockOwner | None) -> None:
        now = _now()
        self.path = path
        self.previous = previous
        self.owner = LockOwner(
            *(socket.gethostname(), os.getpid(), what[:_LONGEST_WHAT], now, now),
            machine=this_machine(),
            token=secrets.token_hex(8),
        )
        self._descriptor = descriptor
        self._mutex = threading.Lock()
        self._has_ended = threading.Event()
        self._is_lost = False
        self._write()
        self._thread = threading.Thread(
            target=self._beat_until_the_end, name=f"heartbeat of {path.name}", daemon=True
        )
        self._thread.start()

    def name_run(self, run_id: str) -> None:
        """Say in the lock file which run of the ledger this is."""
        with self._mutex:
            self.owner = replace(self.owner, run_id=run_id)
            self._write()

    def is_lost(self) -> bool:
        """Whether somebody else took the lock over, or removed its file."""
        with self._mutex:
            return self._look()

    def release(self) -> None:
        """Give the lock back, with an empty lock file."""
        self._has_ended.set()
        with self._mutex:
            if not self._look():
                with suppress(OSError):
                    os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
        self._thread.join()

    def _look(self) -> bool:
        found = read_record(self.path)
        # A record that cannot be read was torn, by the disk or by hand: the next beat mends it.
        if found is None or found.token not in {self.owner.token, UNKNOWN.token}:
            self._is_lost = True
        return self._is_lost

    def _write(self) -> None:
        write_record(self._descriptor, self.owner)

    def _beat_until_the_end(self) -> None:
        wait_s = min(_FIRST_BEAT_S, HEARTBEAT_S)
        while not self._has_ended.wait(wait_s):
            wait_s = HEARTBEAT_S
            with self._mutex:
                if self._has_ended.is_set() or self._look():
                    return
                self.owner = replace(self.owner, heartbeat=_now(), beats=self.owner.beats + 1)
                with suppress(OSError):  # a full or absent disk for a while: the next beat tells
                    self._write()


@contextmanager
def take_lock(path: Path, what: str) -> Iterator[HeldLock]:
    """Hold a lock until the block ends or the process does, however it ends.

    Parameters
    ----------
    path : Path
        The lock file; made if it is missing.
    what : str
        What the owner does, for whoever is refused.

    Raises
    ------
    OccupiedError
        If somebody else holds it.
    OSError
        If the file cannot be written, or its file system has no locks.
    """
    descriptor = _open_locked(path)
    try:
        previous = _previous_owner(path)
        held = HeldLock(path, descriptor, what, previous)
    except BaseException:
        os.close(descriptor)
        raise
    try:
        yield held
    finally:
        held.release()


@contextmanager
def share_lock(path: Path) -> Iterator[bool]:
    """Keep everybody from taking a lock, unless somebody has it: gives whether nobody has.

    Whoever wants to take it meanwhile waits. Any number of processes may share.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        is_free = _try(descriptor, fcntl.LOCK_SH)
        if is_free:
            try:
                if _previous_owner(path) is not None:
                    os.ftruncate(descriptor, 0)
            except OccupiedError:
                is_free = False
        yield is_free
    finally:
        os.close(descriptor)


def owner_of(path: Path) -> LockOwner | None:
    """Say who holds a lock; None when nobody does. Changes nothing, and works read-only.

    The owner on another machine is given until this process has seen the same record for
    `STALE_AFTER_S` seconds, so ask again to know.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        with suppress(OSError):  # a file system without locks: the record alone tells
            if not _try(descriptor, fcntl.LOCK_SH):
                return read_record(path) or UNKNOWN
    finally:
        os.close(descriptor)
    owner = read_record(path)
    if owner is None or owner == UNKNOWN or owner.is_here or not _may_live(path, owner):
        return None
    return owner


_first_seen: dict[Path, tuple[LockOwner, float]] = {}
"""Records of other machines that this process looked at, and when each was first seen."""


def _may_live(path: Path, owner: LockOwner) -> bool:
    """Whether a record of another machine has not been the same for too long yet."""
    now = time.monotonic()
    known, since = _first_seen.get(path, (owner, now))
    if known != owner:
        since = now
    _first_seen[path] = (owner, since)
    return now - since < STALE_AFTER_S


def _open_locked(path: Path) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            _lock_exclusively(descriptor, path)
            if _is_at(path, descriptor):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # somebody removed the file that we locked: lock the new one


def _lock_exclusively(descriptor: int, path: Path) -> None:
    while not _try(descriptor, fcntl.LOCK_EX):
        if not _try(descriptor, fcntl.LOCK_SH):
            raise OccupiedError(read_record(path) or UNKNOWN)
        # Nobody has it: others only look (`owner_of`), or keep it free for a while (`share_lock`).
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        time.sleep(_LOOK_EVERY_S / 10)


def _try(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _previous_owner(path: Path) -> LockOwner | None:
    """Give the owner who did not give the lock back, now that flock says that none is here.

    Raises
    ------
    OccupiedError
        If it lives on another machine.
    """
    owner = read_record(path)
    if owner is None or owner == UNKNOWN or owner.is_here:
        return owner
    began = time.monotonic()
    while time.monotonic() - began < STALE_AFTER_S:
        time.sleep(min(_LOOK_EVERY_S, STALE_AFTER_S))
        found = read_record(path)
        if found is None:
            return None
        if found not in {owner, UNKNOWN}:
            raise OccupiedError(found)
    log.warning(
        "%s is taken over from %s: no sign of life for %.0f seconds", path, owner, STALE_AFTER_S
    )
    return owner


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
