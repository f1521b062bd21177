"""From the tracks of a partition to frames in its writer: one by one, or in batches on a device.

Where the configuration asks for the tagger's frames too, they are made from the same decoding, on
the CPU, while the samples come in.

Public: `stream_tracks`, `batch_tracks`, `Outcome`.
"""

import logging
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from musichash_core.config import PipelineConfig
from musichash_core.decode import BoxedStream, check_unchanged, open_beneath
from musichash_core.errors import DecodeError
from musichash_core.features import FeatureExtractor
from musichash_core.records import WorkItem
from storage.feature_store import FeaturePartitionWriter, StoredTrack
from storage.log_lines import ROOT_LOGGER
from tasks.both_feature_sets import samples_and_tagger_frames
from tasks.resources import decoder_box

SILENCE_DB = -120.0
"""Level stored for digital silence, dB re full scale."""

BOX_BROKE = frozenset({"decoder-crashed", "memory"})
"""Failures that an earlier file of the same decoder process may have caused."""

BATCH_AUDIO_S = 600.0
"""Audio collected for one batch on a device; a longer track is streamed instead. Up to twice this
may come together: about 2.6 GB on the device at the default settings."""

log = logging.getLogger(f"{ROOT_LOGGER}.{__name__}")

_T = TypeVar("_T")

Outcome = StoredTrack | DecodeError
"""What became of a track: its facts, or why it cannot be used."""


def stream_tracks(
    items: Iterable[WorkItem], config: PipelineConfig, writer: FeaturePartitionWriter
) -> Iterator[tuple[WorkItem, Outcome]]:
    """Extract tracks one by one, in memory that does not grow with their length.

    The caller gives each outcome to the writer before it asks for the next.
    """
    for item in items:
        try:
            outcome: Outcome = _twice_if_the_box_broke(
                partial(_stream_track, item, config, writer), writer
            )
        except DecodeError as error:
            outcome = error
        yield item, outcome


def _twice_if_the_box_broke(work: Callable[[], _T], writer: FeaturePartitionWriter) -> _T:
    """Give a track a second chance, in a new decoder process, when the first one died over it.

    What killed the process may have been left behind by an earlier file; a track that kills a
    fresh one is guilty.
    """
    try:
        return work()
    except DecodeError as error:
        if error.code not in BOX_BROKE:
            raise
        log.warning(
            "decoding again in a new process: %s",
            error,
            extra={"event": "track-retried", "stage": "extract", "code": error.code},
        )
        writer.drop_unfinished()
        return work()


def _stream_track(
    item: WorkItem, config: PipelineConfig, writer: FeaturePartitionWriter
) -> StoredTrack:
    extractor = FeatureExtractor(config.features)
    n_tagger_frames = 0
    with _open(item, config) as stream:
        for y, tagger_frames in samples_and_tagger_frames(stream, config.features):
            writer.append_frames(extractor.push(y))
            n_tagger_frames += _append_tagger_frames(writer, tagger_frames)
        writer.append_frames(extractor.finish())
        return _facts(
            item,
            stream,
            _extent(writer, extractor.n_frames, n_tagger_frames),
            peak=extractor.peak,
            mean_square=extractor.mean_square,
        )


def _append_tagger_frames(writer: FeaturePartitionWriter, frames: NDArray[np.uint8]) -> int:
    """Give the tagger's frames to a writer that keeps them; give their number."""
    if len(frames):
        writer.append_tagger_frames(frames)
    return len(frames)


def batch_tracks(
    items: Iterable[WorkItem],
    config: PipelineConfig,
    writer: FeaturePartitionWriter,
    device: str,
) -> Iterator[tuple[WorkItem, Outcome]]:
    """Extract tracks in batches on a torch device; tracks too long for one are streamed.

    The caller gives each outcome to the writer before it asks for the next.
    """
    batch = _Batch(config, writer, device)
    for item in items:
        try:
            is_taken = _twice_if_the_box_broke(partial(batch.take, item), writer)
        except DecodeError as error:
            yield from batch.give()
            yield item, error
            continue
        if not is_taken:
            yield from batch.give()
            yield from stream_tracks([item], config, writer)
        elif batch.is_full:
            yield from batch.give()
    yield from batch.give()


