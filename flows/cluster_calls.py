"""A long call on a worker that tells how it goes, and ends when nobody waits for it any more.

What it tells travels by the scheduler as plain values. A call whose worker dies is made again on
another one, so it must know by itself how to go on.

Public: `call_telling`, `tell_from_worker`, `Tell`, `NobodyWaitsError`.
"""

from collections.abc import Callable, Mapping
from queue import Empty, SimpleQueue
from typing import Any, TypeVar
from uuid import uuid4

from dask.utils import funcname
from distributed import Client, Future, Worker, get_worker

from flows.cluster_contact import LOOK_AGAIN_S, InCommon, Lookout, call_checked
from musichash_core.errors import MusicHashError

T = TypeVar("T")

Tell = Callable[[Mapping[str, Any]], None]
"""Takes plain values, as JSON knows them, to whoever waits for the call."""

_TOLD = "told"
_ENDED = None
"""Stands behind the last that a call told."""


class NobodyWaitsError(MusicHashError):
    """The process that waited for a call has gone, or has cancelled it."""


def tell_from_worker(topic: str, function: Callable[..., T], arguments: tuple[object, ...]) -> T:
    """Call a function on this worker, with one argument more: what it tells by.

    Raises
    ------
    NobodyWaitsError
        As soon as it tells something when nobody waits.
    """
    worker = get_worker()
    key = worker.get_current_task()

    def tell(told: Mapping[str, Any]) -> None:
        if not _is_awaited(worker, key):
            raise NobodyWaitsError(
                "the run that asked for this has ended or was cancelled; run it again: it goes on "
                "where this stops"
            )
        worker.log_event(topic, {_TOLD: dict(told)})  # the scheduler adds the worker's name

    return function(*arguments, tell)


def _is_awaited(worker: Worker, key: Any) -> bool:  # noqa: ANN401 - what Dask names a call by
    """Tell whether the scheduler still wants a call that runs.

    It takes the call back when the client that submitted it is gone, however that ended.
    """
    task = worker.state.tasks.get(key)
    return task is not None and task.state == "executing"


def call_telling(  # noqa: PLR0913 - what to call, where, and who is told
    client: Client,
    function: Callable[..., Any],
    arguments: tuple[object, ...],
    hear: Callable[[Mapping[str, Any]], None],
    resources: Mapping[str, float],
    lookout: Lookout,
    in_common: InCommon,
) -> "Future[Any]":
    """Call a function on a worker and hear what it tells meanwhile; give its future when it ended.

    Parameters
    ----------
    function : callable
        A module-level function; its last argument is a `Tell`.
    hear : callable
        Called in this thread, in the order in which it was told.
    resources : mapping
        Dask resources that the call needs.
    lookout : Lookout
        Asked now and then whether it can be done at all; what it raises ends the call.
    in_common : InCommon
        What the worker must have in common with this run.
    """
    topic = f"musichash-{uuid4()}"
    heard: SimpleQueue[Mapping[str, Any] | None] = SimpleQueue()
    client.subscribe_topic(topic, lambda event: heard.put(event[1][_TOLD]))
    future = client.submit(
        call_checked,
        in_common,
        tell_from_worker,
        topic,
        function,
        arguments,
        key=f"{funcname(function)}-{uuid4().hex}",
        resources=dict(resources),
    )
    try:
        # What was told before its end comes before its end: both go the same way.
        future.add_done_callback(lambda _: heard.put(_ENDED))
        while (told := _next_of(heard, lookout)) is not _ENDED:
            hear(told)
        client.unsubscribe_topic(topic)
    except BaseException:
        future.cancel()
        raise
    return future


def _next_of(
    heard: "SimpleQueue[Mapping[str, Any] | None]", lookout: Lookout
) -> Mapping[str, Any] | None:
    while True:
        try:
            return heard.get(timeout=LOOK_AGAIN_S)
        except Empty:
            lookout.look()
