"""The Dask workers of a run: an embedded cluster by default, or an existing scheduler.

Workers start when the first work is handed out, so that a run without work starts none.
Public: `Workers`, `Pace`, `SchedulerError`, `WorkerCodeError`.
"""

import gc
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import suppress
from functools import partial
from typing import Any, Self, TypeVar

import dask
from distributed import Client, Future, Worker, WorkerPlugin, as_completed
from distributed.comm.core import CommClosedError
from distributed.deploy.cluster import Cluster
from distributed.scheduler import KilledWorker

from flows.cluster_kinds import GPU_RESOURCE, dask_settings, start_cluster
from flows.cluster_settings import ClusterSettings
from flows.environment import COLLECT_SELDOM
from musichash_core.errors import MusicHashError
from tasks.resources import code_fingerprint, warm_worker

T = TypeVar("T")

IN_FLIGHT_PER_WORKER = 4
"""Partitions handed to the scheduler per worker thread: enough to keep it busy, few to remember."""

BACKGROUND_NICENESS = 10
"""Of workers here that work in the background: the other workers of the machine come first."""

BACKGROUND_PRIORITY = -10
"""Of calls in the background at a scheduler that others use too, where 0 is usual."""

LOOK_AGAIN_S = 1.0
"""How often work that waits asks whether it may go on."""

TRIES_ALONE = 2
"""Workers that a suspect must kill while it is alone in the cluster, to be held guilty."""

START_TRIES = 3
CONNECT_TIMEOUT = "30s"


class Pace:
    """When work in the background may go on; this one never stops it."""

    def may_begin(self) -> bool:
        """Tell whether another piece may begin now."""
        return True

    def is_over(self) -> bool:
        """Tell whether nothing more may begin at all."""
        return False


class _Nice(WorkerPlugin):
    """Lets a worker process, and each that replaces it, give way to others."""

    name = "musichash-nice"

    def setup(self, worker: Worker) -> None:
        os.nice(BACKGROUND_NICENESS - os.nice(0))


class SchedulerError(MusicHashError):
    """No scheduler, or no worker of it, can be reached."""


class WorkerCodeError(MusicHashError):
    """The workers run another version of the code than this process."""


def _patiently(start: Callable[[], T]) -> T:
    """Start a part of Dask again when the machine stalls, or a worker dies as it starts.

    Dask gives its event loop 10 s to begin and then fails by an assertion; where one of its own
    workers ends before it is up it closes the others and raises a `RuntimeError`.
    """
    for _ in range(START_TRIES - 1):
        with suppress(AssertionError, RuntimeError):
            return start()
    return start()


def _on_each_worker(client: Client, function: Callable[[], object]) -> dict[str, object]:
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


