"""What the trials interrupt: commands on a small store, in one process without Prefect and Dask.

Each command is what its flow does (flows/nightly.py, flows/backfill.py) or its task itself. It may
be repeated: that is what an operator does after a fault. Public: `CONFIG`, `night`, `promotion`,
`rollback`, `collection_of_garbage`, `backfill`, `work_of_backfill`, `second_generation`,
`what_a_reader_sees`, `contents`, `extracted`, `settled`.
"""

import hashlib
import json
from functools import partial
from pathlib import Path

from musichash_core.config import parse_config
from storage.extracted import read_extracted
from storage.published import read_table
from storage.snapshots import current_snapshot
from storage.store import open_store
from tasks.backfill import resume_or_begin, working_beside_runs
from tasks.backfill_orders import Request, order_of
from tasks.backfill_plan import work_left
from tasks.backfill_publish import end, registered, with_collection
from tasks.default_model import install_default_model
from tasks.describe import describe_partition, partitions_to_describe
from tasks.encode import encode_partition, partitions_to_encode
from tasks.extract import extract_partition
from tasks.garbage import collect_garbage
from tasks.index import publish
from tasks.ledger import begin_run
from tasks.plan import make_plan
from tasks.promotion import promote
from tasks.rollback import roll_back
from tasks.scan import look, look_in_collection, record
from tasks.search import search_track
from tasks.status import verify_store
from tasks.train import train

SETTINGS = {
    "max_failed_share": 0.5,
    "front_end": "numba",
    "partitions": {"max_tracks": 2},
    "models": {"training": {"n_threads": 1}},
}
CONFIG = parse_config(SETTINGS, source="the tests")
OTHER_CODES = parse_config(SETTINGS | {"models": {"crnn_hash": {"n_bits": 32}}}, source="the tests")
COLLECTION = "radio"
FINISHED_WORK = ("features", "descriptions", "encoded", "models", "index", "tables")


def night(store: Path, catalogue: Path) -> None:
    """Run the stages of a night."""
    place = str(store)
    found = look(place, [str(catalogue)], labels="none").catalogue
    with begin_run(place, create=True) as run:
        plan = make_plan(place, found, CONFIG)
        record(place, found)
        n_done = 0
        for partition in plan.largest_first:
            n_done += extract_partition(place, partition, CONFIG).n_done
        _describe(place)
        generation = plan.generation or train(place, CONFIG, device="cpu").generation
        _encode(place, generation)
        published = publish(place, CONFIG, run.record, n_done=n_done, n_reused=plan.n_reused)
        run.record = published.record


def _describe(place: str) -> None:
    for name in partitions_to_describe(place, CONFIG.feature_fingerprint)[0]:
        describe_partition(place, name, CONFIG.feature_fingerprint)


def _encode(place: str, generation: str) -> None:
    for name in partitions_to_encode(place, CONFIG.feature_fingerprint, generation)[0]:
        encode_partition(place, name, CONFIG.feature_fingerprint, generation)


def second_generation(store: Path) -> str:
    """Put a second model into a store, and codes of it for every track; give its name."""
    generation, _ = install_default_model(open_store(store), OTHER_CODES)
    _encode(str(store), generation)
    return generation


def promotion(store: Path, generation: str) -> None:
    """Run ``musichash models promote``."""
    with begin_run(str(store), kind="promote") as run:
        run.record = promote(str(store), run.record, generation).record


def rollback(store: Path, number: int) -> None:
    """Run ``musichash snapshots rollback``."""
    roll_back(str(store), number)


def collection_of_garbage(store: Path) -> None:
    """Run ``musichash gc --keep 1``."""
    collect_garbage(str(store), CONFIG, keep=1)


def backfill(store: Path, root: Path) -> None:
    """Run ``musichash backfill --collection``: work that is left, then publish and register."""
    place = str(store)
    work_of_backfill(store, root)
    order = order_of(place, Request(collection=COLLECTION, catalogue=str(root), labels="none"))
    assert order.collection is not None
    with begin_run(place, kind="backfill") as run:
        with registered(place, order.collection):
            found = look_in_collection(place, order.collection).catalogue
            catalogue = with_collection(place, order.collection, found)
            plan = make_plan(place, catalogue, CONFIG)
            record(place, catalogue)
            published = publish(place, CONFIG, run.record, n_done=0, n_reused=plan.n_reused)
        run.record = published.record
        end(place, order.name)


def work_of_backfill(store: Path, root: Path) -> None:
    """Begin a backfill or go on with it, until only its publication is left."""
    place = str(store)
    order = order_of(place, Request(collection=COLLECTION, catalogue=str(root), labels="none"))
    assert order.collection is not None
    with working_beside_runs(place, order):
        scan = partial(look_in_collection, place)
        state, _ = resume_or_begin(place, order, CONFIG, scan, write=True)
        for partition in work_left(place, state).to_extract:
            extract_partition(place, partition, CONFIG)
        _describe(place)
        assert state.generation is not None
        _encode(place, state.generation)


def what_a_reader_sees(store: Path) -> dict:
    """Read everything that the current snapshot promises."""
    layout = open_store(store)
    snapshot = current_snapshot(layout)
    tables = {name: read_table(layout, snapshot, name) for name in snapshot.tables}
    track_id = tables["codes"]["track_id"][0].as_py()
    answer = search_track(str(store), track_id, k=3)
    return {
        "digest": snapshot.digest,
        "generation": snapshot.generation,
        "rows": {name: len(table) for name, table in tables.items() if name != "runs"},
        "neighbours": [match.track_id for match in answer.matches],
        "findings": verify_store(str(store))["findings"],
    }


def contents(store: Path) -> dict[str, str]:
    """Give the SHA-256 of each file that two stores of the same content share."""
    return _digests(
        store,
        (
            path
            for folder in FINISHED_WORK
            for path in (store / folder).rglob("*")
            if path.parent.name != "runs"
        ),
    )


def settled(store: Path) -> dict[str, str]:
    """Give the SHA-256 of each file that repeating a command must not change any more."""
    changing = (store / "runs", store / "work" / "backfills")
    return _digests(
        store,
        (
            path
            for path in store.rglob("*")
            if not path.name.startswith(".lock") and not any(map(path.is_relative_to, changing))
        ),
    )


def _digests(store: Path, paths) -> dict[str, str]:
    return {
        path.relative_to(store).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(paths)
        if path.is_file()
    }


def extracted(store: Path) -> str:
    """Give the SHA-256 of what the next run will know of extracted tracks, from its caches."""
    known = read_extracted(open_store(store), CONFIG.feature_fingerprint)
    rows = [known.facts.to_pylist(), known.failures.to_pylist()]
    return hashlib.sha256(json.dumps(rows, default=str).encode()).hexdigest()
