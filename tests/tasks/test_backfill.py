"""Backfills without workers: orders, plans, what receipts leave to do, and registered roots."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from musichash_core.config import parse_config
from musichash_core.records import Partition, PartitionSummary, SourceFile, WorkItem, partition_of
from storage.backfills import PLAN, open_backfills, read_backfill, write_plan
from storage.collections import Collection, CollectionError, register_collection
from storage.errors import ArtefactMissingError, CatalogueError
from storage.source_files import FILES
from storage.store import open_store, working_beside, writing
from tasks.backfill import abandon, begin, extend, resume, writer_of
from tasks.backfill_orders import BackfillError, Request, order_of
from tasks.backfill_plan import (
    partitions_of_backfills,
    plan_of,
    recorded_files,
    unfinished_partitions,
    work_left,
)
from tasks.backfill_progress import list_progress, progress_of
from tasks.backfill_publish import registered, run_if_free, with_collection
from tasks.backfill_sessions import SessionLog
from tasks.encode import encode_partition
from tasks.extract import extract_partition, quarantine_track
from tasks.index import publish
from tasks.ledger import begin_run
from tasks.registered_collections import deregister, list_collections
from tasks.scan import look, look_in_collection, record


@pytest.fixture
def radio(catalogue, tmp_path):
    """A second root, of five tracks; the catalogue gets two."""
    catalogue.add("low/a.wav", 220)
    catalogue.add("high/b.wav", 1760)
    other = type(catalogue)(tmp_path / "radio", catalogue.maker)
    for number in range(5):
        other.add(f"talk/{number}.wav", 300 + 100 * number)
    return Collection("radio", str(other.root))


@pytest.fixture
def begun(radio, store, config, with_model):
    """A backfill of the second root, with nothing done yet."""
    with_model(store)
    order = order_of(store, Request(collection="radio", catalogue=radio.root))
    found = look_in_collection(store, radio).catalogue
    state, _ = begin(store, order, config, found, write=True)
    return order, state


def published(store, catalogue, config, with_model):
    """Publish the catalogue, stage by stage, in this process."""
    found = look(store, [str(catalogue.root)]).catalogue
    record(store, found)
    from tasks.plan import make_plan

    plan = make_plan(store, found, config)
    generation = with_model(store)
    for partition in plan.partitions:
        extract_partition(store, partition, config)
        encode_partition(store, partition.partition_id, config.feature_fingerprint, generation)
    with begin_run(store) as run:
        run.record = publish(store, config, run.record, n_done=plan.n_to_extract, n_reused=0).record
    return generation


# --- orders ---


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (Request(), "none is named"),
        (Request(collection="a", model="g"), "--collection and --model are given"),
        (Request(collection="a"), "needs the folder of its music"),
        (Request(model="g", catalogue="/music"), "--catalogue belongs to --collection"),
        (Request(model="g", labels="none"), "--labels belongs to --collection"),
    ],
)
def test_requests_without_a_meaning_are_refused(store, request_, message):
    with pytest.raises(BackfillError, match=message) as refused:
        order_of(store, request_)
    assert refused.value.is_wrong_input


def test_a_model_that_is_not_there_is_refused_by_name(store):
    with pytest.raises(ArtefactMissingError, match="no model generation 'g-0'"):
        order_of(store, Request(model="g-0"))


def test_a_collection_is_refused_where_its_name_has_another_root(store, radio, catalogue, config):
    register_collection(open_store(store), radio)
    order = order_of(store, Request(collection="radio", catalogue=str(catalogue.root)))
    with pytest.raises(CollectionError, match="is registered with the root"):
        resume(store, order, config)


def test_a_backfill_goes_on_only_as_it_began(store, begun, config, tmp_path):
    order, state = begun
    assert resume(store, order, config) == state
    labels = tmp_path / "labels.csv"
    request = Request(collection="radio", catalogue=order.collection.root, labels=str(labels))
    with pytest.raises(BackfillError, match="was begun with root"):
        resume(store, order_of(store, request), config)
    settings = {"features": {"n_mels": 64}, "models": {"encoder": "hpss-cnn"}}
    other = parse_config(settings, source="the tests")
    with pytest.raises(BackfillError, match="was begun with features"):
        resume(store, order, other)


# --- what is left ---


def test_receipts_decide_what_is_left(store, begun, config):
    _, state = begun
    work = work_left(store, state)
    sizes = sorted(len(partition.items) for partition in work.to_extract)
    assert sizes == [1, 2, 2]  # five tracks, two to a partition
    first, *others = work.to_extract
    extract_partition(store, first, config)
    assert work_left(store, state).to_extract == tuple(others)
    assert unfinished_partitions(store, state) == work.partition_ids
    encode_partition(store, first.partition_id, state.feature_fingerprint, state.generation)
    assert unfinished_partitions(store, state) == work.partition_ids - {first.partition_id}
    plan = plan_of(state, work_left(store, state))
    assert (plan.n_to_extract, plan.generation) == (5 - len(first.items), state.generation)


def test_a_copy_goes_where_its_track_goes_and_adds_no_audio(radio, store, config, with_model):
    with_model(store)
    root = Path(radio.root)
    (root / "again.wav").write_bytes((root / "talk" / "0.wav").read_bytes())
    order = order_of(store, Request(collection="radio", catalogue=radio.root))
    found = look_in_collection(store, radio).catalogue
    _, plan = begin(store, order, config, found, write=False)
    rows = plan.to_pylist()
    by_path = {row["path"]: row for row in rows}
    first, copy = by_path["again.wav"], by_path["talk/0.wav"]
    assert first["partition_id"] == copy["partition_id"] != ""
    assert (first["audio_s"] > 0, copy["audio_s"]) == (True, 0.0)
    assert len(rows) == 6
    assert rows == sorted(rows, key=lambda row: (row["partition_id"], row["track_id"]))
    assert open_backfills(open_store(store)) == []


@pytest.mark.parametrize("seed", range(4))
def test_partitions_left_are_those_of_the_plan_grouped_row_by_row(store, begun, seed):
    _, state = begun
    rng = np.random.default_rng(seed)
    rows = [
        {
            "collection": "radio",
            "partition_id": ["", "b", "a", "c"][int(rng.integers(4))],
            "track_id": f"{int(rng.integers(9)):032x}",
            "root": "/music",
            "path": f"{number}.wav",
            "path_raw": b"%d.wav" % number,
            "n_bytes": number,
            "mtime_ns": 0,
            "attempts": int(rng.integers(3)),
            "audio_s": float(rng.random()),
        }
        for number in range(40)
    ]
    write_plan(open_store(store), state.name, pa.Table.from_pylist(rows, PLAN))
    groups = {}
    for row in rows:
        if row["partition_id"]:
            file = SourceFile(**{name: row[name] for name in FILES.names})
            item = WorkItem(file, row["attempts"], row["audio_s"])
            groups.setdefault(row["partition_id"], {}).setdefault(row["track_id"], item)
    left = work_left(store, state).to_extract
    assert left == tuple(Partition(name, tuple(items.values())) for name, items in groups.items())
    assert left.estimated_s == [partition.estimated_s for partition in left]


def test_a_partition_that_was_cut_is_not_extracted_again(store, begun, config):
    _, state = begun
    work = work_left(store, state)
    cut = next(part for part in work.to_extract if len(part.items) == 2)
    good, guilty = (partition_of([item]) for item in cut.items)
    extract_partition(store, good, config)
    quarantine_track(store, guilty, config, "it killed its worker")
    left = work_left(store, state)
    assert cut.partition_id not in left.partition_ids
    assert good.partition_id in left.partition_ids
    assert {part.partition_id for part in left.to_extract} == (
        work.partition_ids - {cut.partition_id}
    )


def test_progress_counts_receipts_and_measures_over_sessions(store, begun, config):
    _, state = begun
    first, *_ = work_left(store, state).to_extract
    assert progress_of(store, state).n_done == 0
    log = SessionLog(store, state)
    log.finished("extract", extract_partition(store, first, config))
    log.finished("extract", PartitionSummary("killed", n_done=0, n_failed=1))
    state = log.close()
    encode_partition(store, first.partition_id, state.feature_fingerprint, state.generation)
    numbers = list_progress(store)[0].numbers
    assert (numbers["partitions"], numbers["partitions_done"]) == (3, 1)
    assert (numbers["sessions"], numbers["failed"], numbers["tracks"]) == (1, 1, 5)
    extract, encode = numbers["steps"]
    assert (extract["n_done"], extract["is_measured"]) == (1, True)
    assert (encode["n_done"], encode["is_measured"]) == (1, False)
    assert numbers["eta_s"] > 0
    assert read_backfill(open_store(store), state.name).sessions == state.sessions


def test_known_files_are_not_read_again(store, begun, radio):
    order, _ = begun
    assert look_in_collection(store, radio).n_hashed == 5
    known = recorded_files(store, order.name)
    assert look_in_collection(store, radio, known=known).n_hashed == 0


# --- beside the runs ---


def test_a_run_leaves_to_a_backfill_what_is_not_in_its_catalogue(
    store, begun, radio, catalogue, config
):
    _, state = begun
    fingerprint = config.feature_fingerprint
    everything = set(work_left(store, state).partition_ids)
    assert partitions_of_backfills(store, fingerprint) == everything
    assert partitions_of_backfills(store, "0" * 12) == set()
    mine = work_left(store, state).to_extract[0]
    copy = catalogue.root / "copy.wav"
    copy.write_bytes(open_bytes(mine.items[0].file))
    record(store, look(store, [str(catalogue.root)]).catalogue)
    assert partitions_of_backfills(store, fingerprint) == everything - {mine.partition_id}


def open_bytes(file):
    return (Path(file.root) / file.path).read_bytes()


def test_the_writer_is_named_and_comes_first(store):
    assert writer_of(store) is None
    with writing(open_store(store), what="a nightly"):
        assert "a nightly" in writer_of(store)
        with run_if_free(store) as run:
            assert run is None
    with run_if_free(store) as run:
        assert run.record.kind == "backfill"


def test_an_abandoned_backfill_is_gone_and_cannot_be_abandoned_twice(store, begun):
    order, _ = begun
    abandon(store, order)
    assert open_backfills(open_store(store)) == []
    with pytest.raises(BackfillError, match="no backfill collection-radio is open"):
        abandon(store, order)


def test_left_overs_stay_while_a_backfill_works(store, begun):
    layout = open_store(store)
    unfinished = layout.features_root("f" * 12) / ".tmp-work"
    unfinished.mkdir(parents=True)
    with working_beside(layout), writing(layout):
        assert unfinished.exists()
    with writing(layout):
        assert not unfinished.exists()


# --- models and features ---


def test_a_model_takes_every_published_partition(store, radio, catalogue, config, with_model):
    generation = published(store, catalogue, config, with_model)
    order = order_of(store, Request(model=generation[:6]))
    assert order.name == f"model-{generation}"
    state, plan = begin(store, order, config, None, write=True)
    assert state.steps == ("encode",)
    assert len(plan["track_id"].unique()) == 2
    assert unfinished_partitions(store, state) == set()
    assert extend(store, state, config) == 0


def test_features_take_every_published_track_anew(store, radio, catalogue, config, with_model):
    published(store, catalogue, config, with_model)
    settings = config.model_copy(
        update={"features": config.features.model_copy(update={"n_mels": 48})}
    )
    order = order_of(store, Request(features=settings))
    state, _ = begin(store, order, settings, None, write=True)
    assert (state.steps, state.generation) == (("extract",), None)
    (catalogue.root / "low" / "a.wav").unlink()
    summaries = [
        extract_partition(store, partition, settings)
        for partition in work_left(store, state).to_extract
    ]
    assert sum(summary.n_done for summary in summaries) == 1
    assert sum(summary.n_failed for summary in summaries) == 1
    assert unfinished_partitions(store, state) == set()


def test_nothing_published_cannot_be_filled(store, config, with_model):
    order = order_of(store, Request(model=with_model(store)))
    with pytest.raises(BackfillError, match="has published no tracks"):
        begin(store, order, config, None, write=True)


# --- registered roots ---


def test_a_run_scans_registered_collections_as_if_named(store, radio, catalogue):
    both = look(store, [radio.root, str(catalogue.root)]).catalogue
    alone = look(store, [str(catalogue.root)]).catalogue
    part = look_in_collection(store, radio).catalogue
    record(store, alone)
    assert with_collection(store, radio, part) == both
    register_collection(open_store(store), radio)
    assert look(store, [str(catalogue.root)]).catalogue == both
    assert look(store, [str(catalogue.root), radio.root]).catalogue == both
    assert with_collection(store, radio, part) == both


def test_a_registered_collection_that_is_missing_is_named(store, radio, catalogue, tmp_path):
    register_collection(open_store(store), radio)
    (tmp_path / "radio").rename(tmp_path / "unmounted")
    with pytest.raises(CatalogueError, match=r"registered collection 'radio': .* does not exist"):
        look(store, [str(catalogue.root)])
    (tmp_path / "radio").mkdir()
    with pytest.raises(CatalogueError, match=r"the collection 'radio': no audio file"):
        look(store, [str(catalogue.root)])


def test_other_labels_for_a_registered_root_are_refused(store, radio, catalogue):
    register_collection(open_store(store), radio)
    with pytest.raises(CollectionError, match="--labels none is given for it"):
        look(store, [radio.root], labels="none")
    rows = look(store, [str(catalogue.root)], labels="none").catalogue.rows
    assert {row.label for row in rows} == {None, "talk"}


def test_a_collection_that_cannot_be_published_is_not_registered(store, radio):
    with pytest.raises(CatalogueError), registered(store, radio):
        raise CatalogueError("too few")
    assert list_collections(store) == []
    with registered(store, radio):
        pass
    assert [one["name"] for one in list_collections(store)] == ["radio"]
    assert deregister(store, "radio")["root"] == radio.root
    assert list_collections(store) == []
