"""The ledger: one record per run, written at its start and at its end.

A record without an end belongs to a run that was killed. Public: `RunRecord`, `start_run`,
`closed_record`, `finish_run`, `read_runs`, `run_rows`.
"""

import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from storage.atomic import read_json, write_json
from storage.errors import DamagedArtefactError
from storage.layout import StoreLayout


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run: the columns of `storage.schemas.RUNS`, times as ISO 8601 text in UTC.

    Attributes
    ----------
    kind : str
        Command that began it; only in the ledger.
    stages : dict
        Numbers of each finished stage, by its name; only in the ledger.
    """

    run_id: str
    started: str
    kind: str = "nightly"
    finished: str | None = None
    state: str = "running"
    seen: int = 0
    done: int = 0
    reused: int = 0
    failed: int = 0
    quarantined: int = 0
    removed: int = 0
    audio_s: float = 0.0
    cpu_s: float = 0.0
    wall_s: float = 0.0
    peak_memory_bytes: int = 0
    snapshot: int | None = None
    stages: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def is_balanced(self) -> bool:
        """Whether every track that was seen is accounted for."""
        parts = self.done + self.reused + self.failed + self.quarantined + self.removed
        return self.seen == parts


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def start_run(layout: StoreLayout, *, kind: str = "nightly") -> RunRecord:
    """Open a run in the ledger; `kind` is the command that began it."""
    started = _now()
    stamp = started[:19].replace("-", "").replace(":", "")
    record = RunRecord(run_id=f"{stamp}Z-{secrets.token_hex(3)}", started=started, kind=kind)
    write_json(layout.run_path(record.run_id), asdict(record))
    return record


def closed_record(record: RunRecord, *, state: str) -> RunRecord:
    """Give a run's record as it stands when the run ends now; writes nothing."""
    started = datetime.fromisoformat(record.started)
    wall_s = max(0.0, (datetime.now(UTC) - started).total_seconds())  # clocks are set back
    return replace(record, finished=_now(), state=state, wall_s=round(wall_s, 3))


def finish_run(layout: StoreLayout, record: RunRecord, *, state: str) -> RunRecord:
    """Close a run in the ledger."""
    closed = closed_record(record, state=state)
    write_json(layout.run_path(record.run_id), asdict(closed))
    return closed


def read_runs(layout: StoreLayout) -> list[RunRecord]:
    """Read all runs, oldest first."""
    if not layout.runs_root.is_dir():
        return []
    records = []
    for path in sorted(layout.runs_root.glob("*.json")):
        try:
            records.append(RunRecord(**read_json(path)))
        except (TypeError, DamagedArtefactError) as error:
            raise DamagedArtefactError(
                f"{path} is not a run record ({error}); remove it"
            ) from error
    return records


def run_rows(records: Sequence[RunRecord]) -> list[dict[str, Any]]:
    """Give the rows of `storage.schemas.RUNS`."""
    rows = []
    for record in records:
        row = asdict(record)
        del row["kind"], row["stages"]
        row["started"] = datetime.fromisoformat(record.started)
        row["finished"] = datetime.fromisoformat(record.finished) if record.finished else None
        rows.append(row)
    return rows
