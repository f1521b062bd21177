"""Planning: what is new, done, failed or gone, and how the work is cut."""

import itertools
import os
import tempfile
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musichash_core.config import PartitionConfig, PipelineConfig
from musichash_core.records import SourceFile, WorkItem, partition_of
from storage import id_ranges, temporary_rows
from storage.catalogue import Catalogue
from storage.errors import ArtefactMissingError, CatalogueError, TemporarySpaceError
from storage.published import read_table
from storage.runs import finish_run, start_run
from storage.store import open_store
from tasks import partitioning
from tasks.extract import extract_partition, quarantine_track
from tasks.index import publish
from tasks.partitioning import (
    MIN_PARTITION_AUDIO_S,
    SMALL_RUN_PARTITIONS,
    PlannedPartitions,
    TracksToExtract,
    partition_work,
)
from tasks.plan import make_plan, scanned_at
from tasks.scan import look, record

OTHER_ROUNDING = 1e-6  # sums of seconds in another order


def work(*seconds):
    return [
        WorkItem(
            SourceFile(f"{number:032x}", "/root", f"{number}.ogg", b"%d.ogg" % number, 10, 0),
            attempts=0,
            estimated_s=length,
        )
        for number, length in enumerate(seconds)
    ]


def cut(items, config):
    return partition_work(TracksToExtract.of(items), config)


# --- partitions ---


@given(
    seconds=st.lists(st.floats(1.0, 5000.0), max_size=200),
    max_tracks=st.integers(1, 40),
    max_audio_s=st.floats(1.0, 4000.0),
)
@settings(max_examples=200, deadline=None)
def test_every_track_is_in_one_partition_in_order_and_none_is_too_large(
    seconds, max_tracks, max_audio_s
):
    items = work(*seconds)
    config = PartitionConfig(max_tracks=max_tracks, max_audio_s=max_audio_s)
    partitions = cut(items, config)
    assert [item for partition in partitions for item in partition.items] == items
    for partition in partitions:
        assert 1 <= len(partition.items) <= max_tracks
        assert len(partition.items) == 1 or partition.estimated_s <= max_audio_s + OTHER_ROUNDING
    assert cut(items, config) == partitions
    assert [partition_of(partition.items) for partition in partitions] == list(partitions)
    assert len({partition.partition_id for partition in partitions}) == len(partitions)


@given(seconds=st.lists(st.floats(1.0, 600.0), min_size=1, max_size=300))
@settings(deadline=None)
def test_a_small_run_is_spread_over_workers_in_units_of_a_minute_or_more(seconds):
    partitions = cut(work(*seconds), PartitionConfig(max_tracks=4096))
    share = sum(seconds) / SMALL_RUN_PARTITIONS
    target = min(4000.0, max(MIN_PARTITION_AUDIO_S, share))
    # Two neighbours would not have fitted into one: nothing is cut finer than need be.
    for one, two in itertools.pairwise(partitions):
        assert one.estimated_s + two.items[0].estimated_s > target - OTHER_ROUNDING


@given(
    seconds=st.lists(st.sampled_from([1.0, 30.0, 59.0, 600.0]), max_size=80),
    block_rows=st.integers(1, 40),
    kept_rows=st.sampled_from([0, 7, 65_536]),
)
@settings(max_examples=60, deadline=None)
def test_partitions_made_when_asked_for_are_those_of_a_list_in_memory(
    seconds, block_rows, kept_rows
):
    items = work(*seconds)
    config = PartitionConfig(max_tracks=9)
    plain = list(cut(items, config))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(partitioning, "BLOCK_ROWS", block_rows)
        patch.setattr(temporary_rows, "KEPT_ROWS", kept_rows)
        partitions = cut(items, config)
        assert list(partitions) == plain
        assert partitions == tuple(plain) == PlannedPartitions.of(plain)
        assert partitions != tuple(plain[1:] or [None])
        assert partitions[1::2] == tuple(plain[1::2])
        assert [partitions[-1]] == plain[-1:] if plain else not partitions
        assert partitions.n_tracks == [len(partition.items) for partition in plain]
        assert partitions.estimated_s == [partition.estimated_s for partition in plain]
        largest_first = sorted(plain, key=lambda partition: -partition.estimated_s)
        assert list(partitions.largest_first) == largest_first


