"""Work beside the runs of a store, which come first: a backfill's pace, and its turn to publish.

Public: `BesideRuns`, `writing_when_free`.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from flows.cluster import Pace
from flows.cluster_contact import LOOK_AGAIN_S
from flows.progress import Reporter
from tasks.backfill import writer_of
from tasks.backfill_publish import run_if_free
from tasks.ledger import OpenRun


class BesideRuns(Pace):
    """Nothing begins while a run writes to the store, nor after a time limit.

    Parameters
    ----------
    store : str
        Store root.
    reporter : Reporter
        Who is told.
    limit_hours : float or None
        After which nothing more begins.

    Attributes
    ----------
    on_waited : callable
        Told the seconds of each wait when it is over.
    """

    def __init__(self, store: str, reporter: Reporter, limit_hours: float | None) -> None:
        self._store = store
        self._reporter = reporter
        self._until = None if limit_hours is None else time.monotonic() + 3600 * limit_hours
        self._waits_since: float | None = None
        self.on_waited: Callable[[float], None] = _ignore

    def may_begin(self) -> bool:
        """Tell whether nobody writes to the store."""
        writer = writer_of(self._store)
        if writer is None:
            if self._waits_since is not None:
                self.on_waited(time.monotonic() - self._waits_since)
                self._waits_since = None
                self._reporter.say("the run has ended: the backfill goes on")
            return True
        self._wait_for(writer)
        return False

    def _wait_for(self, writer: str) -> None:
        """Say once who is waited for."""
        if self._waits_since is None:
            self._waits_since = time.monotonic()
            self._reporter.say(f"waiting: {writer} is writing to the store, and comes first")

    def is_over(self) -> bool:
        """Tell whether the time limit is reached."""
        return self._until is not None and time.monotonic() >= self._until


def _ignore(_seconds: float) -> None:
    """Keep nothing."""


@contextmanager
def writing_when_free(store: str, pace: BesideRuns) -> Iterator[OpenRun | None]:
    """Hold the store for one run as soon as nobody else does; None when the time is over first."""
    while not pace.is_over():
        if pace.may_begin():
            with run_if_free(store) as run:
                if run is not None:
                    yield run
                    return
        time.sleep(LOOK_AGAIN_S)
    yield None
