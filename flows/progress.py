"""How a run tells where it is: bars on a terminal, artifacts in the Prefect UI, or both.

Stages report to the reporter in force, see `reporting`. Public: `Reporter`, `RichReporter`,
`ArtifactReporter`, `Reporters`, `reporting`, `current_reporter`, `giving_terminal_back`,
`describe_epoch`.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, cast
from uuid import UUID

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from musichash_core.plain_text import escape_controls
from musichash_core.training_records import TrainingEvent

log = logging.getLogger(f"musichash.{__name__}")

EPOCHS = "epochs"
"""Units of a stage that do not fail one by one."""

ARTIFACT_SECONDS = 5.0
SELDOM_SECONDS = 120.0
SHARE_BETWEEN = 0.02
"""Time between two updates of a stage's artifact: this share of the time that the stage has taken,
within the two bounds. Each update is an event in Prefect's database, of some 8 kB; a stage of ten
hours makes about 450."""


class Reporter:
    """Receives what stages report; this one ignores it."""

    def start(self, stage: str, total: int, unit: str) -> None:
        """Begin a stage of `total` units."""

    def advance(self, stage: str, done: int, failed: int = 0) -> None:
        """Report `done` more units, of which `failed` failed."""

    def note(self, stage: str, text: str) -> None:
        """Show how a stage stands, until the next note."""

    def finish(self, stage: str, sentence: str) -> None:
        """End a stage with what it came to."""

    def say(self, sentence: str) -> None:
        """Tell the operator something."""


class _RateColumn(ProgressColumn):
    """Units per second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f}/s", style="progress.data.speed")


_bars: set[Progress] = set()
"""Bars on the terminal now."""


@contextmanager
def giving_terminal_back() -> Iterator[None]:
    """Take every bar off the terminal at the end, also when an error cuts a stage off."""
    try:
        yield
    finally:
        for bar in _bars:
            bar.stop()
        _bars.clear()


