"""The log on standard error, in the Prefect UI, and by ``musichash logs``."""

import json
import logging
import time

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import LogFilter

from flows.run_logs import (
    FOR_WARNINGS,
    MOST_SHOWN,
    SHOWN_OF_A_KIND,
    logging_to_stderr,
    logging_to_ui,
)
from storage.store import open_store
from tasks.ledger import begin_run

log = logging.getLogger("musichash.tests")

FAILED = {"event": "track-failed", "stage": "extract", "track": "t", "worker": "w:1"}


def _fail(code, path="x.wav"):
    log.warning("%s failed", path, extra=FAILED | {"code": code, "partition": "p"})


@pytest.fixture
def logged(tmp_path):
    """A store with the log of one run."""
    store = tmp_path / "store"
    with begin_run(str(store), create=True):
        log.info("all of them", extra={"stage": "extract", "partition": "p1", "worker": "w:1"})
        _fail("truncated", "a\x1b[2J.wav")
    return store


def test_standard_error_gets_warnings_and_no_line_for_each_track(capsys):
    with logging_to_stderr():
        log.info("ordinary")
        log.warning("beware")
        _fail("truncated")
    err = capsys.readouterr().err
    assert err.endswith(" WARNING beware\n")
    assert err.count("\n") == 1


def test_json_lines_are_all_there_is_on_standard_error_if_asked_for(capsys):
    with logging_to_stderr("json"):
        log.debug("too small")
        log.info("ordinary")
        _fail("truncated")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["level"] for line in lines] == ["info", "warning"]
    assert lines[1]["code"] == "truncated"


def test_each_line_names_the_run(capsys, tmp_path):
    with logging_to_stderr("json"), begin_run(str(tmp_path / "store"), create=True) as run:
        log.info("ordinary")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert {line["run"] for line in lines} == {run.record.run_id}


def test_format_and_level_come_from_the_environment(monkeypatch, capsys):
    monkeypatch.setenv("MUSICHASH_LOG_FORMAT", "json")
    monkeypatch.setenv("MUSICHASH_LOG_LEVEL", "DEBUG")
    with logging_to_stderr():
        log.debug("small")
    assert json.loads(capsys.readouterr().err)["message"] == "small"


def test_all_is_as_before_when_nobody_listens(capsys):
    logger = logging.getLogger("musichash")
    before = (logger.level, logger.propagate, list(logger.handlers))
    with logging_to_stderr("json", "debug"), logging_to_stderr("text"):
        log.info("once")
    assert capsys.readouterr().err.count("once") == 1
    assert (logger.level, logger.propagate, logger.handlers) == before


def test_another_format_is_refused_with_what_is_allowed(musichash, monkeypatch, logged):
    spoken = musichash("--log-format", "xml", "logs", "--store", logged)
    assert spoken.code == 2
    assert "text" in spoken.err
    monkeypatch.setenv("MUSICHASH_LOG_LEVEL", "loud")
    assert musichash("logs", "--store", logged).code == 2


def test_the_log_is_shown_as_text_and_as_json(musichash, logged):
    spoken = musichash("logs", "--store", logged)
    assert spoken.code == 0
    lines = spoken.out.splitlines()
    assert "nightly run begins" in lines[0]
    assert "extract: all of them [partition=p1 worker=w:1]" in lines[1]
    assert "a\\x1b[2J.wav failed" in lines[2]
    (line,) = musichash("logs", "--store", logged, "--level", "warning", "--json").out.splitlines()
    assert json.loads(line)["message"] == "a\x1b[2J.wav failed"
    assert "\x1b" not in line


def test_a_run_without_a_log_is_named(musichash, logged):
    spoken = musichash("logs", "1999", "--store", logged)
    assert spoken.code == 2
    assert "no run that has a log begins with '1999'" in spoken.err
    for path in open_store(str(logged)).runs_root.glob("*.jsonl"):
        path.unlink()
    spoken = musichash("logs", "--store", logged)
    assert spoken.code == 1
    assert "has no log yet" in spoken.err


@flow(name="talkative")
def talkative(secret):
    with logging_to_ui():
        log.info("stage begins", extra={"stage": "extract"})
        for number in range(20):
            log.info("partition %d", number, extra={"partition": str(number), "worker": "w:1"})
            _fail("truncated", f"t{number}.wav")
        _fail("not-audio", f"\x1b[2J {secret}")
        for number in range(2 * MOST_SHOWN):
            log.info("note %d", number)
        log.warning("the last")


def _logs_of(flow_run_id):
    """Read them as the UI does; Prefect sends them in the background."""
    chosen = LogFilter.model_validate({"flow_run_id": {"any_": [str(flow_run_id)]}})
    deadline = time.monotonic() + 60
    with get_client(sync_client=True) as client:
        while time.monotonic() < deadline:
            pages = [client.read_logs(chosen, limit=200, offset=at) for at in (0, 200)]
            found = [entry.message for page in pages for entry in page]
            if any("and more of them" in message for message in found):
                return found
            time.sleep(0.5)
    raise AssertionError(found)


def test_the_ui_shows_a_bounded_part_of_the_log(prefect_server, monkeypatch, capsys):
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "musichash:s3cr3t-of-server")
    state = talkative("s3cr3t-of-server", return_state=True)
    assert state.is_completed()
    ours = [
        message
        for message in _logs_of(state.state_details.flow_run_id)
        if message.startswith(("extract:", "note", "partition", "and more", "the last"))
    ]
    assert ours[0] == "extract: stage begins"
    truncated = [message for message in ours if "code=truncated" in message]
    assert len(truncated) == SHOWN_OF_A_KIND
    assert not [message for message in ours if message.startswith("partition")]
    (foreign,) = [message for message in ours if "not-audio" in message]
    assert "\x1b" not in foreign
    assert "s3cr3t" not in foreign
    # The warnings before the notes are among the records that only these may leave room for.
    assert len(ours) == MOST_SHOWN - FOR_WARNINGS + 2
    assert ours[-2] == "the last"
    assert ours[-1] == "and more of them: track-failed truncated 15; 'musichash logs' shows each"
