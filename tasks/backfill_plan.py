"""What is left of a backfill: its plan compared with the receipts of the partitions.

Plans are tables: one of a million tracks is worked on in columns, and only what is still to be
extracted becomes records.

Public: `plan_table`, `work_left`, `Work`, `plan_of`, `partition_ids`, `done_partitions`,
`unfinished_partitions`, `recorded_files`, `partitions_of_backfills`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from musichash_core.descriptors import description_fingerprint
from musichash_core.records import Partition, SourceFile, WorkItem, partition_of
from storage.backfills import (
    PLAN,
    BackfillState,
    Step,
    partitions_left_to_backfills,
    read_backfill,
    read_plan,
    write_plan,
)
from storage.catalogue import Catalogue, places_by_track, read_catalogue
from storage.errors import ArtefactMissingError
from storage.extracted import Extracted, read_extracted
from storage.receipts import finished_partitions
from storage.source_files import BLOCK_ROWS, FILES, SourceFiles
from storage.store import open_store
from tasks.changes import Changes
from tasks.partitioning import WORK_ROWS, PlannedPartitions, TracksToExtract
from tasks.plan import Plan, track_ids_of


def plan_table(
    state: BackfillState,
    catalogue: Catalogue,
    to_extract: Sequence[Partition],
    extracted: Extracted,
) -> pa.Table:
    """Give the plan, `PLAN`: each file of a catalogue with the partition it goes to, or is in.

    Parameters
    ----------
    to_extract : sequence of Partition
        Of the tracks without features.
    extracted : Extracted
        The others, and those that failed for good, which go nowhere.
    """
    files, todo, done = catalogue.table, _assigned(to_extract), extracted.facts
    ids = files["track_id"]
    in_todo = pc.index_in(ids, value_set=todo["track_id"])
    in_done = pc.index_in(ids, value_set=done["track_id"])
    places = pc.coalesce(
        todo["partition_id"].take(in_todo), done["partition_id"].take(in_done), pa.scalar("")
    )
    audio_s = pc.coalesce(
        todo["audio_s"].take(in_todo), done["duration_s"].take(in_done), pa.scalar(0.0)
    )
    is_first = np.zeros(len(files), bool)
    is_first[places_by_track(files).first] = True
    is_collection = state.kind == "collection"
    columns = {
        "collection": pa.repeat(state.target, len(files)) if is_collection else files["root"],
        "partition_id": places,
        **{name: files[name] for name in FILES.names},
        "attempts": pc.coalesce(todo["attempts"].take(in_todo), pa.scalar(0, pa.int32())),
        "audio_s": pc.if_else(pa.array(is_first), audio_s, 0.0),
    }
    table = pa.table([columns[name] for name in PLAN.names], schema=PLAN)
    keys = table.select(["partition_id", "track_id"]).append_column("row", _numbers(len(table)))
    order = pc.sort_indices(keys, [(key, "ascending") for key in keys.column_names])
    return table.take(order)


_ASSIGNED = pa.schema(
    [PLAN.field(name) for name in ("track_id", "partition_id", "attempts", "audio_s")]
)


def _assigned(partitions: Sequence[Partition]) -> pa.Table:
    """Give the tracks of some partitions, one row each."""
    batches = [
        pa.record_batch(
            [
                [item.file.track_id for item in partition.items],
                [partition.partition_id] * len(partition.items),
                [item.attempts for item in partition.items],
                [item.estimated_s for item in partition.items],
            ],
            schema=_ASSIGNED,
        )
        for partition in partitions
    ]
    return pa.Table.from_batches(batches, _ASSIGNED).combine_chunks()


def _numbers(count: int) -> pa.Array:
    return pa.array(np.arange(count))


@dataclass(frozen=True, slots=True)
class Work:
    """What is left of a backfill's extraction, and where the rest of it happens.

    Attributes
    ----------
    to_extract : PlannedPartitions
        Without a receipt yet.
    partition_ids : frozenset of str
        All partitions of the plan.
    """

    to_extract: PlannedPartitions
    partition_ids: frozenset[str]


def work_left(store: str, state: BackfillState) -> Work:
    """Compare the plan of a backfill with the receipts.

    A partition that had to be cut, because one of its tracks killed its worker, or tracks that a
    nightly run extracted meanwhile, move in the plan to where they are now.
    """
    layout = open_store(store)
    plan = read_plan(layout, state.name)
    if "extract" not in state.steps:
        return Work(PlannedPartitions.of(()), partition_ids(plan))
    finished = set(finished_partitions(layout.features_root(state.feature_fingerprint)))
    if not _is_unfinished(plan, finished).true_count:
        return Work(PlannedPartitions.of(()), partition_ids(plan))
    moved = _moved(plan, finished, read_extracted(layout, state.feature_fingerprint))
    if moved is not None:
        plan = moved
        write_plan(layout, state.name, plan)
    to_extract = _partitions(plan.filter(_is_unfinished(plan, finished)))
    return Work(to_extract, partition_ids(plan))


def _partitions(plan: pa.Table) -> PlannedPartitions:
    """Give the partitions of some rows of a plan, in the order of their first rows.

    A track is the first of its rows in a partition.
    """
    named = plan["partition_id"].combine_chunks().dictionary_encode()
    ids = plan["track_id"].combine_chunks().dictionary_encode()
    places = named.indices.to_numpy().astype(np.int64)
    _, first = np.unique(places * len(ids) + ids.indices.to_numpy(), return_index=True)
    first.sort()
    first = first[np.argsort(places[first], kind="stable")]
    columns = [*FILES.names, "attempts", "audio_s"]
    rows = plan.select(columns).take(pa.array(first)).rename_columns(WORK_ROWS.names)
    tracks = TracksToExtract()
    tracks.add(rows.cast(WORK_ROWS))
    audio_s = np.zeros(len(named.dictionary))
    np.add.at(audio_s, places[first], rows["estimated_s"].to_numpy())
    ends = np.cumsum(np.bincount(places[first], minlength=len(audio_s)))
    return PlannedPartitions(tracks, named.dictionary.to_pylist(), np.append(0, ends), audio_s)


def plan_of(state: BackfillState, work: Work) -> Plan:
    """Give what is left of a backfill as the plan of a run, for the stages."""
    return Plan(
        partitions=work.to_extract,
        n_new=sum(work.to_extract.n_tracks),
        n_changed=0,
        n_retried=0,
        n_reused=0,
        n_kept_failed=0,
        n_unreadable=0,
        n_duplicates=0,
        n_labels=0,
        changes=Changes(),
        generation=state.generation,
        loads={},
        rates={},
    )


def partition_ids(plan: pa.Table) -> frozenset[str]:
    """Give the partitions of a plan."""
    return frozenset(plan["partition_id"].unique().to_pylist()) - {""}


def _is_unfinished(plan: pa.Table, finished: set[str]) -> pa.BooleanArray:
    """Mark the files that go to a partition without a receipt."""
    names = plan["partition_id"].combine_chunks()
    settled = pa.array(["", *sorted(finished)], pa.string())
    return pc.invert(pc.is_in(names, value_set=settled))


def _items(plan: pa.Table) -> dict[str, dict[str, WorkItem]]:
    """Give partition -> track -> what is to be extracted, the first file of each track."""
    groups: dict[str, dict[str, WorkItem]] = {}
    for batch in plan.to_batches(max_chunksize=BLOCK_ROWS):
        for row in batch.to_pylist():
            file = SourceFile(**{name: row[name] for name in FILES.names})
            item = WorkItem(file, row["attempts"], row["audio_s"])
            groups.setdefault(row["partition_id"], {}).setdefault(file.track_id, item)
    return groups


def _moved(plan: pa.Table, finished: set[str], extracted: Extracted) -> pa.Table | None:
    """Move files of unfinished partitions to where their tracks are now; None when none moves.

    What is left of a partition that loses tracks gets the name that it then has.
    """
    is_unfinished = _is_unfinished(plan, finished)
    ids, names = plan["track_id"].combine_chunks(), plan["partition_id"].combine_chunks()
    facts, failures = extracted.facts, extracted.failures
    places = facts["partition_id"].take(pc.index_in(ids, value_set=facts["track_id"]))
    tries = failures["attempts"].take(pc.index_in(ids, value_set=failures["track_id"]))
    has_failed = pc.fill_null(pc.greater(tries, plan["attempts"]), fill_value=False)
    places = pc.coalesce(places, pc.if_else(has_failed, "", pa.scalar(None, pa.string())))
    is_moving = pc.and_(is_unfinished, pc.is_valid(places)).combine_chunks()
    if not is_moving.true_count:
        return None
    is_cut = pc.is_in(names, value_set=pc.unique(names.filter(is_moving)))
    is_left = pc.and_(is_cut, pc.and_not(is_unfinished, is_moving))
    renamed = {
        name: partition_of(tuple(items.values())).partition_id
        for name, items in _items(plan.filter(is_left)).items()
    }
    new_names = pa.array([renamed.get(name) for name in names.filter(is_left).to_pylist()])
    names = pc.if_else(is_moving, places, names)
    names = pc.replace_with_mask(names.combine_chunks(), is_left, new_names.cast(pa.string()))
    column = plan.schema.get_field_index("partition_id")
    return plan.set_column(column, PLAN.field("partition_id"), names)


def unfinished_partitions(store: str, state: BackfillState) -> set[str]:
    """List the partitions of the plan that have not been through every step."""
    planned = partition_ids(read_plan(open_store(store), state.name))
    return {name for step in state.steps for name in planned - done_partitions(store, state, step)}


def recorded_files(store: str, name: str) -> SourceFiles:
    """Give the files of an open backfill's plan, so that a later scan need not read them again."""
    layout = open_store(store)
    state = read_backfill(layout, name)
    if state is None or not state.is_open:
        return SourceFiles.of(())
    return SourceFiles(read_plan(layout, name).select(FILES.names).cast(FILES))


def partitions_of_backfills(store: str, feature_fingerprint: str) -> set[str]:
    """Give the partitions that backfills of collections fill and that no run needs yet.

    A nightly run leaves their further steps to the backfill, unless its own catalogue holds one of
    the tracks too.
    """
    layout = open_store(store)

    def track_ids() -> pa.ChunkedArray:
        try:
            return track_ids_of(read_catalogue(layout))
        except ArtefactMissingError:
            return pa.chunked_array([], pa.string())

    return partitions_left_to_backfills(layout, feature_fingerprint, track_ids)


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
