"""Where a run's models are trained: on a worker with a GPU where there is one, else in the run.

A training elsewhere is the same call there. Its state lies in the store, so that it goes on where
it was when its worker dies, and it selects no model: the run does, which holds the store.

Public: `train_somewhere`, `check_training_device`, `Training`.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from distributed import get_worker

from flows.cluster import Workers
from flows.cluster_calls import Tell
from flows.cluster_contact import ResourceGoneError
from flows.cluster_kinds import GPU_RESOURCE
from flows.cluster_settings import ClusterSettings
from musichash_core.config import PipelineConfig
from musichash_core.errors import ParameterError
from musichash_core.training_records import TrainingEvent
from tasks.train import (
    TrainedGeneration,
    check_device,
    make_generation,
    put_in_force,
    train,
)

ONE_GPU = {GPU_RESOURCE: 1}


@dataclass(frozen=True, slots=True)
class Training:
    """A training that has ended, and what it took.

    Attributes
    ----------
    generation : TrainedGeneration
    cpu_s, gpu_s : float
        Seconds of the process that trained: of CPU, and by the clock if on a GPU.
    worker : str or None
        Address of the worker that trained; None for this process.
    """

    generation: TrainedGeneration
    cpu_s: float
    gpu_s: float
    worker: str | None = None


def check_training_device(device: str, where: ClusterSettings) -> None:
    """Refuse a device that neither this machine nor a worker has, before any work is done.

    Only for "cuda", and a scheduler that runs already, are workers asked.

    Raises
    ------
    ParameterError
        If there is no such device.
    SchedulerError, WorkerCodeError
        If workers must be asked, and cannot.
    """
    if device != "cuda" or not where.may_have_gpus:
        check_device(device)
    elif where.scheduler is not None:
        with Workers(where) as workers:
            _check_cuda_of(workers)


def _check_cuda_of(workers: Workers) -> None:
    offering = workers.gpu_workers()
    if not offering:
        try:
            check_device("cuda")
        except ParameterError as error:
            raise ParameterError(
                f"{error}; and none of the {workers.n_workers} worker thread(s) offers the "
                f"resource {GPU_RESOURCE}=1: start one beside a GPU with 'dask worker ... "
                f"--nthreads 1 --resources {GPU_RESOURCE}=1'"
            ) from error
        return
    said = workers.client.run(check_device, "cuda", workers=offering, on_error="return")
    without = sorted(address for address, error in said.items() if error is not None)
    if without:
        raise ParameterError(
            f"device='cuda': the worker {without[0]} offers {GPU_RESOURCE}=1, but torch finds no "
            "CUDA device there; look at its driver, CUDA_VISIBLE_DEVICES and build of torch, or "
            "start it without the resource; 'auto' takes what there is"
        )


def train_somewhere(  # noqa: PLR0913 - two of them only tell the caller
    store: str,
    config: PipelineConfig,
    workers: Workers,
    *,
    device: str,
    as_candidate: bool,
    on_event: Callable[[TrainingEvent], None],
    say: Callable[[str], None],
) -> Training:
    """Train as `tasks.train.train` does, on a worker with a GPU if there is one.

    With ``device="cpu"`` it trains here, and leaves the GPU to others.

    Parameters
    ----------
    on_event : callable
        Called after each epoch; after a worker's death some epochs come again.
    say : callable
        Told whether a stopped training is gone on with.

    Raises
    ------
    ParameterError
        If there is no such device.
    TooFewLabelsError, ArtefactMissingError, TrainingError
        See `tasks.train.train`.
    DeadlyCallError, SchedulerError
        See `Workers.call_telling`.
    """

    def hear(told: Mapping[str, Any]) -> None:
        if "sentence" in told:
            say(told["sentence"])
        else:
            on_event(TrainingEvent(**told["epoch"]))

    if device != "cpu" and workers.gpu_workers():
        try:
            training = workers.call_telling(
                _train_there, store, config, device, hear=hear, resources=ONE_GPU
            )
        except ResourceGoneError as error:
            if device != "auto":
                raise
            say(f"{error}; training goes on in this process")
        else:
            made = put_in_force(store, training.generation, as_candidate=as_candidate)
            return Training(made, training.cpu_s, training.gpu_s, training.worker)
    started, cpu = time.monotonic(), time.process_time()
    made = train(
        store,
        config,
        device=device,
        as_candidate=as_candidate,
        on_event=on_event,
        say=say,
        call=workers.call if workers.have_started else None,
    )
    return _timed(made, started, cpu)


def _train_there(store: str, config: PipelineConfig, device: str, tell: Tell) -> Training:
    """Train on this worker; "auto" is a CUDA device if its process sees one."""
    started, cpu = time.monotonic(), time.process_time()
    made = make_generation(
        store,
        config,
        device=device,
        on_event=lambda event: tell({"epoch": asdict(event)}),
        say=lambda sentence: tell({"sentence": sentence}),
    )
    return _timed(made, started, cpu, worker=get_worker().address)


def _timed(
    made: TrainedGeneration, started: float, cpu: float, worker: str | None = None
) -> Training:
    wall_s = time.monotonic() - started
    return Training(
        made,
        cpu_s=time.process_time() - cpu,
        gpu_s=wall_s if made.device.startswith("cuda") else 0.0,
        worker=worker,
    )