def test_no_work_is_no_partition():
    assert cut([], PartitionConfig()) == ()


def test_a_partition_is_named_by_its_tracks_and_their_attempts():
    items = work(10.0, 20.0)
    name = partition_of(items).partition_id
    assert partition_of(items).partition_id == name
    assert partition_of(items[:1]).partition_id != name
    assert partition_of([replace(items[0], attempts=1), items[1]]).partition_id != name
    moved = replace(items[0], file=replace(items[0].file, root="/elsewhere", path="x.ogg"))
    assert partition_of([moved, items[1]]).partition_id == name


# --- what there is to do ---


def scan(store, catalogue):
    return look(store, [str(catalogue.root)]).catalogue


def counts(plan):
    keys = ("seen", "new", "changed", "retried", "reused", "kept_failed", "unreadable", "removed")
    return {key: value for key, value in plan.counts.items() if key in keys and value}


def test_a_store_that_does_not_exist_yet_has_everything_to_do(tmp_path, three_tracks, config):
    plan = make_plan(str(tmp_path / "none"), scan(str(tmp_path / "none"), three_tracks), config)
    assert counts(plan) == {"seen": 3, "new": 3}
    assert plan.generation is None
    assert plan.n_labels == 2
    assert not (tmp_path / "none").exists()


def test_tracks_are_planned_in_the_order_of_their_ids(store, three_tracks, config):
    plan = make_plan(store, scan(store, three_tracks), config)
    ids = [item.file.track_id for part in plan.partitions for item in part.items]
    assert ids == sorted(ids)


def test_what_is_extracted_is_reused_and_what_failed_for_good_is_left(
    store, three_tracks, config, partitions_below
):
    for partition in partitions_below(store, three_tracks.root, config):
        extract_partition(store, partition, config)
    found = scan(store, three_tracks)
    assert counts(make_plan(store, found, config)) == {"seen": 3, "reused": 2, "kept_failed": 1}

    again = make_plan(store, found, config, retry_failed=True)
    assert counts(again) == {"seen": 3, "reused": 2, "retried": 1}
    (item,) = again.partitions[0].items
    assert item.attempts == 1


def test_a_failure_that_may_pass_is_tried_again_by_itself(
    store, catalogue, config, partitions_below
):
    path = catalogue.add("low/a.wav", 220)
    catalogue.add("low/b.wav", 330)
    partitions = partitions_below(store, catalogue.root, config)
    path.rename(path.with_suffix(".away"))
    for partition in partitions:
        extract_partition(store, partition, config)
    path.with_suffix(".away").rename(path)
    plan = make_plan(store, scan(store, catalogue), config)
    assert counts(plan) == {"seen": 2, "retried": 1, "reused": 1}
    for partition in plan.partitions:
        extract_partition(store, partition, config)
    assert counts(make_plan(store, scan(store, catalogue), config)) == {"seen": 2, "reused": 2}


def test_a_quarantined_track_waits_until_it_is_asked_for(store, catalogue, config, partition_below):
    catalogue.add("low/a.wav", 220)
    partition = partition_below(store, catalogue.root, config)
    quarantine_track(store, partition, config, "it died")
    found = scan(store, catalogue)
    assert counts(make_plan(store, found, config)) == {"seen": 1, "kept_failed": 1}
    assert counts(make_plan(store, found, config, retry_failed=True)) == {"seen": 1, "retried": 1}


def test_other_feature_settings_have_everything_to_do(
    store, three_tracks, config, partitions_below
):
    for partition in partitions_below(store, three_tracks.root, config):
        extract_partition(store, partition, config)
    other = PipelineConfig(features={"n_mels": 40}, models={"encoder": "hpss-cnn"})
    assert counts(make_plan(store, scan(store, three_tracks), other)) == {"seen": 3, "new": 3}


