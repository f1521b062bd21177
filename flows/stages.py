"""The stages of a run after the scan, in order: each does its part on the workers and reports.

Public: `plan_stage`, `extract_stage`, `describe_stage`, `train_stage`, `encode_stage`,
`index_stage`, `report_stage`.
"""

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from distributed.scheduler import KilledWorker

from flows.night import Night
from flows.partition_work import Probing, fan_out, partitions_done, sum_up, timed_stage
from flows.progress import Reporter, describe_epoch
from flows.run_words import account_sentence
from flows.training_place import train_somewhere
from flows.wording import (
    describe_default_in_use,
    describe_plan,
    describe_training,
)
from musichash_core.config import PipelineConfig
from musichash_core.records import Partition, StageSummary, partition_of
from musichash_core.training_records import TrainingEvent
from tasks.backfill_plan import partitions_of_backfills
from tasks.describe import describe_partition, partitions_to_describe, probe_describing
from tasks.encode import encode_partition, partitions_to_encode, probe_encoding
from tasks.extract import extract_partition, quarantine_track
from tasks.index import publish
from tasks.ledger import OpenRun
from tasks.model_in_force import NoModelError, uses_default_model, was_trained_with
from tasks.plan import Plan, make_plan
from tasks.report import write_report
from tasks.scan import Catalogue, record, recorded

DIED = "the worker process that extracted it died, each time it was tried"
"""Says nothing of the worker's name or address: the failures table is the same in every run."""


class _Taking:
    """What a stage of this process has taken so far."""

    def __init__(self) -> None:
        self._wall_s, self._cpu_s = time.monotonic(), time.process_time()

    @property
    def wall_s(self) -> float:
        return time.monotonic() - self._wall_s

    @property
    def cpu_s(self) -> float:
        return time.process_time() - self._cpu_s


def plan_stage(
    night: Night,
    catalogue: Catalogue,
    *,
    retry_failed: bool = False,
    allow_shrink: bool = False,
    retrain: bool = False,
) -> StageSummary:
    """Compare a catalogue with the store, lay out the work, and record the catalogue if sane."""
    taking = _Taking()
    plan = make_plan(
        night.store,
        catalogue,
        night.config,
        retry_failed=retry_failed,
        allow_shrink=allow_shrink,
        retrain=retrain,
    )
    record(night.store, catalogue)
    night.plan = plan = replace(plan, n_workers=night.workers.n_wanted)
    summary = StageSummary(
        "plan",
        n_done=plan.n_to_extract,
        n_reused=plan.n_reused,
        n_failed=plan.n_kept_failed + plan.n_unreadable,
        wall_s=taking.wall_s,
        cpu_s=taking.cpu_s,
    )
    return night.finish(summary, describe_plan(plan))


def extract_stage(night: Night) -> StageSummary:
    """Extract the planned partitions on the workers; a track that kills its worker is set aside."""
    plan = _planned(night)
    total = plan.n_to_extract
    with timed_stage(night, "extract", total, "tracks") as done:
        queue = _PartitionQueue(night, plan.largest_first)
        for (_, partition, _), outcome in fan_out(night, extract_partition, queue):
            if isinstance(outcome, KilledWorker):
                if len(partition.items) > 1:
                    queue.extend(_halves(partition.items))
                    continue
                outcome = quarantine_track(night.store, partition, night.config, DIED)
            done.append(outcome)
            night.on_partition("extract", outcome)
            night.reporter.advance("extract", outcome.n_done + outcome.n_failed, outcome.n_failed)
    summary = sum_up("extract", done, n_reused=plan.n_reused)
    night.n_done = summary.n_done
    if not total:
        return night.finish(summary, f"nothing to decode, {plan.n_reused} tracks reused")
    rate = summary.audio_s / summary.cpu_s if summary.cpu_s else 0.0
    return night.finish(
        summary,
        f"{summary.n_done} tracks, {summary.n_failed} failed; {summary.audio_s / 60:.1f} minutes "
        f"of audio in {summary.wall_s:.1f} s ({rate:.0f} audio seconds per CPU second), "
        f"{summary.n_bytes / 1e6:.1f} MB, at most {summary.peak_memory_bytes / 1e6:.0f} MB of "
        "memory per worker",
    )


