"""What is left of a backfill: its plan compared with the receipts of the partitions.

Public: `plan_rows`, `work_left`, `Work`, `partition_ids`, `done_partitions`,
`unfinished_partitions`, `recorded_files`, `partitions_of_backfills`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from musichash_core.descriptors import description_fingerprint
from musichash_core.records import Partition, SourceFile, WorkItem, partition_of
from storage.backfills import (
    BackfillState,
    Step,
    open_backfills,
    read_backfill,
    read_plan,
    write_plan,
)
from storage.catalogue import Catalogue, read_catalogue
from storage.errors import ArtefactMissingError
from storage.extracted import Extracted, read_extracted
from storage.layout import StoreLayout
from storage.receipts import finished_partitions
from storage.store import open_store


def plan_rows(
    state: BackfillState,
    catalogue: Catalogue,
    to_extract: Sequence[Partition],
    extracted: Extracted,
) -> list[dict[str, Any]]:
    """Give the plan: each file of a catalogue with the partition it goes to, or is in.

    Parameters
    ----------
    to_extract : sequence of Partition
        Of the tracks without features.
    extracted : Extracted
        The others, and those that failed for good, which go nowhere.
    """
    todo = {
        item.file.track_id: (partition.partition_id, item)
        for partition in to_extract
        for item in partition.items
    }
    facts = extracted.facts.select(["track_id", "partition_id", "duration_s"]).to_pylist()
    done = {fact["track_id"]: fact for fact in facts}
    rows = []
    seen: set[str] = set()
    for file in (row.file for row in catalogue.rows):
        partition_id, attempts, audio_s = "", 0, 0.0
        if file.track_id in todo:
            partition_id, item = todo[file.track_id]
            attempts, audio_s = item.attempts, item.estimated_s
        elif file.track_id in done:
            partition_id = done[file.track_id]["partition_id"]
            audio_s = done[file.track_id]["duration_s"]
        rows.append(
            {
                "collection": state.target if state.kind == "collection" else file.root,
                "partition_id": partition_id,
                "track_id": file.track_id,
                "root": file.root,
                "path": file.path,
                "path_raw": file.path_raw,
                "n_bytes": file.n_bytes,
                "mtime_ns": file.mtime_ns,
                "attempts": attempts,
                "audio_s": 0.0 if file.track_id in seen else audio_s,
            }
        )
        seen.add(file.track_id)
    return sorted(rows, key=lambda row: (row["partition_id"], row["track_id"]))


@dataclass(frozen=True, slots=True)
class Work:
    """What is left of a backfill's extraction, and where the rest of it happens.

    Attributes
    ----------
    to_extract : tuple of Partition
        Without a receipt yet.
    partition_ids : frozenset of str
        All partitions of the plan.
    """

    to_extract: tuple[Partition, ...]
    partition_ids: frozenset[str]


def work_left(store: str, state: BackfillState) -> Work:
    """Compare the plan of a backfill with the receipts.

    A partition that had to be cut, because one of its tracks killed its worker, or tracks that a
    nightly run extracted meanwhile, move in the plan to where they are now.
    """
    layout = open_store(store)
    rows: list[dict[str, Any]] = read_plan(layout, state.name).to_pylist()
    if "extract" not in state.steps:
        return Work((), partition_ids(rows))
    finished = set(finished_partitions(layout.features_root(state.feature_fingerprint)))
    if partition_ids(rows) <= finished:
        return Work((), partition_ids(rows))
    extracted = read_extracted(layout, state.feature_fingerprint)
    if _moved(rows, finished, extracted):
        write_plan(layout, state.name, rows)
    groups = {
        name: {row["track_id"]: _item(row) for row in members}
        for name, members in _unfinished(rows, finished).items()
    }
    return Work(
        tuple(Partition(name, tuple(items.values())) for name, items in groups.items()),
        partition_ids(rows),
    )


def partition_ids(rows: Iterable[dict[str, Any]]) -> frozenset[str]:
    """Give the partitions of a plan."""
    return frozenset(row["partition_id"] for row in rows) - {""}


def _item(row: dict[str, Any]) -> WorkItem:
    file = SourceFile(
        *(row[name] for name in ("track_id", "root", "path", "path_raw", "n_bytes", "mtime_ns"))
    )
    return WorkItem(file, row["attempts"], row["audio_s"])


def _moved(rows: list[dict[str, Any]], finished: set[str], extracted: Extracted) -> bool:
    """Move rows of unfinished partitions to where their tracks are; tell whether any moved."""
    facts = extracted.facts.select(["track_id", "partition_id"]).to_pylist()
    places = {fact["track_id"]: fact["partition_id"] for fact in facts}
    tried = {row["track_id"]: row["attempts"] for row in extracted.failures.to_pylist()}
    has_moved = False
    for members in _unfinished(rows, finished).values():
        left = [row for row in members if not _move(row, places, tried)]
        if len(left) < len(members):
            has_moved = True
            items = {row["track_id"]: _item(row) for row in left}
            for row in left:
                row["partition_id"] = partition_of(tuple(items.values())).partition_id
    return has_moved


def _move(row: dict[str, Any], places: dict[str, str], tried: dict[str, int]) -> bool:
    """Move a row whose track was done or has failed since; tell whether it was."""
    if row["track_id"] in places:
        row["partition_id"] = places[row["track_id"]]
    elif tried.get(row["track_id"], 0) > row["attempts"]:
        row["partition_id"] = ""
    else:
        return False
    return True


def _unfinished(
    rows: Iterable[dict[str, Any]], finished: set[str]
) -> dict[str, list[dict[str, Any]]]:
    """Group the rows of partitions without a receipt."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if row["partition_id"] and row["partition_id"] not in finished:
            groups.setdefault(row["partition_id"], []).append(row)
    return groups


