"""Cutting the work of a run into partitions: units of minutes that workers are handed one by one.

Public: `partition_work`.
"""

from collections.abc import Sequence

from musichash_core.config import PartitionConfig
from musichash_core.records import Partition, WorkItem, partition_of

SMALL_RUN_PARTITIONS = 16
"""A run with less work than this many full partitions is cut into about this many smaller ones.

Each costs three calls of a worker, and twice as many ended no stage sooner on two workers."""

MIN_PARTITION_AUDIO_S = 60.0


def partition_work(items: Sequence[WorkItem], config: PartitionConfig) -> tuple[Partition, ...]:
    """Cut tracks into partitions by estimated seconds of audio, in the order given."""
    share = sum(item.estimated_s for item in items) / SMALL_RUN_PARTITIONS
    target_s = min(config.max_audio_s, max(MIN_PARTITION_AUDIO_S, share))
    partitions = []
    current: list[WorkItem] = []
    current_s = 0.0
    for item in items:
        is_full = len(current) >= config.max_tracks or current_s + item.estimated_s > target_s
        if current and is_full:
            partitions.append(partition_of(current))
            current, current_s = [], 0.0
        current.append(item)
        current_s += item.estimated_s
    if current:
        partitions.append(partition_of(current))
    return tuple(partitions)