class _PartitionQueue(deque[Any]):
    """Arguments of `extract_partition`, made when they are taken out: a million tracks wait here.

    What waits is the number of a partition, or a partition that was cut off another.
    """

    def __init__(self, night: Night, partitions: Sequence[Partition]) -> None:
        super().__init__(range(len(partitions)))
        self._night, self._partitions = night, partitions

    def popleft(self) -> tuple[str, Partition, PipelineConfig]:
        next_one = super().popleft()
        partition = self._partitions[next_one] if isinstance(next_one, int) else next_one
        return self._night.store, partition, self._night.config


def _halves(items: Sequence[Any]) -> tuple[Partition, Partition]:
    middle = len(items) // 2
    return partition_of(items[:middle]), partition_of(items[middle:])


def describe_stage(night: Night) -> StageSummary:
    """Describe on the workers every extracted partition that has no descriptions yet.

    It needs no plan where the night names the partitions.
    """
    if night.only is None:
        _planned(night)
    fingerprint = night.feature_fingerprint
    todo, n_reused = _needed(night, *partitions_to_describe(night.store, fingerprint))
    with timed_stage(night, "describe", len(todo), "partitions") as done:
        queue = deque((night.store, name, fingerprint) for name in todo)
        outcomes = fan_out(night, describe_partition, queue)
        probing = Probing(probe_describing, lambda name: (night.store, name, fingerprint))
        done += partitions_done(night, outcomes, "describe", probing)
    summary = sum_up("describe", done, n_reused=n_reused)
    if not todo:
        return night.finish(summary, f"nothing to describe, {n_reused} partitions reused")
    return night.finish(
        summary,
        f"{summary.n_done} tracks in {summary.wall_s:.1f} s "
        f"({summary.cpu_s / max(1, summary.n_done):.2f} CPU seconds per track), "
        f"{summary.n_bytes / 1e6:.1f} MB, at most {summary.peak_memory_bytes / 1e6:.0f} MB of "
        "memory per worker",
    )