def unfinished_partitions(store: str, state: BackfillState) -> set[str]:
    """List the partitions of the plan that have not been through every step."""
    rows = read_plan(open_store(store), state.name).select(["partition_id"]).to_pylist()
    planned = partition_ids(rows)
    return {name for step in state.steps for name in planned - done_partitions(store, state, step)}


def recorded_files(store: str, name: str) -> list[SourceFile]:
    """Give the files of an open backfill's plan, so that a later scan need not read them again."""
    layout = open_store(store)
    state = read_backfill(layout, name)
    if state is None or not state.is_open:
        return []
    return [_item(row).file for row in read_plan(layout, name).to_pylist()]


def partitions_of_backfills(store: str, feature_fingerprint: str) -> set[str]:
    """Give the partitions that backfills of collections fill and that no run needs yet.

    A nightly run leaves their further steps to the backfill, unless its own catalogue holds one of
    the tracks too.
    """
    layout = open_store(store)
    plans = [
        read_plan(layout, state.name)
        for state in open_backfills(layout)
        if state.kind == "collection" and state.feature_fingerprint == feature_fingerprint
    ]
    if not plans:
        return set()
    needed = _catalogue_ids(layout)
    left: set[str] = set()
    shared: set[str] = {""}
    for plan in plans:
        names = plan["partition_id"].to_pylist()
        for name, track_id in zip(names, plan["track_id"].to_pylist(), strict=True):
            (shared if track_id in needed else left).add(name)
    return left - shared


def _catalogue_ids(layout: StoreLayout) -> set[str]:
    try:
        return set(read_catalogue(layout).by_track())
    except ArtefactMissingError:
        return set()


def done_partitions(store: str, state: BackfillState, step: Step) -> set[str]:
    """List the partitions that have been through a step, by their receipts."""
    layout = open_store(store)
    features = state.feature_fingerprint
    if step == "extract":
        root = layout.features_root(features)
    elif step == "describe":
        root = layout.descriptions_root(features, description_fingerprint())
    else:
        assert state.generation is not None
        root = layout.encoded_root(state.generation)
    return set(finished_partitions(root))
