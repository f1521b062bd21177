"""Publishing: the account must balance, failures must not be too many, nothing is lost."""

import json
import shutil
from dataclasses import replace

import pyarrow.parquet as pq
import pytest

from musichash_core.config import PipelineConfig
from musichash_core.index_config import IndexBudgetError
from storage.errors import ArtefactMissingError
from storage.indexes import HashIndex
from storage.runs import start_run
from storage.snapshots import current_snapshot, list_snapshots
from storage.store import open_store
from tasks.account import AccountingError
from tasks.encode import encode_partition, partitions_to_encode
from tasks.extract import extract_partition
from tasks.index import TooManyFailuresError, publish
from tasks.plan import make_plan
from tasks.scan import look, record
from tasks.status import verify_store


@pytest.fixture
def ready(store, three_tracks, config, partitions_below, with_model):
    """Everything extracted and encoded, nothing published; gives a function that publishes."""
    generation = with_model(store)
    for partition in partitions_below(store, three_tracks.root, config):
        extract_partition(store, partition, config)
    todo, _ = partitions_to_encode(store, config.feature_fingerprint, generation)
    for name in todo:
        encode_partition(store, name, config.feature_fingerprint, generation)

    def go(*, n_done=2, n_reused=0, **changes):
        settings = PipelineConfig.model_validate(config.model_dump() | changes)
        return publish(
            store, settings, start_run(open_store(store)), n_done=n_done, n_reused=n_reused
        )

    return go


GENEROUS = {"max_failed_share": 0.5}


def test_a_run_that_adds_up_is_published(ready, store):
    published = ready(**GENEROUS)
    assert published.is_new
    assert published.snapshot.number == 1
    assert published.snapshot.counts | {"partitions": 0} == {
        "tracks": 3,
        "codes": 2,
        "failures": 1,
        "partitions": 0,
    }
    record_ = published.record
    assert (record_.seen, record_.done, record_.failed) == (3, 2, 1)
    assert record_.is_balanced
    assert verify_store(store)["findings"] == []


@pytest.mark.parametrize(
    "wrong", [{"n_done": 1}, {"n_done": 3}, {"n_done": 2, "n_reused": 1}, {"n_done": 0}]
)
def test_an_account_that_does_not_balance_publishes_nothing(ready, store, wrong):
    with pytest.raises(AccountingError, match="nothing is published"):
        ready(**GENEROUS, **wrong)
    assert current_snapshot(open_store(store)) is None


def test_too_many_failures_publish_nothing_and_are_named(ready, store, three_tracks):
    with pytest.raises(TooManyFailuresError) as raised:
        ready(max_failed_share=0.25)
    said = str(raised.value)
    assert "1 of 3 tracks failed, more than 25% (max_failed_share)" in said
    assert f"1 not-audio (such as {three_tracks.root}/high/c.mp3)" in said
    assert current_snapshot(open_store(store)) is None


def test_a_catalogue_of_failures_only_is_refused_whatever_the_limit(
    store, catalogue, config, partitions_below, with_model
):
    with_model(store)
    catalogue.add_text("low/a.wav")
    for partition in partitions_below(store, catalogue.root, config):
        extract_partition(store, partition, config)
    lenient = PipelineConfig.model_validate(config.model_dump() | {"max_failed_share": 1.0})
    with pytest.raises(TooManyFailuresError, match="none of the 1 tracks could be processed"):
        publish(store, lenient, start_run(open_store(store)), n_done=0, n_reused=0)


def test_the_same_content_again_is_no_new_snapshot(ready, store):
    first = ready(**GENEROUS)
    tables = set(open_store(store).root.glob("tables/*/*"))
    second = ready(n_done=0, n_reused=2, **GENEROUS)
    assert set(open_store(store).root.glob("tables/*/*")) == tables  # nights leave nothing behind
    assert not second.is_new
    assert second.snapshot == first.snapshot
    assert second.record.snapshot == 1
    assert list_snapshots(open_store(store)) == [1]


def test_the_index_is_of_the_kind_that_the_configuration_says(ready, store):
    first = ready(**GENEROUS)
    second = ready(n_done=0, n_reused=2, index={"kind": "multihash"}, **GENEROUS)
    assert second.is_new
    assert second.snapshot.digest == first.snapshot.digest  # the content is the same
    layout = open_store(store)
    assert HashIndex.load(layout, second.snapshot).kind == "multihash"
    assert verify_store(store)["findings"] == []
    again = ready(n_done=0, n_reused=2, index={"kind": "multihash"}, **GENEROUS)
    assert not again.is_new
    with pytest.raises(IndexBudgetError, match="keeps to max_memory_mb"):
        ready(n_done=0, n_reused=2, index={"max_memory_mb": 1e-9}, **GENEROUS)
    assert current_snapshot(layout) == second.snapshot


def test_partitions_made_anew_under_other_names_are_published(ready, store, config, three_tracks):
    """Else the manifest would go on naming folders that are no longer there."""
    first = ready(**GENEROUS)
    layout = open_store(store)
    shutil.rmtree(layout.features_root(config.feature_fingerprint))
    assert verify_store(store)["findings"]
    one_each = PipelineConfig.model_validate(
        config.model_dump() | {"partitions": {"max_tracks": 1}} | GENEROUS
    )
    plan = make_plan(store, look(store, [str(three_tracks.root)]).catalogue, one_each)
    for partition in plan.partitions:
        extract_partition(store, partition, one_each)
    generation = first.snapshot.generation
    for name in partitions_to_encode(store, config.feature_fingerprint, generation)[0]:
        encode_partition(store, name, config.feature_fingerprint, generation)
    second = ready(**GENEROUS)
    assert second.is_new
    assert second.snapshot.digest == first.snapshot.digest
    assert verify_store(store)["findings"] == []


def test_the_published_runs_table_holds_this_run_as_ended(ready, store):
    published = ready(**GENEROUS)
    (path,) = published.snapshot.tables["runs"]
    (row,) = pq.read_table(open_store(store).root / path).to_pylist()
    assert row["state"] == "done-with-failures"
    assert row["finished"] >= row["started"]
    assert row["seen"] == 3


def test_tracks_that_are_not_extracted_yet_are_named(ready, store, three_tracks):
    three_tracks.add("low/new.wav", 500)
    record(store, look(store, [str(three_tracks.root)]).catalogue)
    with pytest.raises(ArtefactMissingError, match=r"'low/new\.wav'\); run 'musichash extract'"):
        ready(**GENEROUS)


def test_partitions_that_are_not_encoded_yet_are_named(ready, store, config):
    layout = open_store(store)
    generation = json.loads(layout.generation_path.read_text())["generation"]
    shutil.rmtree(layout.encoded_root(generation))
    with pytest.raises(ArtefactMissingError, match="run 'musichash encode"):
        ready(**GENEROUS)


def test_a_store_without_a_model_says_so(store, three_tracks, config):
    record(store, look(store, [str(three_tracks.root)]).catalogue)
    with pytest.raises(ArtefactMissingError, match="run 'musichash train' first"):
        publish(store, config, start_run(open_store(store)), n_done=0, n_reused=0)


def test_counts_of_a_record_must_add_up(store):
    record_ = replace(start_run(open_store(store)), seen=3, done=1, reused=1, failed=1)
    assert record_.is_balanced
    assert not replace(record_, removed=1).is_balanced
