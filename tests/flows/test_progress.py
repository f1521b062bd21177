"""How a run tells where it is: on a terminal, in a log, in the Prefect UI."""

import io
import time
from dataclasses import replace

import pytest
from prefect import flow
from rich.console import Console

from flows import progress
from flows.progress import (
    ArtifactReporter,
    Reporter,
    Reporters,
    RichReporter,
    current_reporter,
    describe_epoch,
    giving_terminal_back,
    reporting,
)
from musichash_core.training_records import TrainingEvent


def console(*, is_terminal):
    return Console(file=io.StringIO(), force_terminal=is_terminal, width=120, soft_wrap=True)


def work_through(reporter, total=4):
    reporter.start("extract", total, "tracks")
    for number in range(total):
        reporter.advance("extract", 1, failed=number == 1)
    reporter.finish("extract", "4 tracks [in brackets]")


def test_a_terminal_gets_a_bar_with_rate_and_time_left():
    screen = console(is_terminal=True)
    work_through(RichReporter(screen))
    shown = screen.file.getvalue()
    assert "4/4" in shown
    assert "/s" in shown
    assert "1 failed" in shown
    assert "left" in shown
    assert shown.rstrip().endswith("4 tracks [in brackets]")


def test_a_bar_shows_how_a_training_stands():
    screen = console(is_terminal=True)
    reporter = RichReporter(screen)
    reporter.start("train-genre", 2, "epochs")
    event = TrainingEvent("genre", 1, 2, 0.12345, "track accuracy", 0.75, is_best=True)
    reporter.advance("train-genre", 1)
    reporter.note("train-genre", describe_epoch(event))
    reporter.finish("train", "done")
    reporter.note("train-genre", "too late, and harmless")
    assert "loss 0.123, track accuracy 0.750" in screen.file.getvalue().replace("\n", " ")
    assert describe_epoch(replace(event, validation_metric=None)) == "loss 0.123"


def test_a_log_gets_one_line_per_stage():
    log = console(is_terminal=False)
    work_through(RichReporter(log))
    assert log.file.getvalue() == "extract  4 tracks [in brackets]\n"


def test_a_stage_without_work_has_no_bar():
    screen = console(is_terminal=True)
    reporter = RichReporter(screen)
    reporter.start("extract", 0, "tracks")
    reporter.finish("extract", "nothing to decode")
    assert "0/0" not in screen.file.getvalue()


def test_a_stage_that_is_cut_off_gives_the_terminal_back():
    screen = console(is_terminal=True)
    reporter = RichReporter(screen)
    reporter.start("train-genre", 5, "epochs")
    reporter.start("train-hash", 5, "epochs")  # the first never finished
    reporter.finish("train", "done")
    assert screen.file.getvalue().count("\x1b[?25l") == screen.file.getvalue().count("\x1b[?25h")


def test_an_error_in_a_stage_gives_the_terminal_back_before_it_is_told():
    screen = console(is_terminal=True)

    def fail():
        RichReporter(screen).start("extract", 5, "tracks")
        raise LookupError

    with pytest.raises(LookupError), giving_terminal_back():
        fail()
    assert screen.file.getvalue().count("\x1b[?25l") == 1
    assert screen.file.getvalue().count("\x1b[?25h") == 1
    shown = screen.file.tell()
    time.sleep(0.3)  # a bar that lives on is drawn ten times a second
    assert screen.file.tell() == shown


def test_stages_report_to_the_reporter_in_force():
    class Listening(Reporter):
        def __init__(self):
            self.heard = []

        def say(self, sentence):
            self.heard.append(sentence)

    one, two = Listening(), Listening()
    with reporting(Reporters([one, two])):
        current_reporter().say("hello")
    current_reporter().say("nobody hears this")
    assert one.heard == two.heard == ["hello"]


@pytest.mark.integration
def test_an_artifact_follows_a_stage_and_each_ends_at_what_was_done(prefect_server, monkeypatch):
    from prefect.client.orchestration import get_client

    monkeypatch.setattr(progress, "ARTIFACT_SECONDS", 3600.0)  # only beginnings and ends are sent

    @flow
    def night():
        reporter = ArtifactReporter()
        reporter.start("first-stage", 3, "epochs")
        reporter.advance("first-stage", 3)
        reporter.start("second-stage", 4, "tracks")
        reporter.advance("second-stage", 2, failed=1)
        reporter.finish("second-stage", "cut short")

    night()
    with get_client(sync_client=True) as client:
        found = {artifact.key: artifact for artifact in client.read_artifacts()}
    assert float(found["first-stage-progress"].data) == 100.0
    assert float(found["second-stage-progress"].data) == 50.0
    assert found["second-stage-progress"].description.startswith("2 of 4 tracks done, 1 failed")


def test_updates_of_an_artifact_become_seldom_in_a_long_stage(monkeypatch):
    from uuid import UUID

    now, sent = [0.0], []
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr("prefect.artifacts.create_progress_artifact", lambda **_: UUID(int=1))
    monkeypatch.setattr(
        "prefect.artifacts.update_progress_artifact", lambda _, **given: sent.append(given)
    )
    reporter, ten_hours = ArtifactReporter(), 36_000
    reporter.start("extract", ten_hours, "tracks")
    for _ in range(ten_hours // 2):
        now[0] += 1.0
        reporter.advance("extract", 1, failed=0)
    assert len(sent) < 400
    assert sent[10]["description"] == (
        "55 of 36,000 tracks done, 0 failed, 9 h 59 min left, 1.0 per second"
    )
    assert sent[-1]["description"].endswith("5 h 1 min left, 1.0 per second")
    for _ in range(ten_hours // 2):
        now[0] += 1.0
        reporter.advance("extract", 1, failed=1)
    reporter.finish("extract", "done")
    assert len(sent) < 500
    assert sent[-1]["progress"] == 100.0
    assert sent[-1]["description"] == (
        "36,000 of 36,000 tracks done, 18,000 failed, in 10 h 0 min, 1.0 per second"
    )


def test_what_an_operator_is_told_goes_into_the_log_of_the_run(caplog):
    with caplog.at_level("INFO", logger="musichash.flows.progress"):
        ArtifactReporter().say("waiting: a run is at 50 %")
    assert caplog.messages == ["waiting: a run is at 50 %"]
