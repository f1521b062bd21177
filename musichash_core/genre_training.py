"""Stage 1 of training: the genre network on random segments of labelled tracks (METHOD 3).

With tags instead of genres its outputs are the logits of tags, learned by binary cross-entropy.

Public: `train_genre_cnn`, `input_statistics`.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from musichash_core.augmentation import balanced_draw, random_segments
from musichash_core.compute_device import mixed_precision
from musichash_core.epoch_loop import EpochSteps, finite_loss, run_epochs
from musichash_core.genre_cnn import GenreCNN
from musichash_core.model_config import ModelConfig
from musichash_core.segments import TrackFrames, cut_segments, segment_starts
from musichash_core.training_config import AugmentationConfig
from musichash_core.training_data import TrainingData
from musichash_core.training_records import METRIC_NAMES, StageSummary
from musichash_core.training_state import TrainingSession
from musichash_core.validation_map import score_tags

STATISTICS_SEGMENTS = 2000
"""Segments that the input's mean and deviation are taken from; up to 8, at least 1 per track."""


def train_genre_cnn(
    data: TrainingData,
    config: ModelConfig,
    *,
    device: torch.device,
    session: TrainingSession,
) -> tuple[GenreCNN, StageSummary]:
    """Train the genre network; keep the epoch that is best on validation tracks.

    By accuracy, or for tags by their mean average precision; equal ones are decided by the
    validation tracks' mean log-likelihood. Without validation tracks all epochs run and the last
    one is kept.

    Raises
    ------
    TrainingError
        The loss is not a number.
    """
    rng = np.random.default_rng([config.training.seed, 1])
    n_channels, n_mels = data.frame_shape
    model = GenreCNN(
        config.genre_cnn, n_channels=n_channels, n_mels=n_mels, n_genres=len(data.genres)
    )
    mean, deviation = input_statistics([data.tracks[i] for i in data.split.train], config, rng)
    model.set_input_statistics(mean, deviation)
    model.to(device)
    targets = torch.from_numpy(data.targets)
    stage = config.training.genre_stage

    def train_epoch(optimiser: torch.optim.Optimizer, epoch: int) -> float:
        model.train()
        losses: list[float] = []
        for batch in _batches(data, config, rng):
            segments = random_segments(
                [data.tracks[i] for i in batch], config.segments, config.training.augmentation, rng
            )
            with mixed_precision(device, is_wanted=config.training.mixed_precision):
                logits = model(torch.from_numpy(segments).to(device))
            loss = _loss(logits.float(), targets[batch].to(device), config)
            losses.append(finite_loss(loss, f"genre stage, epoch {epoch}, step {len(losses) + 1}"))
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        return float(np.mean(losses))

    steps = EpochSteps(
        train_epoch,
        lambda: _validate(model, data, config),
        metric_name=METRIC_NAMES["genre", data.label_kind],
        rng=rng,
        kept_tensors={},
        kept_facts={},
    )
    return model, run_epochs(model, "genre", stage, steps, session)


def _loss(logits: Tensor, targets: Tensor, config: ModelConfig) -> Tensor:
    """Compute cross-entropy of genres, smoothed, or binary cross-entropy of tags."""
    if config.label_kind == "tags":
        return functional.binary_cross_entropy_with_logits(logits, targets.float())
    # `argmax` needs numbers: of booleans torch has none on CUDA.
    genres = targets.int().argmax(dim=1)
    smoothing = config.training.genre_stage.label_smoothing
    return functional.cross_entropy(logits, genres, label_smoothing=smoothing)


def input_statistics(
    tracks: list[TrackFrames], config: ModelConfig, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Estimate mean and standard deviation of model input from random segments of tracks.

    Returns
    -------
    mean, deviation : (n_channels, n_mels) float32
    """
    per_track = max(1, min(8, STATISTICS_SEGMENTS // len(tracks)))
    plain = AugmentationConfig(gain_db=0, mask_bands=0, mask_frames=0)
    sums, squares = [], []
    for track in tracks:
        segments = random_segments([track] * per_track, config.segments, plain, rng)
        sums.append(segments.mean(axis=(0, 3), dtype=np.float64))
        squares.append(np.square(segments, dtype=np.float64).mean(axis=(0, 3)))
    mean = np.mean(sums, axis=0)
    deviation = np.sqrt(np.maximum(np.mean(squares, axis=0) - mean**2, 0.0))
    return torch.from_numpy(mean).float(), torch.from_numpy(deviation).float()


def _batches(
    data: TrainingData, config: ModelConfig, rng: np.random.Generator
) -> list[np.ndarray[tuple[int], np.dtype[np.int64]]]:
    """Draw one epoch's tracks, every genre equally often, in batches of equal size within one."""
    stage = config.training.genre_stage
    train = data.split.train
    drawn = train[balanced_draw(data.targets[train], stage.segments_per_track * len(train), rng)]
    # Equal sizes leave no last batch of one segment, for which batch norm has no statistics.
    return np.array_split(drawn, -(-len(drawn) // stage.batch_size))


@torch.inference_mode()
def _validate(model: GenreCNN, data: TrainingData, config: ModelConfig) -> tuple[float, ...]:
    """Score the validation tracks (see `train_genre_cnn`); empty without any."""
    if not len(data.split.validation):
        return ()
    segments = config.segments.model_copy(
        update={"max_per_track": config.training.genre_stage.validation_segments}
    )
    model.eval()
    by_track = []
    for i in data.split.validation:
        track = data.tracks[i]
        cut = cut_segments(track, segment_starts(len(track.frames), segments), segments)
        by_track.append(model(torch.from_numpy(cut).to(model.input_mean.device)))
    truth = torch.from_numpy(data.targets[data.split.validation])
    if data.label_kind == "tags":
        logits = torch.stack([one.mean(dim=0) for one in by_track]).cpu()
        precision = score_tags(logits.numpy(), truth.numpy())
        loss = functional.binary_cross_entropy_with_logits(logits, truth.float())
        return () if precision is None else (precision, -float(loss))
    log_p = torch.stack([one.log_softmax(dim=1).mean(dim=0) for one in by_track]).cpu()
    hits = truth[torch.arange(len(truth)), log_p.argmax(dim=1)]
    likelihoods = log_p.log_softmax(dim=1)[truth]
    return float(np.mean(hits.numpy())), float(np.mean(likelihoods.numpy(), dtype=np.float64))