class Workers:
    """Worker processes that start on first use and end with the context.

    Parameters
    ----------
    settings : ClusterSettings
        Which workers.
    pace : Pace, optional
        When work may go on; giving one puts it in the background: with less priority, and one
        piece at a time for each worker, so that it stops soon when it must wait.
    """

    def __init__(self, settings: ClusterSettings, *, pace: Pace | None = None) -> None:
        self._settings = settings
        self._pace = pace or Pace()
        self._is_background = pace is not None
        self._cluster: Cluster | None = None
        self._client: Client | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._client is not None:
            self._client.close()
        if self._cluster is not None:
            self._cluster.close()

    @property
    def n_wanted(self) -> int | None:
        """Worker processes asked for here; None for one per CPU."""
        return self._settings.n_workers

    @property
    def n_workers(self) -> int:
        """Threads of the workers that were started or found; 0 before the first use."""
        return 0 if self._client is None else sum(self._client.nthreads().values())

    @property
    def have_started(self) -> bool:
        """Whether workers were started or found."""
        return self._client is not None

    def call(self, function: Callable[..., T], *arguments: object) -> T:
        """Call a function on some worker, which has loaded more than this process needs.

        A worker that dies costs nothing: then it is called here.
        """
        future = self.client.submit(function, *arguments, pure=False)
        outcome = self._outcome_of(future)
        result: T = function(*arguments) if isinstance(outcome, KilledWorker) else outcome
        return result

    @property
    def client(self) -> Client:
        """The connection to the scheduler; starts or finds the workers."""
        if self._client is None:
            dask.config.set(dask_settings(self._settings))
            if self._settings.scheduler is not None:
                self._client = self._connect(self._settings.scheduler)
            else:
                self._cluster = _patiently(partial(start_cluster, self._settings))
                self._client = Client(self._cluster)
                if self._settings.is_elsewhere:
                    self._wait_for_one()
                # Until `warm_worker` has imported everything.
                _on_each_worker(self._client, partial(gc.set_threshold, *COLLECT_SELDOM))
            self._check_code(self._client)
            if self._is_background and self._cluster is not None:
                self._client.register_plugin(_Nice())
            for said in _on_each_worker(self._client, warm_worker).values():
                if isinstance(said, BaseException):
                    raise said
        return self._client

    def _wait_for_one(self) -> None:
        """Wait for the first worker of a cluster whose workers queue for a place."""
        assert self._client is not None
        patience_s = self._settings.wait_for_workers_s
        try:
            self._client.wait_for_workers(1, timeout=patience_s)
        except TimeoutError as error:
            raise SchedulerError(
                f"the cluster has had no worker for {patience_s} s; look at its queue, or give "
                "wait_for_workers_s a larger value in the file of --cluster"
            ) from error

    def _connect(self, address: str) -> Client:
        patience_s = self._settings.wait_for_workers_s
        try:
            client = _patiently(lambda: Client(address, timeout=CONNECT_TIMEOUT))
        except (OSError, ValueError) as error:  # ValueError: not an address at all
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

    @staticmethod
    def _check_code(client: Client) -> None:
        own = code_fingerprint()
        # A worker without musichash answers with an exception, which differs too.
        found = _on_each_worker(client, code_fingerprint)
        others = [worker for worker, code in found.items() if code != own]
        if others:
            raise WorkerCodeError(
                f"{len(others)} worker(s) run other code than this process (first: "
                f"{min(others)}); install the same version of musichash on all of them"
            )

    def resources_for_gpu(self) -> dict[str, int]:
        """Ask for a GPU where the cluster has one; a request that none can meet waits for ever."""
        workers = self.client.scheduler_info(n_workers=-1)["workers"].values()
        has_gpu = any(worker.get("resources", {}).get(GPU_RESOURCE, 0) > 0 for worker in workers)
        return {GPU_RESOURCE: 1} if has_gpu else {}

    def fan_out(
        self,
        function: Callable[..., Any],
        queue: "deque[tuple[Any, ...]]",
        resources: dict[str, int],
    ) -> Iterator[tuple[tuple[Any, ...], Any]]:
        """Call a function on the workers with each tuple of arguments in a queue.

        When a worker dies, every call that was handed to it is suspected, the innocent ones too.
        Suspects are called again one at a time when nothing else is left, so that only a call
        that kills workers by itself is given up.

        When the pace says that it is over, the calls that run end and the queue is emptied.

        Parameters
        ----------
        function : callable
            A module-level function; its results must be small.
        queue : deque of tuple
            Arguments; the caller may append more while it iterates.
        resources : dict
            Dask resources that each call needs; every one must exist on some worker.

        Yields
        ------
        arguments, outcome
            In the order of completion. The outcome is the result, or the `KilledWorker` when these
            arguments killed their workers; any other exception is raised.
        """
        client = self.client
        each = 1 if self._is_background else IN_FLIGHT_PER_WORKER
        room = each * max(1, sum(client.nthreads().values()))
        running: dict[Any, tuple[tuple[Any, ...], int]] = {}
        suspects: deque[tuple[tuple[Any, ...], int]] = deque()
        finished = as_completed()

        def submit(arguments: tuple[Any, ...], tries_left: int) -> None:
            future = client.submit(
                function,
                *arguments,
                pure=False,
                resources=resources or None,
                priority=BACKGROUND_PRIORITY if self._is_background else 0,
            )
            running[future] = arguments, tries_left
            finished.add(future)

        while queue or running or suspects:
            if self._pace.is_over():
                queue.clear()
                suspects.clear()
            while queue and len(running) < room and self._pace.may_begin():
                submit(queue.popleft(), TRIES_ALONE)
            if not running and not queue and suspects:
                submit(*suspects.popleft())
            if not running:
                time.sleep(LOOK_AGAIN_S if queue else 0.0)
                continue
            future = next(finished)
            arguments, tries_left = running.pop(future)
            outcome = self._outcome_of(future)
            if isinstance(outcome, KilledWorker) and tries_left:
                suspects.append((arguments, tries_left - 1))
            else:
                yield arguments, outcome

    def _outcome_of(self, future: "Future[Any]") -> Any:  # noqa: ANN401 - what a call gives
        """Give the result of a call that has ended, or the `KilledWorker` that it ended by."""
        try:
            outcome: Any = future.result()
        except KilledWorker as error:
            outcome = error
        except CancelledError as error:
            raise SchedulerError(
                f"the Dask scheduler ({self._settings.scheduler or 'embedded'}) is gone; what "
                "was finished is kept: start it again, or name another one, and run again"
            ) from error
        future.release()
        return outcome
