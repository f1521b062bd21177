"""What each session of a backfill did: kept while it works, summed up over all of them.

Public: `SessionLog`, `sum_steps`, `with_sessions`.
"""

import time
from dataclasses import asdict, replace
from datetime import UTC, datetime

from musichash_core.records import PartitionSummary
from storage.backfills import BackfillState, Session, read_backfill, write_state
from storage.runs import RunRecord
from storage.store import open_store

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


def sum_steps(state: BackfillState) -> dict[str, dict[str, float]]:
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
    sums = sum_steps(state)
    return replace(
        record,
        audio_s=record.audio_s + sums.get("extract", {}).get("audio_s", 0.0),
        cpu_s=record.cpu_s + sum(step["cpu_s"] for step in sums.values()),
        stages=record.stages | sums,
    )