class _EpochBars:
    """Reports the epochs of a training, a bar for each of its networks."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._last: dict[str, int] = {}

    def __call__(self, event: TrainingEvent) -> None:
        stage = f"train-{event.stage}"
        if stage not in self._last:
            self._reporter.start(stage, event.n_epochs, "epochs")
            self._last[stage] = 0
        # The first is not 1 where a stopped training goes on; some come twice where a worker died.
        n_new = event.epoch - self._last[stage]
        if n_new > 0:
            self._last[stage] = event.epoch
            self._reporter.advance(stage, n_new)
        self._reporter.note(stage, describe_epoch(event))


def train_stage(
    night: Night, *, retrain: bool, as_candidate: bool = False, device: str = "auto"
) -> StageSummary:
    """Train the models if the store has none, or a new generation is asked for.

    A candidate is put in force only where the store has no model yet.
    """
    plan = _planned(night)
    if plan.generation is not None and not retrain:
        summary = StageSummary("train", n_reused=1)
        sentence = f"nothing to train, model {plan.generation} is used"
        if uses_default_model(night.store, plan.generation):
            sentence += describe_default_in_use(plan)
        elif not was_trained_with(night.store, plan.generation, night.config.models):
            sentence += "; the configuration has other model settings: --retrain applies them"
        return night.finish(summary, sentence)
    started = time.monotonic()
    training = train_somewhere(
        night.store,
        night.config,
        night.workers,
        device=device,
        as_candidate=as_candidate,
        on_event=_EpochBars(night.reporter),
        say=night.reporter.say,
    )
    trained = training.generation
    if not trained.is_candidate:
        night.plan = replace(plan, generation=trained.generation)
    summary = StageSummary(
        "train",
        n_done=trained.n_tracks,
        wall_s=time.monotonic() - started,
        cpu_s=training.cpu_s,
        gpu_s=training.gpu_s,
        notes=tuple(
            f"label {label!r} has one track and was left out" for label in trained.left_out
        ),
    )
    sentence = describe_training(trained, summary.wall_s)
    if training.worker is not None:
        sentence += f"; on the worker {training.worker}"
    return night.finish(summary, sentence)


def encode_stage(night: Night) -> StageSummary:
    """Encode on the workers every partition that has no codes of the generation in use.

    It needs no plan where the night names the generation. Every worker computes on its CPU, also
    one with a GPU: the same bytes wherever it is done, and reading a track takes longer than
    a GPU would save.
    """
    generation = night.generation or _planned(night).generation
    if generation is None:
        raise NoModelError("the store has no model yet; run 'musichash train' first")
    fingerprint = night.feature_fingerprint
    todo, n_reused = _needed(night, *partitions_to_encode(night.store, fingerprint, generation))
    with timed_stage(night, "encode", len(todo), "partitions") as done:
        queue = deque((night.store, name, fingerprint, generation) for name in todo)
        outcomes = fan_out(night, encode_partition, queue)
        probing = Probing(probe_encoding, lambda name: (night.store, name, fingerprint, generation))
        done += partitions_done(night, outcomes, "encode", probing)
    summary = sum_up("encode", done, n_reused=n_reused)
    if not todo:
        return night.finish(summary, f"nothing to encode, {n_reused} partitions reused")
    return night.finish(
        summary,
        f"{summary.n_done} tracks in {summary.wall_s:.1f} s "
        f"({summary.cpu_s / max(1, summary.n_done):.2f} CPU seconds per track)",
    )


def index_stage(night: Night) -> StageSummary:
    """Write tables and index, check the account, and publish a snapshot."""
    taking = _Taking()
    plan = _planned(night)
    assert isinstance(night.run, OpenRun)  # a backfill publishes within a run of its own
    night.run.check_still_writing()
    night.published = publish(
        night.store,
        night.config,
        night.run.record,
        n_done=night.n_done,
        n_reused=plan.n_reused,
    )
    record = night.run.record = night.published.record
    snapshot = night.published.snapshot
    summary = StageSummary(
        "index",
        n_done=snapshot.counts["codes"],
        n_failed=snapshot.counts["failures"],
        wall_s=taking.wall_s,
        cpu_s=taking.cpu_s,
    )
    what = "published" if night.published.is_new else "unchanged,"
    return night.finish(
        summary,
        f"{what} snapshot {snapshot.number}: {account_sentence(asdict(record))}; "
        f"{snapshot.counts['codes']} codes in the index",
    )


def report_stage(night: Night) -> StageSummary:
    """Write the HTML report of the current snapshot."""
    taking = _Taking()
    path = write_report(night.store, night.config, record=night.run.record)
    summary = StageSummary("report", n_done=1, wall_s=taking.wall_s, cpu_s=taking.cpu_s)
    return night.finish(summary, str(path))


def _planned(night: Night) -> Plan:
    if night.plan is None:
        plan_stage(night, recorded(night.store))
    assert night.plan is not None
    return night.plan


def _needed(night: Night, todo: list[str], n_reused: int) -> tuple[list[str], int]:
    """Leave out partitions that are not this run's: a backfill does its own."""
    if night.only is not None:
        mine = [partition_id for partition_id in todo if partition_id in night.only]
        return mine, len(night.only) - len(mine)
    others = partitions_of_backfills(night.store, night.feature_fingerprint) if todo else set()
    return [partition_id for partition_id in todo if partition_id not in others], n_reused
