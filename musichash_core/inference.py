"""Trained models -> genre probabilities and hash logits of a track; models <-> tensors.

A track is computed on its own, so that its result never depends on the tracks beside it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from musichash_core.crnn_hash import CRNNHash
from musichash_core.errors import ParameterError
from musichash_core.genre_cnn import GenreCNN
from musichash_core.model_config import ModelConfig
from musichash_core.segment_codes import WindowCodes
from musichash_core.segments import TrackFrames, cut_segments, segment_starts

SEGMENTS_PER_BATCH = 16
"""Bounds memory, to about 150 MB of maps in the default networks; larger is not faster."""


@dataclass(frozen=True, slots=True)
class MusicModels:
    """The two models that encode a track, and what is needed to use them.

    Attributes
    ----------
    genre_cnn : GenreCNN
    crnn_hash : CRNNHash
    genres : tuple of str
        Names of the genre logits.
    config : ModelConfig
    """

    genre_cnn: GenreCNN
    crnn_hash: CRNNHash
    genres: tuple[str, ...]
    config: ModelConfig


@dataclass(frozen=True, slots=True)
class EncodedTrack:
    """What the models say about one track.

    Attributes
    ----------
    probabilities : (n_genres,) float32
        Softmax of the mean of the segments' log-probabilities; sums to 1.
    hash_logits : (n_bits,) float32
        Mean over segments of ``u``; signs are the track's code.
    n_segments : int
    n_genres : int, optional
        How many of the probabilities are those of genres, the first ones; the others are of tags
        such as "female vocalists". All by default.
    windows : WindowCodes, optional
        Codes of its windows, which no model has a part in.
    """

    probabilities: NDArray[np.float32]
    hash_logits: NDArray[np.float32]
    n_segments: int
    n_genres: int | None = None
    windows: WindowCodes | None = None

    @property
    def genre(self) -> int:
        """Position of the most probable genre; the first of equals."""
        return int(self.probabilities[: self.n_genres].argmax())


def encode_track(models: MusicModels, track: TrackFrames) -> EncodedTrack:
    """Compute a track's genre probabilities and hash logits from evenly spaced segments.

    Parameters
    ----------
    track : TrackFrames
        Its frames must have the channels and mel bands that the models were built for.

    Raises
    ------
    ParameterError
        The frames have another shape, there are none, or a model's output is not finite.
    """
    n_channels, n_mels = models.genre_cnn.n_channels, models.genre_cnn.n_mels
    if track.frames.ndim != 3 or track.frames.shape[1:] != (n_channels, n_mels):
        raise ParameterError(
            f"frames of shape {track.frames.shape} for track {track.track_id}: want "
            f"(n_frames, {n_channels}, {n_mels}); features and model do not belong together"
        )
    starts = segment_starts(len(track.frames), models.config.segments)
    log_probabilities, hash_logits = [], []
    for first in range(0, len(starts), SEGMENTS_PER_BATCH):
        some = starts[first : first + SEGMENTS_PER_BATCH]
        segments = torch.from_numpy(cut_segments(track, some, models.config.segments))
        log_p, logits = encode_segments(models, segments)
        log_probabilities.append(log_p)
        hash_logits.append(logits)
    mean_log_p = torch.cat(log_probabilities).double().mean(dim=0)
    mean_logits = torch.cat(hash_logits).double().mean(dim=0)
    if not (mean_log_p.isfinite().all() and mean_logits.isfinite().all()):
        raise ParameterError(f"the models gave NaN or infinity for track {track.track_id}")
    are_tags = models.config.label_kind == "tags"  # of which several may be likely
    probabilities = mean_log_p.exp() if are_tags else mean_log_p.softmax(dim=0)
    return EncodedTrack(
        probabilities=probabilities.float().numpy(),
        hash_logits=mean_logits.float().numpy(),
        n_segments=len(starts),
    )


@torch.inference_mode()
def encode_segments(models: MusicModels, segments: Tensor) -> tuple[Tensor, Tensor]:
    """Compute log-probabilities and hash logits of a batch of segments.

    Parameters
    ----------
    segments : (n_segments, n_channels, n_mels, n_frames) float32
        On any device.

    Returns
    -------
    log_probabilities : (n_segments, n_genres) float32
    hash_logits : (n_segments, n_bits) float32
        Both on the CPU.
    """
    models.genre_cnn.eval()
    models.crnn_hash.eval()
    maps = models.genre_cnn.feature_maps(segments.to(models.genre_cnn.input_mean.device))
    genre_logits = models.genre_cnn.classify(maps[-1])
    are_tags = models.config.label_kind == "tags"
    log_p = functional.logsigmoid(genre_logits) if are_tags else genre_logits.log_softmax(dim=1)
    logits = models.crnn_hash(models.crnn_hash.pyramid(maps)).logits
    return log_p.cpu(), logits.cpu()


def build_models(
    config: ModelConfig, genres: Sequence[str], *, n_channels: int, n_mels: int
) -> MusicModels:
    """Build both models with arbitrary weights, in evaluation mode, on the CPU.

    Parameters
    ----------
    genres : sequence of str
        Names of the genre logits, in order.
    n_channels, n_mels : >= 1
        Shape of the features.
    """
    with torch.random.fork_rng(devices=[]):
        genre_cnn = GenreCNN(
            config.genre_cnn, n_channels=n_channels, n_mels=n_mels, n_genres=len(genres)
        )
        crnn_hash = CRNNHash(config.crnn_hash, widths=config.genre_cnn.widths, n_genres=len(genres))
    return MusicModels(genre_cnn.eval(), crnn_hash.eval(), tuple(genres), config)


def models_to_tensors(models: MusicModels) -> dict[str, Tensor]:
    """Give all weights and buffers under ``genre_cnn.*`` and ``crnn_hash.*``, copied to the CPU."""
    tensors: dict[str, Tensor] = {}
    for prefix, model in _named_models(models):
        for name, value in model.state_dict().items():
            tensors[f"{prefix}.{name}"] = value.detach().cpu().clone().contiguous()
    return tensors


def models_from_tensors(
    tensors: Mapping[str, Tensor],
    config: ModelConfig,
    genres: Sequence[str],
    *,
    n_channels: int,
    n_mels: int,
) -> MusicModels:
    """Build both models and put in the weights that `models_to_tensors` gave.

    Raises
    ------
    ParameterError
        A tensor is missing, left over or of another shape.
    """
    models = build_models(config, genres, n_channels=n_channels, n_mels=n_mels)
    known = {
        f"{prefix}.{name}" for prefix, model in _named_models(models) for name in model.state_dict()
    }
    if known != tensors.keys():
        raise ParameterError(
            f"weights do not fit the configuration: missing {sorted(known - tensors.keys())[:3]}, "
            f"left over {sorted(tensors.keys() - known)[:3]}"
        )
    for prefix, model in _named_models(models):
        own = {name: tensors[f"{prefix}.{name}"] for name in model.state_dict()}
        try:
            model.load_state_dict(own)
        except RuntimeError as error:
            raise ParameterError(f"weights do not fit the configuration: {error}") from error
    return models


def _named_models(models: MusicModels) -> tuple[tuple[str, nn.Module], ...]:
    """Pair each model with the prefix of its tensors."""
    return (("genre_cnn", models.genre_cnn), ("crnn_hash", models.crnn_hash))
