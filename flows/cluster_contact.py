"""Reaching a scheduler and its workers, and noticing that they are no longer there.

A call whose workers are gone waits for ever, and Dask says nothing: `Lookout` looks for them.

Public: `SchedulerError`, `ResourceGoneError`, `WorkerCodeError`, `Lookout`, `connect`,
`wait_for_one`, `patiently`, `on_each_worker`, `check_code`, `call_checked`, `InCommon`,
`UnseenFolderError`.
"""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Self, TypeVar

from distributed import Client, get_worker
from distributed.comm.core import CommClosedError

from flows.cluster_settings import ClusterSettings
from musichash_core.errors import MusicHashError
from tasks.resources import code_fingerprint

T = TypeVar("T")

START_TRIES = 3
CONNECT_TIMEOUT = "30s"
LOOK_AGAIN_S = 1.0
LOOK_AT_WORKERS_S = 5.0
"""How often work that waits asks the scheduler for its workers."""


class SchedulerError(MusicHashError):
    """No scheduler, or no worker of it, can be reached."""


class ResourceGoneError(SchedulerError):
    """There are workers, but no longer one with what a call asks for."""


class WorkerCodeError(MusicHashError):
    """The workers run another version of the code than this process."""


class UnseenFolderError(MusicHashError):
    """A worker does not see a folder of the run."""


@dataclass(frozen=True, slots=True)
class InCommon:
    """What a worker must have in common with the run that it works for.

    Attributes
    ----------
    code : str
        See `tasks.resources.code_fingerprint`.
    folders : tuple of str
        Absolute paths; an empty folder at one of them is another one, such as a mount point.
    landmarks : tuple of tuple of str
        Some names of what lies in each of them; one is enough, as others may be removed meanwhile.
    """

    code: str
    folders: tuple[str, ...] = ()
    landmarks: tuple[tuple[str, ...], ...] = ()

    @classmethod
    def of(cls, folders: Iterable[str]) -> Self:
        """Give what this process has, and sees of some folders."""
        paths = tuple(folders)
        return cls(code_fingerprint(), paths, tuple(_landmarks_in(path) for path in paths))


N_LANDMARKS = 8


def _landmarks_in(folder: str) -> tuple[str, ...]:
    """Choose some entries of a folder, which may have millions; none if it is empty."""
    with os.scandir(folder) as entries:
        lasting = (entry.name for entry in entries if not entry.name.startswith("."))
        return tuple(islice(lasting, N_LANDMARKS))


def _sees(folder: str, landmarks: tuple[str, ...]) -> bool:
    """Tell whether this process sees the same folder; also if it is empty."""
    place = Path(folder)
    return place.is_dir() and (
        not landmarks or any(os.path.lexists(place / name) for name in landmarks)
    )


_CHECKED: set[InCommon] = set()
"""By this process. Later the file system may fail for a moment, which is for the work to say."""


def _says_more_than_cancelled(record: logging.LogRecord) -> bool:
    """Keep back what Dask's client logs when it is closed while it looks for its scheduler.

    That is a traceback of forty lines, beside the sentence that the run ends with.
    """
    return record.exc_info is None or record.exc_info[0] is not asyncio.CancelledError


logging.getLogger("distributed.client").addFilter(_says_more_than_cancelled)


def patiently(start: Callable[[], T]) -> T:
    """Start a part of Dask again when the machine stalls, or a worker dies as it starts.

    Dask gives its event loop 10 s to begin and then fails by an assertion; where one of its own
    workers ends before it is up it closes the others and raises a `RuntimeError`.
    """
    for _ in range(START_TRIES - 1):
        with suppress(AssertionError, RuntimeError):
            return start()
    return start()


def connect(address: str, patience_s: float) -> Client:
    """Connect to a scheduler that runs already, and wait for its first worker.

    Raises
    ------
    SchedulerError
        If none answers, or it has no worker.
    """
    try:
        client = patiently(lambda: Client(address, timeout=CONNECT_TIMEOUT))
    except (OSError, ValueError) as error:  # ValueError: not an address at all
        if "TLS certificate does not match" in str(error):
            raise SchedulerError(
                f"the Dask scheduler at {address!r} has a certificate that is not of our authority,"
                " or of another host; name the files that both sides were given under [tls] in the "
                "file of --cluster"
            ) from error
        raise SchedulerError(
            f"no Dask scheduler answers at {address!r} ({error}); start one with "
            "'dask scheduler', correct the address, or leave out --scheduler to use this "
            "machine"
        ) from error
    try:
        client.wait_for_workers(1, timeout=patience_s)
    except TimeoutError as error:
        client.close()
        raise SchedulerError(
            f"the Dask scheduler at {address} has had no worker for {patience_s} s; "
            f"start one with 'dask worker {address}'"
        ) from error
    return client


