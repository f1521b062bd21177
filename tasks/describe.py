"""Stage 4, describe: a few thousand numbers per track, and per half, for descriptor models.

A track's description depends on its features alone, so it is computed once, whatever models are
trained on it later.

Public: `describe_partition`, `partitions_to_describe`, `probe_describing`.
"""

import time
from collections.abc import Container, Iterator
from typing import TYPE_CHECKING

from musichash_core.descriptors import (
    N_DESCRIPTORS,
    TrackDescription,
    describe_with_halves,
    description_fingerprint,
)
from musichash_core.process_memory import peak_memory_bytes
from musichash_core.records import PartitionSummary
from storage.description_store import write_descriptions
from storage.feature_store import FeaturePartition, StoredTrack
from storage.receipts import finished_partitions
from storage.store import open_store
from tasks.resources import tagging_network
from tasks.run_logs import log_partition

if TYPE_CHECKING:  # importing it loads torch, which most stages do not need
    from musichash_core.musicnn.networks import MusiCNN


def partitions_to_describe(store: str, feature_fingerprint: str) -> tuple[list[str], int]:
    """List the feature partitions without descriptions, and count those that have them."""
    layout = open_store(store)
    root = layout.descriptions_root(feature_fingerprint, description_fingerprint())
    done = set(finished_partitions(root))
    extracted = finished_partitions(layout.features_root(feature_fingerprint))
    todo = [partition_id for partition_id in extracted if partition_id not in done]
    return todo, len(extracted) - len(todo)


def describe_partition(store: str, partition_id: str, feature_fingerprint: str) -> PartitionSummary:
    """Compute and store the descriptions of one feature partition.

    Each track is described by itself, so that its rows never depend on its neighbours.

    Raises
    ------
    ArtefactMissingError
        If the partition was extracted without the tagger's frames.
    """
    started, clock = time.process_time(), time.perf_counter()
    layout = open_store(store)
    network = tagging_network()
    partition = FeaturePartition(layout.feature_partition_path(feature_fingerprint, partition_id))
    described = []
    audio_s = 0.0
    for stored, description in _described(network, partition):
        described.append((stored.track_id, description))
        audio_s += stored.duration_s
    folder = layout.description_partition_path(
        feature_fingerprint, description_fingerprint(), partition_id
    )
    write_descriptions(
        folder,
        described,
        fingerprint=folder.parent.name,
        n_descriptors=N_DESCRIPTORS,
        n_tags=len(network.tags),
    )
    summary = PartitionSummary(
        partition_id=partition_id,
        n_done=len(described),
        audio_s=audio_s,
        cpu_s=time.process_time() - started,
        n_bytes=sum(path.stat().st_size for path in folder.iterdir()),
        peak_memory_bytes=peak_memory_bytes(),
    )
    log_partition("describe", summary, time.perf_counter() - clock)
    return summary


def probe_describing(
    store: str, partition_id: str, feature_fingerprint: str, track_ids: tuple[str, ...]
) -> None:
    """Describe some tracks of a partition and store nothing: to find one that kills its worker."""
    folder = open_store(store).feature_partition_path(feature_fingerprint, partition_id)
    for _ in _described(tagging_network(), FeaturePartition(folder), only=track_ids):
        pass


def _described(
    network: "MusiCNN", partition: FeaturePartition, only: Container[str] | None = None
) -> Iterator[tuple[StoredTrack, list[TrackDescription]]]:
    """Describe the tracks of a partition, all of them or some."""
    for (stored, track), (_, tagger_frames) in zip(
        partition.track_frames(), partition.tagger_frames(), strict=True
    ):
        if only is None or stored.track_id in only:
            yield stored, describe_with_halves(network, track, tagger_frames)
