"""``musichash server`` at work: Prefect's server within this process, until a signal ends it.

Public: `serve_until_signal`, `check_database`, `answers`.
"""

import asyncio
import contextlib
import os
import signal
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from flows.server_automations import ensure_automations
from flows.server_database import let_writers_wait
from flows.server_front import Front
from flows.server_reports import add_reports
from flows.server_settings import Database, ServerSettings, enter_prefect_environment
from flows.server_state import Running, ServerError, StateFolder

CLOSE_SECONDS = 5
"""For open connections at the end; a page in a browser keeps one for ever."""

START_SECONDS = 300
DATABASE_SECONDS = 15
PROBE_SECONDS = 5.0
LOOK_AGAIN_S = 0.3

UNGUARDED_PAGES = frozenset({"/openapi.json", "/docs", "/docs/oauth2-redirect", "/redoc"})
"""Pages about the API outside of it, which ask for no credentials; those below /api do."""


def answers(api_url: str) -> bool:
    """Tell whether a server is healthy."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{api_url}/health", timeout=PROBE_SECONDS) as response:
            return bool(response.read() == b"true")
    except (OSError, ValueError):  # URLError and HTTPError are OSErrors
        return False


def check_database(database: Database) -> None:
    """Connect once, so that a wrong URL is a sentence.

    Raises
    ------
    ServerError
        If the database does not answer or does not let us in.
    """
    import asyncpg  # type: ignore[import-untyped]

    async def connect() -> None:
        connection = await asyncpg.connect(database.plain_url, timeout=DATABASE_SECONDS)
        await connection.close()

    try:
        asyncio.run(connect())
    except (OSError, TimeoutError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as e:
        raise ServerError(
            f"the database {database.shown} (from {database.source}) cannot be used: "
            f"{str(e) or type(e).__name__}; correct the URL, or create user and database first"
        ) from e


def serve_until_signal(
    settings: ServerSettings,
    state: StateFolder,
    on_healthy: Callable[[Running, list[str]], None],
) -> None:
    """Run the server; SIGINT and SIGTERM end it in order.

    Parameters
    ----------
    settings : ServerSettings
        Checked addresses, and the database.
    state : StateFolder
        Prepared; credentials are made if there are none.
    on_healthy : callable
        Told once where the server answers, and what was set up there.

    Raises
    ------
    ServerError
        If a server of this folder runs already, the port is taken, or the start fails.
    """
    with state.held(), _bound(settings) as listening:
        enter_prefect_environment(settings, state, state.secret_made_once())
        running = Running(os.getpid(), settings.api_url, settings.ui_url)
        server = _server_class()(_config(settings, state))
        watch = threading.Thread(
            target=_announce_when_healthy,
            args=(server, state, running, on_healthy),
            name="musichash-health",
            daemon=True,
        )
        watch.start()
        try:
            asyncio.run(server.serve(sockets=[listening]))
        except SystemExit as error:
            raise ServerError(
                f"Prefect's server did not start (code {error.code}): the lines above say why"
            ) from error
        finally:
            server.should_exit = True
            watch.join(PROBE_SECONDS + 1)
            state.forget()
        if not server.started:
            raise ServerError("Prefect's server did not start: the lines above say why")


@contextlib.contextmanager
def _bound(settings: ServerSettings) -> Iterator[socket.socket]:
    """Take the port before anything else is done, so that no other program can have it."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((settings.host, settings.port))
        except OSError as error:
            raise ServerError(
                f"nothing can listen at {settings.host} port {settings.port} ({error.strerror}); "
                "end the program that has it, or choose another with --port"
            ) from error
        yield listening


def _config(settings: ServerSettings, state: StateFolder) -> Any:  # noqa: ANN401 - uvicorn is imported when a server is started
    import uvicorn

    return uvicorn.Config(
        partial(_app, settings, state),
        factory=True,
        server_header=False,
        log_level="warning",
        access_log=False,
        lifespan="on",
        timeout_graceful_shutdown=CLOSE_SECONDS,
    )


def _app(settings: ServerSettings, state: StateFolder) -> Any:  # noqa: ANN401 - an application of FastAPI
    from prefect.server.api.server import create_app

    let_writers_wait()
    app = create_app(final=True)
    outer: list[Any] = app.router.routes
    pages: list[Any] = next(route.app.router.routes for route in outer if route.name == "ui")
    for routes in (outer, pages):
        routes[:] = [route for route in routes if route.path not in UNGUARDED_PAGES]
    add_reports(app, state)
    app.add_middleware(Front, origins=settings.origins)
    return app


def _server_class() -> Any:  # noqa: ANN401 - uvicorn is imported when a server is started
    import uvicorn

    class Server(uvicorn.Server):
        """A server for which a signal is the usual end, not one to die of."""

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            before = {
                number: signal.signal(number, self.handle_exit)
                for number in (signal.SIGINT, signal.SIGTERM)
            }
            try:
                yield
            finally:
                for number, handler in before.items():
                    signal.signal(number, handler)

    return Server


def _announce_when_healthy(
    server: Any,  # noqa: ANN401 - uvicorn is imported when a server is started
    state: StateFolder,
    running: Running,
    on_healthy: Callable[[Running, list[str]], None],
) -> None:
    until = time.monotonic() + START_SECONDS
    while not server.should_exit and time.monotonic() < until:
        if server.started and answers(running.api_url):
            said = _automations(running, state)  # before others may look for them
            state.record(running)
            on_healthy(running, said)
            _tell_systemd()
            return
        time.sleep(LOOK_AGAIN_S)


def _automations(running: Running, state: StateFolder) -> list[str]:
    """Set up what the server does by itself; without that it is still a server."""
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.exceptions import PrefectHTTPStatusError

    try:
        with SyncPrefectClient(running.api_url, auth_string=state.secret()) as client:
            return ensure_automations(client)
    except (PrefectHTTPStatusError, OSError, RuntimeError) as error:
        return [
            f"warning: the automations could not be set up ({error}); a run that falls silent "
            "stays running: start the server again"
        ]


def _tell_systemd() -> None:
    """Let units that come after this one begin, where systemd waits for word (Type=notify)."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):  # of the abstract name space
        address = "\0" + address[1:]
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as told,
    ):
        told.sendto(b"READY=1", address)
