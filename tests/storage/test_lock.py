"""Who holds a store is known, dead owners block nobody, and one backfill may work beside."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest

from storage import owned_locks
from storage.errors import LockLostError, StoreLockedError
from storage.store import (
    beside_owner,
    check_still_writing,
    holding_off_backfills,
    lock_owner,
    working_beside,
    writing,
)

HOLD = """
import sys
from storage import store
layout = store.open_store(sys.argv[1])
with getattr(store, sys.argv[2])(layout):
    print("held", flush=True)
    sys.stdin.read()
"""
PATIENCE_S = 30
IN_HASTE_S = 0.8
KINDS = {"writing": lock_owner, "working_beside": beside_owner}


@pytest.fixture(params=KINDS)
def kind(request):
    """The lock of the writer, and that of the backfill: both are the same thing."""
    return request.param


@pytest.fixture
def hold(layout):
    """Hold a lock in another process."""
    holders = []

    def start(kind):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, layout.root, kind],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        holders.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in holders:
        process.kill()
        process.communicate()


@pytest.fixture
def in_haste(monkeypatch):
    """Beat and watch for less than a second instead of half a minute."""
    monkeypatch.setattr(owned_locks, "HEARTBEAT_S", 0.02)
    monkeypatch.setattr(owned_locks, "STALE_AFTER_S", IN_HASTE_S)
    monkeypatch.setattr(owned_locks, "_LOOK_EVERY_S", 0.02)


def lock_path(layout, kind):
    return layout.root / {"writing": ".lock", "working_beside": ".lock-beside"}[kind]


def take(layout, kind):
    return {"writing": writing, "working_beside": working_beside}[kind](layout)


def wait_until(condition):
    until = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def record_of_another_machine(*, hours_off=0, **changes):
    """Write, by hand, the record of a writer on another machine."""
    at = (datetime.now(UTC) + timedelta(hours=hours_off)).isoformat(timespec="seconds")
    return {
        "host": socket.gethostname(),  # containers often share a name
        "pid": os.getpid(),
        "what": "nightly",
        "run_id": "20260101T000000Z-000000",
        "machine": "00000000-1111-2222-3333-444444444444",
        "token": "feed",
        "started": at,
        "heartbeat": at,
        "beats": 3,
    } | changes


@contextmanager
def living(path, record):
    """Be a writer on another machine, whose flock is not seen here: only its record changes."""
    has_ended = threading.Event()

    def beat():
        beats = 0
        with path.open("r+b", buffering=0) as file:
            while not has_ended.wait(0.03):
                beats += 1
                file.seek(0)
                file.write(json.dumps(record | {"beats": beats}).encode().ljust(1024))

    path.write_text(json.dumps(record))
    thread = threading.Thread(target=beat)
    thread.start()
    try:
        yield
    finally:
        has_ended.set()
        thread.join()


# --- who holds it --------------------------------------------------------------------------------


def test_nobody_holds_a_lock_that_was_never_taken_or_was_given_back(layout, kind):
    assert KINDS[kind](layout) is None
    assert not lock_path(layout, kind).exists()
    with take(layout, kind):
        pass
    assert KINDS[kind](layout) is None
    assert lock_path(layout, kind).read_bytes() == b""


def test_the_owner_is_named_with_its_run(layout):
    before = datetime.now(UTC) - timedelta(seconds=1)
    with writing(layout, what="nightly") as held:
        held.name_run("20260101T000000Z-000000")
        owner = lock_owner(layout)
    assert (owner.host, owner.pid) == (socket.gethostname(), os.getpid())
    assert (owner.what, owner.run_id) == ("nightly", "20260101T000000Z-000000")
    assert before <= datetime.fromisoformat(owner.started) <= datetime.now(UTC)
    assert owner.heartbeat == owner.started


def test_asking_disturbs_nobody(layout, hold, kind):
    asked = threading.Event()

    def ask():
        while not asked.is_set():
            KINDS[kind](layout)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(30):
            with take(layout, kind):
                assert KINDS[kind](layout).pid == os.getpid()
    finally:
        asked.set()
        for thread in threads:
            thread.join()


def test_an_owner_gives_signs_of_life(layout, in_haste):
    others = set(threading.enumerate())
    with writing(layout):
        wait_until(lambda: lock_owner(layout).beats >= 3)
    assert lock_owner(layout) is None
    assert set(threading.enumerate()) <= others


def test_a_killed_owner_blocks_nobody_and_is_known_to_the_next(layout, hold, kind):
    holder = hold(kind)
    assert KINDS[kind](layout).pid == holder.pid
    with pytest.raises(StoreLockedError, match=f"pid {holder.pid}"), take(layout, kind):
        pass
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert KINDS[kind](layout) is None
    began = time.monotonic()
    with take(layout, kind) as held:
        assert held.previous.pid == holder.pid
    assert time.monotonic() - began < owned_locks.STALE_AFTER_S / 2
    with take(layout, kind) as held:
        assert held.previous is None


@pytest.mark.parametrize(
    "content",
    [
        b'{"host": "vm", "pid": 12',
        b"\0" * 700,
        b" " * 1024,
        b"\xff\xfe{}",
        b"[]",
        b"null",
        b"{}",
        b'{"host": "elsewhere", "pid": 7}',
        b'{"host": 1, "pid": 2, "what": 3, "started": 4, "heartbeat": 5, "token": [], "more": 1}',
        b"x" * 100_000,
    ],
)
def test_a_torn_record_blocks_nobody(layout, kind, content):
    lock_path(layout, kind).write_bytes(content)
    assert KINDS[kind](layout) is None
    began = time.monotonic()
    with take(layout, kind):
        assert KINDS[kind](layout).pid == os.getpid()
    assert time.monotonic() - began < owned_locks.STALE_AFTER_S / 2


def test_a_record_torn_under_its_owner_is_mended_by_the_next_sign_of_life(layout, in_haste):
    with writing(layout) as held:
        layout.lock_path.write_bytes(b'{"host": "v')
        wait_until(lambda: lock_owner(layout).pid == os.getpid())
        check_still_writing(layout, held)


# --- other machines ------------------------------------------------------------------------------


@pytest.mark.parametrize("hours_off", [0, -24, 24])
def test_a_living_owner_elsewhere_is_respected_whatever_its_clock_says(
    layout, in_haste, kind, hours_off
):
    record = record_of_another_machine(hours_off=hours_off)
    with living(lock_path(layout, kind), record):
        with pytest.raises(StoreLockedError, match="20260101T000000Z-000000, pid"):
            take(layout, kind).__enter__()
        assert KINDS[kind](layout).started == record["started"]


@pytest.mark.parametrize("hours_off", [0, -24, 24])
def test_a_dead_owner_elsewhere_is_taken_over_whatever_its_clock_said(
    layout, in_haste, kind, hours_off, caplog
):
    path = lock_path(layout, kind)
    path.write_text(json.dumps(record_of_another_machine(hours_off=hours_off)))
    began = time.monotonic()
    with take(layout, kind) as held:
        assert time.monotonic() - began >= IN_HASTE_S
        assert held.previous.run_id == "20260101T000000Z-000000"
        assert KINDS[kind](layout).token == held.owner.token
    assert "is taken over from nightly run 20260101T000000Z-000000" in caplog.text


def test_who_only_asks_learns_in_time_that_an_owner_elsewhere_is_dead(layout, in_haste):
    record = record_of_another_machine()
    with living(layout.lock_path, record):
        wait_until(lambda: lock_owner(layout).beats > 3)
        time.sleep(1.5 * IN_HASTE_S)
        assert lock_owner(layout).what == "nightly"
    wait_until(lambda: lock_owner(layout) is None)


def test_an_owner_that_gives_the_lock_back_while_it_is_watched_is_followed_at_once(
    layout, in_haste, monkeypatch
):
    monkeypatch.setattr(owned_locks, "STALE_AFTER_S", 60.0)
    layout.lock_path.write_text(json.dumps(record_of_another_machine()))
    timer = threading.Timer(0.2, lambda: layout.lock_path.write_text(""))
    timer.start()
    with writing(layout) as held:
        assert held.previous is None
    timer.join()


def test_who_lost_the_lock_knows_it_and_does_not_take_it_back(layout, in_haste):
    with writing(layout) as held:
        check_still_writing(layout, held)
        other = json.dumps(record_of_another_machine())
        layout.lock_path.write_text(other)
        time.sleep(0.2)
        with pytest.raises(LockLostError, match=r"was lost to nightly run .*; nothing is publ"):
            check_still_writing(layout, held)
        (layout.root / ".tmp-of-the-other").touch()
    assert layout.lock_path.read_text() == other
    assert (layout.root / ".tmp-of-the-other").exists()


def test_a_removed_lock_file_does_not_give_two_owners_in_silence(layout):
    with writing(layout) as first:
        layout.lock_path.unlink()
        with writing(layout) as second:
            check_still_writing(layout, second)
            with pytest.raises(LockLostError, match="was removed; nothing is published"):
                check_still_writing(layout, first)
    with writing(layout):
        pass


# --- a backfill beside the writer ----------------------------------------------------------------


def unfinished(layout):
    folder = layout.root / "features" / "f" / ".tmp-partition-1234"
    folder.mkdir(parents=True)
    return folder


def test_one_backfill_works_beside_the_writer_and_its_folders_stay(layout, hold):
    folder = unfinished(layout)
    backfill = hold("working_beside")
    with writing(layout):
        assert folder.exists()
        assert beside_owner(layout).pid == backfill.pid
        with (
            pytest.raises(StoreLockedError, match=f"another backfill .*pid {backfill.pid} "),
            working_beside(layout),
        ):
            pass
    backfill.kill()
    backfill.wait()
    with writing(layout):
        assert not folder.exists()


def test_a_backfill_begins_while_somebody_writes(layout, hold):
    hold("writing")
    with working_beside(layout, what="backfill of jazz"):
        assert beside_owner(layout).what == "backfill of jazz"


def test_a_backfill_that_begins_waits_for_a_sweep_and_then_is_not_swept(layout):
    begun, ended = threading.Event(), threading.Event()
    order = []

    def backfill():
        begun.set()
        with working_beside(layout):
            order.append("backfill")
            ended.wait(PATIENCE_S)

    thread = threading.Thread(target=backfill)
    with holding_off_backfills(layout) as is_alone:
        assert is_alone
        thread.start()
        assert begun.wait(PATIENCE_S)
        time.sleep(0.2)
        order.append("sweep")
    wait_until(lambda: len(order) == 2)
    with holding_off_backfills(layout) as is_alone:
        assert not is_alone
    ended.set()
    thread.join()
    assert order == ["sweep", "backfill"]


def test_two_sweeps_do_not_hinder_one_another(layout):
    with holding_off_backfills(layout) as first, holding_off_backfills(layout) as second:
        assert first
        assert second


def test_a_living_backfill_elsewhere_keeps_its_folders_and_a_dead_one_does_not(layout, in_haste):
    folder = unfinished(layout)
    with living(layout.root / ".lock-beside", record_of_another_machine()), writing(layout):
        assert folder.exists()
    with writing(layout):
        assert not folder.exists()
    assert (layout.root / ".lock-beside").read_bytes() == b""
