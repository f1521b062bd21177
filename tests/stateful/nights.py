"""Everything that changes a store, as the commands and flows do it, in this process.

The stages are those of `flows.stages`, called in the order of `flows.nightly` and `flows.backfill`,
without Prefect; the partitions are worked through one after another instead of on Dask workers.

Public: `CONFIG`, `night`, `fill`, `abandon_backfill`, `add_candidate`, `promote_generation`,
`roll_generation_back`, `encode_missing`, `die_at`.
"""

import os
import sys
import traceback
from functools import partial

from kill_points import KILLED, OPERATIONS, WRITING, die_before

from flows.cluster import ClusterSettings, Workers
from flows.night import Night
from flows.progress import Reporter
from flows.scan_stages import scan_collection_stage, scan_stage
from flows.stages import (
    describe_stage,
    encode_stage,
    extract_stage,
    index_stage,
    plan_stage,
    train_stage,
)
from musichash_core.config import parse_config
from musichash_core.errors import MusicHashError
from storage.backfills import read_backfill
from storage.store import open_store
from tasks.backfill import abandon, extend, resume_or_begin, working_beside_runs
from tasks.backfill_orders import order_of
from tasks.backfill_plan import plan_of, unfinished_partitions, work_left
from tasks.backfill_progress import progress_of
from tasks.backfill_publish import end, registered, run_if_free, with_collection
from tasks.backfill_sessions import SessionLog, with_sessions
from tasks.default_model import install_default_model
from tasks.describe import describe_partition
from tasks.encode import encode_partition, partitions_to_encode
from tasks.ledger import UnrecordedRun, begin_run
from tasks.model_in_force import check_model
from tasks.promotion import promote
from tasks.promotion_plan import check_complete, generation_before, plan_promotion

SETTINGS = {
    "front_end": "numba",
    "partitions": {"max_tracks": 3},
    "models": {"training": {"n_threads": 1}},
}
CONFIG = parse_config(SETTINGS, source="the tests")
ENDED = 0
REFUSED = 3
BROKEN = 4


class OneProcess(Workers):
    """Works through partitions one after another in this process.

    Parameters
    ----------
    limit : int, optional
        Partitions after which the time is over.
    """

    def __init__(self, limit=None):
        super().__init__(ClusterSettings(n_workers=1))
        self.left = limit

    def fan_out(self, function, queue):
        """Call a function with each tuple of arguments."""
        while queue and not self.is_over():
            if self.left is not None:
                self.left -= 1
            arguments = queue.popleft()
            yield arguments, function(*arguments)
        queue.clear()

    def is_over(self):
        """Tell whether nothing more may begin."""
        return self.left is not None and self.left <= 0


def night(store, roots, labels, *, allow_shrink=False):
    """Run a night; give what it published."""
    found = scan_stage(store, roots, labels, Reporter(), max_file_mb=CONFIG.decode.max_file_mb)
    check_model(store, found.catalogue, CONFIG)
    with begin_run(store, create=True) as run:
        tonight = _night(store, run)
        plan_stage(tonight, found.catalogue, allow_shrink=allow_shrink)
        _work_and_publish(tonight)
    return tonight.published


def _night(store, run, workers=None):
    return Night(
        store=store, config=CONFIG, run=run, workers=workers or OneProcess(), reporter=Reporter()
    )


def _work_and_publish(tonight):
    extract_stage(tonight)
    describe_stage(tonight)
    train_stage(tonight, retrain=False, device="cpu")
    encode_stage(tonight)
    index_stage(tonight)


STEPS = {"extract": extract_stage, "describe": describe_stage, "encode": encode_stage}


def fill(store, request, limit=None):
    """Work on a backfill, at most `limit` partitions of it; tell whether it is complete."""
    order = order_of(store, request)
    with working_beside_runs(store, order):
        scan = partial(_scan, store, order)
        state, _ = resume_or_begin(store, order, CONFIG, scan, write=True)
        log = SessionLog(store, state)
        workers = OneProcess(limit)
        tonight = _night(store, UnrecordedRun(), workers)
        tonight.feature_fingerprint = state.feature_fingerprint
        tonight.on_partition = log.finished
        try:
            _work_through(tonight, log, workers)
        finally:
            state = log.close()
        is_complete = progress_of(store, state).is_complete
    if is_complete:
        with run_if_free(store) as run:
            assert run is not None
            _conclude(store, order, run)
    return is_complete


