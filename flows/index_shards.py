"""The lists of an index, built side by side: a shard is a unit of work of a worker.

Public: `shard_builder`.
"""

from collections import deque
from collections.abc import Callable
from typing import Any

from distributed.scheduler import KilledWorker

from flows.cluster import Workers
from flows.progress import Reporter
from musichash_core.errors import MusicHashError
from tasks.index_shards import (
    ShardBuilt,
    begin_shards,
    build_index_shard,
    forget_shards,
    merge_index_shards,
)

STAGE = "index"


class DeadlyShardError(MusicHashError):
    """A shard kills each worker that builds it."""


def shard_builder(
    store: str, snapshot: int, workers: Workers, reporter: Reporter
) -> Callable[[Any, Any], bytes]:
    """Make what builds the lists of an index on workers.

    Parameters
    ----------
    snapshot : int
        Number of the one whose codes table is indexed: workers read it themselves.

    Returns
    -------
    callable
        Takes the codes and the parameters of an index, and gives its file: to the byte that which
        one process would build.
    """

    def build(codes: Any, parameters: Any) -> bytes:  # noqa: ANN401 - arrays are for the tasks
        reporter.say(f"{STAGE}: finding centroids for {len(codes):,} codes")
        n_workers = len(workers.client.nthreads())
        shards = begin_shards(store, snapshot, codes, parameters, n_workers=n_workers)
        reporter.start(STAGE, shards.n_shards, "shards")
        built: list[ShardBuilt] = []
        try:
            queue = deque(shards.arguments())
            for (_, number), outcome in workers.fan_out(build_index_shard, queue):
                if isinstance(outcome, KilledWorker):
                    raise DeadlyShardError(
                        f"shard {number} of {shards.n_shards} killed its worker repeatedly; give "
                        "workers more memory with --worker-memory"
                    ) from outcome
                built.append(outcome)
                reporter.advance(STAGE, 1)
            data = merge_index_shards(shards, built)
        finally:
            forget_shards(shards)
        n_bytes, cpu_s = len(data), sum(shard.cpu_s for shard in built)
        reporter.finish(
            STAGE,
            f"{shards.n_shards} shards of {shards.n_codes:,} codes merged into "
            f"{n_bytes / 1e6:.1f} MB, {cpu_s:.1f} CPU s on {n_workers} workers",
        )
        return data

    return build