def test_a_moved_or_copied_file_is_no_work_and_changed_bytes_are(
    store, catalogue, config, partitions_below
):
    path = catalogue.add("low/a.wav", 220)
    for partition in partitions_below(store, catalogue.root, config):
        extract_partition(store, partition, config)
    path.rename(catalogue.root / "moved.wav")
    (catalogue.root / "copy.wav").write_bytes((catalogue.root / "moved.wav").read_bytes())
    plan = make_plan(store, scan(store, catalogue), config)
    assert counts(plan) == {"seen": 1, "reused": 1}
    assert plan.n_duplicates == 1
    catalogue.add("moved.wav", 440)
    plan = make_plan(store, scan(store, catalogue), config)
    assert counts(plan) == {"seen": 2, "reused": 1, "new": 1}


def test_a_removed_track_is_counted_once_published(publish_all, catalogue, config):
    catalogue.add("low/a.wav", 220)
    gone = catalogue.add("low/b.wav", 330)
    published = publish_all(catalogue.root)
    gone.unlink()
    plan = make_plan(published.store, scan(published.store, catalogue), config)
    assert counts(plan) == {"seen": 2, "reused": 1, "removed": 1}
    assert plan.generation == published.generation


def test_changed_moved_and_removed_are_told_apart_once_published(publish_all, catalogue, config):
    for hz in (220, 330, 440, 550, 660):
        catalogue.add(f"low/{hz}.wav", hz)
    published = publish_all(catalogue.root)
    catalogue.add("low/220.wav", 880)
    (catalogue.root / "low/330.wav").rename(catalogue.root / "elsewhere.wav")
    (catalogue.root / "low/440.wav").unlink()
    catalogue.add("low/new.wav", 990)
    plan = make_plan(published.store, scan(published.store, catalogue), config)
    assert counts(plan) == {"seen": 7, "new": 1, "changed": 1, "reused": 3, "removed": 2}
    assert (plan.changes.n_moved, plan.changes.n_replaced) == (1, 1)
    extracted = [item.file.path for part in plan.partitions for item in part.items]
    assert sorted(extracted) == ["low/220.wav", "low/new.wav"]


def test_a_plan_made_range_by_range_is_that_made_at_once(
    monkeypatch, publish_all, catalogue, config
):
    for hz in (220, 330, 440, 550, 660, 770):
        catalogue.add(f"low/{hz}.wav", hz)
    catalogue.add_text("low/no-audio.mp3")
    published = publish_all(catalogue.root)
    (catalogue.root / "low/330.wav").rename(catalogue.root / "elsewhere.wav")
    (catalogue.root / "low/440.wav").unlink()
    (catalogue.root / "copy.wav").write_bytes((catalogue.root / "low/550.wav").read_bytes())
    for hz in (880, 990, 1100, 1210, 1320):
        catalogue.add(f"new/{hz}.wav", hz)
    catalogue.add("low/220.wav", 1430)
    found = scan(published.store, catalogue)
    expected = {"seen": 13, "new": 5, "changed": 1, "retried": 1, "reused": 4, "removed": 2}

    at_once = make_plan(published.store, found, config, retry_failed=True)
    assert counts(at_once) == expected
    for rows_at_once in (1, 3):
        monkeypatch.setattr(id_ranges, "RANGE_ROWS", rows_at_once)
        monkeypatch.setattr(id_ranges, "BUFFER_ROWS", rows_at_once)
        monkeypatch.setattr(temporary_rows, "KEPT_ROWS", rows_at_once)
        monkeypatch.setattr(partitioning, "BLOCK_ROWS", rows_at_once)
        plan = make_plan(published.store, found, config, retry_failed=True)
        assert plan == at_once
        assert plan.counts == at_once.counts


