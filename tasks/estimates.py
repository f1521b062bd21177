"""What a run will cost: core-hours, GPU-hours, bytes, and the time until it ends, stage by stage.

Work on the workers is laid out as they will do it: each takes the next partition when it is free,
so that the longest row of partitions on one worker decides. Stages follow one another. Starting the
workers is a guess that is paid once, where there is work for them.

Public: `Estimate`, `StageEstimate`, `Load`, `estimate_run`, `makespan_s`.
"""

import heapq
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tasks.rates import FIXED_S, WORKERS_START_S, StageRate

ON_WORKERS = ("extract", "describe", "encode")
START_S = 3.0
"""Guess: seconds until a run's first stage begins and after its last one ends."""


@dataclass(frozen=True, slots=True)
class Load:
    """Work of one kind: one partition, or all of a stage that is not cut.

    Attributes
    ----------
    n_tracks : int
        Tracks in it.
    audio_s : float
        Seconds of audio in them, estimated where they were never decoded.
    """

    n_tracks: int
    audio_s: float


@dataclass(frozen=True, slots=True)
class StageEstimate:
    """What one stage will do and cost.

    Attributes
    ----------
    rate : StageRate
        What it is computed from.
    n_tracks : int
        Tracks to process.
    audio_s, core_s, gpu_s, wall_s : float
        Seconds: of audio, of CPU and of GPU over all workers, and by the clock.
    n_bytes : int
        Bytes to be written.
    """

    rate: StageRate
    n_tracks: int = 0
    audio_s: float = 0.0
    core_s: float = 0.0
    gpu_s: float = 0.0
    wall_s: float = 0.0
    n_bytes: int = 0

    @property
    def stage(self) -> str:
        """Name of the stage."""
        return self.rate.stage

    @property
    def units_per_core_s(self) -> float | None:
        """What a CPU second does; None where it costs nothing that was measured."""
        return 1 / self.rate.core_s if self.rate.core_s else None

    @property
    def numbers(self) -> dict[str, int | float | None]:
        """Give everything but the name."""
        speed = self.units_per_core_s
        return {
            "tracks": self.n_tracks,
            "audio_s": round(self.audio_s, 1),
            "core_s": round(self.core_s, 1),
            "gpu_s": round(self.gpu_s, 1),
            "wall_s": round(self.wall_s, 1),
            "bytes": self.n_bytes,
            f"{self.rate.unit}_per_core_s": speed and round(speed, 2),
            "measured_runs": self.rate.n_runs,
        }


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run will cost.

    Attributes
    ----------
    stages : tuple of StageEstimate
        In the order of a run; those with nothing to do are there, too.
    n_workers : int
        Worker processes that the time is for.
    start_s : float
        Seconds by the clock beside the stages.
    """

    stages: tuple[StageEstimate, ...]
    n_workers: int
    start_s: float

    @property
    def core_s(self) -> float:
        """CPU seconds over all workers."""
        return sum(stage.core_s for stage in self.stages)

    @property
    def gpu_s(self) -> float:
        """GPU seconds."""
        return sum(stage.gpu_s for stage in self.stages)

    @property
    def n_bytes(self) -> int:
        """Bytes to be written as features, descriptions and codes."""
        return sum(stage.n_bytes for stage in self.stages)

    @property
    def eta_s(self) -> float:
        """Seconds by the clock from the start of the run to its end."""
        return self.start_s + sum(stage.wall_s for stage in self.stages)

    @property
    def guessed_stages(self) -> tuple[str, ...]:
        """Stages with something to do whose rate no run of this store has measured."""
        return tuple(stage.stage for stage in self.stages if stage.rate.is_guess and stage.n_tracks)

    @property
    def numbers(self) -> dict[str, int | float | str | None]:
        """Give everything as one flat structure, in which every stage always has its keys."""
        numbers: dict[str, int | float | str | None] = {
            "workers": self.n_workers,
            "eta_s": round(self.eta_s, 1),
            "core_s": round(self.core_s, 1),
            "gpu_s": round(self.gpu_s, 1),
            "bytes": self.n_bytes,
            "guessed_stages": " ".join(self.guessed_stages),
        }
        for stage in self.stages:
            numbers |= {f"{stage.stage}_{name}": value for name, value in stage.numbers.items()}
        return numbers


def estimate_run(
    loads: Mapping[str, Sequence[Load]],
    rates: Mapping[str, StageRate],
    *,
    n_workers: int | None = None,
) -> Estimate:
    """Compute what a run will cost.

    Parameters
    ----------
    loads : mapping
        Stage -> its partitions in the order in which they are handed out; one load for a stage
        that is not cut; none where there is nothing to do.
    rates : mapping
        Stage -> its rate, in the order of a run.
    n_workers : int, optional
        Worker processes; one per CPU of this machine by default.
    """
    workers = n_workers or os.cpu_count() or 1
    stages = tuple(_estimate(loads.get(name, ()), rate, workers) for name, rate in rates.items())
    has_fan_out = any(stage.n_tracks for stage in stages if stage.stage in ON_WORKERS)
    return Estimate(stages, workers, START_S + (WORKERS_START_S if has_fan_out else 0.0))


def _estimate(loads: Sequence[Load], rate: StageRate, n_workers: int) -> StageEstimate:
    if not loads:
        return StageEstimate(rate)
    units = [load.audio_s if rate.unit == "audio_s" else load.n_tracks for load in loads]
    total = sum(units)
    gpu_s = total * rate.gpu_s
    if rate.stage in ON_WORKERS:
        costs_s = [rate.core_s * rate.slowdown * amount for amount in units]
        wall_s = max(makespan_s(costs_s, n_workers), gpu_s)
    else:
        wall_s = FIXED_S[rate.stage] + total * rate.wall_s
    return StageEstimate(
        rate,
        n_tracks=sum(load.n_tracks for load in loads),
        audio_s=sum(load.audio_s for load in loads),
        core_s=total * rate.core_s,
        gpu_s=gpu_s,
        wall_s=wall_s,
        n_bytes=round(total * rate.n_bytes),
    )


def makespan_s(costs_s: Sequence[float], n_workers: int) -> float:
    """Give when the last worker is done, if each takes the next piece of work when it is free."""
    free_at = [0.0] * min(n_workers, max(1, len(costs_s)))
    for cost_s in costs_s:
        heapq.heapreplace(free_at, free_at[0] + cost_s)
    return max(free_at)
