"""How far a backfill is: what its sessions did, how fast, and when it will be complete.

Rates are measured over all sessions so far; before the first piece of work of a step, those of the
store's runs stand in.

Public: `Progress`, `StepProgress`, `progress_of`, `list_progress`.
"""

import os
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from storage.backfills import BackfillState, Step, read_backfill, read_backfills, read_plan
from storage.runs import read_runs
from storage.store import open_store
from tasks.backfill_plan import done_partitions, partition_ids
from tasks.backfill_sessions import sum_steps
from tasks.rates import StageRate, measure_rates


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
        sums = sum_steps(state)
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
        """Say how far it is, in one line."""
        if not self.state.is_open:
            return f"{self.state.name}: complete since {self.state.ended}"
        numbers = self.numbers
        return (
            f"{self.state.name}: {self.n_done} of {self.n_partitions} partitions complete, "
            f"{numbers['audio_hours_done']:.2f} of {numbers['audio_hours']:.2f} hours of audio, "
            f"{numbers['failed']} failed"
        )


def _hours(seconds: float) -> float:
    return round(seconds / 3600, 4)


def progress_of(
    store: str,
    state: BackfillState,
    plan: pa.Table | None = None,
    *,
    n_workers: int | None = None,
) -> Progress:
    """Say how far a backfill is, by its receipts.

    Parameters
    ----------
    plan : pyarrow.Table, optional
        Its plan, where it is not stored.
    n_workers : int, optional
        Workers that will do what was never measured; one per CPU by default.
    """
    layout = open_store(store)
    if not state.is_open:
        return Progress(state, ())
    if plan is None:
        plan = read_plan(layout, state.name)
    rates = measure_rates(read_runs(layout))
    workers = n_workers or os.cpu_count() or 1
    steps = tuple(_step(store, state, step, plan, rates[step], workers) for step in state.steps)
    return Progress(state, steps, len(plan["track_id"].unique()))


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
    plan: pa.Table,
    rate: StageRate,
    n_workers: int,
) -> StepProgress:
    planned = partition_ids(plan)
    done = done_partitions(store, state, step) & planned
    goes = plan.filter(pc.not_equal(plan["partition_id"], ""))
    is_done = pc.is_in(goes["partition_id"], value_set=pa.array(sorted(done), pa.string()))
    audio_s = pc.sum(goes["audio_s"]).as_py() or 0.0
    audio_done_s = pc.sum(goes["audio_s"].filter(is_done)).as_py() or 0.0
    n_left = len(goes["track_id"].filter(pc.invert(is_done)).unique())
    amount = audio_s - audio_done_s if rate.unit == "audio_s" else n_left
    core_s, n_bytes = amount * rate.core_s, amount * rate.n_bytes
    own = sum_steps(state).get(step, {})
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
