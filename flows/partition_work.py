"""Partitions on the workers: handing them out, summing up what they did, and what kills workers.

Public: `fan_out`, `timed_stage`, `Timed`, `sum_up`, `partitions_done`, `Probing`.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from distributed.scheduler import KilledWorker

from flows.night import Night
from musichash_core.errors import MusicHashError
from musichash_core.records import PartitionSummary, StageSummary
from tasks.partition_tracks import PartitionTrack, folder_of, tracks_of
from tasks.run_logs import Overheard, call_and_listen, relay

log = logging.getLogger(f"musichash.{__name__}")

_NAMED_TRACKS = 5


class DeadlyPartitionError(MusicHashError):
    """A partition kills each worker that works on it."""


class Timed(list[PartitionSummary]):
    """Summaries of a stage's partitions, and the time they took together."""

    def __init__(self) -> None:
        super().__init__()
        self.started = time.monotonic()
        self.wall_s = 0.0
        self.n_workers = 0


@contextmanager
def timed_stage(night: Night, name: str, total: int, unit: str) -> Iterator[Timed]:
    """Report the start of a stage, and measure how long it takes on how many workers."""
    night.reporter.start(name, total, unit)
    if total:
        log.info("%d %s to do", total, unit, extra={"event": "stage-started", "stage": name})
    timed = Timed()
    yield timed
    timed.wall_s = time.monotonic() - timed.started
    timed.n_workers = night.workers.n_workers


def sum_up(stage: str, done: Timed, *, n_reused: int) -> StageSummary:
    """Sum up what the partitions of a stage did."""
    return StageSummary(
        stage,
        n_done=sum(part.n_done for part in done),
        n_reused=n_reused,
        n_failed=sum(part.n_failed for part in done),
        audio_s=sum(part.audio_s for part in done),
        wall_s=done.wall_s,
        cpu_s=sum(part.cpu_s for part in done),
        n_bytes=sum(part.n_bytes for part in done),
        peak_memory_bytes=max((part.peak_memory_bytes for part in done), default=0),
        n_workers=done.n_workers,
    )


def fan_out(
    night: Night,
    function: Callable[..., Any],
    queue: "deque[Any]",
) -> Iterator[Any]:
    """Fan out, without starting workers when there is no work; log what the workers logged."""
    if not queue:
        return
    for arguments, outcome in night.workers.fan_out(partial(call_and_listen, function), queue):
        if isinstance(outcome, KilledWorker):
            log.warning(
                "the worker died each time it worked on this; the last one was %s",
                outcome.last_worker.address,
                extra={"event": "worker-died", "partition": _name_of(arguments)},
            )
        yield arguments, relay(outcome) if isinstance(outcome, Overheard) else outcome


def _name_of(arguments: tuple[Any, ...]) -> str:
    """Give the id of the partition that a call is about: its second argument, or a part of it."""
    return str(getattr(arguments[1], "partition_id", arguments[1]))


@dataclass(frozen=True, slots=True)
class Probing:
    """How to find the tracks of a partition that kill their worker.

    Attributes
    ----------
    function : callable
        Does a stage's work on some tracks of a partition and stores nothing; it takes the arguments
        of the partition, and a tuple of track ids.
    arguments : callable
        Gives the arguments of a partition by its name.
    """

    function: Callable[..., Any]
    arguments: Callable[[str], tuple[Any, ...]]


def partitions_done(
    night: Night, outcomes: Iterator[Any], stage: str, probing: Probing
) -> Iterator[PartitionSummary]:
    """Give the summary of each partition as it is done; at last, refuse those that kill workers.

    Raises
    ------
    DeadlyPartitionError
        When all others are done; it names the guilty tracks of the first.
    """
    deadly: list[tuple[str, KilledWorker]] = []
    for arguments, outcome in outcomes:
        if isinstance(outcome, KilledWorker):
            deadly.append((arguments[1], outcome))
            continue
        yield outcome
        night.on_partition(stage, outcome)
        night.reporter.advance(stage, 1)
    if deadly:
        name, cause = min(deadly, key=lambda pair: pair[0])
        night.reporter.say(
            f"{stage}: {len(deadly)} partition(s) killed each worker; looking for the tracks of "
            f"{name} that do"
        )
        guilty = _guilty_tracks(night, name, probing)
        raise DeadlyPartitionError(_sentence(night, stage, name, len(deadly), guilty)) from cause


def _guilty_tracks(night: Night, partition_id: str, probing: Probing) -> list[PartitionTrack]:
    """Halve a partition until each part that kills its worker is one track."""
    tracks = tracks_of(night.store, night.feature_fingerprint, partition_id)
    places = {track.track_id: track for track in tracks}
    arguments = probing.arguments(partition_id)
    queue = deque((*arguments, half) for half in _halves(tuple(places)))
    guilty = []
    for asked, outcome in fan_out(night, probing.function, queue):
        track_ids = asked[-1]
        if not isinstance(outcome, KilledWorker):
            continue
        if len(track_ids) == 1:
            guilty.append(places[track_ids[0]])
        else:
            queue.extend((*arguments, half) for half in _halves(track_ids))
    return sorted(guilty)


def _halves(track_ids: tuple[str, ...]) -> list[tuple[str, ...]]:
    middle = len(track_ids) // 2
    return [half for half in (track_ids[:middle], track_ids[middle:]) if half]


def _sentence(
    night: Night, stage: str, partition_id: str, n_deadly: int, guilty: list[PartitionTrack]
) -> str:
    folder = folder_of(night.store, night.feature_fingerprint, partition_id)
    others = f" (and {n_deadly - 1} other partitions do, too)" if n_deadly > 1 else ""
    said = f"to {stage} the partition {partition_id} killed its worker each time{others}; "
    if not guilty:
        return (
            f"{said}no track of it does so by itself, so give workers more memory with "
            "--worker-memory and run again"
        )
    named = ", ".join(f"{track.track_id} ({track.place})" for track in guilty[:_NAMED_TRACKS])
    dots = " ..." if len(guilty) > _NAMED_TRACKS else ""
    return (
        f"{said}the guilty: {named}{dots}. Give workers more memory with --worker-memory; if they "
        f"die all the same, take the file out of the catalogue, remove {folder} and run again: its "
        "other tracks are extracted anew"
    )
