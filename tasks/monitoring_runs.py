"""What a monitoring system is told of the runs of a store: sums over all, and the last one.

Public: `metrics_of_runs`, `metrics_of_the_last_run`, `gauge`, `counter`, `by`,
`seconds_since_1970`, `ENDS`.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from storage.exposition import Metric, Sample
from storage.runs import KILLED, RUNNING, RunRecord

ENDS = ("done", "done-with-failures", "failed", KILLED)
"""States of a run that is over."""

GOOD_ENDS = ENDS[:2]
OUTCOMES = ("done", "reused", "failed", "quarantined", "removed")
STAGE_OUTCOMES = ("done", "reused", "failed")
_OF_A_STAGE = (
    ("cpu_s", "cpu_seconds", "CPU seconds"),
    ("gpu_s", "gpu_seconds", "seconds of work on a GPU"),
    ("wall_s", "duration_seconds", "seconds by the clock"),
    ("audio_s", "audio_seconds", "seconds of audio processed"),
    ("n_bytes", "written_bytes", "bytes written"),
)
"""Numbers of a stage in the ledger that add up over runs, with the names of their metrics."""


def gauge(name: str, meaning: str, samples: Sequence[Sample]) -> Metric:
    """Make a figure that goes up and down; its name gets ours before it."""
    return Metric(f"musichash_{name}", "gauge", meaning, samples)


def counter(name: str, meaning: str, samples: Sequence[Sample]) -> Metric:
    """Make a figure that only grows."""
    return Metric(f"musichash_{name}_total", "counter", meaning, samples)


def by(label: str, values: Mapping[str, float]) -> list[Sample]:
    """Make a sample for each value of a label."""
    return [Sample(value, {label: name}) for name, value in values.items()]


def metrics_of_runs(runs: Sequence[RunRecord]) -> list[Metric]:
    """Sum up over all runs; those under way count when they are over."""
    over = [run for run in runs if run.state in ENDS]
    states = Counter(run.state for run in over)
    tracks: Counter[tuple[str, str]] = Counter()
    sums: dict[str, Counter[str]] = {field: Counter() for field, _, _ in _OF_A_STAGE}
    for run in over:
        for stage, numbers in run.stages.items():
            for outcome in ("done", "failed"):
                tracks[stage, outcome] += int(numbers.get(f"n_{outcome}", 0))
            for field, summed in sums.items():
                summed[stage] += numbers.get(field, 0.0)  # type: ignore[assignment] # not only whole ones
    succeeded: dict[str, float] = {}
    for run in over:
        if run.state in GOOD_ENDS and run.finished is not None:
            succeeded[run.kind] = seconds_since_1970(run.finished)
    return [
        counter(
            "runs",
            "Runs that are over, by how they ended.",
            [Sample(states[state], {"state": state}) for state in ENDS],
        ),
        counter(
            "stage_tracks",
            "Tracks that stages worked on, over all runs.",
            [
                Sample(count, {"stage": stage, "outcome": outcome})
                for (stage, outcome), count in sorted(tracks.items())
            ],
        ),
        *(
            counter(f"stage_{name}", f"Over all runs: {meaning}.", by("stage", sums[field]))
            for field, name, meaning in _OF_A_STAGE
        ),
        gauge(
            "last_success_timestamp_seconds",
            "End of the last run that published or had nothing to do, by the command.",
            by("kind", succeeded),
        ),
        gauge(
            "runs_under_way",
            "Runs that began and are not over.",
            [Sample(sum(run.state == RUNNING for run in runs))],
        ),
    ]


def metrics_of_the_last_run(over: Sequence[RunRecord]) -> list[Metric]:
    """Describe the last of some runs that are over."""
    if not over:
        return []
    last = over[-1]
    finished = [] if last.finished is None else [Sample(seconds_since_1970(last.finished))]
    return [
        gauge(
            "last_run_state",
            "How the last run ended: 1 for its state.",
            [Sample(float(last.state == state), {"state": state}) for state in ENDS],
        ),
        gauge(
            "last_run_start_timestamp_seconds",
            "Begin of the last run that is over.",
            [Sample(seconds_since_1970(last.started))],
        ),
        gauge("last_run_end_timestamp_seconds", "End of the last run that is over.", finished),
        gauge(
            "last_run_duration_seconds",
            "Seconds by the clock of the last run.",
            [Sample(last.wall_s)],
        ),
        gauge("last_run_seen_tracks", "Tracks that the last run saw.", [Sample(last.seen)]),
        gauge(
            "last_run_tracks",
            "Tracks of the last run, by what became of them.",
            [Sample(getattr(last, outcome), {"outcome": outcome}) for outcome in OUTCOMES],
        ),
        *_metrics_of_stages(last.stages),
    ]


def _metrics_of_stages(stages: Mapping[str, Mapping[str, float]]) -> list[Metric]:
    def samples(value: Callable[[Mapping[str, float]], float]) -> list[Sample]:
        return by("stage", {stage: value(numbers) for stage, numbers in sorted(stages.items())})

    worked = {name: of for name, of in sorted(stages.items()) if of.get("audio_s", 0.0) > 0}
    return [
        gauge(
            "last_run_stage_tracks",
            "Tracks of each stage of the last run.",
            [
                Sample(numbers.get(f"n_{outcome}", 0), {"stage": stage, "outcome": outcome})
                for stage, numbers in sorted(stages.items())
                for outcome in STAGE_OUTCOMES
            ],
        ),
        *(
            gauge(
                f"last_run_stage_{name}",
                f"Of each stage of the last run: {meaning}.",
                samples(lambda numbers, field=field: numbers.get(field, 0.0)),  # type: ignore[misc] # bound at once
            )
            for field, name, meaning in _OF_A_STAGE
        ),
        gauge(
            "last_run_stage_peak_memory_bytes",
            "Largest memory of a worker process in each stage of the last run.",
            samples(lambda numbers: numbers.get("peak_memory_bytes", 0)),
        ),
        gauge(
            "last_run_stage_workers",
            "Workers that could work on each stage of the last run.",
            samples(lambda numbers: numbers.get("n_workers", 0)),
        ),
        gauge(
            "last_run_stage_tracks_per_second",
            "Tracks per second by the clock, of the stages of the last run that read audio.",
            [
                Sample(of["n_done"] / of["wall_s"], {"stage": name})
                for name, of in worked.items()
                if of.get("wall_s", 0.0) > 0
            ],
        ),
    ]


def seconds_since_1970(moment: str) -> float:
    """Give a time in ISO 8601 as Prometheus counts it."""
    return datetime.fromisoformat(moment).timestamp()
