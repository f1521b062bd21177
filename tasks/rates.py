"""How fast this store works, measured: what its ledger and its published tracks say.

A rate is the ratio of two sums over the runs that did such work. Recent runs weigh more: the weight
halves every `HALF_LIFE_RUNS` runs. A run that did nothing teaches nothing. Before there is such a
run, `GUESSES` stand in, and say that they are guesses.

Only the audio seconds per byte, which are of the published tracks, decide how work is cut;
what was measured by a clock decides nothing.

Public: `StageRate`, `measure_rates`, `GUESSES`, `UNITS`, `AudioSizes`, `AudioSizeSums`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from storage.runs import RunRecord
from tasks.sums_by_name import SumsByName

Unit = Literal["audio_s", "tracks"]

HALF_LIFE_RUNS = 3
"""Runs after which what a run taught weighs half."""

LEARNED_RUNS = 30
"""Older runs that did such work weigh a thousandth, and are left out."""

UNITS: dict[str, Unit] = {
    "extract": "audio_s",
    "describe": "audio_s",
    "train": "tracks",
    "encode": "tracks",
    "index": "tracks",
    "report": "tracks",
}
"""What the cost of a stage grows with, in the order of a run."""

FIXED_S = {"train": 2.0, "index": 0.2, "report": 2.0}
"""Guesses: seconds by the clock that a stage takes however little there is to do."""

WORKERS_START_S = 6.0
"""Guess: seconds until the workers have started and loaded what they need."""

LONG_ENOUGH_S = 10.0
"""CPU seconds per worker from which on a run shows how much of a worker's time is CPU time: less is
mostly starting, and waiting for the last one."""

MIN_TRACKS_TO_MEASURE = 5
"""Published tracks of a file suffix from which on their own size per second counts."""

BYTES_PER_AUDIO_S = {
    ".wav": 176_400,
    ".aif": 176_400,
    ".aiff": 176_400,
    ".flac": 90_000,
    ".ogg": 14_000,
    ".oga": 14_000,
    ".opus": 14_000,
}
OTHER_BYTES_PER_AUDIO_S = 24_000
"""Guesses, for suffixes of which too few tracks are published."""

MIN_TRACK_S = 1.0

_SUFFIX = r"[^/](?P<suffix>\.[^./]*)$"


@dataclass(frozen=True, slots=True)
class StageRate:
    """What one unit of a stage costs.

    Attributes
    ----------
    stage : str
        Name of the stage.
    core_s, gpu_s, wall_s : float
        Seconds per unit: of CPU, of GPU, and by the clock. The last is used of stages that run in
        the one process that writes; those on the workers take theirs from the CPU seconds.
    n_bytes : float
        Bytes written per unit.
    slowdown : float
        Seconds by the clock that a worker takes for a CPU second, at least 1: it waits for disks,
        and for others who use the machine.
    n_runs : int
        Runs that it was measured in; 0 for a guess.
    """

    stage: str
    core_s: float
    gpu_s: float = 0.0
    wall_s: float = 0.0
    n_bytes: float = 0.0
    slowdown: float = 1.0
    n_runs: int = 0

    @property
    def unit(self) -> Unit:
        """What the amounts are per."""
        return UNITS[self.stage]

    @property
    def is_guess(self) -> bool:
        """Whether no run of this store says anything of it."""
        return self.n_runs == 0


GUESSES = {
    rate.stage: rate
    for rate in (
        StageRate("extract", core_s=1 / 300, n_bytes=19_500),
        StageRate("describe", core_s=1 / 800, n_bytes=200),
        StageRate("train", core_s=0.3, wall_s=0.3),
        StageRate("encode", core_s=0.05, n_bytes=6_000),
        StageRate("index", core_s=0.002, wall_s=0.002),
        StageRate("report", core_s=0.001, wall_s=0.001),
    )
}
"""From one machine with two cores and compressed music of four minutes a track."""


def measure_rates(records: Sequence[RunRecord]) -> dict[str, StageRate]:
    """Give the rate of every stage, from a store's runs, oldest first."""
    return {stage: _measure(stage, records) for stage in UNITS}


def _measure(stage: str, records: Sequence[RunRecord]) -> StageRate:
    sums = _NOTHING
    n_runs = 0
    for record in reversed(records):
        cost = _cost(stage, record)
        if cost is None:
            continue
        weight = 0.5 ** (n_runs / HALF_LIFE_RUNS)
        sums = _Cost(*(total + weight * value for total, value in zip(sums, cost, strict=True)))
        n_runs += 1
        if n_runs == LEARNED_RUNS:
            break
    if not n_runs:
        return GUESSES[stage]
    return StageRate(
        stage,
        core_s=sums.core_s / sums.units,
        gpu_s=sums.gpu_s / sums.units,
        wall_s=sums.wall_s / sums.units,
        n_bytes=sums.n_bytes / sums.units,
        slowdown=max(1.0, sums.worker_s / sums.worked_s) if sums.worked_s else 1.0,
        n_runs=n_runs,
    )


