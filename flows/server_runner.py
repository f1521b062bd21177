"""``musichash serve`` at work: the deployments of a store, and the runs that they start.

Public: `serve_until_signal`, `only_one`.
"""

import asyncio
import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID

from flows.own_server import OwnServer
from flows.server_automations import HEARTBEAT_SECONDS, ensure_automations
from flows.server_process import answers
from flows.server_schedules import deployments
from flows.server_state import PRIVATE_FILE, ServerError, StateFolder

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.deployments.runner import RunnerDeployment
    from prefect.runner import Runner

    from flows.server_schedules import Served

WATCH_SECONDS = 2.0
SURELY_SEEN_S = 30
"""After which the server has noticed that a run has fallen silent for too long."""


@contextlib.contextmanager
def only_one(state: StateFolder, name: str) -> Iterator[None]:
    """Serve deployments of one name once.

    Raises
    ------
    ServerError
        If another process serves them.
    """
    path = state.path / f"serve-{name}.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ServerError(
                f"deployments of the name {name!r} are served already (lock {path}); end that "
                "'musichash serve' first, or give these another --name"
            ) from None
        yield
    finally:
        os.close(descriptor)


def serve_until_signal(
    served: "Served",
    server: OwnServer | None,
    *,
    silent_seconds: int,
    notify: str | None,
    on_ready: Callable[[list[str]], None],
) -> None:
    """Serve the deployments; SIGINT and SIGTERM end it in order, and the runs at work with it.

    Parameters
    ----------
    served : Served
        The store.
    server : OwnServer or None
        The server that we started and must watch over.
    silent_seconds, notify
        See `ensure_automations`.
    on_ready : callable
        Told once what was set up, when runs can begin.

    Raises
    ------
    ServerError
        If the server ends or does not answer any more.
    """
    from prefect.client.orchestration import get_client
    from prefect.exceptions import PrefectHTTPStatusError

    try:
        with get_client(sync_client=True) as client:
            said = ensure_automations(client, silent_seconds=silent_seconds, notify=notify)
            ours = deployments(served, is_paused=partial(_paused, client))
    except PrefectHTTPStatusError as error:
        raise ServerError(
            f"the server refuses us ({error.response.status_code}); PREFECT_API_AUTH_STRING must "
            "hold its credentials"
        ) from error
    patience_s = silent_seconds + SURELY_SEEN_S if served.begins_now else None
    said += [f"{one.full_name} is paused: resume it in the UI" for one in ours if one.paused]
    asyncio.run(_serve(ours, server, said, on_ready, patience_s))


def _paused(client: "SyncPrefectClient", full_name: str) -> bool:
    """Tell whether the operator has paused a deployment, which registering it would undo."""
    from prefect.exceptions import ObjectNotFound

    try:
        return client.read_deployment_by_name(full_name).paused
    except ObjectNotFound:
        return False


async def _serve(
    ours: "list[RunnerDeployment]",
    server: OwnServer | None,
    said: list[str],
    on_ready: Callable[[list[str]], None],
    patience_s: int | None,
) -> None:
    from flows.serving_runner import ServingRunner

    runner = ServingRunner(
        name=f"musichash serve {ours[0].name}",
        pause_on_shutdown=False,
        heartbeat_seconds=HEARTBEAT_SECONDS,
    )
    night, _ = [await runner.aadd_deployment(deployment) for deployment in ours]
    if patience_s is not None and (wait_s := await _begin_one(night, patience_s)):
        said = [*said, f"a night of before is not seen to have ended: the next in {wait_s} s"]
    on_ready(said)
    watch = None if server is None else asyncio.create_task(_watch(server, runner))
    try:
        await runner.start()
    except ExceptionGroup as error:  # of its loops, which have asked in vain for half a minute
        api_url = os.environ["PREFECT_API_URL"].rstrip("/")
        if answers(api_url):
            raise
        raise ServerError(
            f"the server at {api_url} does not answer any more; start it, and this again"
        ) from error
    finally:
        if watch is not None:
            watch.cancel()
    if server is not None and server.has_ended():
        raise ServerError(f"the server has ended by itself: {server.last_words()}")


async def _begin_one(deployment_id: UUID, patience_s: int) -> int:
    """Begin a run: at once, or when one that seems to be at work has either ended or crashed.

    Gives the seconds until then.
    """
    from prefect.client.orchestration import get_client
    from prefect.client.schemas import filters
    from prefect.client.schemas.objects import StateType
    from prefect.states import Scheduled

    at_work = filters.FlowRunFilterState(
        type=filters.FlowRunFilterStateType(
            any_=[StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]
        )
    )
    async with get_client() as client:
        others = await client.read_flow_runs(
            flow_run_filter=filters.FlowRunFilter(state=at_work),
            deployment_filter=filters.DeploymentFilter(
                id=filters.DeploymentFilterId(any_=[deployment_id])
            ),
            limit=1,
        )
        wait_s = patience_s if others else 0
        begin = datetime.now(UTC) + timedelta(seconds=wait_s)
        await client.create_flow_run_from_deployment(
            deployment_id, state=Scheduled(scheduled_time=begin)
        )
    return wait_s


async def _watch(server: OwnServer, runner: "Runner") -> None:
    """Start our server again when it dies, which a run at work outlives; stop when that fails."""
    while True:
        await asyncio.sleep(WATCH_SECONDS)
        if not server.has_ended():
            continue
        try:
            await asyncio.to_thread(server.start_again)
        except ServerError:
            await runner.astop()
            return
