"""Train networks for an evaluation, and read off them what the other methods are given.

Each network is trained from its own seed, so that a row is the same whether others were made
before it or not. Public: `Encoder`, `train_encoder`, `read_encoder`, `EncoderOutput`,
`train_hash_logits`, `with_channels`, `PooledMaps`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from musichash_core.compute_device import choose_device, reproducible_torch
from musichash_core.genre_cnn import GenreCNN
from musichash_core.genre_training import train_genre_cnn
from musichash_core.hash_training import train_crnn_hash
from musichash_core.inference import MusicModels, encode_track
from musichash_core.model_config import ModelConfig
from musichash_core.segments import FrameSource, TrackFrames, cut_segments, segment_starts
from musichash_core.training_data import TrainingData, prepare_training_data
from musichash_core.training_records import StageSummary, TrainingEvent
from musichash_core.training_state import TrainingSession, training_identity
from tasks.evaluation_tracks import EvaluationTracks

PooledMaps = Literal["last", "all", "descriptors"]
"""What the baselines read: pooled maps of the classifier's own block, or of all blocks; or,
with the pretrained encoder, a track's vector."""

SEGMENTS_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Encoder:
    """A trained genre network and what it was trained on.

    Attributes
    ----------
    genre_cnn : GenreCNN
        On `device`, in evaluation mode.
    stage : StageSummary
        How it was trained.
    data : TrainingData
    config : ModelConfig
        With the seed.
    device : torch.device
    """

    genre_cnn: GenreCNN
    stage: StageSummary
    data: TrainingData
    config: ModelConfig
    device: torch.device


@dataclass(frozen=True, slots=True)
class EncoderOutput:
    """What the encoder says of some tracks, in the order asked for.

    Attributes
    ----------
    features : (n_segments, n_features) float32
        Pooled maps of all segments, track by track.
    track_of_segment : (n_segments,) int64
        Row of the track among those asked for.
    genre : (n_tracks,) int64
        Predicted genre: the largest mean log-probability.
    """

    features: NDArray[np.float32]
    track_of_segment: NDArray[np.int64]
    genre: NDArray[np.int64]


class _ChannelsOf:
    """Frames of some channels of another source, picked when they are read.

    Parameters
    ----------
    frames : FrameSource
    channels : tuple of int
        Of O, H, P; the same one may come several times.
    """

    def __init__(self, frames: FrameSource, channels: tuple[int, ...]) -> None:
        self._frames = frames
        self._channels = list(channels)

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of frames, channels and mel bands."""
        return (len(self._frames), len(self._channels), self._frames.shape[2])

    @property
    def ndim(self) -> int:
        """Number of axes: 3."""
        return 3

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, frames: slice, /) -> NDArray[np.uint8]:
        return np.asarray(self._frames[frames][:, self._channels])


def with_channels(track: TrackFrames, channels: tuple[int, ...]) -> TrackFrames:
    """Give a track of which only some channels are seen.

    Parameters
    ----------
    channels : tuple of int
        0, 1, 2 for original, harmonic, percussive.
    """
    return replace(track, frames=_ChannelsOf(track.frames, channels))


def train_encoder(
    found: EvaluationTracks,
    config: ModelConfig,
    *,
    device: str,
    channels: tuple[int, ...] | None = None,
    on_event: Callable[[TrainingEvent], None],
) -> Encoder:
    """Train the genre network on the training side; validation tracks alone decide when to stop.

    Parameters
    ----------
    channels : tuple of int, optional
        What the network sees, see `with_channels`; all three by default.
    """
    tracks = found.tracks
    if channels is not None:
        tracks = tuple(with_channels(track, channels) for track in tracks)
    data = prepare_training_data(
        tracks, found.labels, found.groups, config.training, split=found.split
    )
    session = TrainingSession(training_identity(data, config), on_event)
    torch_device = choose_device(device)
    with reproducible_torch(config.training.seed, config.training.n_threads, torch_device):
        genre_cnn, stage = train_genre_cnn(data, config, device=torch_device, session=session)
    return Encoder(genre_cnn.eval(), stage, data, config, torch_device)


def read_encoder(
    encoder: Encoder, tracks: list[TrackFrames], *, pooled: PooledMaps = "last"
) -> EncoderOutput:
    """Compute pooled maps of the segments that encoding reads, and the predicted genres.

    Parameters
    ----------
    pooled : "last" or "all"
        Means and maxima of the last block's maps, which is what the genre layer sees (METHOD 3);
        or these and the means of the blocks before it (CTRL-GAP, METHOD 4.3).
    """
    features: list[NDArray[np.float32]] = []
    rows: list[NDArray[np.int64]] = []
    genres: list[int] = []
    with reproducible_torch(
        encoder.config.training.seed, encoder.config.training.n_threads, encoder.device
    ):
        for row, track in enumerate(tracks):
            z, log_p = _read_track(encoder, track, pooled)
            features.append(z)
            rows.append(np.full(len(z), row, dtype=np.int64))
            genres.append(int(log_p.double().mean(dim=0).argmax()))
    return EncoderOutput(
        np.concatenate(features), np.concatenate(rows), np.array(genres, dtype=np.int64)
    )


@torch.inference_mode()
def _read_track(
    encoder: Encoder, track: TrackFrames, pooled: PooledMaps
) -> tuple[NDArray[np.float32], Tensor]:
    """Give pooled maps, ``(n_segments, n_features)``, and log-probabilities of every segment."""
    segments = encoder.config.segments
    starts = segment_starts(len(track.frames), segments)
    z, log_p = [], []
    for first in range(0, len(starts), SEGMENTS_AT_ONCE):
        cut = cut_segments(track, starts[first : first + SEGMENTS_AT_ONCE], segments)
        maps = encoder.genre_cnn.feature_maps(torch.from_numpy(cut).to(encoder.device))
        means = [one.mean(dim=(2, 3)) for one in maps]
        used = means if pooled == "all" else means[-1:]
        z.append(torch.cat([*used, maps[-1].amax(dim=(2, 3))], dim=1).cpu())
        log_p.append(encoder.genre_cnn.classify(maps[-1]).log_softmax(dim=1).cpu())
    return torch.cat(z).numpy(), torch.cat(log_p)


def train_hash_logits(
    encoder: Encoder,
    config: ModelConfig,
    tracks: list[TrackFrames],
    *,
    on_event: Callable[[TrainingEvent], None],
) -> NDArray[np.float32]:
    """Train a hashing network on the frozen encoder; give the tracks' logits, by the track rule.

    Parameters
    ----------
    config : ModelConfig
        Segments, genre network and seed as those of the encoder.

    Returns
    -------
    (n_tracks, n_bits) float32
    """
    data, genre_cnn = encoder.data, encoder.genre_cnn
    session = TrainingSession(training_identity(data, config), on_event)
    with reproducible_torch(config.training.seed, config.training.n_threads, encoder.device):
        crnn_hash, _ = train_crnn_hash(data, genre_cnn, encoder.stage, config, session)
        models = MusicModels(genre_cnn, crnn_hash.eval(), data.genres, config)
        return np.stack([encode_track(models, track).hash_logits for track in tracks])
