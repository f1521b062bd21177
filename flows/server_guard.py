"""The embedded Prefect server ends with the process that started it, however that one ends.

Prefect stops its embedded server at an orderly exit only: after a kill it would run on for ever,
and each further kill would leave another one. Public: `end_server_with_us`.
"""

import atexit
import subprocess

from prefect.server.api.server import SubprocessASGIServer

WATCH = 'read -r _ || kill "$0"'
"""Waits for a line, which comes at an orderly exit, or for the end of the pipe, which is ours."""

_watched: set[int] = set()


def end_server_with_us() -> None:
    """Watch over the embedded server if there is one; a second call does nothing more."""
    server = SubprocessASGIServer._instances.get(None)  # there is no public way to its process
    if server is None or server.server_process is None or server.server_process.pid in _watched:
        return
    pid = server.server_process.pid
    _watched.add(pid)
    watcher = subprocess.Popen(
        ["/bin/sh", "-c", WATCH, str(pid)], stdin=subprocess.PIPE, start_new_session=True
    )
    atexit.register(_dismiss, watcher)


def _dismiss(watcher: "subprocess.Popen[bytes]") -> None:
    watcher.communicate(b"done\n")
