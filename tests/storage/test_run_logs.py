"""The log of a run: what reaches it, and that nothing that befalls it ends the run."""

import json
import logging
import os

import pytest

from storage.errors import ArtefactMissingError
from storage.layout import StoreLayout
from storage.run_logs import RunLog, logged_runs, read_run_log, remove_old_logs
from storage.runs import read_runs, start_run


@pytest.fixture
def layout(tmp_path):
    return StoreLayout(tmp_path / "store")


def write(log, *messages):
    for message in messages:
        log.handle(logging.LogRecord("musichash", logging.INFO, "", 0, message, (), None))


def messages(layout, run_id):
    return [line["message"] for line in read_run_log(layout, run_id)]


def test_what_was_logged_is_read_with_the_run_it_was_of(layout):
    log = RunLog(layout, "r-1")
    write(log, "one", "two")
    assert messages(layout, "r-1") == ["one", "two"]  # while it is written
    log.close()
    assert {line["run"] for line in read_run_log(layout, "r-1")} == {"r-1"}


def test_a_log_is_no_record_of_the_ledger(layout):
    run = start_run(layout)
    RunLog(layout, run.run_id).close()
    assert read_runs(layout) == [run]
    assert logged_runs(layout) == [run.run_id]


def test_what_goes_on_behind_a_torn_line_loses_nothing_else(layout):
    log = RunLog(layout, "backfill-x")
    write(log, "one", "torn")
    log.close()
    path = layout.run_log_path("backfill-x")
    os.truncate(path, path.stat().st_size - 7)
    assert messages(layout, "backfill-x") == ["one"]
    log = RunLog(layout, "backfill-x")
    write(log, "three")
    log.close()
    assert messages(layout, "backfill-x") == ["one", "three"]


def test_a_log_has_an_end_and_says_so(layout):
    log = RunLog(layout, "r-1", largest=1000)
    write(log, *(f"message {number}" for number in range(100)))
    log.close()
    lines = read_run_log(layout, "r-1")
    assert lines[-1]["event"] == "log-full"
    assert 3 < len(lines) < 10
    assert layout.run_log_path("r-1").stat().st_size < 1200


def test_a_disk_that_takes_nothing_ends_the_log_and_not_the_run(layout):
    log = RunLog(layout, "r-1")
    write(log, "one")
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, log._descriptor)
    os.close(full)
    write(log, "two", "three")
    assert log.problem is not None
    log.close()
    assert messages(layout, "r-1") == ["one"]


def test_a_log_that_cannot_be_made_ends_no_run(layout):
    layout.root.mkdir()
    layout.runs_root.write_text("no folder")
    log = RunLog(layout, "r-1")
    write(log, "one")
    log.close()
    assert isinstance(log.problem, OSError)


def test_the_oldest_logs_go(layout):
    for number in range(5):
        RunLog(layout, f"r-{number}").close()
    assert remove_old_logs(layout, keep=2) == 3
    assert logged_runs(layout) == ["r-3", "r-4"]
    assert remove_old_logs(layout, keep=2) == 0
    with pytest.raises(ArtefactMissingError, match="run r-1 has no log"):
        read_run_log(layout, "r-1")


def test_foreign_lines_are_left_out(layout):
    layout.runs_root.mkdir(parents=True)
    lines = [b"\xff\xfe", b"[1]", b'"x"', json.dumps({"message": "mine"}).encode(), b""]
    layout.run_log_path("r-1").write_bytes(b"\n".join(lines))
    assert messages(layout, "r-1") == ["mine"]
