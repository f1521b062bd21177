"""`flows.cluster`: workers here and elsewhere, workers that die, workers with other code."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
from distributed.scheduler import KilledWorker

from flows import cluster, cluster_contact
from flows.cluster import DeadlyCallError, Workers
from flows.cluster_contact import (
    InCommon,
    SchedulerError,
    UnseenFolderError,
    WorkerCodeError,
    call_checked,
)
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
    for (number,), outcome in two_workers.fan_out(square, queue):
        outcomes[number] = outcome
        if number == 7:
            queue.append((100,))
    assert outcomes == {number: number * number for number in (*range(20), 100)}


def test_fan_out_raises_the_error_of_a_call(two_workers):
    def fail(number):
        raise LookupError(f"no {number}")

    with pytest.raises(LookupError, match="no 3"):
        list(two_workers.fan_out(fail, deque([(3,)])))


def test_a_call_that_kills_its_worker_is_given_up_alone():
    def work(number):
        if number == POISON:
            os._exit(1)
        time.sleep(0.05)
        return number

    # One worker: every innocent call is at some time in flight on the one that dies.
    with Workers(ClusterSettings(n_workers=1)) as workers:
        outcomes = dict(workers.fan_out(work, deque((number,) for number in range(12))))
    killed = [key for key, outcome in outcomes.items() if isinstance(outcome, KilledWorker)]
    assert killed == [(POISON,)]
    assert {key: value for key, value in outcomes.items() if key != (POISON,)} == {
        (number,): number for number in range(12) if number != POISON
    }


def test_a_telling_call_is_heard_in_order_and_gives_its_result(two_workers):
    def count(number, tell):
        for each in range(number):
            tell({"number": each, "text": "ü"})
        return number

    heard = []
    assert two_workers.call_telling(count, 50, hear=heard.append, resources={}) == 50
    assert heard == [{"number": each, "text": "ü"} for each in range(50)]


def test_a_telling_call_that_kills_each_worker_is_given_up(monkeypatch):
    def die(tell):
        tell({})
        time.sleep(0.5)  # what is told leaves by another thread
        os._exit(1)

    monkeypatch.setattr(cluster, "TRIES_TELLING", 2)
    heard = []
    workers = Workers(ClusterSettings(n_workers=1))
    with workers, pytest.raises(DeadlyCallError, match=r"died each of 2 times.*more memory"):
        workers.call_telling(die, hear=heard.append, resources={})
    assert {} in heard


def test_workers_of_this_machine_offer_no_gpu_and_are_not_started_to_ask():
    with Workers(ClusterSettings(n_workers=1)) as workers:
        assert workers.gpu_workers() == []
        assert not workers.have_started


def test_workers_with_other_code_are_refused(monkeypatch):
    driver = os.getpid()

    def fingerprint():
        return "same" if os.getpid() == driver else "other"

    monkeypatch.setattr(cluster_contact, "code_fingerprint", fingerprint)
    workers = Workers(ClusterSettings(n_workers=1))
    with workers, pytest.raises(WorkerCodeError, match="other code than this process"):
        _ = workers.client


def test_a_worker_without_musichash_is_refused_with_the_same_sentence(monkeypatch):
    driver = os.getpid()

    def fingerprint():
        if os.getpid() != driver:
            raise ModuleNotFoundError("No module named 'tasks'")
        return "same"

    monkeypatch.setattr(cluster_contact, "code_fingerprint", fingerprint)
    workers = Workers(ClusterSettings(n_workers=1))
    with workers, pytest.raises(WorkerCodeError, match="install the same version"):
        _ = workers.client


def test_a_worker_that_comes_with_other_code_during_a_run_is_refused():
    def forget():
        import tasks.resources as resources

        def of_another_version():
            return "other"

        from flows import cluster_contact

        cluster_contact.code_fingerprint = resources.code_fingerprint = of_another_version

    workers = Workers(ClusterSettings(n_workers=1))
    with workers:
        workers.client.run(forget)
        with pytest.raises(WorkerCodeError, match=r"the worker tcp://.*install the same version"):
            list(workers.fan_out(time.sleep, deque([(0.1,)])))


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "nonsense", "no-such-protocol://x:1"])
def test_a_wrong_scheduler_address_gives_one_sentence(monkeypatch, address):
    monkeypatch.setattr(cluster_contact, "CONNECT_TIMEOUT", "2s")
    workers = Workers(ClusterSettings(scheduler=address))
    with workers, pytest.raises(SchedulerError) as raised:
        _ = workers.client
    sentence = str(raised.value)
    assert address in sentence
    assert "leave out --scheduler" in sentence
    assert "\n" not in sentence


# --- an existing scheduler ---


def test_a_worker_that_does_not_see_a_folder_ends_the_work_before_tracks_seem_to_vanish(
    elsewhere, tmp_path
):
    """The worker's view is that of a machine on which nothing is mounted: its folder is empty."""
    music = tmp_path / "music"
    music.mkdir()
    for name in ("a.ogg", "b.ogg", ".hidden"):
        (music / name).touch()
    where = ClusterSettings(scheduler=elsewhere.address)
    queue = deque([(0.0,)])
    with Workers(where, folders=[str(music), str(tmp_path)]) as workers:
        seen = InCommon.of([str(music)])
        assert sorted(seen.landmarks[0]) == ["a.ogg", "b.ogg"]
        (music / "a.ogg").unlink()  # one is enough
        assert workers.client.submit(call_checked, seen, time.strftime, "x").result() == "x"
        # The same worker, checked before, is not asked again; another run asks for itself.
        (music / "b.ogg").unlink()
        assert workers.client.submit(call_checked, seen, time.strftime, "y").result() == "y"
        unseen = replace(seen, landmarks=(("b.ogg", "c.ogg"),))
        with pytest.raises(UnseenFolderError, match=rf"the worker tcp://.* in {music}; mount it"):
            workers.client.submit(call_checked, unseen, time.strftime, "z").result()
        assert list(workers.fan_out(time.sleep, queue)) == [((0.0,), None)]  # empty here as well
        shutil.rmtree(music)
        with pytest.raises(UnseenFolderError, match="does not see"):
            workers.client.submit(
                call_checked, InCommon(seen.code, (str(music),), ((),)), time.strftime, "z"
            ).result()