@pytest.mark.parametrize("buffering", [0, -1])
def test_a_plan_that_finds_no_room_says_so(
    monkeypatch, tmp_path, store, three_tracks, config, buffering
):
    found = scan(store, three_tracks)
    before = sorted(tmp_path.rglob("*"))
    for module, name in ((id_ranges, "RANGE_ROWS"), (temporary_rows, "KEPT_ROWS")):
        monkeypatch.setattr(module, name, 1)

    def full(**_):
        return open("/dev/full", "w+b", buffering=buffering)  # noqa: PTH123

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with pytest.raises(TemporarySpaceError, match=r"No space left .* TMPDIR"):
        make_plan(store, found, config)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_file_that_gets_its_former_bytes_back_is_reused(
    store, publish_all, catalogue, config, partitions_below
):
    path = catalogue.add("low/a.wav", 220)
    former = path.read_bytes()
    for partition in partitions_below(store, catalogue.root, config):
        extract_partition(store, partition, config)
    catalogue.add("low/a.wav", 550)
    catalogue.add("low/b.wav", 330)
    publish_all(catalogue.root)
    path.write_bytes(former)
    plan = make_plan(store, scan(store, catalogue), config)
    assert counts(plan) == {"seen": 3, "reused": 2, "removed": 1}
    assert plan.changes.n_replaced == 1


def test_other_labels_extract_nothing_and_are_published(
    publish_all, catalogue, config, tmp_path, partitions_below
):
    catalogue.add("low/a.wav", 220)
    catalogue.add("low/b.wav", 330)
    store = publish_all(catalogue.root).store
    labels = tmp_path / "labels.csv"
    labels.write_text("track path,label\nlow/a.wav,bass\nlow/b.wav,low\n")
    found = look(store, [str(catalogue.root)], labels=str(labels))
    plan = make_plan(store, found.catalogue, config)
    assert counts(plan) == {"seen": 2, "reused": 2}
    assert plan.partitions == ()
    assert plan.changes.n_relabelled == 1

    record(store, found.catalogue)
    layout = open_store(store)
    published = publish(store, config, start_run(layout), n_done=0, n_reused=plan.n_reused)
    assert published.is_new
    tracks = read_table(layout, published.snapshot, "tracks").to_pylist()
    assert {row["path"]: row["label"] for row in tracks} == {
        "low/a.wav": "bass",
        "low/b.wav": "low",
    }
    assert make_plan(store, found.catalogue, config).changes.n_relabelled == 0


# --- the prune guard ---


def two_roots(catalogue):
    """Three tracks below one folder and one below another."""
    for hz in (220, 330, 440):
        catalogue.add(f"one/{hz}.wav", hz)
    catalogue.add("two/550.wav", 550)
    return [str(catalogue.root / name) for name in ("one", "two")]


@pytest.fixture
def publish_roots(publish_all, config):
    """Publish everything below some roots."""

    def run(catalogue, roots):
        store = publish_all(catalogue.root).store
        record(store, look(store, roots).catalogue)
        publish(store, config, start_run(open_store(store)), n_done=0, n_reused=4)
        return store

    return run


def test_a_root_that_is_empty_or_left_out_stops_the_run(publish_roots, catalogue, config):
    one, two = two_roots(catalogue)
    store = publish_roots(catalogue, [one, two])
    assert make_plan(store, look(store, [one, two]).catalogue, config).refusal is None
    left_out = look(store, [one]).catalogue
    with pytest.raises(CatalogueError, match=f"none of the 1 published tracks of .* {two} "):
        make_plan(store, left_out, config)

    (catalogue.root / "two/550.wav").unlink()  # an unmounted disk leaves an empty folder
    unmounted = look(store, [one, two]).catalogue
    with pytest.raises(CatalogueError, match=f"{two} .*--allow-shrink"):
        make_plan(store, unmounted, config)
    plan = make_plan(store, unmounted, config, allow_shrink=True)
    assert counts(plan) == {"seen": 4, "reused": 3, "removed": 1}
    assert two in plan.refusal


def test_a_root_whose_tracks_moved_to_another_may_be_left_out(publish_roots, catalogue, config):
    one, two = two_roots(catalogue)
    store = publish_roots(catalogue, [one, two])
    (catalogue.root / "two/550.wav").rename(catalogue.root / "one/moved.wav")
    plan = make_plan(store, look(store, [one]).catalogue, config)
    assert counts(plan) == {"seen": 4, "reused": 4}
    assert plan.changes.n_moved == 1


