"""From the workers and the stages to the log of the run, and from there to people."""

import logging
import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from musichash_core.config import PipelineConfig
from musichash_core.records import PartitionSummary
from storage.errors import ArtefactMissingError
from storage.log_lines import ROOT_LOGGER
from storage.run_logs import logged_runs, read_run_log
from storage.runs import UnknownRunError, read_runs
from storage.store import open_store
from tasks.extract import extract_partition
from tasks.ledger import begin_run
from tasks.plan import make_plan
from tasks.run_logs import (
    MOST_OVERHEARD,
    call_and_listen,
    current_run,
    log_partition,
    relay,
    show_log,
)
from tasks.scan import look

log = logging.getLogger(f"{ROOT_LOGGER}.tests")


def _talk(count):
    for number in range(count):
        log.info("said %d", number, extra={"stage": "extract", "partition": f"p{number}"})
    return count


def _leak(secret):
    log.warning("tried %s", secret)


@pytest.fixture
def on_worker(monkeypatch):
    """Call a function in a process of its own, which can import this module."""
    monkeypatch.syspath_prepend(Path(__file__).parents[len(__name__.split(".")) - 1])

    def call(function, *arguments):
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            return pool.submit(call_and_listen, function, *arguments).result()

    return call


@pytest.fixture
def work(store, catalogue):
    """A partition of two tracks, of which one is no audio."""
    catalogue.add("low/a.wav", 220)
    catalogue.add_text("low/b.wav")
    config = PipelineConfig()
    with begin_run(store, create=True):
        found = look(store, [str(catalogue.root)]).catalogue
        (partition,) = make_plan(store, found, config).largest_first
    return store, partition, config


def test_a_run_that_ends_is_logged_from_its_begin_to_its_end(store):
    with begin_run(store, create=True, kind="nightly") as run:
        assert current_run() == run.record.run_id
        log.info("in between", extra={"stage": "plan"})
        log.debug("too small to keep")
    assert current_run() is None
    lines = read_run_log(open_store(store), run.record.run_id)
    assert [line.get("event", line["message"]) for line in lines] == [
        "run-started",
        "in between",
        "run-ended",
    ]
    assert {line["run"] for line in lines} == {run.record.run_id}
    assert lines[-1]["state"] == "done"


def test_a_run_that_fails_logs_why(store):
    with pytest.raises(ZeroDivisionError), begin_run(store, create=True):
        1 / 0  # noqa: B018
    (run,) = read_runs(open_store(store))
    last = read_run_log(open_store(store), run.run_id)[-1]
    assert last["level"] == "error"
    assert last["message"] == "run failed: ZeroDivisionError: division by zero"
    assert run.state == "failed"


def test_a_run_that_is_interrupted_says_so_in_words(store):
    with pytest.raises(KeyboardInterrupt), begin_run(store, create=True) as run:
        raise KeyboardInterrupt
    last = read_run_log(open_store(store), run.record.run_id)[-1]
    assert last["message"].startswith("run failed: it was interrupted (Ctrl-C")


def test_nothing_is_logged_after_the_run(store):
    level = logging.getLogger(ROOT_LOGGER).level
    with begin_run(store, create=True) as run:
        pass
    log.warning("later")
    assert read_run_log(open_store(store), run.record.run_id)[-1]["event"] == "run-ended"
    assert logging.getLogger(ROOT_LOGGER).level == level


def test_what_a_worker_process_logs_reaches_the_log_of_the_run(store, on_worker):
    overheard = on_worker(_talk, 3)
    with begin_run(store, create=True) as run:
        assert relay(overheard) == 3
    lines = read_run_log(open_store(store), run.record.run_id)[1:-1]
    assert [(line["message"], line["partition"]) for line in lines] == [
        ("said 0", "p0"),
        ("said 1", "p1"),
        ("said 2", "p2"),
    ]
    (worker,) = {line["worker"] for line in lines}
    assert worker.rpartition(":")[2].isdigit()
    assert lines[0]["time"] < read_run_log(open_store(store), run.record.run_id)[0]["time"]


def test_a_talkative_call_gives_back_little(on_worker):
    overheard = on_worker(_talk, 10_000)
    assert len(overheard.records) == MOST_OVERHEARD + 1
    assert overheard.records[-1]["message"] == "more of this call is not logged"
    assert len(pickle.dumps(overheard)) < 16_000


def test_a_secret_does_not_leave_the_worker(monkeypatch, on_worker):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG")
    overheard = on_worker(_leak, "wJalrXUtnFEMI/K7MDENG")
    assert [record["message"] for record in overheard.records] == ["tried ***"]


def test_a_failed_track_and_its_partition_are_a_line_each(work, on_worker):
    store, partition, config = work
    overheard = on_worker(extract_partition, store, partition, config)
    with begin_run(store) as run:
        summary = relay(overheard)
    lines = read_run_log(open_store(store), run.record.run_id)
    (failed,) = [line for line in lines if line.get("event") == "track-failed"]
    (guilty,) = [item for item in partition.items if item.file.path.endswith("b.wav")]
    assert failed["level"] == "warning"
    assert failed["track"] == guilty.file.track_id
    assert failed["path"] == f"{guilty.file.root}/{guilty.file.path}"
    assert failed["code"] == "not-audio"
    (done,) = [line for line in lines if line.get("event") == "partition-done"]
    assert (done["stage"], done["partition"]) == ("extract", partition.partition_id)
    assert (done["n_done"], done["n_failed"]) == (summary.n_done, summary.n_failed) == (1, 1)


def test_the_newest_log_is_shown_by_level_and_stage(store):
    for _ in range(2):
        with begin_run(store, create=True) as run:
            log_partition("encode", PartitionSummary("ab", n_done=3), 1.0)
            log.warning("beware", extra={"stage": "extract"})
    shown = show_log(store)
    assert shown["run"] == run.record.run_id
    assert [line.get("event") for line in shown["lines"]] == [
        *("run-started", "partition-done", None, "run-ended")
    ]
    assert [line["message"] for line in show_log(store, level="warning")["lines"]] == ["beware"]
    (line,) = show_log(store, run.record.run_id[:-1] + run.record.run_id[-1], stage="encode")[
        "lines"
    ]
    assert line["n_done"] == 3


def test_a_log_that_is_not_there_is_named(store):
    with begin_run(store, create=True) as run:
        pass
    with pytest.raises(UnknownRunError, match=r"no run that has a log begins with 'x'"):
        show_log(store, "x")
    with begin_run(store), pytest.raises(UnknownRunError, match="the logs of 2 runs begin"):
        show_log(store, run.record.run_id[:8])
    for name in logged_runs(open_store(store)):
        open_store(store).run_log_path(name).unlink()
    with pytest.raises(ArtefactMissingError, match="has no log yet"):
        show_log(store)
