"""The end of a backfill, under the writer's lock: its collection joins the catalogue.

Public: `run_if_free`, `with_collection`, `registered`, `end`.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc

from musichash_core.errors import MusicHashError
from storage.backfills import end_backfill, read_backfill
from storage.catalogue import Catalogue, read_catalogue
from storage.collected_rows import RowCollector
from storage.collections import (
    Collection,
    read_collections,
    register_collection,
    remove_collection,
)
from storage.errors import ArtefactMissingError, StoreLockedError
from storage.schemas import CATALOGUE
from storage.store import open_store
from tasks.ledger import OpenRun, begin_run
from tasks.scan import together


@contextmanager
def run_if_free(store: str) -> Iterator[OpenRun | None]:
    """Hold the store for one run; None when somebody else does."""
    with ExitStack() as stack:
        try:
            run: OpenRun | None = stack.enter_context(begin_run(store, kind="backfill"))
        except StoreLockedError:
            run = None
        yield run


def with_collection(store: str, collection: Collection, catalogue: Catalogue) -> Catalogue:
    """Add what was found in a collection to what the last run found elsewhere."""
    try:
        last = read_catalogue(open_store(store))
    except ArtefactMissingError:
        return catalogue
    below = f"{collection.root}/"
    failures = [failure for failure in last.failures if not failure.path.startswith(below)]
    with RowCollector(CATALOGUE) as rows:
        for batch in last.batches(CATALOGUE.names):
            is_elsewhere = pc.not_equal(batch["root"], collection.root)
            rows.add(pa.Table.from_batches([batch.filter(is_elsewhere)]))
        others = Catalogue(rows.finish(), failures)
    return together([others, catalogue])


@contextmanager
def registered(store: str, collection: Collection) -> Iterator[None]:
    """Register a collection before it is published; for the process that holds the lock.

    In this order no run can come between that has the tracks and does not scan them. Where it
    cannot be published, it is not registered.

    Raises
    ------
    CollectionError
        If its name or its root is registered otherwise.
    """
    layout = open_store(store)
    was_registered = collection in read_collections(layout)
    register_collection(layout, collection)
    try:
        yield
    except MusicHashError:
        if not was_registered:
            remove_collection(layout, collection.name)
        raise


def end(store: str, name: str) -> None:
    """Mark a backfill complete; for the process that holds the lock."""
    layout = open_store(store)
    state = read_backfill(layout, name)
    assert state is not None
    end_backfill(layout, state, ended=datetime.now(UTC).isoformat(timespec="seconds"))
