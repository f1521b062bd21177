"""How far a backfill is: what its sessions did, how fast, and when it will be complete.

Rates are measured over all sessions so far; before the first piece of work of a step, those of the
store's runs stand in.

Public: `SessionLog`, `with_sessions`, `Progress`, `StepProgress`, `progress_of`, `list_progress`.
"""

import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from musichash_core.records import PartitionSummary
from storage.backfills import (
    BackfillState,
    Session,
    Step,
    read_backfill,
    read_backfills,
    read_plan,
    write_state,
)
from storage.runs import RunRecord, read_runs
from storage.store import open_store
from tasks.backfill_plan import done_partitions, partition_ids
from tasks.rates import StageRate, measure_rates

WRITE_EVERY_S = 10.0
"""How often a session is stored: what a killed one loses is the time of its last seconds."""


class SessionLog:
    """Keeps what a session of a backfill does in the backfill's state.

    Parameters
    ----------
    store : str
        Store root.
    state : BackfillState
        The backfill.
    """

    def __init__(self, store: str, state: BackfillState) -> None:
        self._layout = open_store(store)
        self._state = state
        self._session = Session(started=datetime.now(UTC).isoformat(timespec="seconds"))
        self._mark = self._written = time.monotonic()
        self._waited_s = 0.0
        self._write()

    @property
    def state(self) -> BackfillState:
        """The backfill as it was when the session began."""
        return self._state

    def waited(self, seconds: float) -> None:
        """Add to the time spent waiting for a run."""
        self._waited_s += seconds
        self._session = replace(self._session, waited_s=self._session.waited_s + seconds)

    def finished(self, step: str, summary: PartitionSummary) -> None:
        """Add a partition that has been through a step."""
        now = time.monotonic()
        worked_s = max(0.0, now - self._mark - self._waited_s)
        self._mark, self._waited_s = now, 0.0
        sums = dict(self._session.steps.get(step, {}))
        for name, value in (asdict(summary) | {"partitions": 1, "wall_s": worked_s}).items():
            if name == "peak_memory_bytes":
                sums[name] = max(sums.get(name, 0), value)
            elif name != "partition_id":
                sums[name] = sums.get(name, 0) + value
        self._session = replace(
            self._session,
            worked_s=self._session.worked_s + worked_s,
            steps=self._session.steps | {step: sums},
        )
        if now - self._written >= WRITE_EVERY_S:
            self._write()

    def close(self) -> BackfillState:
        """Store the session and give the state with it."""
        self._write()
        return self._stored()

    def _stored(self) -> BackfillState:
        return replace(self._state, sessions=(*self._state.sessions, self._session))

    def _write(self) -> None:
        self._written = time.monotonic()
        write_state(self._layout, self._stored())


def _sum_steps(state: BackfillState) -> dict[str, dict[str, float]]:
    """Sum what all sessions did, step by step, under the names that the ledger uses."""
    sums: dict[str, dict[str, float]] = {}
    for session in state.sessions:
        for step, numbers in session.steps.items():
            total = sums.setdefault(step, {})
            for name, value in numbers.items():
                is_peak = name == "peak_memory_bytes"
                total[name] = (
                    max(total.get(name, 0), value) if is_peak else (total.get(name, 0) + value)
                )
    return sums


def with_sessions(record: RunRecord, store: str, name: str) -> RunRecord:
    """Put what all sessions of a backfill did into the record of the run that ends it."""
    state = read_backfill(open_store(store), name)
    assert state is not None
    sums = _sum_steps(state)
    return replace(
        record,
        audio_s=record.audio_s + sums.get("extract", {}).get("audio_s", 0.0),
        cpu_s=record.cpu_s + sum(step["cpu_s"] for step in sums.values()),
        stages=record.stages | sums,
    )


