"""The work that a plan leaves to each stage, as the estimate of its cost takes it.

Public: `stage_loads`, `ExtractedLoads`.
"""

from collections.abc import Collection

import pyarrow as pa

from musichash_core.config import PipelineConfig
from musichash_core.descriptors import description_fingerprint
from storage.layout import StoreLayout
from storage.receipts import finished_partitions
from tasks.changes import Changes
from tasks.estimates import Load
from tasks.partitioning import PlannedPartitions
from tasks.sums_by_name import SumsByName


class ExtractedLoads:
    """Adds up the tracks of extracted partitions, and their seconds of audio."""

    def __init__(self) -> None:
        self._sums = SumsByName(1)
        self._left_out: set[str] = set()

    def add(self, facts: pa.Table) -> None:
        """Add some tracks: columns ``partition_id`` and ``duration_s``."""
        self._sums.add(facts["partition_id"].combine_chunks(), facts["duration_s"].to_numpy())

    def leave_out(self, partition_ids: Collection[str]) -> None:
        """Pass by some partitions from now on: those that are left to others."""
        self._left_out.update(partition_ids)

    def without(self, finished: Collection[str]) -> list[Load]:
        """Give the partitions that are not among the finished ones, by name."""
        places = self._sums.places
        at = [places[name] for name in sorted(places.keys() - self._left_out - set(finished))]
        return list(map(Load, self._sums.counts[at].tolist(), self._sums.sums[0, at].tolist()))


def stage_loads(
    layout: StoreLayout | None,
    extracted: ExtractedLoads,
    changes: Changes,
    partitions: PlannedPartitions,
    config: PipelineConfig,
    generation: str | None,
) -> dict[str, list[Load]]:
    """Give the work of each stage, partition by partition.

    Parameters
    ----------
    layout : StoreLayout or None
        The store; None where it does not exist yet.
    extracted : ExtractedLoads
        The catalogue's tracks and others that are extracted.
    partitions : PlannedPartitions
        Those to extract.
    generation : str or None
        The model to encode with; None where one is trained or installed first.
    """
    new = list(map(Load, partitions.n_tracks, partitions.estimated_s))
    loads = {
        "extract": sorted(new, key=lambda load: -load.audio_s),
        "train": [] if generation is not None else [Load(changes.n_labelled, 0.0)],
        "index": [Load(changes.n_tracks, 0.0)],
        "report": [Load(changes.n_tracks, 0.0)],
    }
    finished: dict[str, list[str]] = {"describe": [], "encode": []}
    fingerprint = config.feature_fingerprint
    if layout is not None:
        described = layout.descriptions_root(fingerprint, description_fingerprint())
        finished["describe"] = finished_partitions(described)
        if generation is not None:
            finished["encode"] = finished_partitions(layout.encoded_root(generation))
    if config.models.encoder == "musicnn":
        loads["describe"] = extracted.without(finished["describe"]) + new
    loads["encode"] = extracted.without(finished["encode"]) + new
    return loads
