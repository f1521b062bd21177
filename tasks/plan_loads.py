"""The work that a plan leaves to each stage, as the estimate of its cost takes it.

Public: `stage_loads`.
"""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from musichash_core.config import PipelineConfig
from musichash_core.descriptors import description_fingerprint
from musichash_core.records import Partition
from storage.backfills import partitions_left_to_backfills
from storage.layout import StoreLayout
from storage.receipts import finished_partitions
from tasks.changes import Changes
from tasks.estimates import Load


def stage_loads(
    layout: StoreLayout | None,
    facts: pa.Table,
    changes: Changes,
    partitions: Sequence[Partition],
    config: PipelineConfig,
    generation: str | None,
) -> dict[str, list[Load]]:
    """Give the work of each stage, partition by partition.

    Parameters
    ----------
    layout : StoreLayout or None
        The store; None where it does not exist yet.
    facts : pyarrow.Table
        Of the catalogue's tracks and others that are extracted, with their ``partition_id``.
    partitions : sequence of Partition
        Those to extract.
    generation : str or None
        The model to encode with; None where one is trained or installed first.
    """
    n_tracks = len(changes.tracks)
    new = [Load(len(part.items), part.estimated_s) for part in partitions]
    loads = {
        "extract": sorted(new, key=lambda load: -load.audio_s),
        "train": [] if generation is not None else [Load(changes.n_labelled, 0.0)],
        "index": [Load(n_tracks, 0.0)],
        "report": [Load(n_tracks, 0.0)],
    }
    finished: dict[str, list[str]] = {"describe": [], "encode": []}
    fingerprint = config.feature_fingerprint
    others: list[str] = []
    if layout is not None:
        track_ids = changes.tracks["track_id"]
        others = sorted(partitions_left_to_backfills(layout, fingerprint, track_ids))
        described = layout.descriptions_root(fingerprint, description_fingerprint())
        finished["describe"] = finished_partitions(described)
        if generation is not None:
            finished["encode"] = finished_partitions(layout.encoded_root(generation))
    if config.models.encoder == "musicnn":
        loads["describe"] = _unfinished(facts, finished["describe"] + others) + new
    loads["encode"] = _unfinished(facts, finished["encode"] + others) + new
    return loads


def _unfinished(facts: pa.Table, finished: Sequence[str]) -> list[Load]:
    """Give the extracted partitions that are not among the finished ones."""
    rows = facts.filter(
        pc.invert(pc.is_in(facts["partition_id"], value_set=pa.array(finished, pa.string())))
    )
    grouped = rows.group_by("partition_id").aggregate(
        [("duration_s", "sum"), ("track_id", "count")]
    )
    return [
        Load(row["track_id_count"], row["duration_s_sum"])
        for row in grouped.sort_by("partition_id").to_pylist()
    ]