class _Batch:
    """Decoded tracks that wait for the device."""

    def __init__(self, config: PipelineConfig, writer: FeaturePartitionWriter, device: str) -> None:
        self._config = config
        self._writer = writer
        self._device = device
        self._waiting: list[
            tuple[WorkItem, BoxedStream, NDArray[np.float32], NDArray[np.uint8]]
        ] = []

    @property
    def _max_samples(self) -> int:
        return int(BATCH_AUDIO_S * self._config.features.sr)

    @property
    def is_full(self) -> bool:
        return sum(len(y) for _, _, y, _ in self._waiting) >= self._max_samples

    def take(self, item: WorkItem) -> bool:
        """Decode a track into the batch; False, and nothing taken, if it is too long."""
        pieces: list[NDArray[np.float32]] = []
        tagger_pieces: list[NDArray[np.uint8]] = []
        with _open(item, self._config) as stream:
            for y, tagger_frames in samples_and_tagger_frames(stream, self._config.features):
                pieces.append(y)
                tagger_pieces.append(tagger_frames)
                if sum(map(len, pieces)) > self._max_samples:
                    return False
            self._waiting.append(
                (item, stream, np.concatenate(pieces), np.concatenate(tagger_pieces))
            )
        return True

    def give(self) -> Iterator[tuple[WorkItem, Outcome]]:
        """Extract what waits and hand it on, in order."""
        import torch

        from musichash_core.features_torch import extract_features_torch

        waiting, self._waiting = self._waiting, []
        tracks: Sequence[NDArray[np.uint8]] = extract_features_torch(
            [y for _, _, y, _ in waiting], self._config.features, device=torch.device(self._device)
        )
        for (item, stream, y, tagger_frames), frames in zip(waiting, tracks, strict=True):
            self._writer.append_frames(frames)
            _append_tagger_frames(self._writer, tagger_frames)
            yield (
                item,
                _facts(
                    item,
                    stream,
                    _extent(self._writer, len(frames), len(tagger_frames)),
                    peak=float(np.maximum(y.max(), -y.min())),
                    mean_square=float(np.square(y, dtype=np.float64).mean()),
                ),
            )


def _open(item: WorkItem, config: PipelineConfig) -> BoxedStream:
    descriptor = open_beneath(item.file.root, item.file.path_raw)
    try:
        check_unchanged(descriptor, item.file.n_bytes, item.file.mtime_ns)
    except DecodeError:
        os.close(descriptor)
        raise
    return decoder_box(config.decode).open(descriptor)


@dataclass(frozen=True, slots=True)
class _Extent:
    """Where the frames of a track lie in its partition."""

    first_frame: int
    n_frames: int
    first_tagger_frame: int | None
    n_tagger_frames: int | None


def _extent(writer: FeaturePartitionWriter, n_frames: int, n_tagger_frames: int) -> _Extent:
    """Place a track behind those that the writer has."""
    first_tagger_frame = writer.n_tagger_frames
    return _Extent(
        writer.n_frames,
        n_frames,
        first_tagger_frame,
        None if first_tagger_frame is None else n_tagger_frames,
    )


def _facts(
    item: WorkItem, stream: BoxedStream, extent: _Extent, *, peak: float, mean_square: float
) -> StoredTrack:
    return StoredTrack(
        track_id=item.file.track_id,
        first_frame=extent.first_frame,
        n_frames=extent.n_frames,
        duration_s=stream.n_frames / stream.info.sr,
        sr=stream.info.sr,
        n_channels=stream.info.n_channels,
        container=stream.info.container,
        codec=stream.info.codec,
        peak=peak,
        rms_db=_level_db(mean_square),
        warnings=list(stream.warnings),
        tag_title=stream.tags.title,
        tag_artist=stream.tags.artist,
        tag_album=stream.tags.album,
        tag_genre=stream.tags.genre,
        tag_year=stream.tags.year,
        first_tagger_frame=extent.first_tagger_frame,
        n_tagger_frames=extent.n_tagger_frames,
    )


def _level_db(mean_square: float) -> float:
    return max(SILENCE_DB, 10.0 * math.log10(mean_square)) if mean_square > 0 else SILENCE_DB
