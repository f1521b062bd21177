"""The ledger: one record per run, written at its start, after each stage, and at its end.

Whoever writes to the store next closes the record of a run that was killed. The names of the
records sort in the order in which the runs began, also where the clock was set back in between.

Public: `RunRecord`, `RUNNING`, `KILLED`, `start_run`, `keep_run`, `closed_record`, `finish_run`,
`close_killed_runs`, `read_runs`, `read_run`, `find_run`, `UnknownRunError`,
`run_rows`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from storage.atomic import create_file, read_json, to_json, write_json
from storage.errors import ArtefactMissingError, DamagedArtefactError
from storage.layout import StoreLayout

RUNNING = "running"
KILLED = "killed"

_STAMP = "%Y%m%dT%H%M%S"
_RUN_ID = re.compile(r"(\d{8}T\d{6})Z-([0-9a-f]{6})")
_LAST_IN_A_SECOND = 0xFFFFFF
_SHOWN_IDS = 5


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
    state: str = RUNNING
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


class UnknownRunError(ArtefactMissingError):
    """The ledger has no run, or several, of a name that somebody asked for."""

    is_wrong_input = True


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def start_run(layout: StoreLayout, *, kind: str = "nightly") -> RunRecord:
    """Open a run in the ledger; `kind` is the command that began it."""
    started = _now()
    while True:
        record = RunRecord(_next_run_id(layout, started), started, kind=kind)
        try:
            create_file(layout.run_path(record.run_id), to_json(asdict(record)))
        except FileExistsError:  # of two that began at once, the other one has the name
            continue
        return record


def _next_run_id(layout: StoreLayout, started: str) -> str:
    """Name a run by its second, or, after a clock that was ahead, by a name behind the last."""
    stamp = datetime.fromisoformat(started).strftime(_STAMP)
    last = max((name for name in _run_ids(layout) if _RUN_ID.fullmatch(name)), default="")
    if not last or stamp > last[: len(stamp)]:
        return f"{stamp}Z-{0:06x}"
    stamp, count = last[: len(stamp)], int(last[-6:], 16) + 1
    if count > _LAST_IN_A_SECOND:
        later = datetime.strptime(stamp, _STAMP).replace(tzinfo=UTC) + timedelta(seconds=1)
        return f"{later.strftime(_STAMP)}Z-{0:06x}"
    return f"{stamp}Z-{count:06x}"


def _run_ids(layout: StoreLayout) -> list[str]:
    if not layout.runs_root.is_dir():
        return []
    return sorted(path.stem for path in layout.runs_root.glob("*.json"))


def keep_run(layout: StoreLayout, record: RunRecord) -> None:
    """Write what is known of a run so far."""
    write_json(layout.run_path(record.run_id), asdict(record))


def closed_record(record: RunRecord, *, state: str) -> RunRecord:
    """Give a run's record as it stands when the run ends now; writes nothing."""
    wall_s = _seconds(record.started, datetime.now(UTC).isoformat())
    return replace(record, finished=_now(), state=state, wall_s=wall_s)


def _seconds(started: str, finished: str) -> float:
    wall = datetime.fromisoformat(finished) - datetime.fromisoformat(started)
    return round(max(0.0, wall.total_seconds()), 3)  # clocks are set back


def finish_run(layout: StoreLayout, record: RunRecord, *, state: str) -> RunRecord:
    """Close a run in the ledger."""
    closed = closed_record(record, state=state)
    keep_run(layout, closed)
    return closed


def close_killed_runs(
    layout: StoreLayout, *, last_signs: Mapping[str, str] | None = None
) -> list[RunRecord]:
    """Close the records of runs that ended without closing them; gives the closed ones.

    Only for the holder of the store's lock: then no other run is alive.

    Parameters
    ----------
    last_signs : mapping, optional
        Run id -> time of its last sign of life, which becomes its end.
    """
    killed = []
    for record in read_runs(layout):
        if record.state != RUNNING:
            continue
        finished = (last_signs or {}).get(record.run_id)
        wall_s = 0.0 if finished is None else _seconds(record.started, finished)
        closed = replace(record, state=KILLED, finished=finished, wall_s=wall_s)
        keep_run(layout, closed)
        killed.append(closed)
    return killed


def read_runs(layout: StoreLayout) -> list[RunRecord]:
    """Read all runs, oldest first."""
    return [read_run(layout, run_id) for run_id in _run_ids(layout)]


def read_run(layout: StoreLayout, run_id: str) -> RunRecord:
    """Read one run.

    Raises
    ------
    ArtefactMissingError, DamagedArtefactError
        If there is no such run, or its record is none.
    """
    path = layout.run_path(run_id)
    try:
        return RunRecord(**read_json(path))
    except (TypeError, DamagedArtefactError) as error:
        raise DamagedArtefactError(f"{path} is not a run record ({error}); remove it") from error


def find_run(layout: StoreLayout, name: str) -> RunRecord:
    """Read the one run whose id is `name`, or begins with it.

    Raises
    ------
    UnknownRunError
        If there is none, or several; the message names the candidates or the latest.
    """
    ids = _run_ids(layout)
    found = [name] if name in ids else [each for each in ids if each.startswith(name)]
    if len(found) == 1:
        return read_run(layout, found[0])
    what = f"{len(found)} runs begin with {name!r}" if found else f"there is no run {name!r}"
    shown = ", ".join((found or ids)[-_SHOWN_IDS:]) or "none yet"
    raise UnknownRunError(
        f"{what} in the ledger of {layout.root}; the latest are: {shown} ('musichash runs' lists "
        "all)"
    )


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
