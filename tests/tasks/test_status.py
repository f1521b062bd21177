"""What a store says of itself, and that the ledger keeps every run, also one that failed."""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from storage.backfills import PLAN, BackfillState, begin_backfill, end_backfill
from storage.errors import LockLostError, StoreError, StoreLockedError, StorePlaceError
from storage.runs import finish_run, read_runs, start_run
from storage.store import open_store, working_beside
from tasks.ledger import begin_run, closed, holding
from tasks.scan import look
from tasks.snapshots import verify_everything
from tasks.status import (
    RECENT_RUNS,
    list_failures,
    list_runs,
    show_run,
    store_status,
    verify_store,
)

DIE_IN_A_RUN = """
import os, signal, sys
from dataclasses import replace
from tasks.ledger import begin_run
with begin_run(sys.argv[1], kind="nightly") as run:
    numbers = {"n_done": 7, "audio_s": 60.0}
    run.record = replace(run.record, audio_s=60.0, cpu_s=3.0, stages={"extract": numbers})
    print("extracted", flush=True)
    if sys.argv[2] == "wait":
        sys.stdin.read()
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def killed_run(store):
    """A run that was killed after its extraction."""
    done = subprocess.run(
        [sys.executable, "-c", DIE_IN_A_RUN, store, "die"], capture_output=True, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    (run,) = read_runs(open_store(store))
    return run


@pytest.fixture
def published(publish_all, catalogue):
    """Four tracks, one of them no audio."""
    for hz in (220, 440, 880):
        catalogue.add(f"low/{hz}.wav", hz)
    catalogue.add_text("low/page.mp3")
    return publish_all(catalogue.root)


def test_status_is_plain_json_with_counts_and_paths(published):
    status = store_status(published.store)
    assert json.loads(json.dumps(status)) == status
    assert status["snapshot"] == 1
    assert status["counts"]["codes"] == status["index"]["n_codes"] == 3
    assert status["failures_by_code"] == {"not-audio": 1}
    assert status["failed_share"] == 1 / 4
    assert status["writer"] is status["backfill_worker"] is None
    assert set(status["tables"]) == {"tracks", "predictions", "codes", "failures", "runs"}
    for paths in status["tables"].values():
        assert all(Path(path).read_bytes().startswith(b"PAR1") for path in paths)


def test_what_the_scan_could_not_read_is_tried_again_by_every_run(catalogue, publish_all):
    for hz in (220, 440, 880):
        catalogue.add(f"{hz}.wav", hz)
    (catalogue.root / "link.wav").symlink_to("440.wav")
    catalogue.add_text("page.mp3")
    published = publish_all(catalogue.root)
    rows = {row["code"]: row["retryable"] for row in list_failures(published.store)}
    assert rows == {"not-a-regular-file": True, "not-audio": False}


def test_failures_come_with_cause_and_remedy(published):
    (row,) = list_failures(published.store)
    assert row["code"] == "not-audio"
    assert row["path"] == f"{published.root}/low/page.mp3"
    assert row["cause"]
    assert row["remedy"]


def test_verify_reads_everything_and_reports_progress(published):
    told = []
    found = verify_store(published.store, on_progress=lambda *counts: told.append(counts))
    assert found["findings"] == []
    assert told[-1][0] == told[-1][1] == len(told)


def test_status_shows_the_last_runs_only(store):
    for _ in range(RECENT_RUNS + 2):
        with begin_run(store):
            pass
    assert len(store_status(store)["runs"]) == RECENT_RUNS
    assert len(read_runs(open_store(store))) == RECENT_RUNS + 2


def test_a_run_that_fails_is_in_the_ledger_with_its_end(store):
    with pytest.raises(LookupError), begin_run(store):
        raise LookupError
    (run,) = store_status(store)["runs"]
    assert run["state"] == "failed"
    assert run["finished"] >= run["started"]


def test_a_closed_record_is_the_one_that_the_ledger_will_hold(store):
    with begin_run(store) as run:
        expected = closed(run.record)
    (record,) = read_runs(open_store(store))
    assert record.state == expected.state == "done"
    assert record.finished >= expected.finished


def test_two_runs_at_once_are_refused_by_name_and_the_lock_is_given_back(store):
    with begin_run(store):
        with pytest.raises(StoreLockedError, match=r"another run is writing .*pid"), holding(store):
            pytest.fail("the store was given twice")
        assert len(store_status(store)["runs"]) == 1  # asking is allowed meanwhile
    with holding(store):
        pass


def test_a_run_may_make_its_store_and_a_question_may_not(tmp_path):
    with begin_run(str(tmp_path / "new"), create=True):
        assert store_status(str(tmp_path / "new"))["snapshot"] is None
    with (
        pytest.raises(FileNotFoundError, match="is not a musichash store"),
        begin_run(str(tmp_path / "other")),
    ):
        pytest.fail("it was made")
    assert not (tmp_path / "other").exists()


# --- runs that were killed, and those under way --------------------------------------------------


def test_a_killed_run_says_so_at_once_and_the_next_run_closes_it(store, killed_run):
    assert killed_run.state == "running"  # nobody could write more
    (shown,) = store_status(store)["runs"]
    assert (shown["state"], shown["finished"]) == ("killed", None)
    assert show_run(store, killed_run.run_id)["state"] == "killed"
    with begin_run(store):
        assert [run["state"] for run in list_runs(store)["runs"]] == ["running", "killed"]
    first, second = read_runs(open_store(store))
    assert (first.state, second.state) == ("killed", "done")
    assert first.started <= first.finished <= datetime.now(UTC).isoformat()  # last sign of life
    assert (first.audio_s, first.cpu_s) == (60.0, 3.0)


def test_a_command_without_a_record_closes_killed_runs_too(store, killed_run):
    with holding(store):
        pass
    assert [run.state for run in read_runs(open_store(store))] == ["killed"]


def test_status_names_who_writes_with_its_run(store):
    process = subprocess.Popen(
        [sys.executable, "-c", DIE_IN_A_RUN, store, "wait"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout.readline() == b"extracted\n"
        status = store_status(store)
    finally:
        process.kill()
        process.communicate()
    (run,) = status["runs"]
    assert run["state"] == "running"
    assert (status["writer"]["pid"], status["writer"]["what"]) == (process.pid, "nightly")
    assert status["writer"]["run_id"] == run["run_id"]
    assert store_status(store)["writer"] is None


def test_status_names_the_backfill_at_work_and_those_that_are_not_finished(store):
    layout = open_store(store)
    jazz = BackfillState("collection-jazz", "collection", "jazz", (), "f" * 12, "2026-01-01")
    begin_backfill(layout, jazz, PLAN.empty_table())
    with working_beside(layout, what="backfill of jazz"):
        status = store_status(store)
    assert (status["backfill_worker"]["pid"], status["writer"]) == (os.getpid(), None)
    assert status["backfill_worker"]["what"] == "backfill of jazz"
    assert status["backfills"] == [
        {
            "name": "collection-jazz",
            "kind": "collection",
            "target": "jazz",
            "begun": "2026-01-01",
        }
    ]
    end_backfill(layout, jazz, ended="2026-01-02")
    assert store_status(store)["backfills"] == []


# --- totals --------------------------------------------------------------------------------------


def put_run(layout, state, *, n_decoded=None, **numbers):
    stages = {} if n_decoded is None else {"extract": {"n_done": n_decoded}}
    return finish_run(layout, replace(start_run(layout), stages=stages, **numbers), state=state)


def test_a_track_counts_once_however_often_it_is_seen_again(store):
    layout = open_store(store)
    put_run(layout, "done", seen=4, done=4, audio_s=400.0, cpu_s=40.0)  # of an earlier version
    put_run(layout, "failed", n_decoded=3, audio_s=300.0, cpu_s=30.0)  # before it could publish
    put_run(layout, "done", n_decoded=2, seen=9, done=2, reused=7, audio_s=200.0, cpu_s=20.0)
    put_run(layout, "done", n_decoded=0, seen=9, reused=9, cpu_s=1.0)
    found = list_runs(store, limit=2)
    assert [run["seen"] for run in found["runs"]] == [9, 9]
    assert found["n_runs"] == 4
    totals = found["totals"]
    assert totals["by_state"] == {"done": 3, "failed": 1}
    assert (totals["done"], totals["audio_s"], totals["cpu_s"]) == (9, 900.0, 91.0)
    assert store_status(store)["totals"] == totals
    assert [run["run_id"] for run in list_runs(store)["runs"]] == sorted(
        (run.run_id for run in read_runs(layout)), reverse=True
    )


# --- a run that cannot go on ---------------------------------------------------------------------


def test_a_full_disk_in_the_middle_of_a_run_is_a_sentence(store):
    with (
        pytest.raises(
            StoreError, match=r"any more: No space left on device \(/x/y\); what was pub"
        ),
        begin_run(store),
    ):
        raise OSError(28, os.strerror(28), "/x/y")
    (run,) = read_runs(open_store(store))
    assert run.state == "failed"


def test_other_errors_of_the_system_stay_what_they_are(store):
    with pytest.raises(ConnectionRefusedError), begin_run(store):
        raise ConnectionRefusedError(111, os.strerror(111))


def test_a_run_that_lost_the_store_does_not_end_well(store):
    with pytest.raises(LockLostError, match="was removed"), begin_run(store):
        open_store(store).lock_path.unlink()
    (record,) = read_runs(open_store(store))
    assert record.state == "failed"


# --- damage and fetched folders ------------------------------------------------------------------


def test_status_says_what_is_damaged_and_tells_the_rest(published):
    layout = open_store(published.store)
    whole = store_status(published.store)
    assert whole["problem"] is None
    (failures,) = layout.table_root("failures").iterdir()
    (info,) = layout.index_root.glob("*.json")
    run = layout.runs_root / f"{whole['runs'][0]['run_id']}.json"
    damages = {
        layout.current_path: b"one\n",
        layout.snapshot_path(1): b"{}",
        failures: b"PAR1",
        info: None,
        run: b"{",
    }
    for path, content in damages.items():
        data = path.read_bytes()
        path.unlink() if content is None else path.write_bytes(content)
        found = store_status(published.store)
        assert path.name in found["problem"], path
        assert json.loads(json.dumps(found)) == found
        is_known = path not in {layout.current_path, layout.snapshot_path(1)}
        assert found["snapshot"] == (1 if is_known else None)
        assert found["snapshots"] == [1]
        path.write_bytes(data)
    assert store_status(published.store) == whole
    failures.write_bytes(b"PAR1")
    run.write_bytes(b"{")
    found = store_status(published.store)
    assert found["failed_share"] is None
    assert found["counts"] == whole["counts"]
    assert len(found["problem"].splitlines()) == 2


def test_a_fetched_folder_is_asked_and_not_worked_in(published):
    layout = open_store(published.store)
    before = store_status(published.store)
    layout.origin_path.write_text('{"from": "s3://bucket/prefix"}')
    for hold in (begin_run, holding):
        for create in (False, True):
            said = pytest.raises(StorePlaceError, match=r"was fetched from .*bucket/prefix.*only")
            with said, hold(published.store, create=create):
                pass
    with pytest.raises(StorePlaceError, match="was fetched"):
        look(published.store, [published.root])
    assert store_status(published.store) == before
    assert verify_store(published.store)["not_fetched"] == []
    shutil.rmtree(layout.root / "features")
    shutil.rmtree(layout.root / "encoded")
    found = verify_store(published.store)
    assert found["findings"] == []
    assert {name.split("/")[0] for name in found["not_fetched"]} == {"features", "encoded"}
    assert verify_everything(published.store)["not_fetched"] == found["not_fetched"]
