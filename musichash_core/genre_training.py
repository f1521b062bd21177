"""Stage 1 of training: the genre network on random segments of labelled tracks (METHOD 3)."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from musichash_core.augmentation import balanced_draw, random_segments
from musichash_core.epoch_loop import finite_loss, run_epochs
from musichash_core.genre_cnn import GenreCNN
from musichash_core.model_config import AugmentationConfig, ModelConfig
from musichash_core.segments import TrackFrames, cut_segments, segment_starts
from musichash_core.training_data import TrainingData
from musichash_core.training_records import StageSummary, TrainingEvent

STATISTICS_SEGMENTS = 2000
"""Segments that the input's mean and deviation are taken from; up to 8, at least 1 per track."""


def train_genre_cnn(
    data: TrainingData,
    config: ModelConfig,
    *,
    device: str,
    on_event: Callable[[TrainingEvent], None],
) -> tuple[GenreCNN, StageSummary]:
    """Train the genre network; keep the epoch with the best accuracy on validation tracks.

    Equal accuracies are decided by the validation tracks' mean log-likelihood. Without validation
    tracks all epochs run and the last one is kept.

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

    def train_epoch(optimiser: torch.optim.Optimizer, epoch: int) -> float:
        model.train()
        losses: list[float] = []
        for batch in _batches(data, config, rng):
            segments = random_segments(
                [data.tracks[i] for i in batch], config.segments, config.training.augmentation, rng
            )
            logits = model(torch.from_numpy(segments).to(device))
            loss = criterion(logits, torch.from_numpy(data.labels[batch]).to(device))
            losses.append(finite_loss(loss, f"genre stage, epoch {epoch}, step {len(losses) + 1}"))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        return float(np.mean(losses))

    stage = config.training.genre_stage
    criterion = nn.CrossEntropyLoss(label_smoothing=stage.label_smoothing)
    summary = run_epochs(
        model, "genre", stage, train_epoch, lambda: _validate(model, data, config), on_event
    )
    return model, summary


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
    drawn = train[balanced_draw(data.labels[train], stage.segments_per_track * len(train), rng)]
    # Equal sizes leave no last batch of one segment, for which batch norm has no statistics.
    return np.array_split(drawn, -(-len(drawn) // stage.batch_size))


@torch.inference_mode()
def _validate(model: GenreCNN, data: TrainingData, config: ModelConfig) -> tuple[float, ...]:
    """Give accuracy and mean log-likelihood of the validation tracks; empty without any."""
    segments = config.segments.model_copy(
        update={"max_per_track": config.training.genre_stage.validation_segments}
    )
    model.eval()
    hits, likelihoods = [], []
    for i in data.split.validation:
        track = data.tracks[i]
        cut = cut_segments(track, segment_starts(len(track.frames), segments), segments)
        logits = model(torch.from_numpy(cut).to(model.input_mean.device))
        log_p = functional.log_softmax(logits, dim=1).mean(dim=0)
        hits.append(int(log_p.argmax()) == data.labels[i])
        likelihoods.append(float(log_p.log_softmax(dim=0)[data.labels[i]]))
    return (float(np.mean(hits)), float(np.mean(likelihoods))) if hits else ()
