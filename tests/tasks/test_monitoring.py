"""What a monitoring system is told, beside the ledger and the tables."""

import json
import time
from collections import Counter
from dataclasses import replace
from datetime import datetime

import pyarrow.parquet as pq
import pytest
from prometheus_client.parser import text_string_to_metric_families

from storage.backfills import PLAN, BackfillState, begin_backfill
from storage.collections import Collection, register_collection
from storage.errors import ArtefactMissingError
from storage.runs import finish_run, read_runs, start_run
from storage.snapshots import current_snapshot
from storage.store import create_store, open_store
from tasks.ledger import begin_run
from tasks.monitoring import (
    MOST_COLLECTIONS,
    OTHER,
    MetricsPlaceError,
    metrics_text,
    store_metrics,
    write_metrics_file,
)

STAGE = {"n_done": 8, "n_reused": 1, "n_failed": 2, "audio_s": 60.0, "wall_s": 4.0, "cpu_s": 6.5}
STAGE |= {"gpu_s": 0.5, "n_bytes": 5_000, "peak_memory_bytes": 400_000, "n_workers": 2}


def read(text):
    """Read Prometheus' text with Prometheus' parser: (name, other labels) -> value."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = {name: label for name, label in sample.labels.items() if name != "store"}
            key = (sample.name.removeprefix("musichash_"), *sorted(labels.items()))
            assert key not in found, f"{key} twice"
            found[key] = sample.value
    return found


def told(store):
    return read(metrics_text(store_metrics(str(store)), is_json=False))


@pytest.fixture
def published(publish_all, catalogue):
    """Four tracks, one of them no audio."""
    for hz in (220, 440, 880):
        catalogue.add(f"low/{hz}.wav", hz)
    catalogue.add_text("low/text.wav")
    return publish_all(catalogue.root)


@pytest.fixture
def ledger(tmp_path):
    """A run that was killed, and three after it that came to their ends."""
    layout = create_store(tmp_path / "store")
    start_run(layout)
    for number, state in enumerate(("done", "failed", "done-with-failures")):
        run = start_run(layout, kind="nightly" if number else "extract")
        run = replace(run, seen=11, done=8, reused=1, failed=2, stages={"extract": STAGE})
        finish_run(layout, run, state=state)
    return layout


def test_sums_over_the_runs_are_those_of_the_ledger(ledger):
    found = told(ledger.root)
    over = read_runs(ledger)[1:]
    assert {dict(key[1:])["state"]: n for key, n in found.items() if key[0] == "runs_total"} == {
        "done": 1,
        "failed": 1,
        "done-with-failures": 1,
        "killed": 1,
    }
    extract = ("stage", "extract")
    assert found["stage_tracks_total", ("outcome", "done"), extract] == 24
    assert found["stage_tracks_total", ("outcome", "failed"), extract] == 6
    for field, name in (("cpu_s", "cpu_seconds"), ("gpu_s", "gpu_seconds")):
        assert found[f"stage_{name}_total", extract] == 3 * STAGE[field]
    assert found["stage_audio_seconds_total", extract] == 180
    assert found["stage_written_bytes_total", extract] == 15_000
    assert found["stage_duration_seconds_total", extract] == 12
    ends = [datetime.fromisoformat(run.finished).timestamp() for run in over]
    assert found["last_success_timestamp_seconds", ("kind", "extract")] == ends[0]
    assert found["last_success_timestamp_seconds", ("kind", "nightly")] == ends[2]
    assert found["last_run_end_timestamp_seconds",] == ends[2]


def test_the_last_run_that_is_over_is_told_with_its_stages(ledger):
    found = told(ledger.root)
    assert found["last_run_state", ("state", "done-with-failures")] == 1
    assert found["last_run_state", ("state", "done")] == 0
    assert found["last_run_seen_tracks",] == 11
    assert found["last_run_tracks", ("outcome", "reused")] == 1
    extract = ("stage", "extract")
    assert found["last_run_stage_tracks", ("outcome", "done"), extract] == 8
    assert found["last_run_stage_tracks_per_second", extract] == 2
    assert found["last_run_stage_peak_memory_bytes", extract] == 400_000
    assert found["last_run_stage_workers", extract] == 2


def test_a_night_that_was_killed_is_told_before_the_next_one_begins(ledger):
    start_run(ledger)
    found = told(ledger.root)
    assert found["last_run_state", ("state", "killed")] == 1
    assert found["runs_total", ("state", "killed")] == 2
    assert ("last_run_end_timestamp_seconds",) not in found  # nobody saw it
    assert found["last_success_timestamp_seconds", ("kind", "nightly")] > 0


def test_what_is_published_is_that_of_the_tables(published, store):
    layout = open_store(store)
    snapshot = current_snapshot(layout)
    found = told(store)
    assert found["snapshot_number",] == snapshot.number
    assert found["published_tracks", ("outcome", "encoded")] == 3
    assert found["published_tracks", ("outcome", "failed")] == 1
    (path,) = snapshot.tables["failures"]
    codes = Counter(pq.read_table(layout.root / path)["code"].to_pylist())
    assert {
        dict(key[1:])["code"]: count for key, count in found.items() if key[0] == "failed_tracks"
    } == codes
    for table, paths in snapshot.tables.items():
        size = sum((layout.root / path).stat().st_size for path in paths)
        assert found["table_bytes", ("table", table)] == size
    size = sum(path.stat().st_size for path in layout.index_root.iterdir())
    assert found["index_bytes",] == size
    levels = [found["code_health", ("level", level)] for level in ("ok", "warn", "alarm")]
    assert sorted(levels) == [0, 0, 1]
    assert found["problems",] == 0
    assert found["filesystem_free_bytes",] < found["filesystem_size_bytes",]


def test_tracks_are_counted_by_collection_and_by_root(published, store, catalogue):
    root = str(catalogue.root.absolute())
    assert told(store)["collection_tracks", ("collection", root)] == 4
    register_collection(open_store(store), Collection("mine", root))
    assert told(store)["collection_tracks", ("collection", "mine")] == 4


def test_many_roots_share_one_sample(published, store, monkeypatch):
    from tasks import monitoring

    monkeypatch.setattr(monitoring, "MOST_COLLECTIONS", 0)
    assert told(store)["collection_tracks", ("collection", OTHER)] == 4
    assert MOST_COLLECTIONS > 0


def test_who_writes_and_what_is_open_is_told(ledger):
    before = told(ledger.root)
    assert before["lock_held", ("lock", "run")] == 0
    assert before["open_backfills",] == 0
    jazz = BackfillState("collection-jazz", "collection", "jazz", (), "f" * 12, "2026-01-01")
    begin_backfill(ledger, jazz, PLAN.empty_table())
    with begin_run(str(ledger.root)):
        during = told(ledger.root)
    assert during["lock_held", ("lock", "run")] == 1
    assert during["runs_under_way",] == 1
    assert during["runs_total", ("state", "killed")] == 1
    assert during["open_backfills",] == 1
    assert abs(during["lock_heartbeat_timestamp_seconds", ("lock", "run")] - time.time()) < 60
    after = told(ledger.root)
    assert after["lock_held", ("lock", "run")] == 0
    assert after["runs_total", ("state", "killed")] == 1


def test_each_run_leaves_the_figures_as_it_ends(store):
    with begin_run(store, create=True):
        assert not open_store(store).metrics_path("prom").exists()
    kept = read(open_store(store).metrics_path("prom").read_text())
    assert kept["runs_total", ("state", "done")] == 1
    with pytest.raises(ZeroDivisionError), begin_run(store):
        1 / 0  # noqa: B018
    kept = read(open_store(store).metrics_path("prom").read_text())
    assert kept["runs_total", ("state", "failed")] == 1
    assert not [key for key in kept if key[0].startswith(("lock", "collection"))]
    names = {
        metric["name"]
        for metric in json.loads(open_store(store).metrics_path("json").read_text())["metrics"]
    }
    assert {f"musichash_{key[0]}" for key in kept} == names


def test_figures_that_cannot_be_kept_end_no_run(store):
    with begin_run(store, create=True):
        folder = open_store(store).metrics_path("prom").parent
        folder.write_text("no folder")
    (run,) = read_runs(open_store(store))
    assert run.state == "done"


def test_what_cannot_be_read_is_left_out_and_counted(published, store):
    layout = open_store(store)
    (path,) = current_snapshot(layout).tables["failures"]
    (layout.root / path).unlink()
    found = told(store)
    assert found["problems",] == 1
    assert not [key for key in found if key[0] == "failed_tracks"]
    assert found["snapshot_number",] == 1


def test_an_empty_store_has_figures_and_no_store_has_none(tmp_path):
    found = told(create_store(tmp_path / "store").root)
    assert found["runs_total", ("state", "done")] == 0
    assert ("snapshot_number",) not in found
    with pytest.raises(ArtefactMissingError):
        store_metrics(str(tmp_path / "none"))


def test_a_file_is_replaced_as_a_whole(ledger, tmp_path):
    target = tmp_path / "textfile" / "musichash.prom"
    with pytest.raises(MetricsPlaceError, match="there is no folder"):
        write_metrics_file(target, [])
    target.parent.mkdir()
    metrics = store_metrics(str(ledger.root))
    write_metrics_file(target, metrics)
    assert [path.name for path in target.parent.iterdir()] == ["musichash.prom"]
    assert read(target.read_text())["runs_under_way",] == 0
    write_metrics_file(tmp_path / "figures.json", metrics)
    assert json.loads((tmp_path / "figures.json").read_text())["format"] == 1
