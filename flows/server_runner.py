"""``musichash serve`` at work: a server if none runs, deployments, and the runs that they start.

Public: `server_for_serving`, `serve_until_signal`, `only_one`.
"""

import asyncio
import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from flows.server_automations import HEARTBEAT_SECONDS, ensure_automations
from flows.server_connection import connect_to
from flows.server_process import LOOK_AGAIN_S, START_SECONDS, answers
from flows.server_schedules import deployments
from flows.server_state import PRIVATE_FILE, ServerError, StateFolder

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.deployments.runner import RunnerDeployment

    from flows.server_schedules import Served

STOPPED = "musichash serve was ended; what this run finished is kept, the next one goes on"
SERVER_END_SECONDS = 30
WATCH_SECONDS = 2.0


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


@contextlib.contextmanager
def server_for_serving(
    state: StateFolder, port: int, say: Callable[[str], None]
) -> Iterator["subprocess.Popen[bytes] | None"]:
    """Use the server that the environment names or that runs here, or else start one.

    Gives its process if it was started, which ends with this.

    Raises
    ------
    ServerError
        If the named server does not answer, or the start fails.
    """
    named = os.environ.get("PREFECT_API_URL")
    if named:
        if not answers(named.rstrip("/")):
            raise ServerError(
                f"no Prefect server answers at {named} (PREFECT_API_URL); start it, correct the "
                "address, or unset the variable to use one of this machine"
            )
        say(f"using the server at {named} (PREFECT_API_URL)")
        yield None
        return
    if state.is_held():
        _wait_until_it_answers(state, None)
        say(f"using the running server at {_connected(state)}")
        yield None
        return
    process = _start(state, port)
    try:
        say("starting the server")
        _wait_until_it_answers(state, process)
        say(f"the server is healthy: {_connected(state)}")
        yield process
    finally:
        _end(process)


def _start(state: StateFolder, port: int) -> "subprocess.Popen[bytes]":
    """Start ``musichash server`` beside us, out of reach of our terminal's Ctrl-C."""
    start = "from flows.cli import main; main()"
    with state.log.open("ab") as log:
        state.log.chmod(PRIVATE_FILE)
        return subprocess.Popen(
            [
                *(sys.executable, "-P", "-c", start, "server"),
                *("--home", str(state.path), "--port", str(port)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=state.path,
            start_new_session=True,
        )


def _wait_until_it_answers(state: StateFolder, process: "subprocess.Popen[bytes] | None") -> None:
    until = time.monotonic() + START_SECONDS
    while (running := state.running()) is None or not answers(running.api_url):
        if process is not None and process.poll() is not None:
            raise ServerError(f"the server did not start: {_last_words(state)}")
        if time.monotonic() > until:
            raise ServerError(
                f"the server of {state.path} does not answer after {START_SECONDS} s; see "
                f"{state.log}, or end it and start again"
            )
        time.sleep(LOOK_AGAIN_S)


def _last_words(state: StateFolder) -> str:
    lines = state.log.read_text(errors="replace").split("\n")
    last = next((line for line in reversed(lines) if line.strip()), "nothing")
    return f"its log {state.log} ends with: {last.removeprefix('error: ')}"


def _connected(state: StateFolder) -> str:
    running = state.running()
    if running is None:
        raise ServerError(f"the server of {state.path} has just ended; start again")
    connect_to(running, state)
    return running.ui_url


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(SERVER_END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def serve_until_signal(
    served: "Served",
    server: "subprocess.Popen[bytes] | None",
    state: StateFolder,
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
    server : subprocess.Popen or None
        The server that we started and must watch over.
    state : StateFolder
        Of the server.
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
    said += [f"{one.full_name} is paused: resume it in the UI" for one in ours if one.paused]
    asyncio.run(_serve(ours, server, state, lambda: on_ready(said)))


def _paused(client: "SyncPrefectClient", full_name: str) -> bool:
    """Tell whether the operator has paused a deployment, which registering it would undo."""
    from prefect.exceptions import ObjectNotFound

    try:
        return client.read_deployment_by_name(full_name).paused
    except ObjectNotFound:
        return False


async def _serve(
    ours: "list[RunnerDeployment]",
    server: "subprocess.Popen[bytes] | None",
    state: StateFolder,
    on_ready: Callable[[], None],
) -> None:
    runner = _runner_class()(
        name=f"musichash serve {ours[0].name}",
        pause_on_shutdown=False,
        heartbeat_seconds=HEARTBEAT_SECONDS,
    )
    for deployment in ours:
        await runner.aadd_deployment(deployment)
    on_ready()
    watch = asyncio.create_task(_watch(server, runner))
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
        watch.cancel()
    if server is not None and server.poll() is not None:
        raise ServerError(f"the server has ended by itself: {_last_words(state)}")


async def _watch(server: "subprocess.Popen[bytes] | None", runner: Any) -> None:  # noqa: ANN401
    """Stop when the server that we started is gone."""
    while server is None or server.poll() is None:
        await asyncio.sleep(WATCH_SECONDS)
    await runner.astop()


def _runner_class() -> Any:  # noqa: ANN401 - Prefect is imported when something is served
    from prefect.runner import Runner

    class ServingRunner(Runner):
        """A runner that ends in order at SIGINT too, and says why its runs ended."""

        async def start(self, run_once: bool = False, webserver: bool | None = None) -> None:
            self._asked = asyncio.get_running_loop()
            signal.signal(signal.SIGINT, self.handle_sigterm)
            await super().start(run_once, webserver)

        def handle_sigterm(self, *_: object, **__: object) -> None:
            self._asked.call_soon_threadsafe(self._end_soon)

        def _end_soon(self) -> None:
            self._ending = asyncio.create_task(self._end_once_started())

        async def _end_once_started(self) -> None:
            while not (self.started or self.stopping):
                await asyncio.sleep(LOOK_AGAIN_S)
            if self.started:
                await self.astop()

        async def cancel_all(self) -> None:
            await self._cancellation_manager.cancel_all(STOPPED)

    return ServingRunner
