"""Nights, then: list, go back, publish again, collect garbage, mend; as the commands do."""

import json
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from musichash_core.errors import ParameterError
from storage.errors import ArtefactMissingError, StoreError, StoreLockedError
from storage.generations import selected_generation
from storage.published import published_track_ids, require_snapshot
from storage.runs import read_runs
from storage.snapshots import list_snapshots, publish_snapshot
from storage.store import open_store, writing
from tasks.encode import encode_partition, partitions_to_encode
from tasks.extract import extract_partition
from tasks.garbage import collect_garbage, plan_garbage
from tasks.index import publish
from tasks.ledger import begin_run
from tasks.mending import reconcile_store
from tasks.plan import make_plan
from tasks.rollback import SnapshotRefusedError, roll_back
from tasks.scan import look, record
from tasks.snapshots import list_all, show, verify_everything


@pytest.fixture
def night(store, config, with_model):
    """Extract, encode and publish everything below a folder, as a run does."""

    def run(root):
        generation = with_model(store)
        with begin_run(store) as opened:
            found = look(store, [str(root)])
            record(store, found.catalogue)
            plan = make_plan(store, found.catalogue, config)
            for partition in plan.partitions:
                extract_partition(store, partition, config)
            fingerprint = config.feature_fingerprint
            for name in partitions_to_encode(store, fingerprint, generation)[0]:
                encode_partition(store, name, fingerprint, generation)
            counts = {"n_done": plan.n_to_extract, "n_reused": plan.n_reused}
            opened.record = publish(store, config, opened.record, **counts).record

    return run


class TwoNights(NamedTuple):
    store: str
    root: Path


@pytest.fixture
def two_nights(night, store, catalogue):
    """Two tracks; on the second night one of them is gone and another is there."""
    gone = catalogue.add("low/220.wav", 220)
    catalogue.add("high/880.wav", 880)
    night(catalogue.root)
    gone.unlink()
    catalogue.add("low/440.wav", 440)
    night(catalogue.root)
    return TwoNights(store, catalogue.root)


def test_the_list_says_who_published_what_and_what_it_takes(two_nights):
    found = list_all(two_nights.store)
    assert json.loads(json.dumps(found)) == found
    layout = open_store(two_nights.store)
    first, second = found["snapshots"]
    assert (found["current"], found["problem"]) == (2, None)
    assert [row["number"] for row in found["snapshots"]] == [1, 2]
    assert [row["is_current"] for row in found["snapshots"]] == [False, True]
    assert second["digest"] == require_snapshot(layout).digest != first["digest"]
    assert [row["run"] for row in found["snapshots"]] == [run.run_id for run in read_runs(layout)]
    assert second["published"] is not None
    assert second["counts"]["codes"] == 2
    assert 0 < second["bytes_of_its_own"] < second["bytes"]


def test_bytes_of_its_own_are_what_removing_it_frees(two_nights, config):
    (first, _) = list_all(two_nights.store)["snapshots"]
    done = collect_garbage(two_nights.store, config, keep=1)
    freed = sum(
        sums["bytes"] for kind, sums in done["kinds"].items() if kind not in {"snapshot", "cache"}
    )
    assert freed == first["bytes_of_its_own"]