class _Cost(NamedTuple):
    """What a stage did and took; the last two are of long runs on workers only.

    ``worker_s`` is the time that its workers were there, ``worked_s`` their CPU seconds.
    """

    units: float
    core_s: float
    gpu_s: float
    wall_s: float
    n_bytes: float
    worker_s: float
    worked_s: float


_NOTHING = _Cost(*[0.0] * len(_Cost._fields))


def _cost(stage: str, record: RunRecord) -> _Cost | None:
    """Give what a stage of a run did and took; None when it did nothing."""
    numbers = record.stages.get(stage, {})
    units = _units(stage, record.stages)
    clock_s, cpu_s = _number(numbers, "wall_s"), _number(numbers, "cpu_s")
    if units <= 0 or clock_s <= 0:
        return None
    fixed_s = FIXED_S.get(stage, 0.0)
    wall_s = max(0.0, clock_s - fixed_s)
    n_workers = _number(numbers, "n_workers")
    is_long = n_workers > 0 and cpu_s >= LONG_ENOUGH_S * n_workers
    return _Cost(
        units=units,
        # Older records have none of the stages of the one process that writes.
        core_s=max(0.0, cpu_s - fixed_s) if cpu_s else wall_s,
        gpu_s=_number(numbers, "gpu_s"),
        wall_s=wall_s,
        n_bytes=_number(numbers, "n_bytes"),
        worker_s=max(0.0, clock_s - WORKERS_START_S) * n_workers if is_long else 0.0,
        worked_s=cpu_s if is_long else 0.0,
    )


def _units(stage: str, stages: Mapping[str, Mapping[str, float]]) -> float:
    if stage == "report":  # its record counts pages
        return _number(stages.get("index", {}), "n_done")
    return _number(stages.get(stage, {}), "audio_s" if UNITS[stage] == "audio_s" else "n_done")


def _number(numbers: Mapping[str, float], name: str) -> float:
    """Give a number of a record; 0 where it has none, as records of older versions may."""
    value = numbers.get(name, 0.0)
    is_number = isinstance(value, (int, float)) and math.isfinite(value) and value > 0
    return float(value) if is_number else 0.0


@dataclass(frozen=True, slots=True)
class AudioSizes:
    """Bytes per second of audio, by suffix of the file's name.

    Attributes
    ----------
    measured : dict
        Suffix, lower case with its dot -> bytes per second of the published tracks.
    """

    measured: Mapping[str, float]

    def estimate_s(self, path: str, n_bytes: int) -> float:
        """Estimate the seconds of audio in a file."""
        name = path.rpartition("/")[2]
        stem, dot, suffix = name.rpartition(".")
        key = f".{suffix.lower()}" if stem and dot else ""
        size = self.measured.get(key) or BYTES_PER_AUDIO_S.get(key, OTHER_BYTES_PER_AUDIO_S)
        return max(MIN_TRACK_S, n_bytes / size)


class AudioSizeSums:
    """Adds up what published tracks say of the bytes of a second of audio, by suffix."""

    def __init__(self) -> None:
        self._sums = SumsByName(2)

    def add(self, published: pa.RecordBatch) -> None:
        """Add some tracks.

        Parameters
        ----------
        published : pyarrow.RecordBatch
            Columns ``path``, ``n_bytes`` and ``duration_s``, which is empty for a track that
            failed.
        """
        paths = pc.utf8_lower(published["path"])
        suffixes = pc.struct_field(pc.extract_regex(paths, _SUFFIX), "suffix")
        has_both = pc.and_(pc.is_valid(suffixes), pc.is_valid(published["duration_s"]))
        self._sums.add(
            suffixes.filter(has_both),
            *(published[name].filter(has_both).to_numpy() for name in ("n_bytes", "duration_s")),
        )

    @property
    def sizes(self) -> AudioSizes:
        """What was measured, of the suffixes that enough tracks have."""
        found = self._sums
        sums = zip(found.places, *found.sums.tolist(), found.counts.tolist(), strict=True)
        return AudioSizes(
            {
                suffix: n_bytes / audio_s
                for suffix, n_bytes, audio_s, count in sums
                if count >= MIN_TRACKS_TO_MEASURE and audio_s > 0
            }
        )
