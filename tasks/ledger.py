"""Opening and closing a run: the store, the right to write to it, and its record in the ledger.

Public: `begin_run`, `holding`, `closed`, `OpenRun`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from storage.runs import RunRecord, closed_record, finish_run, start_run
from storage.store import create_store, open_store, writing

DONE = "done"
DONE_WITH_FAILURES = "done-with-failures"
FAILED = "failed"


@dataclass(slots=True)
class OpenRun:
    """A run that holds the store's lock.

    Attributes
    ----------
    record : RunRecord
        As far as it is known; stages replace it.
    """

    record: RunRecord


@contextmanager
def holding(store: str, *, create: bool = False) -> Iterator[None]:
    """Hold the right to write to a store, without a record in the ledger."""
    layout = create_store(store) if create else open_store(store)
    with writing(layout):
        yield


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
    StoreError
        If the store cannot be written, has another format, or is in use.
    """
    layout = create_store(store) if create else open_store(store)
    with writing(layout):
        run = OpenRun(start_run(layout, kind=kind))
        try:
            yield run
        except BaseException:
            run.record = finish_run(layout, run.record, state=FAILED)
            raise
        run.record = finish_run(layout, run.record, state=_end_state(run.record))


def closed(record: RunRecord) -> RunRecord:
    """Give a run's record as it will stand when the run ends well now; writes nothing.

    A snapshot's runs table holds the run that publishes it, which is about to end.
    """
    return closed_record(record, state=_end_state(record))


def _end_state(record: RunRecord) -> str:
    return DONE_WITH_FAILURES if record.failed + record.quarantined else DONE