def wait_for_one(client: Client, patience_s: float) -> None:
    """Wait for the first worker of a cluster whose workers queue for a place.

    Raises
    ------
    SchedulerError
        If none comes.
    """
    try:
        client.wait_for_workers(1, timeout=patience_s)
    except TimeoutError as error:
        raise SchedulerError(
            f"the cluster has had no worker for {patience_s} s; look at its queue, or give "
            "wait_for_workers_s a larger value in the file of --cluster"
        ) from error


def on_each_worker(client: Client, function: Callable[[], object]) -> dict[str, object]:
    """Call a function on every worker; give its result, or the exception that it raised there.

    A worker that dies meanwhile does not end the run: its successor is asked, if it comes in time.
    """
    said: dict[str, object] = {}
    for _ in range(START_TRIES):
        said = client.run(function, on_error="return")
        if not any(_is_gone(outcome) for outcome in said.values()):
            break
        time.sleep(LOOK_AGAIN_S)
    return {worker: outcome for worker, outcome in said.items() if not _is_gone(outcome)}


def _is_gone(outcome: object) -> bool:
    """Tell whether a worker ended, or did not answer, instead of calling a function."""
    return type(outcome) in {CommClosedError, OSError}


def check_code(client: Client) -> None:
    """Refuse workers that run other code than this process.

    Raises
    ------
    WorkerCodeError
        It names the first of them.
    """
    own = code_fingerprint()
    # A worker without musichash answers with an exception, which differs too.
    found = on_each_worker(client, code_fingerprint)
    others = [worker for worker, code in found.items() if code != own]
    if others:
        raise WorkerCodeError(
            f"{len(others)} worker(s) run other code than this process (first: "
            f"{min(others)}); install the same version of musichash on all of them"
        )


def call_checked(wanted: InCommon, function: Callable[..., T], *arguments: object) -> T:
    """Call a function on this worker, if it has the code and the folders of the run that asks.

    It may have come, or been restarted, after the workers were checked.

    Raises
    ------
    WorkerCodeError
        If it runs other code.
    UnseenFolderError
        If it does not see a folder, which its tracks would seem to have vanished from.
    """
    if code_fingerprint() != wanted.code:
        raise WorkerCodeError(
            f"the worker {get_worker().address}, which started during the run, runs other code "
            "than the run; install the same version of musichash there, or stop it, and run again: "
            "what was finished is kept"
        )
    if wanted not in _CHECKED:
        for folder, landmarks in zip(wanted.folders, wanted.landmarks, strict=True):
            if not _sees(folder, landmarks):
                raise UnseenFolderError(
                    f"the worker {get_worker().address} does not see what lies in {folder}; mount "
                    "it there at the same path, or stop that worker, and run again: what was "
                    "finished is kept"
                )
        _CHECKED.add(wanted)
    return function(*arguments)


class Lookout:
    """Looks whether any worker is left that can do what waits.

    Parameters
    ----------
    client : Client
    settings : ClusterSettings
        How long a worker may be missing, and what its scheduler is called.
    resources : mapping
        What a worker must have; empty if any will do.
    """

    def __init__(
        self, client: Client, settings: ClusterSettings, resources: Mapping[str, float]
    ) -> None:
        self._client = client
        self._settings = settings
        self._resources = resources
        self._looked = time.monotonic()
        self._missing_since: float | None = None

    def look(self) -> None:
        """Look, if the last time is long enough ago.

        Raises
        ------
        SchedulerError
            If there has been no worker for as long as the settings allow.
        ResourceGoneError
            If there are workers, but none with these resources.
        """
        now = time.monotonic()
        if now - self._looked < LOOK_AT_WORKERS_S:
            return
        self._looked = now
        workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
        if any(_has(worker.get("resources", {}), self._resources) for worker in workers):
            self._missing_since = None
            return
        self._missing_since = self._missing_since or now
        patience_s = self._settings.wait_for_workers_s
        if now - self._missing_since < patience_s:
            return
        where = f"the Dask scheduler ({self._settings.scheduler or 'embedded'}) has had no worker"
        if workers:
            wanted = ", ".join(f"{name}={amount}" for name, amount in self._resources.items())
            raise ResourceGoneError(f"{where} with {wanted} for {patience_s} s")
        raise SchedulerError(
            f"{where} for {patience_s} s; what was finished is kept: start workers and run again"
        )


def _has(offered: Mapping[str, float], wanted: Mapping[str, float]) -> bool:
    return all(offered.get(name, 0) >= amount for name, amount in wanted.items())