def test_a_disk_that_is_full_to_the_last_byte_can_be_cleared(two_nights, config, mounted, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted("-t", "tmpfs", "-o", "size=24m", "tmpfs", at=disk)
    store = str(disk / "store")
    shutil.copytree(two_nights.store, store)
    layout = open_store(store)
    with pytest.raises(OSError, match="No space left"):
        (disk / "filler").write_bytes(bytes(32_000_000))
    with pytest.raises(StoreError, match="No space left"):  # there is no report to make room
        collect_garbage(store, config, keep=1)
    (disk / "filler").unlink()
    layout.report_path.write_bytes(bytes(400_000))
    with pytest.raises(OSError, match="No space left"):
        (disk / "filler").write_bytes(bytes(32_000_000))
    planned = plan_garbage(store, config, keep=1)
    assert collect_garbage(store, config, keep=1)["bytes"] >= planned["bytes"] > 0
    assert list_snapshots(layout) == [2]
    assert not layout.report_path.exists()
    assert verify_everything(store)["findings"] == []


def test_what_cannot_be_read_is_listed_as_such(two_nights):
    layout = open_store(two_nights.store)
    layout.snapshot_path(2).unlink()
    found = list_all(two_nights.store)
    assert [row["is_readable"] for row in found["snapshots"]] == [True, False]
    assert "snapshot 2 is missing" in found["snapshots"][1]["problem"]
    assert "'musichash snapshots rollback 1" in found["problem"]
    layout.current_path.write_bytes(b"\xff")
    layout.snapshot_path(1).write_text("[")
    found = list_all(two_nights.store)
    assert (found["current"], found["snapshots"][0]["is_readable"]) == (None, False)


def test_one_snapshot_is_shown_with_its_files_and_what_they_lack(two_nights):
    found = show(two_nights.store, 1)
    assert (found["is_current"], found["problems"]) == (False, [])
    layout = open_store(two_nights.store)
    (layout.root / found["index"]).unlink()
    assert show(two_nights.store, 1)["problems"] == [{"path": found["index"], "problem": "missing"}]


# --- going back ----------------------------------------------------------------------------------


def test_a_rollback_restores_content_and_generation_and_the_next_night_goes_on(two_nights, night):
    layout = open_store(two_nights.store)
    before = list_all(two_nights.store)["snapshots"]
    planned = roll_back(two_nights.store, dry_run=True)
    assert require_snapshot(layout).number == 2
    done = roll_back(two_nights.store, with_bytes=True)
    assert done == planned
    assert (done["snapshot"], done["before"], done["next_number"]) == (1, 2, 3)
    assert require_snapshot(layout).digest == before[0]["digest"]
    assert selected_generation(layout) == before[0]["generation"]
    assert (read_runs(layout)[-1].kind, read_runs(layout)[-1].snapshot) == ("rollback", 1)
    night(two_nights.root)
    snapshot = require_snapshot(layout)
    assert (snapshot.number, snapshot.digest) == (3, before[1]["digest"])
    assert verify_everything(two_nights.store)["findings"] == []


def test_a_snapshot_that_is_not_whole_is_not_gone_back_to(two_nights):
    layout = open_store(two_nights.store)
    first = show(two_nights.store, 1)
    path = layout.root / first["tables"]["codes"][0]
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(SnapshotRefusedError, match=r"snapshot 1 is not whole .*is changed"):
        roll_back(two_nights.store, 1)
    path.write_bytes(whole[:-1] + b"x")  # which only reading finds
    with pytest.raises(SnapshotRefusedError, match="nothing was changed"):
        roll_back(two_nights.store, 1, with_bytes=True)
    assert require_snapshot(layout).number == 2


@pytest.mark.parametrize("content", [b"", b"2\n\n", b"9\n", b"2 sha256:" + b"0" * 64 + b"\n"])
def test_a_damaged_pointer_is_mended_by_going_back(two_nights, content):
    layout = open_store(two_nights.store)
    layout.current_path.write_bytes(content)
    done = roll_back(two_nights.store, 2)
    assert require_snapshot(layout).number == done["snapshot"] == 2


def test_before_the_first_snapshot_there_is_nothing_to_go_back_to(two_nights):
    roll_back(two_nights.store, 1)
    with pytest.raises(ArtefactMissingError, match="no snapshot before 1"):
        roll_back(two_nights.store)


# --- upkeep --------------------------------------------------------------------------------------


def test_garbage_is_counted_before_and_after_alike(two_nights, config):
    layout = open_store(two_nights.store)
    (layout.root / "tables" / ".tmp-part-1").write_bytes(b"12345")
    planned = plan_garbage(two_nights.store, config, keep=1)
    assert list_snapshots(layout) == [1, 2]
    assert planned["kinds"]["left-over of a killed run"] == {"count": 1, "bytes": 5}
    assert collect_garbage(two_nights.store, config, keep=1) == planned
    assert list_snapshots(layout) == [2]
    assert plan_garbage(two_nights.store, config, keep=1)["paths"] == []
    assert verify_everything(two_nights.store)["findings"] == []
    assert len(published_track_ids(layout, require_snapshot(layout))) == 2


def test_nothing_is_collected_beside_a_run(two_nights, config):
    with writing(open_store(two_nights.store)), pytest.raises(StoreLockedError):
        collect_garbage(two_nights.store, config, keep=1)


def test_at_least_one_snapshot_is_kept(two_nights, config):
    with pytest.raises(ParameterError, match="at least 1 snapshot must be kept"):
        plan_garbage(two_nights.store, config, keep=0)


def test_what_a_mended_store_still_lacks_the_next_night_makes(two_nights, night):
    layout = open_store(two_nights.store)
    before = {path: path.read_bytes() for path in layout.root.rglob("*.parquet")}
    digest = require_snapshot(layout).digest
    for pattern in ("encoded/*/*/codes.parquet", "index/*.faiss"):
        for path in layout.root.glob(pattern):
            path.write_bytes(path.read_bytes()[:-9])
    done = reconcile_store(two_nights.store)
    assert {step["action"] for step in done["steps"]} == {"removed", "rebuilt", "not mended"} - (
        {"not mended"} if done["is_mended"] else set()
    )
    night(two_nights.root)
    assert require_snapshot(layout).digest == digest
    assert reconcile_store(two_nights.store)["steps"] == []
    assert all(path.read_bytes() == data for path, data in before.items())


def test_a_damaged_runs_table_is_published_anew_under_the_next_number(two_nights):
    layout = open_store(two_nights.store)
    digest = require_snapshot(layout).digest
    path = layout.root / require_snapshot(layout).tables["runs"][0]
    path.unlink()
    done = reconcile_store(two_nights.store)
    assert (done["is_mended"], done["snapshot"]) == (True, 3)
    assert require_snapshot(layout).digest == digest
    assert list_all(two_nights.store)["snapshots"][-1]["kind"] == "reconcile"
    with pytest.raises(SnapshotRefusedError):
        roll_back(two_nights.store, 2)


def test_two_snapshots_of_the_same_content_have_the_same_digest(two_nights):
    layout = open_store(two_nights.store)
    publish_snapshot(layout, require_snapshot(layout))
    rows = list_all(two_nights.store)["snapshots"]
    assert rows[1]["digest"] == rows[2]["digest"]
    assert rows[2]["bytes_of_its_own"] == 0
