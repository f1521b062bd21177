"""Opening and closing a run: the store, the right to write to it, and its record in the ledger.

Public: `begin_run`, `holding`, `with_stage`, `closed`, `OpenRun`, `UnrecordedRun`.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace

from musichash_core.records import StageSummary
from storage.errors import StoreError
from storage.layout import StoreLayout
from storage.log_lines import ROOT_LOGGER
from storage.owned_locks import HeldLock
from storage.runs import (
    RunRecord,
    close_killed_runs,
    closed_record,
    finish_run,
    keep_run,
    read_runs,
    start_run,
)
from storage.snapshots import read_pointer
from storage.store import (
    check_not_fetched,
    check_still_writing,
    create_store,
    open_store,
    writing,
)
from tasks.run_logs import logging_run

log = logging.getLogger(f"{ROOT_LOGGER}.{__name__}")

_LOGGED_NUMBERS = ("audio_s", "cpu_s", "wall_s", "peak_memory_bytes", "snapshot")

DONE = "done"
DONE_WITH_FAILURES = "done-with-failures"
FAILED = "failed"


class OpenRun:
    """A run that holds the store's lock, and its record in the ledger.

    Attributes
    ----------
    record : RunRecord
        As far as it is known; what is assigned to it is in the ledger at once, so that of a run
        that is killed all is known but its last stage.
    """

    def __init__(self, layout: StoreLayout, held: HeldLock, record: RunRecord) -> None:
        self._layout = layout
        self._held = held
        self._record = record

    @property
    def record(self) -> RunRecord:
        """The run, as the ledger has it."""
        return self._record

    @record.setter
    def record(self, record: RunRecord) -> None:
        if record != self._record:
            keep_run(self._layout, record)
            self._record = record

    def check_still_writing(self) -> None:
        """Refuse to go on after another machine took the store over; for before publishing.

        Raises
        ------
        LockLostError
        """
        check_still_writing(self._layout, self._held)

    def end(self, *, state: str) -> None:
        """Close the record."""
        self._record = finish_run(self._layout, self._record, state=state)


@dataclass(slots=True)
class UnrecordedRun:
    """Work without the right to write, so without a record in the ledger.

    Attributes
    ----------
    record : RunRecord
        The numbers of the stages so far.
    """

    record: RunRecord = field(default_factory=lambda: RunRecord(run_id="", started=""))


@contextmanager
def holding(store: str, *, create: bool = False, kind: str = "a command") -> Iterator[HeldLock]:
    """Hold the right to write to a store, without a record in the ledger.

    Parameters
    ----------
    create : bool
        Make the store if it does not exist.
    kind : str
        Command that is named to whoever is refused meanwhile.

    Raises
    ------
    StorePlaceError
        If the store was fetched from a replica.
    StoreError
        If the store cannot be written, has another format, or is in use.
    """
    with _writing_to(store, create=create, kind=kind) as (_, held):
        yield held


@contextmanager
def begin_run(store: str, *, create: bool = False, kind: str = "nightly") -> Iterator[OpenRun]:
    """Hold the store for one run and keep its record, however the run ends.

    Parameters
    ----------
    create : bool
        Make the store if it does not exist.
    kind : str
        Command that the ledger names.

    Raises
    ------
    StorePlaceError
        If the store was fetched from a replica.
    StoreError
        If the store cannot be written, has another format, or is in use.
    """
    with _writing_to(store, create=create, kind=kind) as (layout, held):
        run = OpenRun(layout, held, start_run(layout, kind=kind))
        held.name_run(run.record.run_id)
        with logging_run(layout, run.record.run_id), _figures_kept_after(layout):
            log.info("%s run begins", kind, extra={"event": "run-started"})
            try:
                yield run
                run.check_still_writing()
            except BaseException as error:
                log.error("run failed: %s", _what_ended(error), extra={"event": "run-failed"})  # noqa: TRY400 - who runs it shows the trace
                with suppress(OSError):  # the disk that is full says so by the error that goes on
                    run.end(state=FAILED)
                raise
            run.end(state=_end_state(run.record))
            _log_end(run.record)


@contextmanager
def _figures_kept_after(layout: StoreLayout) -> Iterator[None]:
    """Write down how the store is when a run has ended, however it did."""
    try:
        yield
    finally:
        from tasks.monitoring import keep_metrics  # it reads tables, which most writers load anyway

        keep_metrics(layout)


def _what_ended(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "it was interrupted (Ctrl-C or SIGINT); the same command goes on from there"
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _log_end(record: RunRecord) -> None:
    numbers = {name: getattr(record, name) for name in _LOGGED_NUMBERS}
    log.info(
        "run ends, %s: %d seen = %d done + %d reused + %d failed + %d quarantined + %d removed",
        record.state,
        *(record.seen, record.done, record.reused),
        *(record.failed, record.quarantined, record.removed),
        extra={
            "event": "run-ended",
            "state": record.state,
            "n_done": record.done,
            "n_reused": record.reused,
            "n_failed": record.failed + record.quarantined,
            **numbers,
        },
    )


@contextmanager
def _writing_to(store: str, *, create: bool, kind: str) -> Iterator[tuple[StoreLayout, HeldLock]]:
    """Hold the right to write to a store of one's own, and close the records of killed runs."""
    layout = create_store(store) if create else open_store(store)
    check_not_fetched(layout)
    with writing(layout, what=kind) as held:
        _close_killed(layout, held)
        yield layout, held


def _close_killed(layout: StoreLayout, held: HeldLock) -> None:
    last_signs = {}
    if held.previous is not None and held.previous.run_id is not None:
        last_signs[held.previous.run_id] = held.previous.heartbeat
    killed = close_killed_runs(layout, last_signs=last_signs)
    if killed:
        _name_what_it_published(layout, killed[-1])


def _name_what_it_published(layout: StoreLayout, killed: RunRecord) -> None:
    """Give a run that was killed after it had replaced the pointer the snapshot that it published.

    Else nothing would tell it from a manifest that no reader has ever been led to.
    """
    with suppress(StoreError):  # a pointer or a ledger that is damaged is not this run's matter
        pointer = read_pointer(layout)
        known = {record.snapshot for record in read_runs(layout)}
        if pointer is not None and pointer.number not in known:
            keep_run(layout, replace(killed, snapshot=pointer.number))


def with_stage(record: RunRecord, summary: StageSummary) -> RunRecord:
    """Add the numbers of a stage to a run's record."""
    return replace(
        record,
        # Later stages work on what was decoded already: only the extraction's audio counts.
        audio_s=record.audio_s + (summary.audio_s if summary.stage == "extract" else 0.0),
        cpu_s=record.cpu_s + summary.cpu_s,
        peak_memory_bytes=max(record.peak_memory_bytes, summary.peak_memory_bytes),
        stages=record.stages | {summary.stage: summary.numbers},
    )


def closed(record: RunRecord) -> RunRecord:
    """Give a run's record as it will stand when the run ends well now; writes nothing.

    A snapshot's runs table holds the run that publishes it, which is about to end.
    """
    return closed_record(record, state=_end_state(record))


def _end_state(record: RunRecord) -> str:
    return DONE_WITH_FAILURES if record.failed + record.quarantined else DONE