def _scan(store, order, collection):
    return scan_collection_stage(
        store,
        collection,
        Reporter(),
        backfill=order.name,
        max_file_mb=CONFIG.decode.max_file_mb,
    )


def _work_through(tonight, log, workers):
    store, before = tonight.store, None
    while True:
        for step in log.state.steps:
            work = work_left(store, log.state)
            tonight.plan = plan_of(log.state, work)
            tonight.only = work.partition_ids
            STEPS[step](tonight)
            if workers.is_over():
                return
        work_left(store, log.state)
        left = unfinished_partitions(store, log.state)
        assert not left or left != before, left
        before = left
        if not left and not extend(store, log.state, CONFIG):
            return


def _conclude(store, order, run):
    if order.collection is not None:
        with registered(store, order.collection):
            tonight = _night(store, run)
            found = _scan(store, order, order.collection)
            catalogue = with_collection(store, order.collection, found.catalogue)
            check_model(store, catalogue, CONFIG)
            plan_stage(tonight, catalogue)
            _work_and_publish(tonight)
    run.record = with_sessions(run.record, store, order.name)
    end(store, order.name)


def abandon_backfill(store, request):
    """Give a backfill up."""
    abandon(store, order_of(store, request))


def has_open_backfill(store, name):
    """Tell whether a backfill is begun and not complete."""
    state = read_backfill(open_store(store), name)
    return state is not None and state.is_open


def add_candidate(store, n_bits):
    """Store the default model with codes of another length; give its generation."""
    network = CONFIG.models.crnn_hash.model_copy(update={"n_bits": n_bits})
    models = CONFIG.models.model_copy(update={"crnn_hash": network})
    with begin_run(store, kind="train"):
        generation, _ = install_default_model(
            open_store(store), CONFIG.model_copy(update={"models": models})
        )
    return generation


def promote_generation(store, generation):
    """Publish with the codes of another generation."""
    check_complete(plan_promotion(store, generation))
    with begin_run(store, kind="promote") as run:
        promoted = promote(store, run.record, generation)
        run.record = promoted.record
    return promoted


def roll_generation_back(store):
    """Publish with the codes of the generation before, and make those that are missing."""
    with begin_run(store, kind="rollback") as run:
        plan = plan_promotion(store, generation_before(store))
        if not plan.n_unextracted:
            for name in plan.to_describe:
                describe_partition(store, name, plan.feature_fingerprint)
            for name in plan.to_encode:
                encode_partition(store, name, plan.feature_fingerprint, plan.generation)
        promoted = promote(store, run.record, plan.generation)
        run.record = promoted.record
    return promoted


def encode_missing(store, generation):
    """Make the codes of a generation that are not there."""
    fingerprint = CONFIG.feature_fingerprint
    with begin_run(store, kind="encode"):
        for name in partitions_to_encode(store, fingerprint, generation)[0]:
            encode_partition(store, name, fingerprint, generation)


def die_around(name, n_more):
    """Let this process die so many file operations after the first on files of some name."""
    left = None

    def hook(event, arguments):
        nonlocal left
        if event not in OPERATIONS:
            return
        if event == "open" and not (arguments[2] or 0) & WRITING:
            return
        if left is None and any(str(argument).endswith(name) for argument in arguments):
            left = n_more
        if left == 0:
            os._exit(KILLED)
        if left is not None:
            left -= 1

    sys.addaudithook(hook)


def die_at(point, root, action):
    """Run an action in a forked process that dies before one of its file operations.

    Parameters
    ----------
    point : int or (str, int)
        Number of the operation below `root`; or the end of a path, and how many operations after
        the first on such a path.

    Returns
    -------
    "killed", "refused" or "ended"
        Refused is what an error on purpose makes of it; any other error is raised here.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        said, status = b"", ENDED
        try:
            if isinstance(point, int):
                die_before(point, root)
            else:
                die_around(*point)
            action()
        except MusicHashError:
            status = REFUSED
        except BaseException:  # noqa: BLE001 - the parent says it
            said, status = traceback.format_exc().encode(), BROKEN
        os.write(writer, said[-4000:])
        os._exit(status)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read().decode()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status not in {ENDED, REFUSED, KILLED}:
        raise AssertionError(f"it ended with {status}: {said}")
    return {ENDED: "ended", REFUSED: "refused", KILLED: "killed"}[status]
