"""The Dask workers of a run: an embedded cluster by default, or an existing scheduler.

Workers start when the first work is handed out, so that a run without work starts none.
Public: `Workers`, `Pace`, `DeadlyCallError`.
"""

import gc
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import ExitStack
from functools import partial
from typing import Any, Self, TypeVar
from uuid import uuid4

import dask
from dask.utils import funcname
from distributed import Client, Future, Worker, WorkerPlugin, as_completed
from distributed.deploy.cluster import Cluster
from distributed.scheduler import KilledWorker, NoValidWorkerError

from flows.cluster_calls import call_telling
from flows.cluster_contact import (
    LOOK_AGAIN_S,
    InCommon,
    Lookout,
    SchedulerError,
    call_checked,
    check_code,
    connect,
    on_each_worker,
    patiently,
    wait_for_one,
)
from flows.cluster_kinds import GPU_RESOURCE, dask_settings, start_cluster
from flows.cluster_needs import check_needs
from flows.cluster_settings import ClusterSettings
from flows.environment import COLLECT_SELDOM
from musichash_core.errors import MusicHashError
from tasks.resources import warm_worker

T = TypeVar("T")

log = logging.getLogger(f"musichash.{__name__}")

IN_FLIGHT_PER_WORKER = 4
"""Partitions handed to the scheduler per worker thread: enough to keep it busy, few to remember."""

BACKGROUND_NICENESS = 10
"""Of workers here that work in the background: the other workers of the machine come first."""

BACKGROUND_PRIORITY = -10
"""Of calls in the background at a scheduler that others use too, where 0 is usual."""

TRIES_ALONE = 2
"""Workers that a suspect must kill while it is alone in the cluster, to be held guilty."""

TRIES_TELLING = 3
"""Workers that may die under a call that tells how it goes, and goes on where the last stopped."""

READY_WITHIN_S = 0.1
"""How long a wait for the next result lasts before workers are looked for."""


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


class DeadlyCallError(MusicHashError):
    """A call kills each worker that it is handed to."""


class Workers:
    """Worker processes that start on first use and end with the context.

    Parameters
    ----------
    settings : ClusterSettings
        Which workers.
    pace : Pace, optional
        When work may go on; giving one puts it in the background: with less priority, and one
        piece at a time for each worker, so that it stops soon when it must wait.
    folders : iterable of str
        Absolute paths that the workers must see as this process does.
    """

    def __init__(
        self,
        settings: ClusterSettings,
        *,
        pace: Pace | None = None,
        folders: Iterable[str] = (),
    ) -> None:
        self._settings = settings
        self._folders = tuple(folders) if settings.is_elsewhere else ()
        self._pace = pace or Pace()
        self._is_background = pace is not None
        self._opened = ExitStack()
        self._cluster: Cluster | None = None
        self._client: Client | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._cluster = self._client = None
        self._opened.close()

    @property
    def n_wanted(self) -> int | None:
        """Worker processes asked for; None for one per CPU here, or if only the cluster knows."""
        return self._settings.n_described

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

    def call_telling(
        self,
        function: Callable[..., T],
        *arguments: object,
        hear: Callable[[Mapping[str, Any]], None],
        resources: Mapping[str, float],
    ) -> T:
        """Call a function on a worker with some resources, and hear meanwhile how it goes.

        When its worker dies it is called again, so it must go on by itself where it was.

        Parameters
        ----------
        function : callable
            A module-level function; its last argument is a `flows.cluster_calls.Tell`.
        hear : callable
            Called in this thread with each thing told.

        Raises
        ------
        DeadlyCallError
            If it kills each worker.
        ResourceGoneError
            If workers are left, but for long none with these resources.
        SchedulerError
            If no workers are left, or no scheduler.
        """
        for _ in range(TRIES_TELLING):
            lookout = Lookout(self.client, self._settings, resources)
            future = call_telling(
                self.client,
                function,
                arguments,
                hear,
                resources,
                lookout,
                InCommon.of(self._folders),
            )
            outcome = self._outcome_of(future)
            if not isinstance(outcome, KilledWorker):
                result: T = outcome
                return result
            log.warning(
                "the worker %s died during a long call, which is made again",
                outcome.last_worker.address,
                extra={"event": "worker-died"},
            )
        raise DeadlyCallError(
            f"the worker died each of {TRIES_TELLING} times, the last one was "
            f"{outcome.last_worker.address}; give workers more memory with --worker-memory, or "
            "with --memory-limit where 'dask worker' starts them"
        ) from outcome

    @property
    def client(self) -> Client:
        """The connection to the scheduler; starts or finds the workers."""
        if self._client is None:
            # Undone at last: else what one cluster's certificates rule out, the next could not do.
            self._opened.enter_context(dask.config.set(dask_settings(self._settings)))
            patience_s = self._settings.wait_for_workers_s
            if self._settings.scheduler is not None:
                check_needs(self._settings)
                self._client = connect(self._settings.scheduler, patience_s)
                self._opened.callback(self._client.close)
            else:
                self._cluster = patiently(partial(start_cluster, self._settings))
                self._opened.callback(self._cluster.close)
                self._client = Client(self._cluster)
                self._opened.callback(self._client.close)
                if self._settings.is_elsewhere:
                    wait_for_one(self._client, patience_s)
                # Until `warm_worker` has imported everything.
                on_each_worker(self._client, partial(gc.set_threshold, *COLLECT_SELDOM))
            check_code(self._client)
            if self._is_background and self._cluster is not None:
                self._client.register_plugin(_Nice())
            for said in on_each_worker(self._client, warm_worker).values():
                if isinstance(said, BaseException):
                    raise said
        return self._client

    @property
    def may_have_gpus(self) -> bool:
        """Whether a worker could have a GPU."""
        return self._settings.may_have_gpus

    def gpu_workers(self) -> list[str]:
        """Give the addresses of the workers that offer a GPU; a request that none can meet waits.

        Workers are started or found for it only if one of them could.
        """
        if not self.may_have_gpus:
            return []
        workers = self.client.scheduler_info(n_workers=-1)["workers"].items()
        return sorted(
            address
            for address, worker in workers
            if worker.get("resources", {}).get(GPU_RESOURCE, 0) > 0
        )

    def fan_out(
        self,
        function: Callable[..., Any],
        queue: "deque[tuple[Any, ...]]",
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
        lookout = Lookout(client, self._settings, {})
        in_common = InCommon.of(self._folders)

        def submit(arguments: tuple[Any, ...], tries_left: int) -> None:
            future = client.submit(
                call_checked,
                in_common,
                function,
                *arguments,
                key=f"{funcname(function)}-{uuid4().hex}",
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
            future = _next_of(finished, lookout)
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
        except NoValidWorkerError as error:
            raise SchedulerError(
                "the Dask scheduler has had no worker for too long; what was finished is kept: "
                "start workers and run again"
            ) from error
        future.release()
        return outcome


def _next_of(finished: Any, lookout: Lookout) -> "Future[Any]":  # noqa: ANN401 - Dask's iterator
    """Give the next call that has ended; look now and then whether any worker is left."""
    while not finished.has_ready():
        with finished.thread_condition:
            finished.thread_condition.wait(READY_WITHIN_S)
        lookout.look()
    future: Future[Any] = next(finished)
    return future
