"""`flows.training_place`: training on a worker that offers a GPU, and what happens when it is gone.

The workers are processes of their own. They have no GPU here: a worker decides by itself what it
computes on, so that all but the device is the same.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch

from flows import cluster_contact
from flows.cluster import Workers
from flows.cluster_settings import ClusterSettings, KubernetesPods, SlurmJobs
from flows.progress import Reporter
from flows.stages import _EpochBars
from flows.training_place import check_training_device, train_somewhere
from musichash_core.config import PipelineConfig
from musichash_core.errors import ParameterError, TrainingError
from musichash_core.training_records import TrainingEvent
from storage.generations import selected_generation
from storage.store import create_store, open_store
from tasks.extract import extract_partition
from tasks.plan import make_plan
from tasks.scan import look, record
from tasks.train import train

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

DASK = str(Path(sys.executable).with_name("dask"))
STARTS_WITHIN_S = 90
N_EPOCHS = 4
EPOCHS = [(stage, epoch) for stage in ("genre", "hash") for epoch in range(1, N_EPOCHS + 1)]


class Elsewhere:
    """A scheduler in a folder of its own, and workers by name."""

    def __init__(self, folder):
        self.folder = folder
        self.processes = {}

    def start(self, name, *arguments):
        contact = ["--scheduler-file", str(self.folder / "scheduler.json"), "--host", "127.0.0.1"]
        with (self.folder / f"{name}.log").open("wb") as log:
            self.processes[name] = subprocess.Popen(
                [DASK, *arguments, *contact], cwd=self.folder, stdout=log, stderr=log
            )

    def start_worker(self, name, *arguments):
        common = ["--nthreads", "1", "--no-dashboard", "--no-nanny", "--name", name]
        self.start(name, "worker", *common, *arguments)

    @property
    def settings(self):
        address = json.loads((self.folder / "scheduler.json").read_text())["address"]
        return ClusterSettings(scheduler=address, wait_for_workers_s=STARTS_WITHIN_S)

    def stop(self):
        for process in reversed(self.processes.values()):
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """One worker without a GPU, and two that offer one."""
    elsewhere = Elsewhere(tmp_path_factory.mktemp("elsewhere"))
    with ExitStack() as stack:
        stack.callback(elsewhere.stop)
        elsewhere.start("scheduler", "scheduler", "--port", "0", "--no-dashboard")
        elsewhere.start_worker("plain")
        for name in ("first", "second"):
            elsewhere.start_worker(name, "--resources", "GPU=1")
        deadline = time.monotonic() + STARTS_WITHIN_S
        while not (elsewhere.folder / "scheduler.json").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        with Workers(elsewhere.settings) as workers:
            workers.client.wait_for_workers(3, timeout=STARTS_WITHIN_S)
        yield elsewhere


@pytest.fixture
def workers(elsewhere):
    """A connection to them; each of their trainings keeps its state after every epoch."""

    def keep_each_state():
        import tasks.resumable_training as resumable

        resumable.train_resumably.__kwdefaults__["seconds_between_states"] = 0.0

    with Workers(elsewhere.settings) as workers:
        workers.client.run(keep_each_state)
        yield workers


@pytest.fixture(scope="module")
def config(tiny_config):
    values = tiny_config.model_dump(mode="json")
    for stage in ("genre_stage", "hash_stage"):
        values["models"]["training"][stage]["epochs"] = N_EPOCHS
        values["models"]["training"][stage]["patience"] = N_EPOCHS
    return PipelineConfig.model_validate_json(json.dumps(values))


@pytest.fixture
def extracted(tones, tmp_path, config):
    """A store with the features of the tones; made without workers."""
    store = str(tmp_path / "store")
    create_store(store)
    catalogue = look(store, [str(tones)]).catalogue
    record(store, catalogue)
    for partition in make_plan(store, catalogue, config).partitions:
        extract_partition(store, partition, config)
    return store


class Ears:
    """What is told of a training; may do something after an epoch."""

    def __init__(self, after=None, do=None):
        self.epochs, self.said = [], []
        self._after, self._do = after, do

    def on_event(self, event):
        self.epochs.append((event.stage, event.epoch))
        if self._after in (self.epochs[-1], len(self.epochs)) and self._do is not None:
            self._do()


def train_and_hear(store, config, workers, ears, device="auto"):
    return train_somewhere(
        store,
        config,
        workers,
        device=device,
        as_candidate=False,
        on_event=ears.on_event,
        say=ears.said.append,
    )


def name_of(workers, address):
    return workers.client.scheduler_info(n_workers=-1)["workers"][address]["name"]


def pid_of(workers, address):
    return workers.client.run(os.getpid, workers=[address])[address]


def test_it_is_done_on_a_worker_that_offers_a_gpu_and_makes_the_same_model(
    workers, extracted, config
):
    ears = Ears()
    training = train_and_hear(extracted, config, workers, ears)
    assert name_of(workers, training.worker) in ("first", "second")
    assert ears.epochs == EPOCHS
    assert training.generation.device == ("cuda" if torch.cuda.is_available() else "cpu")
    assert (training.gpu_s > 0) == torch.cuda.is_available()
    assert training.cpu_s > 0
    assert selected_generation(open_store(extracted)) == training.generation.generation
    if not torch.cuda.is_available():
        assert train(extracted, config).generation == training.generation.generation


def test_asked_for_the_cpu_it_is_done_here(workers, extracted, config):
    training = train_and_hear(extracted, config, workers, Ears(), device="cpu")
    assert training.worker is None
    assert training.gpu_s == 0


def test_an_error_of_the_training_comes_back_as_it_is(workers, extracted, config, tones):
    for path in (tones / "hum").iterdir():
        path.unlink()
    record(extracted, look(extracted, [str(tones)]).catalogue)
    with pytest.raises(TrainingError, match=r"1 label\(s\) .*\(hiss\); two are needed"):
        train_and_hear(extracted, config, workers, Ears())


def test_a_run_that_ends_stops_the_training_and_no_model_is_selected(
    elsewhere, workers, extracted, config
):
    def interrupt():
        raise KeyboardInterrupt

    values = config.model_dump(mode="json")
    values["models"]["training"]["genre_stage"] |= {"epochs": 5_000, "patience": 5_000}
    endless = PipelineConfig.model_validate_json(json.dumps(values))
    with Workers(elsewhere.settings) as leaving, pytest.raises(KeyboardInterrupt):
        train_and_hear(extracted, endless, leaving, Ears(after=2, do=interrupt))
    deadline = time.monotonic() + 30
    while (busy := n_running(workers)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert busy == 0
    assert selected_generation(open_store(extracted)) is None
    # What was done is not lost.
    ears = Ears(after=1, do=interrupt)
    with Workers(elsewhere.settings) as leaving, pytest.raises(KeyboardInterrupt):
        train_and_hear(extracted, endless, leaving, ears)
    assert ears.said[0].startswith("going on with a training that was stopped after epoch")


def n_running(workers):
    """Count the calls that keep a thread of a worker busy, wanted or not."""

    def busy(dask_worker):
        return sum(
            task.state in ("executing", "cancelled") for task in dask_worker.state.tasks.values()
        )

    return sum(workers.client.run(busy).values())


def test_a_gpu_that_no_worker_has_is_noticed_before_the_work(elsewhere):
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(ParameterError, match=r"offers GPU=1, but torch finds no CUDA device there"):
        check_training_device("cuda", elsewhere.settings)
    check_training_device("auto", elsewhere.settings)


@pytest.mark.parametrize(
    ("where", "may_have"),
    [
        (ClusterSettings(), False),
        (ClusterSettings(cuda=True), True),
        (ClusterSettings(scheduler="tcp://127.0.0.1:1"), True),
        (ClusterSettings(slurm=SlurmJobs(), insecure=True), False),
        (ClusterSettings(slurm=SlurmJobs(gpus=1), insecure=True), True),
        (ClusterSettings(kubernetes=KubernetesPods(image="x"), insecure=True), False),
        (ClusterSettings(kubernetes=KubernetesPods(image="x", gpus=1), insecure=True), True),
    ],
)
def test_settings_tell_whether_a_worker_may_have_a_gpu(where, may_have):
    assert where.may_have_gpus == may_have


def test_epochs_that_come_again_do_not_move_the_bar():
    class Bars(Reporter):
        def __init__(self):
            self.begun, self.done, self.noted = [], Counter(), []

        def start(self, stage, total, unit):
            self.begun.append((stage, total, unit))

        def advance(self, stage, done, failed=0):
            self.done[stage] += done

        def note(self, stage, text):
            self.noted.append(text)

    bars = Bars()
    report = _EpochBars(bars)
    # Gone on with after the second epoch; killed after the fourth, gone on with after the third.
    for stage, epoch in (("genre", 3), ("genre", 4), ("genre", 4), ("genre", 5), ("hash", 1)):
        report(TrainingEvent(stage, epoch, 5, 0.25, "accuracy", 0.5, is_best=True))
    assert bars.begun == [("train-genre", 5, "epochs"), ("train-hash", 5, "epochs")]
    assert bars.done == {"train-genre": 5, "train-hash": 1}
    assert bars.noted == ["loss 0.250, accuracy 0.500"] * 5


# --- from here on workers die; keep these last, and in this order ---


def test_a_worker_that_dies_is_followed_by_another_which_goes_on(workers, extracted, config):
    def kill():
        running = workers.client.processing()
        (address,) = [address for address, calls in running.items() if calls]
        killed.append(address)
        os.kill(pids[address], signal.SIGKILL)

    pids = workers.client.run(os.getpid)
    killed = []
    ears = Ears(after=("genre", 2), do=kill)
    training = train_and_hear(extracted, config, workers, ears)
    assert training.worker not in killed
    assert name_of(workers, training.worker) in ("first", "second")
    (sentence,) = ears.said
    assert sentence.startswith("going on with a training that was stopped after epoch")
    assert ears.epochs.count(("genre", 1)) == 1  # begun once
    assert set(ears.epochs) == set(EPOCHS)


def test_without_such_a_worker_it_is_done_here(elsewhere, extracted, config, monkeypatch):
    monkeypatch.setattr(cluster_contact, "LOOK_AT_WORKERS_S", 0.5)
    patience = elsewhere.settings.model_copy(update={"wait_for_workers_s": 2})

    def kill_the_last():
        for address in workers.gpu_workers():
            os.kill(pid_of(workers, address), signal.SIGKILL)

    with Workers(patience) as workers:
        assert len(workers.gpu_workers()) == 1
        ears = Ears(after=1, do=kill_the_last)
        training = train_and_hear(extracted, config, workers, ears)
        assert training.worker is None
        assert ears.epochs[-1] == EPOCHS[-1]
        assert "has had no worker with GPU=1 for 2 s" in ears.said[0]
        assert workers.gpu_workers() == []
        assert train_and_hear(extracted, config, workers, Ears()).worker is None
    if not torch.cuda.is_available():
        with pytest.raises(ParameterError, match=r"none of the 1 worker thread\(s\) offers .*GPU"):
            check_training_device("cuda", elsewhere.settings)