@dataclass(frozen=True, slots=True)
class StepProgress:
    """How far one step is.

    Attributes
    ----------
    step : str
        extract, describe or encode.
    n_partitions, n_done : int
        Of the plan, and those with a receipt.
    audio_s, audio_done_s : float
        Seconds of audio in them.
    audio_per_s : float
        Seconds of audio per second by the clock, at work.
    core_s, n_bytes : float
        Estimates of what is left: CPU seconds, and bytes to write.
    is_measured : bool
        Whether the rate is that of this backfill's sessions.
    """

    step: str
    n_partitions: int
    n_done: int
    audio_s: float
    audio_done_s: float
    audio_per_s: float
    core_s: float
    n_bytes: float
    is_measured: bool

    @property
    def left_s(self) -> float:
        """Seconds by the clock that it still takes, at work."""
        return (self.audio_s - self.audio_done_s) / self.audio_per_s


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a backfill is.

    Attributes
    ----------
    state : BackfillState
        The backfill.
    steps : tuple of StepProgress
        In their order; none of one that is complete.
    n_tracks : int
        Tracks in the plan.
    """

    state: BackfillState
    steps: tuple[StepProgress, ...]
    n_tracks: int = 0

    @property
    def n_partitions(self) -> int:
        """Partitions of the plan."""
        return max((step.n_partitions for step in self.steps), default=0)

    @property
    def n_done(self) -> int:
        """Partitions that have been through all steps; the last step tells."""
        return min((step.n_done for step in self.steps), default=0)

    @property
    def is_complete(self) -> bool:
        """Whether every partition has been through all steps."""
        return all(step.n_done == step.n_partitions for step in self.steps)

    @property
    def eta_s(self) -> float:
        """Seconds by the clock until it is complete, if it waits as much as it did so far."""
        worked_s = sum(session.worked_s for session in self.state.sessions)
        waited_s = sum(session.waited_s for session in self.state.sessions)
        share = (worked_s + waited_s) / worked_s if worked_s else 1.0
        return share * sum(step.left_s for step in self.steps)

    @property
    def numbers(self) -> dict[str, Any]:
        """Everything, as JSON."""
        state = self.state
        sums = _sum_steps(state)
        return {
            "name": state.name,
            "kind": state.kind,
            "target": state.target,
            "feature_fingerprint": state.feature_fingerprint,
            "generation": state.generation,
            "begun": state.begun,
            "ended": state.ended,
            "tracks": self.n_tracks,
            "partitions": self.n_partitions,
            "partitions_done": self.n_done,
            "audio_hours": _hours(max((step.audio_s for step in self.steps), default=0.0)),
            "audio_hours_done": _hours(min((step.audio_done_s for step in self.steps), default=0)),
            "failed": int(sums.get("extract", {}).get("n_failed", 0)),
            "sessions": len(state.sessions),
            "worked_hours": _hours(sum(session.worked_s for session in state.sessions)),
            "waited_hours": _hours(sum(session.waited_s for session in state.sessions)),
            "eta_s": round(self.eta_s, 1),
            "core_hours_left": _hours(sum(step.core_s for step in self.steps)),
            "bytes_left": round(sum(step.n_bytes for step in self.steps)),
            "steps": [asdict(step) for step in self.steps],
        }

    @property
    def sentence(self) -> str:
        """The same for people."""
        if not self.state.is_open:
            return f"{self.state.name}: complete since {self.state.ended}"
        numbers = self.numbers
        steps = ", ".join(
            f"{step.step} {step.n_done}/{step.n_partitions}"
            + (f" at {step.audio_per_s:.0f} audio seconds per second" if step.is_measured else "")
            for step in self.steps
        )
        return (
            f"{self.state.name}: {self.n_done} of {self.n_partitions} partitions "
            f"complete ({steps}), {numbers['audio_hours_done']:.2f} of "
            f"{numbers['audio_hours']:.2f} hours of audio, {numbers['failed']} failed; "
            f"{numbers['sessions']} sessions, {numbers['worked_hours']:.2f} hours at "
            f"work and {numbers['waited_hours']:.2f} waiting since {self.state.begun}; about "
            f"{_spoken_time(self.eta_s)} left: {numbers['core_hours_left']:.2f} core-hours, "
            f"{numbers['bytes_left'] / 1e6:.0f} MB"
        )


def _hours(seconds: float) -> float:
    return round(seconds / 3600, 4)


def _spoken_time(seconds: float) -> str:
    for unit, length in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} seconds"


def progress_of(
    store: str,
    state: BackfillState,
    rows: Sequence[dict[str, Any]] | None = None,
    *,
    n_workers: int | None = None,
) -> Progress:
    """Say how far a backfill is, by its receipts.

    Parameters
    ----------
    rows : sequence of dict, optional
        Its plan, where it is not stored.
    n_workers : int, optional
        Workers that will do what was never measured; one per CPU by default.
    """
    layout = open_store(store)
    if not state.is_open:
        return Progress(state, ())
    if rows is None:
        rows = read_plan(layout, state.name).to_pylist()
    rates = measure_rates(read_runs(layout))
    workers = n_workers or os.cpu_count() or 1
    steps = tuple(_step(store, state, step, rows, rates[step], workers) for step in state.steps)
    return Progress(state, steps, len({row["track_id"] for row in rows}))


def list_progress(store: str, name: str | None = None) -> list[Progress]:
    """Say how far all backfills are, or one."""
    layout = open_store(store)
    if name is None:
        return [progress_of(store, state) for state in read_backfills(layout)]
    state = read_backfill(layout, name)
    return [] if state is None else [progress_of(store, state)]


def _step(
    store: str,
    state: BackfillState,
    step: Step,
    rows: Sequence[dict[str, Any]],
    rate: StageRate,
    n_workers: int,
) -> StepProgress:
    planned = partition_ids(rows)
    done = done_partitions(store, state, step) & planned
    audio_s = sum(row["audio_s"] for row in rows if row["partition_id"])
    audio_done_s = sum(row["audio_s"] for row in rows if row["partition_id"] in done)
    n_left = len({row["track_id"] for row in rows if row["partition_id"] in planned - done})
    amount = audio_s - audio_done_s if rate.unit == "audio_s" else n_left
    core_s, n_bytes = amount * rate.core_s, amount * rate.n_bytes
    own = _sum_steps(state).get(step, {})
    is_measured = own.get("audio_s", 0.0) > 0 and own.get("wall_s", 0.0) > 0
    if is_measured:
        audio_per_s = own["audio_s"] / own["wall_s"]
        core_s = (audio_s - audio_done_s) * own["cpu_s"] / own["audio_s"]
        n_bytes = (audio_s - audio_done_s) * own["n_bytes"] / own["audio_s"]
    else:
        left_s = max(core_s / n_workers, 1e-9)
        audio_per_s = max((audio_s - audio_done_s) / left_s, 1e-9)
    return StepProgress(
        step,
        n_partitions=len(planned),
        n_done=len(done),
        audio_s=audio_s,
        audio_done_s=audio_done_s,
        audio_per_s=audio_per_s,
        core_s=core_s,
        n_bytes=n_bytes,
        is_measured=is_measured,
    )
