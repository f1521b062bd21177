"""A file of questions, answered here or by several workers.

Public: `search_in_bulk`.
"""

from collections import deque
from collections.abc import Iterator
from functools import partial
from typing import Any

from flows.cluster_settings import ClusterSettings
from flows.progress import Reporter
from musichash_core.errors import MusicHashError
from tasks.search_bulk import (
    BulkQuestion,
    BulkSearch,
    PartAnswered,
    SnapshotGoneError,
    answer_part,
    prepare_bulk,
)

STAGE = "search"
SNAPSHOTS_TRIED = 5
"""Snapshots that may be published and removed during one search before it is given up."""


class DeadlyQueryError(MusicHashError):
    """A part of the questions kills each worker that answers it."""


def search_in_bulk(
    asked: BulkQuestion, *, cluster: ClusterSettings, reporter: Reporter
) -> dict[str, Any]:
    """Answer every question of a file from one snapshot; write the answers in their order.

    Parameters
    ----------
    cluster : ClusterSettings
        One worker, or none named, answers in this process; several, or a scheduler, by Dask.

    Returns
    -------
    dict
        JSON: ``output``, ``snapshot``, ``queries``, ``failed``, ``rows``, ``cpu_s``.

    Raises
    ------
    MusicHashError
        If nothing can be answered at all; a question that cannot is a row of the answers.
    """
    n_workers = cluster.n_workers or 1
    is_here = n_workers == 1 and not (cluster.is_elsewhere or cluster.cuda)
    with prepare_bulk(asked, n_workers=n_workers) as search:
        for left in range(SNAPSHOTS_TRIED, 0, -1):
            reporter.start(STAGE, search.n_queries, "queries")
            try:
                done = list(
                    _answer_here(asked, search, reporter)
                    if is_here
                    else _answer_on_workers(asked, search, cluster, reporter)
                )
                break
            except SnapshotGoneError:  # all of it again, so that no two snapshots are mixed
                if left == 1 or not search.begin_again():
                    raise
        n_rows = search.finish()
    n_failed = sum(part.n_failed for part in done)
    reporter.finish(
        STAGE,
        f"{search.n_queries} queries, {n_failed} without an answer; {n_rows} rows from snapshot "
        f"{search.number} are in {asked.output}",
    )
    return {
        "output": asked.output,
        "snapshot": search.number,
        "queries": search.n_queries,
        "failed": n_failed,
        "rows": n_rows,
        "cpu_s": round(sum(part.cpu_s for part in done), 3),
    }


def _answer_here(
    asked: BulkQuestion, search: BulkSearch, reporter: Reporter
) -> Iterator[PartAnswered]:
    """Answer all parts in this process."""
    on_progress = partial(reporter.advance, STAGE)
    for part in range(search.n_parts):
        yield answer_part(asked, search.number, search.folder, part, on_progress)


def _answer_on_workers(
    asked: BulkQuestion, search: BulkSearch, cluster: ClusterSettings, reporter: Reporter
) -> Iterator[PartAnswered]:
    """Hand the parts out to workers; they come back in any order."""
    from distributed.scheduler import KilledWorker

    from flows.cluster import Workers  # loads Dask, which answering here does not need

    parts = range(search.n_parts)
    queue: deque[tuple[Any, ...]] = deque(
        (asked, search.number, search.folder, part) for part in parts
    )
    with Workers(cluster, folders=[asked.store, search.folder]) as workers:
        for arguments, outcome in workers.fan_out(answer_part, queue):
            if isinstance(outcome, KilledWorker):
                raise DeadlyQueryError(
                    f"part {arguments[3]} of the queries killed its worker each time; give workers "
                    "more memory with --worker-memory, or ask for fewer answers with -k"
                ) from outcome
            reporter.advance(STAGE, outcome.n_queries, outcome.n_failed)
            yield outcome
