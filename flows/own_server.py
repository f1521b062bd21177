"""The server that ``musichash serve`` uses: one that runs already, or one of its own.

Public: `server_for_serving`, `OwnServer`.
"""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

from flows.server_connection import connect_to
from flows.server_process import LOOK_AGAIN_S, START_SECONDS, answers
from flows.server_state import PRIVATE_FILE, ServerError, StateFolder

END_SECONDS = 30
LATELY_SECONDS = 600.0
STARTS_LATELY = 3
"""A server that was started so often within the time above is not started once more."""

LARGEST_LOG_BYTES = 10_000_000
"""A longer log is put aside before a start, in the place of the one that was put aside before."""

LAST_BYTES = 20_000
"""Of a log, in which its last words are."""


class OwnServer:
    """A ``musichash server`` beside us, out of reach of our terminal's Ctrl-C.

    Parameters
    ----------
    state : StateFolder
        Prepared.
    port : int
        That it listens at.
    say : callable
        Told when it is started again.
    """

    def __init__(self, state: StateFolder, port: int, say: Callable[[str], None]) -> None:
        self._state = state
        self._port = port
        self._say = say
        self._starts: list[float] = []
        self._start()

    def _start(self) -> None:
        start = "from flows.cli import main; main()"
        with contextlib.suppress(FileNotFoundError):
            if self._state.log.stat().st_size > LARGEST_LOG_BYTES:
                self._state.log.replace(f"{self._state.log}.1")
        with self._state.log.open("ab") as log:
            self._state.log.chmod(PRIVATE_FILE)
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-P", "-c", start, "server"),
                    *("--home", str(self._state.path), "--port", str(self._port)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._state.path,
                start_new_session=True,
            )
        self._starts.append(time.monotonic())

    def has_ended(self) -> bool:
        """Tell whether it has ended by itself."""
        return self._process.poll() is not None

    def wait_until_it_answers(self) -> None:
        """Wait for its first answer.

        Raises
        ------
        ServerError
            If it ends before, or takes too long.
        """
        _wait(self._state, lambda: self.last_words() if self.has_ended() else None)

    def start_again(self) -> None:
        """Put another one in its place, at the same address and with the same credentials.

        Raises
        ------
        ServerError
            If it dies again and again, or the start fails.
        """
        words = self.last_words()
        since = time.monotonic() - LATELY_SECONDS
        if sum(start > since for start in self._starts) >= STARTS_LATELY:
            raise ServerError(f"the server dies again and again: {words}")
        self._say(f"the server has died and is started again; {words}")
        self._start()
        self.wait_until_it_answers()
        self._say("the server is healthy again")

    def last_words(self) -> str:
        """Say why it ended, as part of a sentence: its end by a signal, or the end of its log."""
        code = self._process.poll()
        if code is not None and code < 0:
            return f"it was ended by signal {-code}, see its log {self._state.log}"
        with self._state.log.open("rb") as log:
            log.seek(max(0, self._state.log.stat().st_size - LAST_BYTES))
            lines = log.read().decode(errors="replace").split("\n")
        last = next((line for line in reversed(lines) if line.strip()), "nothing")
        return f"its log {self._state.log} ends with: {last.removeprefix('error: ')}"

    def end(self) -> None:
        """End it in order, or else by force."""
        self._process.terminate()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextlib.contextmanager
def server_for_serving(
    state: StateFolder, port: int, say: Callable[[str], None]
) -> Iterator[OwnServer | None]:
    """Use the server that the environment names or that runs here, or else start one.

    Gives the one that was started, which ends with this.

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
        _wait(state, lambda: None)
        say(f"using the running server at {_connected(state)}")
        yield None
        return
    say("starting the server")
    own = OwnServer(state, port, say)
    try:
        own.wait_until_it_answers()
        say(
            f"the server is healthy: {_connected(state)} (a browser asks once for the line that "
            "'musichash server credentials --show' prints)"
        )
        yield own
    finally:
        own.end()


def _wait(state: StateFolder, why_ended: Callable[[], str | None]) -> None:
    until = time.monotonic() + START_SECONDS
    while (running := state.running()) is None or not answers(running.api_url):
        if why := why_ended():
            raise ServerError(f"the server did not start: {why}")
        if time.monotonic() > until:
            raise ServerError(
                f"the server of {state.path} does not answer after {START_SECONDS} s; see "
                f"{state.log}, or end it and start again"
            )
        time.sleep(LOOK_AGAIN_S)


def _connected(state: StateFolder) -> str:
    running = state.running()
    if running is None:
        raise ServerError(f"the server of {state.path} has just ended; start again")
    connect_to(running, state)
    return running.ui_url