class Elsewhere(NamedTuple):
    """Where a scheduler listens, and its process."""

    address: str
    pid: int
    worker: subprocess.Popen


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
            address = json.loads(contact.read_text())["address"]
            yield Elsewhere(address, processes[0].pid, processes[1])
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
        list(workers.fan_out(work, deque((number,) for number in range(12))))
    assert elsewhere.address in str(raised.value)


def test_workers_that_are_gone_for_long_end_the_run_with_one_sentence(elsewhere, monkeypatch):
    monkeypatch.setattr(cluster_contact, "LOOK_AT_WORKERS_S", 0.5)
    workers = Workers(ClusterSettings(scheduler=elsewhere.address))
    with workers:
        assert workers.client.nthreads()
        workers._settings = workers._settings.model_copy(update={"wait_for_workers_s": 2})
        done = workers.fan_out(time.sleep, deque([(0.1,), (60,)]))
        assert next(done) == ((0.1,), None)
        elsewhere.worker.terminate()
        with pytest.raises(SchedulerError, match=r"has had no worker for 2 s; .*run again"):
            list(done)


def test_a_stalled_start_is_tried_again_and_a_lasting_one_is_not_hidden():
    starts = []

    def start():
        starts.append(1)
        assert len(starts) > 2, "the event loop did not begin"
        return "started"

    assert cluster_contact.patiently(start) == "started"
    starts.clear()

    def never():
        starts.append(1)
        raise AssertionError("the event loop did not begin")

    with pytest.raises(AssertionError, match="did not begin"):
        cluster_contact.patiently(never)
    assert len(starts) == 3
