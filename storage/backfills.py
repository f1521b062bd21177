"""Backfills: the plan, the state and the measured rates of work beside the nightly runs.

Each has a folder below ``work/backfills``: ``plan.parquet`` names every file and the partition it
goes to, ``state.json`` what is filled and what each session did. A plan says what there is to do;
what is done, the receipts of the partitions say.

Public: `BackfillState`, `Session`, `PLAN`, `begin_backfill`, `write_state`, `write_plan`,
`read_backfill`, `read_plan`, `read_backfills`, `open_backfills`, `partitions_left_to_backfills`,
`end_backfill`, `drop_backfill`.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from storage.atomic import make_folder, place_file, read_json, remove_folder, write_json
from storage.errors import ArtefactMissingError, DamagedArtefactError, other_format
from storage.layout import StoreLayout
from storage.schemas import CATALOGUE
from storage.tables import read_part, write_table

BACKFILL_FORMAT = 1
STATE_NAME = "state.json"
PLAN_NAME = "plan.parquet"

Kind = Literal["collection", "model", "features"]
Step = Literal["extract", "describe", "encode"]


def _described(name: str, kind: pa.DataType, meaning: str) -> pa.Field:
    return pa.field(name, kind, nullable=False, metadata={"description": meaning})


PLAN = pa.schema(
    [
        _described("collection", pa.string(), "name of the collection, or the catalogue root"),
        _described("partition_id", pa.string(), "partition it goes to; empty: nothing to do"),
        *(CATALOGUE.field(name) for name in ("track_id", "root", "path", "path_raw")),
        *(CATALOGUE.field(name) for name in ("n_bytes", "mtime_ns")),
        _described("attempts", pa.int32(), "how often it was tried before this backfill"),
        _described("audio_s", pa.float64(), "seconds of audio; 0 for another file of the bytes"),
    ]
)
"""One row per file, in the order of the work."""


@dataclass(frozen=True, slots=True)
class Session:
    """What one session of a backfill did, from its start to its end or its death.

    Attributes
    ----------
    started : str
        ISO 8601, UTC.
    worked_s, waited_s : float
        Seconds by the clock: at work, and waiting for a nightly run.
    steps : dict
        Step -> sums over its partitions: ``partitions``, ``n_done``, ``n_failed``, ``audio_s``,
        ``cpu_s``, ``wall_s``, ``n_bytes``, ``peak_memory_bytes``.
    """

    started: str
    worked_s: float = 0.0
    waited_s: float = 0.0
    steps: dict[str, dict[str, float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BackfillState:
    """One backfill, begun and perhaps finished.

    Attributes
    ----------
    name : str
        Its folder: ``collection-NAME``, ``model-GENERATION`` or ``features-FINGERPRINT``.
    kind : "collection", "model" or "features"
        What is filled.
    target : str
        Name of the collection, generation, or feature fingerprint.
    steps : tuple of "extract", "describe", "encode"
        What is done to each partition, in this order.
    feature_fingerprint : str
        Of the features that it makes or reads.
    generation : str or None
        Whose codes it makes; None when it makes none.
    begun : str
        ISO 8601, UTC.
    ended : str or None
        When it was complete; None while it is open.
    settings : dict
        What must be the same when it goes on: root, labels and manifest of a collection.
    sessions : tuple of Session
        Oldest first.
    """

    name: str
    kind: Kind
    target: str
    steps: tuple[Step, ...]
    feature_fingerprint: str
    begun: str
    generation: str | None = None
    ended: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    sessions: tuple[Session, ...] = ()

    @property
    def is_open(self) -> bool:
        """Whether there may be work left."""
        return self.ended is None


def begin_backfill(layout: StoreLayout, state: BackfillState, plan: pa.Table) -> None:
    """Store a new backfill: first its plan, then its state, which makes it one."""
    write_plan(layout, state.name, plan)
    write_state(layout, state)


def write_plan(layout: StoreLayout, name: str, plan: pa.Table) -> None:
    """Store or replace the plan of a backfill: a table of `PLAN`."""
    folder = layout.backfill_path(name)
    make_folder(folder)
    temporary = folder / f".tmp-{PLAN_NAME}"
    write_table(temporary, plan)
    place_file(temporary, folder / PLAN_NAME)


def write_state(layout: StoreLayout, state: BackfillState) -> None:
    """Store or replace the state of a backfill."""
    content = {"format": BACKFILL_FORMAT} | asdict(state)
    write_json(layout.backfill_path(state.name) / STATE_NAME, content)


def read_backfill(layout: StoreLayout, name: str) -> BackfillState | None:
    """Read the state of a backfill; None when there is none of that name.

    Raises
    ------
    DamagedArtefactError, FormatVersionError
        If the state is not one, or one of another version.
    """
    path = layout.backfill_path(name) / STATE_NAME
    try:
        content = read_json(path)
    except ArtefactMissingError:
        return None
    found = content.pop("format", None)
    if found != BACKFILL_FORMAT:
        raise other_format(f"the state of a backfill {path}", found, BACKFILL_FORMAT)
    try:
        sessions = tuple(Session(**entry) for entry in content.pop("sessions"))
        steps = tuple(content.pop("steps"))
        state = BackfillState(**content, sessions=sessions, steps=steps)
    except (KeyError, TypeError) as error:
        raise DamagedArtefactError(
            f"{path} is no state of a backfill ({error}); remove its folder and begin the backfill "
            "again: partitions that are done stay done"
        ) from error
    return state


def read_plan(layout: StoreLayout, name: str) -> pa.Table:
    """Read the plan of a backfill: `PLAN`; raises like `storage.tables.read_part`."""
    return read_part(layout.backfill_path(name) / PLAN_NAME, PLAN)


def read_backfills(layout: StoreLayout) -> list[BackfillState]:
    """Read all backfills, begun and finished, in the order in which they began."""
    if not layout.backfills_root.is_dir():
        return []
    names = sorted(
        path.name for path in layout.backfills_root.iterdir() if not path.name.startswith(".")
    )
    states = [state for name in names if (state := read_backfill(layout, name)) is not None]
    return sorted(states, key=lambda state: state.begun)


def open_backfills(layout: StoreLayout) -> list[BackfillState]:
    """Read the unfinished backfills; what they fill must be kept although nothing publishes it."""
    return [state for state in read_backfills(layout) if state.is_open]


def partitions_left_to_backfills(
    layout: StoreLayout, feature_fingerprint: str, track_ids: Callable[[], pa.ChunkedArray]
) -> set[str]:
    """Give the partitions that backfills of collections fill and that no run needs yet.

    A run leaves their further steps to the backfill, unless one of its own tracks is in them.

    Parameters
    ----------
    track_ids : callable
        Gives the tracks of the run, a pyarrow.ChunkedArray of str; asked only where there are such
        backfills.
    """
    wanted = ("collection", feature_fingerprint)
    filling = [
        state
        for state in open_backfills(layout)
        if (state.kind, state.feature_fingerprint) == wanted
    ]
    if not filling:
        return set()
    left: set[str] = set()
    shared: set[str] = {""}
    own_ids = track_ids()
    for state in filling:
        plan = read_plan(layout, state.name)
        is_shared = pc.is_in(plan["track_id"], value_set=own_ids)
        shared.update(plan["partition_id"].filter(is_shared).unique().to_pylist())
        left.update(plan["partition_id"].unique().to_pylist())
    return left - shared


def end_backfill(layout: StoreLayout, state: BackfillState, *, ended: str) -> BackfillState:
    """Mark a backfill complete; its plan, which is large, is dropped."""
    done = replace(state, ended=ended)
    write_state(layout, done)
    (layout.backfill_path(state.name) / PLAN_NAME).unlink(missing_ok=True)
    return done


def drop_backfill(layout: StoreLayout, name: str) -> None:
    """Forget a backfill; the partitions that it filled stay until they are collected."""
    remove_folder(layout.backfill_path(name))
