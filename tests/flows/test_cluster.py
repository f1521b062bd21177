"""`flows.cluster`: workers here and elsewhere, workers that die, workers with other code."""

import os
import subprocess
import sys
import time
from collections import deque
from pathlib import Path

import pytest
from distributed.scheduler import KilledWorker

from flows import cluster
from flows.cluster import ClusterSettings, SchedulerError, WorkerCodeError, Workers
from flows.progress import Reporter
from flows.stages import extract_stage, plan_stage
from musichash_core.records import partition_of
from tasks.ledger import begin_run

pytestmark = pytest.mark.integration

POISON = 5


@pytest.fixture
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