def test_a_catalogue_that_shrank_too_much_is_refused(publish_all, catalogue, config):
    paths = [catalogue.add(f"low/{hz}.wav", hz) for hz in (220, 330, 440)]
    published = publish_all(catalogue.root)
    for path in paths[1:]:
        path.unlink()
    found = scan(published.store, catalogue)
    with pytest.raises(CatalogueError, match=r"finds 1 of the 3 published tracks.*--allow-shrink"):
        make_plan(published.store, found, config)
    plan = make_plan(published.store, found, config, allow_shrink=True)
    assert counts(plan) == {"seen": 3, "reused": 1, "removed": 2}


def test_a_file_that_cannot_be_read_is_seen(store, catalogue, config, ordinary_user):
    catalogue.add("low/a.wav", 220)
    catalogue.add("low/b.wav", 330).chmod(0)
    with ordinary_user():
        found = scan(store, catalogue)
    assert isinstance(found, Catalogue)
    assert counts(make_plan(store, found, config)) == {"seen": 2, "new": 1, "unreadable": 1}


def test_estimates_are_of_audio_not_of_bytes(store, catalogue, config):
    catalogue.add("low/a.wav", 220, duration_s=4.0, sr=44_100)
    plan = make_plan(store, scan(store, catalogue), config)
    assert plan.estimated_s == pytest.approx(4.0, rel=0.6)
    assert os.stat(catalogue.root / "low/a.wav").st_size > 300_000  # noqa: PTH116


# --- what it will cost ---


def test_the_work_of_each_stage_is_what_it_has_not_done_yet(
    publish_all, catalogue, config, partitions_below
):
    for hz in (220, 330):
        catalogue.add(f"low/{hz}.wav", hz, duration_s=2.0)
    store = publish_all(catalogue.root).store
    catalogue.add("low/new.wav", 440, duration_s=3.0)
    numbers = make_plan(store, scan(store, catalogue), config).counts
    assert (numbers["extract_tracks"], numbers["encode_tracks"]) == (1, 1)
    assert numbers["describe_tracks"] == 0  # this encoder needs none
    assert numbers["train_wall_s"] == 0
    assert numbers["index_tracks"] == numbers["report_tracks"] == 3

    for partition in partitions_below(store, catalogue.root, config):
        extract_partition(store, partition, config)
    found = scan(store, catalogue)
    numbers = make_plan(store, found, config).counts
    assert (numbers["extract_tracks"], numbers["encode_tracks"]) == (0, 1)  # a run was stopped here
    numbers = make_plan(store, found, config, retrain=True).counts
    assert (numbers["train_tracks"], numbers["encode_tracks"]) == (3, 3)
    assert numbers["encode_audio_s"] == pytest.approx(7.0, abs=0.1)


def test_audio_is_estimated_from_the_published_files_of_the_suffix(publish_all, catalogue, config):
    for hz in (220, 330, 440, 550, 660):
        catalogue.add(f"low/{hz}.wav", hz)
    store = publish_all(catalogue.root).store
    catalogue.add("low/new.wav", 770, duration_s=9.0)
    plan = make_plan(store, scan(store, catalogue), config)
    assert plan.estimated_s == pytest.approx(9.0, rel=0.01)


def test_what_a_run_measured_is_what_the_next_plan_reckons_with(publish_all, catalogue, config):
    catalogue.add("low/a.wav", 220)
    store = publish_all(catalogue.root).store
    layout = open_store(store)
    stages = {"extract": {"n_done": 1, "audio_s": 100.0, "cpu_s": 5.0, "wall_s": 9.0}}
    finish_run(layout, replace(start_run(layout), stages=stages), state="done")
    catalogue.add("low/b.wav", 330, duration_s=4.0)
    plan = make_plan(store, scan(store, catalogue), config)
    assert plan.counts["extract_core_s"] == pytest.approx(plan.estimated_s / 20, abs=0.06)
    assert plan.counts["extract_measured_runs"] == 1
    assert "extract" not in plan.counts["guessed_stages"]
    assert "encode" in plan.counts["guessed_stages"]


def test_the_time_of_the_recorded_scan_is_told(store, catalogue, config):
    with pytest.raises(ArtefactMissingError, match="musichash scan"):
        scanned_at(store)
    catalogue.add("low/a.wav", 220)
    record(store, scan(store, catalogue))
    assert abs((datetime.now(UTC) - scanned_at(store)).total_seconds()) < 600
