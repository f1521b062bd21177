"""Stage 3, extract: decode the tracks of a partition and store their features.

A track that cannot be used becomes a failure row; anything else that goes wrong is an error of the
machine or a bug, and stops the partition. Public: `extract_partition`, `quarantine_track`.
"""

import math
import time

from musichash_core.config import PipelineConfig
from musichash_core.decode import AudioStream, open_beneath
from musichash_core.errors import DecodeError
from musichash_core.features import FeatureExtractor
from musichash_core.records import Partition, PartitionSummary, TrackFailure, WorkItem
from storage.feature_store import FeaturePartitionWriter, StoredTrack
from storage.store import open_store
from tasks.resources import peak_memory_bytes

SILENCE_DB = -120.0
"""Level stored for digital silence, dB re full scale."""


def extract_partition(store: str, partition: Partition, config: PipelineConfig) -> PartitionSummary:
    """Decode and store the features of one partition.

    Safe to repeat and to run twice at once: the first finished folder stays.
    """
    started = time.process_time()
    fingerprint = config.feature_fingerprint
    folder = open_store(store).feature_partition_path(fingerprint, partition.partition_id)
    n_failed = 0
    audio_s = 0.0
    with FeaturePartitionWriter(
        folder, fingerprint=fingerprint, n_mels=config.features.n_mels
    ) as writer:
        for item in partition.items:
            try:
                track = _extract_track(item, config, writer)
            except DecodeError as error:
                writer.fail_track(_failure(item, error.code, str(error)))
                n_failed += 1
            else:
                writer.finish_track(track)
                audio_s += track.duration_s
    return PartitionSummary(
        partition_id=partition.partition_id,
        n_done=len(partition.items) - n_failed,
        n_failed=n_failed,
        audio_s=audio_s,
        cpu_s=time.process_time() - started,
        n_bytes=sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
        peak_memory_bytes=peak_memory_bytes(),
    )


def _extract_track(
    item: WorkItem, config: PipelineConfig, writer: FeaturePartitionWriter
) -> StoredTrack:
    file = item.file
    extractor = FeatureExtractor(config.features)
    descriptor = open_beneath(file.root, file.path_raw)
    with AudioStream(descriptor, config.decode) as stream:
        stream.check_unchanged(file.n_bytes, file.mtime_ns)
        for block in stream.resampled(config.features.sr):
            writer.append_frames(extractor.push(block))
        writer.append_frames(extractor.finish())
        return StoredTrack(
            track_id=file.track_id,
            first_frame=writer.n_frames,
            n_frames=extractor.n_frames,
            duration_s=stream.n_frames / stream.info.sr,
            sr=stream.info.sr,
            n_channels=stream.info.n_channels,
            container=stream.info.container,
            codec=stream.info.codec,
            peak=extractor.peak,
            rms_db=_level_db(extractor.mean_square),
            warnings=list(stream.warnings),
        )


def _level_db(mean_square: float) -> float:
    return max(SILENCE_DB, 10.0 * math.log10(mean_square)) if mean_square > 0 else SILENCE_DB


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
    fingerprint = config.feature_fingerprint
    folder = open_store(store).feature_partition_path(fingerprint, partition.partition_id)
    (item,) = partition.items
    with FeaturePartitionWriter(
        folder, fingerprint=fingerprint, n_mels=config.features.n_mels
    ) as writer:
        writer.fail_track(_failure(item, "decoder-crashed", reason))
    return PartitionSummary(partition.partition_id, n_done=0, n_failed=1)
