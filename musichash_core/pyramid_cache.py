"""Pyramids of training and validation segments, computed once on the frozen encoder and kept.

The encoder does not change while the hashing network learns, so each segment goes through it once.
Pyramids are kept in memory as float16; `HashStageConfig.max_cached` bounds how many.

Public: `FrozenEncoder`, `PyramidSource`, `PyramidCache`, `TrainingCrops`, `cache_training_crops`,
`EvenSegments`, `cache_even_segments`, `cache_tracks`, `feature_maps_of`, `pyramid_of`.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from musichash_core.augmentation import random_segments
from musichash_core.crnn_hash import CRNNHash, Pyramid
from musichash_core.model_config import ModelConfig
from musichash_core.segments import SegmentConfig, TrackFrames, cut_segments, segment_starts
from musichash_core.training_data import TrainingData

ENCODER_BATCH = 32
"""Segments per encoder call; bounds the memory of its maps."""


class FrozenEncoder(Protocol):
    """What is read of an encoder, be it `musichash_core.genre_cnn.GenreCNN` or another.

    Attributes
    ----------
    input_mean : Tensor
        On the encoder's device.
    """

    input_mean: Tensor

    def feature_maps(self, segments: Tensor, /) -> list[Tensor]:
        """Compute the maps of segments, ``(n_segments, n_channels, n_mels, n_frames)``."""


class PyramidSource(Protocol):
    """Pyramids of many segments, by row."""

    def __len__(self) -> int:
        """Give the number of segments."""

    def read(self, rows: NDArray[np.int64], device: torch.device) -> Pyramid:
        """Give some segments' pyramids as float32 on a device."""


class PyramidCache:
    """Pyramids of many segments, in memory, as float16.

    One segment of the default networks takes 34.6 kB (120 maps of 12 x 12) and 7.7 kB (means).

    Parameters
    ----------
    parts : iterable of Pyramid
        In row order; any float dtype, any device. Taken one by one. At least one.
    n_rows : >= 1
        Segments in all parts.
    """

    def __init__(self, parts: Iterable[Pyramid], n_rows: int) -> None:
        filled = 0
        for part in parts:
            if not filled:
                self._maps = torch.empty((n_rows, *part.maps.shape[1:]), dtype=torch.float16)
                self._pooled = torch.empty((n_rows, *part.pooled.shape[1:]), dtype=torch.float16)
            rows = slice(filled, filled + len(part.maps))
            self._maps[rows] = part.maps
            self._pooled[rows] = part.pooled
            filled += len(part.maps)
        assert filled == n_rows

    def __len__(self) -> int:
        return len(self._maps)

    def read(self, rows: NDArray[np.int64], device: torch.device) -> Pyramid:
        """Give some segments' pyramids as float32 on a device."""
        index = torch.from_numpy(rows)
        maps, pooled = self._maps[index], self._pooled[index]
        return Pyramid(maps.to(device).float(), pooled.to(device).float())


@dataclass(frozen=True, slots=True)
class TrainingCrops:
    """Random crops of training tracks.

    Attributes
    ----------
    positions : (n_tracks,) int64
        In ``data.tracks``: all training tracks, or a random part that memory has room for.
    n_crops : int
        Per track.
    cache : PyramidSource
        Row ``i * n_crops + j`` is crop j of the track at ``positions[i]``.
    """

    positions: NDArray[np.int64]
    n_crops: int
    cache: PyramidSource


def cache_training_crops(
    model: CRNNHash,
    genre_cnn: FrozenEncoder,
    data: TrainingData,
    config: ModelConfig,
    rng: np.random.Generator,
) -> TrainingCrops:
    """Compute the pyramids of random, randomly changed crops of the training tracks.

    Memory is bounded by fewer crops per track first (at least two), then by fewer tracks.
    """
    stage = config.training.hash_stage
    positions = data.split.train
    if 2 * len(positions) > stage.max_cached:
        positions = np.sort(rng.permutation(positions)[: stage.max_cached // 2])
    n_crops = max(2, min(stage.cached_crops, stage.max_cached // len(positions)))
    tracks = [data.tracks[i] for i in positions for _ in range(n_crops)]

    def parts() -> Iterator[Pyramid]:
        for first in range(0, len(tracks), ENCODER_BATCH):
            some = tracks[first : first + ENCODER_BATCH]
            cut = random_segments(some, config.segments, config.training.augmentation, rng)
            yield pyramid_of(model, genre_cnn, cut)

    return TrainingCrops(positions, n_crops, PyramidCache(parts(), len(tracks)))


@dataclass(frozen=True, slots=True)
class EvenSegments:
    """Evenly spaced segments of tracks, without random changes.

    Attributes
    ----------
    positions : (n_tracks,) int64
        In ``data.tracks``.
    lengths : tuple of int
        Segments of each track.
    cache : PyramidSource
        Track by track.
    """

    positions: NDArray[np.int64]
    lengths: tuple[int, ...]
    cache: PyramidSource


def cache_even_segments(
    model: CRNNHash,
    genre_cnn: FrozenEncoder,
    data: TrainingData,
    positions: NDArray[np.int64],
    config: ModelConfig,
) -> EvenSegments:
    """Compute the pyramids of `HashStageConfig.validation_segments` segments per track.

    Parameters
    ----------
    positions : (n_tracks,) int64
        At least one. Evenly spaced ones of them are used when memory has no room for all.
    """
    stage = config.training.hash_stage
    room = max(2, stage.max_cached // stage.validation_segments)
    if len(positions) > room:
        positions = positions[np.linspace(0, len(positions) - 1, room).astype(np.int64)]
    segments = config.segments.model_copy(update={"max_per_track": stage.validation_segments})
    return cache_tracks(model, genre_cnn, data.tracks, positions, segments)


def cache_tracks(
    model: CRNNHash,
    genre_cnn: FrozenEncoder,
    tracks: Sequence[TrackFrames],
    positions: NDArray[np.int64],
    segments: SegmentConfig,
) -> EvenSegments:
    """Compute the pyramids of all the segments that describe some tracks.

    Parameters
    ----------
    positions : (n_tracks,) int64
        In `tracks`; at least one.
    """
    starts = [segment_starts(len(tracks[i].frames), segments) for i in positions]
    lengths = tuple(len(one) for one in starts)
    parts = (
        pyramid_of(model, genre_cnn, cut_segments(tracks[i], one, segments))
        for i, one in zip(positions, starts, strict=True)
    )
    return EvenSegments(positions, lengths, PyramidCache(parts, sum(lengths)))


@torch.inference_mode()
def feature_maps_of(genre_cnn: FrozenEncoder, segments: NDArray[np.float32]) -> list[Tensor]:
    """Run the frozen encoder, on its device, over ``(n, n_channels, n_mels, n_frames)``."""
    return genre_cnn.feature_maps(torch.from_numpy(segments).to(genre_cnn.input_mean.device))


@torch.inference_mode()
def pyramid_of(model: CRNNHash, genre_cnn: FrozenEncoder, segments: NDArray[np.float32]) -> Pyramid:
    """Compute the pyramids of a batch of segments, on the encoder's device."""
    return model.pyramid(feature_maps_of(genre_cnn, segments))