class RichReporter(Reporter):
    """Bars with rate and time left on a terminal; plain lines where there is none.

    Parameters
    ----------
    console : rich.console.Console
        Where to write.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress: Progress | None = None
        self._bar: Any = None
        self._failed = 0

    def start(self, stage: str, total: int, unit: str) -> None:
        """Begin a stage of `total` units."""
        self._stop()
        self._failed = 0
        if not self._console.is_terminal or total == 0:
            return
        self._progress = Progress(
            TextColumn(f"[bold]{stage:<8}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(unit),
            _RateColumn(),
            TextColumn("[red]{task.fields[failed]}"),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
        )
        self._bar = self._progress.add_task(stage, total=total, failed="", note="")
        _bars.add(self._progress)
        self._progress.start()

    def advance(self, stage: str, done: int, failed: int = 0) -> None:
        """Report `done` more units, of which `failed` failed."""
        self._failed += failed
        if self._progress is not None:
            note = f"{self._failed} failed" if self._failed else ""
            self._progress.update(self._bar, advance=done, failed=note)

    def note(self, stage: str, text: str) -> None:
        """Show how a stage stands, until the next note."""
        if self._progress is not None:
            self._progress.update(self._bar, note=escape_controls(text))

    def finish(self, stage: str, sentence: str) -> None:
        """End a stage with what it came to."""
        self._stop()
        self._console.print(Text.assemble((f"{stage:<8}", "bold"), " ", escape_controls(sentence)))

    def _stop(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            _bars.discard(self._progress)
            self._progress = None

    def say(self, sentence: str) -> None:
        """Tell the operator something."""
        self._console.print(Text(escape_controls(sentence)))


class ArtifactReporter(Reporter):
    """A progress artifact per stage in the Prefect UI, with counts, rate and time left."""

    def __init__(self) -> None:
        self._artifact: UUID | None = None
        self._done = self._failed = self._total = 0
        self._unit = self._note = ""
        self._started = self._updated = 0.0
        self._is_over = False

    def start(self, stage: str, total: int, unit: str) -> None:
        """Begin a stage of `total` units."""
        from prefect.artifacts import create_progress_artifact

        self._end()  # of a part of a stage that ends where the next part begins
        self._done = self._failed = 0
        self._is_over = False
        self._total, self._unit, self._note = total, unit, ""
        self._started = self._updated = time.monotonic()
        # The annotation covers the asynchronous form too; this is the synchronous one.
        self._artifact = (
            cast(
                "UUID",
                create_progress_artifact(
                    progress=0.0, key=f"{stage}-progress", description=self._text()
                ),
            )
            if total
            else None
        )

    def advance(self, stage: str, done: int, failed: int = 0) -> None:
        """Report `done` more units, of which `failed` failed."""
        self._done += done
        self._failed += failed
        now = time.monotonic()
        wait_s = min(SELDOM_SECONDS, SHARE_BETWEEN * (now - self._started))
        if now - self._updated >= max(ARTIFACT_SECONDS, wait_s):
            self._update()

    def note(self, stage: str, text: str) -> None:
        """Show how a stage stands, from the next update of the artifact on."""
        self._note = text

    def finish(self, stage: str, sentence: str) -> None:
        """End a stage with what it came to."""
        self._end()

    def say(self, sentence: str) -> None:
        """Put a sentence into the log of the run, which the UI shows."""
        log.info("%s", sentence, extra={"event": "said"})

    def _end(self) -> None:
        self._is_over = True
        self._update()
        self._artifact = None

    def _update(self) -> None:
        from prefect.artifacts import update_progress_artifact

        if self._artifact is None:
            return
        self._updated = time.monotonic()
        percent = 100.0 * min(1.0, self._done / self._total)
        update_progress_artifact(self._artifact, progress=percent, description=self._text())

    def _text(self) -> str:
        elapsed = time.monotonic() - self._started
        rate = self._done / elapsed if elapsed > 0 else 0.0
        if self._is_over:
            when = f"in {_duration(elapsed)}"
        elif rate > 0:
            when = f"{_duration((self._total - self._done) / rate)} left"
        else:
            when = "starting"
        failed = "" if self._unit == EPOCHS else f"{self._failed:,} failed, "
        pace = f", {_rate(rate)}" if rate > 0 else ""
        note = f"; {self._note}" if self._note else ""
        return f"{self._done:,} of {self._total:,} {self._unit} done, {failed}{when}{pace}{note}"


def _duration(seconds: float) -> str:
    """Write a length of time with the two units that matter."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def _rate(per_second: float) -> str:
    return (
        f"{per_second:.1f} per second" if per_second >= 1 else f"{per_second * 60:.1f} per minute"
    )


class Reporters(Reporter):
    """Several reporters as one.

    Parameters
    ----------
    reporters : sequence of Reporter
        Told in this order.
    """

    def __init__(self, reporters: Sequence[Reporter]) -> None:
        self._reporters = tuple(reporters)

    def start(self, stage: str, total: int, unit: str) -> None:
        """Begin a stage of `total` units."""
        for reporter in self._reporters:
            reporter.start(stage, total, unit)

    def advance(self, stage: str, done: int, failed: int = 0) -> None:
        """Report `done` more units, of which `failed` failed."""
        for reporter in self._reporters:
            reporter.advance(stage, done, failed)

    def note(self, stage: str, text: str) -> None:
        """Show how a stage stands, until the next note."""
        for reporter in self._reporters:
            reporter.note(stage, text)

    def finish(self, stage: str, sentence: str) -> None:
        """End a stage with what it came to."""
        for reporter in self._reporters:
            reporter.finish(stage, sentence)

    def say(self, sentence: str) -> None:
        """Tell the operator something."""
        for reporter in self._reporters:
            reporter.say(sentence)


def describe_epoch(event: TrainingEvent) -> str:
    """Put what a finished epoch of a training came to into a few words."""
    text = f"loss {event.train_loss:.3f}"
    if event.validation_metric is not None:
        text += f", {event.metric_name} {event.validation_metric:.3f}"
    return text


_SILENT = Reporter()
_current: ContextVar[Reporter] = ContextVar("reporter", default=_SILENT)


@contextmanager
def reporting(reporter: Reporter) -> Iterator[None]:
    """Send what stages report to `reporter` while the context lasts."""
    token = _current.set(reporter)
    try:
        yield
    finally:
        _current.reset(token)


def current_reporter() -> Reporter:
    """Give the reporter in force; one that ignores everything when none was set."""
    return _current.get()
