"""`flows.cluster`: workers here and elsewhere, workers that die, workers with other code."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import deque
from pathlib import Path
from typing import NamedTuple

import pytest
from distributed.scheduler import KilledWorker

from flows import cluster
from flows.cluster import SchedulerError, WorkerCodeError, Workers
from flows.cluster_settings import ClusterSettings

pytestmark = pytest.mark.integration

POISON = 5


@pytest.fixture(scope="module")
def two_workers():
    with Workers(ClusterSettings(n_workers=2)) as workers:
        yield workers


def test_workers_start_only_when_there_is_work():
    with Workers(ClusterSettings(n_workers=1)) as workers:
        assert workers._client is None


def test_fan_out_gives_every_result_and_takes_work_appended_meanwhile(two_workers):
    def square(number):
        return number * number

    queue = deque((number,) for number in range(20))
    outcomes = {}
    for (number,), outcome in two_workers.fan_out(square, queue, {}):
        outcomes[number] = outcome
        if number == 7:
            queue.append((100,))
    assert outcomes == {number: number * number for number in (*range(20), 100)}


def test_fan_out_raises_the_error_of_a_call(two_workers):
    def fail(number):
        raise LookupError(f"no {number}")

    with pytest.raises(LookupError, match="no 3"):
        list(two_workers.fan_out(fail, deque([(3,)]), {}))


def test_a_call_that_kills_its_worker_is_given_up_alone():
    def work(number):
        if number == POISON:
            os._exit(1)
        time.sleep(0.05)
        return number

    # One worker: every innocent call is at some time in flight on the one that dies.
    with Workers(ClusterSettings(n_workers=1)) as workers:
        outcomes = dict(workers.fan_out(work, deque((number,) for number in range(12)), {}))
    killed = [key for key, outcome in outcomes.items() if isinstance(outcome, KilledWorker)]
    assert killed == [(POISON,)]
    assert {key: value for key, value in outcomes.items() if key != (POISON,)} == {
        (number,): number for number in range(12) if number != POISON
    }


def test_gpu_is_not_asked_for_where_no_worker_has_one(two_workers):
    assert two_workers.resources_for_gpu() == {}


def test_workers_with_other_code_are_refused(monkeypatch):
    driver = os.getpid()

    def fingerprint():
        return "same" if os.getpid() == driver else "other"

    monkeypatch.setattr(cluster, "code_fingerprint", fingerprint)
    workers = Workers(ClusterSettings(n_workers=1))
    with workers, pytest.raises(WorkerCodeError, match="other code than this process"):
        _ = workers.client


def test_a_worker_without_musichash_is_refused_with_the_same_sentence(monkeypatch):
    driver = os.getpid()

    def fingerprint():
        if os.getpid() != driver:
            raise ModuleNotFoundError("No module named 'tasks'")
        return "same"

    monkeypatch.setattr(cluster, "code_fingerprint", fingerprint)
    workers = Workers(ClusterSettings(n_workers=1))
    with workers, pytest.raises(WorkerCodeError, match="install the same version"):
        _ = workers.client


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "nonsense", "no-such-protocol://x:1"])
def test_a_wrong_scheduler_address_gives_one_sentence(monkeypatch, address):
    monkeypatch.setattr(cluster, "CONNECT_TIMEOUT", "2s")
    workers = Workers(ClusterSettings(scheduler=address))
    with workers, pytest.raises(SchedulerError) as raised:
        _ = workers.client
    sentence = str(raised.value)
    assert address in sentence
    assert "leave out --scheduler" in sentence
    assert "\n" not in sentence


# --- an existing scheduler ---


class Elsewhere(NamedTuple):
    """Where a scheduler listens, and its process."""

    address: str
    pid: int


@pytest.fixture
def elsewhere(tmp_path):
    """A Dask scheduler and a worker, started as an operator would, in a folder of their own."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    dask = str(Path(sys.executable).with_name("dask"))
    contact = folder / "scheduler.json"
    common = ["--scheduler-file", str(contact), "--host", "127.0.0.1"]
    with (folder / "log").open("wb") as log:
        processes = [
            subprocess.Popen([dask, *arguments, *common], cwd=folder, stdout=log, stderr=log)
            for arguments in (
                ["scheduler", "--port", "0", "--no-dashboard", "--dashboard-address", ":0"],
                ["worker", "--nthreads", "1", "--no-dashboard"],
            )
        ]
        try:
            deadline = time.monotonic() + 60
            while not contact.exists() and time.monotonic() < deadline:
                time.sleep(0.1)
            yield Elsewhere(json.loads(contact.read_text())["address"], processes[0].pid)
        finally:
            for process in reversed(processes):
                process.terminate()
                process.wait(30)


def test_a_night_on_an_existing_scheduler_with_relative_paths(
    elsewhere, run_night, tones, tiny_config, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)  # the worker stands in another folder
    night = run_night(
        Path("tones"),
        Path("store"),
        tiny_config,
        cluster=ClusterSettings(scheduler=elsewhere.address),
    )
    assert night.account["run"]["done"] == 6
    assert night.account["snapshot"] == 1
    assert (tmp_path / "store" / "CURRENT").exists()


def test_a_scheduler_that_goes_away_ends_the_run_with_one_sentence(elsewhere):
    def work(number):
        if number == 3:
            time.sleep(0.5)
            os.kill(scheduler, signal.SIGKILL)
        time.sleep(0.1)
        return number

    workers = Workers(ClusterSettings(scheduler=elsewhere.address))
    scheduler = elsewhere.pid
    with workers, pytest.raises(SchedulerError, match=r"gone.*run again") as raised:
        list(workers.fan_out(work, deque((number,) for number in range(12)), {}))
    assert elsewhere.address in str(raised.value)


def test_a_stalled_start_is_tried_again_and_a_lasting_one_is_not_hidden():
    starts = []

    def start():
        starts.append(1)
        assert len(starts) > 2, "the event loop did not begin"
        return "started"

    assert cluster._patiently(start) == "started"
    starts.clear()

    def never():
        starts.append(1)
        raise AssertionError("the event loop did not begin")

    with pytest.raises(AssertionError, match="did not begin"):
        cluster._patiently(never)
    assert len(starts) == 3
