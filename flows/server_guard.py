"""Prefect's embedded server, which a run uses where no server is configured.

Prefect would start it as a process of its own, which imports all of Prefect a second time and runs
on for ever when its parent is killed. Here it is a thread: it answers on a port of this machine as
before, costs half, and ends with the process. It lets nobody in but this process: all users and all
web pages of a machine reach such a port, and what a user keeps at Prefect lies behind it. A flow
that was started without it, by a deployment or a script, has Prefect's own; that one is watched
over. Public: `serve_within_process`, `end_server_with_us`.
"""

import asyncio
import atexit
import os
import secrets
import subprocess
import sys
import threading
from typing import Any

from flows.server_database import let_writers_wait

WATCH = 'read -r _ || kill "$0"'
"""Waits for a line, which comes at an orderly exit, or for the end of the pipe, which is ours."""

STOP_SECONDS = 5.0
SECRET_BYTES = 32

_watched: set[int] = set()


def serve_within_process() -> None:
    """Let Prefect's embedded server be a thread of this process, if one is needed at all.

    Starts nothing by itself: Prefect starts the server when the first flow begins.
    """
    from prefect.settings import PREFECT_API_URL, PREFECT_SERVER_ALLOW_EPHEMERAL_MODE

    if PREFECT_API_URL.value() or not PREFECT_SERVER_ALLOW_EPHEMERAL_MODE.value():
        return
    from prefect.server.api.server import SubprocessASGIServer

    class ServerWithin(SubprocessASGIServer):
        """Prefect's embedded server, with a thread where it has a process, and with credentials."""

        def start(self, timeout: int | None = None) -> None:
            """Start it once; before its clients of this process are made."""
            if not self.running:
                _agree_on_credentials()
            super().start(timeout)

        def _run_uvicorn_command(self) -> "subprocess.Popen[Any]":
            assert self.port is not None
            return _ServerThread(self.port)  # type: ignore[return-value] # as much as is used

    if None not in SubprocessASGIServer._instances:  # Prefect asks for the one of no port
        SubprocessASGIServer._instances[None] = ServerWithin()


def _agree_on_credentials() -> None:
    """Let server and clients of this process share a random string, unless one is configured."""
    from prefect.context import refresh_global_settings_context
    from prefect.settings import PREFECT_SERVER_API_AUTH_STRING

    if PREFECT_SERVER_API_AUTH_STRING.value():
        return
    shared = f"musichash:{secrets.token_urlsafe(SECRET_BYTES)}"
    os.environ["PREFECT_SERVER_API_AUTH_STRING"] = shared
    os.environ["PREFECT_API_AUTH_STRING"] = shared
    refresh_global_settings_context()  # it read the environment when it was imported


class _ServerThread:
    """A server that looks like a process to the class that starts and stops it."""

    stdout = stderr = None
    pid = None

    def __init__(self, port: int) -> None:
        import uvicorn

        self.returncode: int | None = None
        self._config = uvicorn.Config(
            self._app, factory=True, port=port, log_config=None, log_level="error", lifespan="on"
        )
        self._server = uvicorn.Server(self._config)
        self._thread = threading.Thread(target=self._serve, name="prefect-server", daemon=True)
        # Before the pools of threads close, which the server needs to end in order, and after
        # Prefect's last messages, whose senders register themselves later.
        threading._register_atexit(self.terminate)  # type: ignore[attr-defined]
        self._thread.start()

    @staticmethod
    def _app() -> Any:  # noqa: ANN401 - an application of FastAPI
        from prefect.server.api.server import create_app

        let_writers_wait()
        return create_app(ephemeral=True, final=True)

    def _serve(self) -> None:
        try:
            asyncio.run(self._server.serve())
        except SystemExit as error:  # it could not start; Prefect tries another port after 3
            self.returncode = 3 if error.code == 1 else 1
        else:
            self.returncode = 0

    def poll(self) -> int | None:
        return self.returncode

    def terminate(self) -> None:
        self._server.should_exit = True
        self._thread.join(STOP_SECONDS)

    def kill(self) -> None:
        self._server.force_exit = True

    def wait(self, timeout: float | None = None) -> int | None:
        self._thread.join(timeout)
        return self.returncode


def end_server_with_us() -> None:
    """Watch over the embedded server if it is a process; a second call does nothing more."""
    module = sys.modules.get("prefect.server.api.server")  # imported when a server is started
    if module is None:
        return
    server = module.SubprocessASGIServer._instances.get(None)  # no public way to its process
    process = None if server is None else server.server_process
    if not isinstance(process, subprocess.Popen) or process.pid in _watched:
        return
    _watched.add(process.pid)
    watcher = subprocess.Popen(
        ["/bin/sh", "-c", WATCH, str(process.pid)], stdin=subprocess.PIPE, start_new_session=True
    )
    atexit.register(_dismiss, watcher)


def _dismiss(watcher: "subprocess.Popen[bytes]") -> None:
    watcher.communicate(b"done\n")
