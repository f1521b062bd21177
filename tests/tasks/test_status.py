"""What a store says of itself, and that the ledger keeps every run, also one that failed."""

import json
from pathlib import Path

import pytest

from storage.errors import StoreLockedError
from storage.runs import read_runs
from storage.store import open_store
from tasks.ledger import begin_run, closed, holding
from tasks.status import RECENT_RUNS, list_failures, store_status, verify_store


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
    assert set(status["tables"]) == {"tracks", "predictions", "codes", "failures", "runs"}
    for paths in status["tables"].values():
        assert all(Path(path).read_bytes().startswith(b"PAR1") for path in paths)


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
