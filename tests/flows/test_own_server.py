"""The server that ``musichash serve`` starts: its log stays small, and its last words are told."""

import socket
import time
from contextlib import closing

import pytest

from flows.own_server import LARGEST_LOG_BYTES, OwnServer
from flows.server_state import StateFolder

PATIENCE_S = 120


@pytest.mark.integration
def test_a_long_log_is_put_aside_and_the_reason_of_an_end_is_read_from_the_new_one(tmp_path):
    state = StateFolder(tmp_path / "home")
    state.prepare()
    with state.log.open("wb") as log:
        log.truncate(LARGEST_LOG_BYTES + 1)
    before = state.log.with_name("server.log.1")
    before.write_text("of long ago")
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        server = OwnServer(state, port, print)
        until = time.monotonic() + PATIENCE_S
        while not server.has_ended() and time.monotonic() < until:
            time.sleep(0.1)
    assert before.stat().st_size == LARGEST_LOG_BYTES + 1
    assert state.log.stat().st_size < 10_000
    assert state.log.stat().st_mode & 0o077 == 0
    assert f"nothing can listen at 127.0.0.1 port {port}" in server.last_words()
