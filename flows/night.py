"""The state of one run, passed from stage to stage.

Public: `Night`.
"""

import logging
from collections.abc import Callable

from flows.cluster import Workers
from flows.progress import Reporter
from musichash_core.config import PipelineConfig
from musichash_core.records import PartitionSummary, StageSummary
from tasks.index import Published
from tasks.ledger import OpenRun, UnrecordedRun, with_stage
from tasks.plan import Plan

log = logging.getLogger(f"musichash.{__name__}")


class Night:
    """One run on one store, passed from stage to stage.

    Deliberately no dataclass: Prefect looks into the records that tasks are given, and this one
    may come to hold the plan of millions of tracks.

    Parameters
    ----------
    store : str
        Store root.
    config : PipelineConfig
        What to compute.
    run : OpenRun or UnrecordedRun
        The run in the ledger; a backfill records its run when it is complete.
    workers : Workers
        Who computes.
    reporter : Reporter
        Who is told.

    Attributes
    ----------
    feature_fingerprint : str
        Of the features to make or read: those of the configuration.
    only : frozenset of str or None
        Partitions to describe and encode; None is all that the catalogue needs.
    generation : str or None
        Model generation to encode with; None is that of the plan.
    on_partition : callable
        Told of each partition that a stage has finished.
    plan : Plan or None
        Set by `plan_stage`.
    n_done : int
        Tracks extracted by this run.
    published : Published or None
        Set by `index_stage`.
    summaries : list of StageSummary
        One per finished stage.
    """

    def __init__(
        self,
        *,
        store: str,
        config: PipelineConfig,
        run: OpenRun | UnrecordedRun,
        workers: Workers,
        reporter: Reporter,
    ) -> None:
        self.store = store
        self.config = config
        self.run = run
        self.workers = workers
        self.reporter = reporter
        self.feature_fingerprint = config.feature_fingerprint
        self.only: frozenset[str] | None = None
        self.generation: str | None = None
        self.on_partition: Callable[[str, PartitionSummary], None] = _ignore
        self.plan: Plan | None = None
        self.n_done = 0
        self.published: Published | None = None
        self.summaries: list[StageSummary] = []

    def finish(self, summary: StageSummary, sentence: str) -> StageSummary:
        """Keep a stage's summary, add it to the ledger's record, and tell the operator."""
        self.run.record = with_stage(self.run.record, summary)
        self.summaries.append(summary)
        named = {"event": "stage-finished", "stage": summary.stage}
        log.info("%s", sentence, extra={**named, **_logged(summary)})
        self.reporter.finish(summary.stage, sentence)
        return summary


def _logged(summary: StageSummary) -> dict[str, float]:
    """Give the numbers of a stage that say something: none is logged for being zero."""
    return {name: number for name, number in summary.numbers.items() if number}


def _ignore(_stage: str, _summary: PartitionSummary) -> None:
    """Keep nothing: a night's stages sum up their partitions themselves."""
