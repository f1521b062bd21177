"""Stage 3, extract: decode the tracks of a partition and store their features.

A track that cannot be used becomes a failure row; anything else that goes wrong is an error of the
machine or a bug, and stops the partition. Public: `extract_partition`, `quarantine_track`.
"""

import logging
import time
from collections.abc import Iterator
from pathlib import Path

from musichash_core.config import PipelineConfig
from musichash_core.errors import DecodeError
from musichash_core.process_memory import peak_memory_bytes
from musichash_core.records import Partition, PartitionSummary, TrackFailure, WorkItem
from storage.feature_store import FeaturePartitionWriter
from storage.log_lines import ROOT_LOGGER
from storage.store import open_store
from tasks.front_end import choose_front_end
from tasks.resources import decoder_box
from tasks.run_logs import log_partition
from tasks.track_extraction import Outcome, batch_tracks, stream_tracks

log = logging.getLogger(f"{ROOT_LOGGER}.{__name__}")


def extract_partition(store: str, partition: Partition, config: PipelineConfig) -> PartitionSummary:
    """Decode and store the features of one partition.

    Safe to repeat and to run twice at once: the first finished folder stays.
    """
    box = decoder_box(config.decode)
    started, clock = time.process_time() + box.cpu_s, time.perf_counter()
    folder = _folder(store, partition, config)
    n_failed = 0
    audio_s = 0.0
    with _writer(folder, config) as writer:
        for item, outcome in _outcomes(partition, config, writer):
            if isinstance(outcome, DecodeError):
                _fail(writer, partition, _failure(item, outcome.code, str(outcome)))
                n_failed += 1
            else:
                writer.finish_track(outcome)
                audio_s += outcome.duration_s
    summary = PartitionSummary(
        partition_id=partition.partition_id,
        n_done=len(partition.items) - n_failed,
        n_failed=n_failed,
        audio_s=audio_s,
        cpu_s=time.process_time() + box.cpu_s - started,
        n_bytes=sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
        peak_memory_bytes=peak_memory_bytes() + box.peak_memory_bytes,
    )
    log_partition("extract", summary, time.perf_counter() - clock)
    return summary


def _folder(store: str, partition: Partition, config: PipelineConfig) -> Path:
    layout = open_store(store)
    return layout.feature_partition_path(config.feature_fingerprint, partition.partition_id)


def _writer(folder: Path, config: PipelineConfig) -> FeaturePartitionWriter:
    return FeaturePartitionWriter(
        folder,
        fingerprint=config.feature_fingerprint,
        n_mels=config.features.n_mels,
        with_tagger_mel=config.features.tagger_mel,
    )


def _outcomes(
    partition: Partition, config: PipelineConfig, writer: FeaturePartitionWriter
) -> Iterator[tuple[WorkItem, Outcome]]:
    front_end = choose_front_end(config.front_end, config.features)
    if front_end.name == "torch":
        return batch_tracks(partition.items, config, writer, front_end.device)
    return stream_tracks(partition.items, config, writer)


def _fail(writer: FeaturePartitionWriter, partition: Partition, failure: TrackFailure) -> None:
    """Make a track a failure row, and log it."""
    writer.fail_track(failure)
    log.warning(
        "%s failed: %s",
        failure.path,
        failure.message,
        extra={
            "event": "track-failed",
            "stage": "extract",
            "partition": partition.partition_id,
            "track": failure.track_id,
            "path": failure.path,
            "code": failure.code,
        },
    )


def _failure(item: WorkItem, code: str, message: str) -> TrackFailure:
    return TrackFailure(
        track_id=item.file.track_id,
        path=f"{item.file.root}/{item.file.path}",
        stage="extract",
        code=code,
        message=message,
        attempts=item.attempts + 1,
    )


def quarantine_track(
    store: str, partition: Partition, config: PipelineConfig, reason: str
) -> PartitionSummary:
    """Record that extracting the one track of a partition killed its worker.

    The track is set aside: it is tried again only with ``--retry-failed`` or when its bytes change.
    """
    folder = _folder(store, partition, config)
    (item,) = partition.items
    with _writer(folder, config) as writer:
        _fail(writer, partition, _failure(item, "decoder-crashed", reason))
    return PartitionSummary(partition.partition_id, n_done=0, n_failed=1)
