"""Stage 2 of training: the hashing network on the frozen genre network (METHOD 4.7).

The encoder's maps do not change any more, so the pyramids of a number of random crops of each
track are computed once and kept in memory as float16.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from musichash_core.augmentation import balanced_draw, random_segments
from musichash_core.codes import logits_to_codes
from musichash_core.crnn_hash import CRNNHash, Pyramid
from musichash_core.epoch_loop import finite_loss, run_epochs
from musichash_core.genre_cnn import GenreCNN
from musichash_core.losses import hash_loss
from musichash_core.map_selection import map_statistics, merge_statistics, select_maps
from musichash_core.model_config import ModelConfig
from musichash_core.segments import cut_segments, segment_starts
from musichash_core.training_data import TrainingData
from musichash_core.training_records import StageSummary, TrainingEvent
from musichash_core.validation_map import choose_database, score_codes

ENCODER_BATCH = 64
"""Segments per encoder call; bounds the memory of the deep maps."""


def train_crnn_hash(
    data: TrainingData,
    genre_cnn: GenreCNN,
    config: ModelConfig,
    *,
    on_event: Callable[[TrainingEvent], None],
) -> tuple[CRNNHash, StageSummary]:
    """Train the hashing network on the device of the encoder, which is only read.

    Keeps the epoch with the best validation mAP. Without validation tracks all epochs run and the
    last one is kept.

    Raises
    ------
    TrainingError
        The loss is not a number.
    """
    rng = np.random.default_rng([config.training.seed, 2])
    device = genre_cnn.input_mean.device
    genre_cnn.eval()
    model = CRNNHash(
        config.crnn_hash, widths=config.genre_cnn.widths, n_genres=len(data.genres)
    ).to(device)
    model.set_selected_maps(select_training_maps(model, genre_cnn, data, config))
    cache = cache_random_crops(model, genre_cnn, data, config, rng)
    validation = ValidationCodes(model, genre_cnn, data, config)
    stage = config.training.hash_stage

    def train_epoch(optimiser: torch.optim.Optimizer, epoch: int) -> float:
        model.train()
        losses: list[float] = []
        for rows, tracks in _batches(data, cache, config, rng):
            output = model(cache.read(rows, device))
            loss = hash_loss(
                output.genre_logits,
                output.relaxed,
                torch.from_numpy(data.labels[tracks]).to(device),
                torch.from_numpy(tracks).to(device),
                config.loss,
            ).total
            losses.append(finite_loss(loss, f"hash stage, epoch {epoch}, step {len(losses) + 1}"))
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), stage.max_gradient_norm)
            optimiser.step()
        return float(np.mean(losses))

    summary = run_epochs(model, "hash", stage, train_epoch, validation.score, on_event)
    return model, summary


class PyramidCache:
    """Pyramids of many segments, in memory, as float16.

    One segment of the default configuration takes 34.6 kB (120 maps of 12 x 12) and 1 kB (means).

    Parameters
    ----------
    parts : list of Pyramid
        In row order; any float dtype, any device.
    """

    def __init__(self, parts: list[Pyramid]) -> None:
        self._maps = torch.cat([part.maps.half().cpu() for part in parts])
        self._pooled = torch.cat([part.pooled.half().cpu() for part in parts])

    def __len__(self) -> int:
        return len(self._maps)

    def read(self, rows: NDArray[np.int64], device: torch.device) -> Pyramid:
        """Give some segments' pyramids as float32 on a device."""
        index = torch.from_numpy(rows)
        maps, pooled = self._maps[index], self._pooled[index]
        return Pyramid(maps.to(device).float(), pooled.to(device).float())


class ValidationCodes:
    """Track codes of the validation tracks and of what they are searched in, and their mAP.

    Parameters
    ----------
    model : CRNNHash
        With its maps selected.
    """

    def __init__(
        self, model: CRNNHash, genre_cnn: GenreCNN, data: TrainingData, config: ModelConfig
    ) -> None:
        self._model = model
        self._data = data
        self._positions, _ = choose_database(data)
        if not len(data.split.validation):
            self._positions = data.split.validation
        segments = config.segments.model_copy(
            update={"max_per_track": config.training.hash_stage.validation_segments}
        )
        parts, self._lengths = [], []
        for i in self._positions:
            track = data.tracks[i]
            starts = segment_starts(len(track.frames), segments)
            parts.append(_pyramid(model, genre_cnn, cut_segments(track, starts, segments)))
            self._lengths.append(len(starts))
        self._cache = PyramidCache(parts) if parts else None

    @torch.inference_mode()
    def score(self) -> tuple[float, ...]:
        """Compute the mAP with the model's present weights; empty when nothing can be found."""
        if self._cache is None:
            return ()
        self._model.eval()
        device = self._model.selected.device
        blocks = np.array_split(np.arange(len(self._cache)), -(-len(self._cache) // 256))
        logits = torch.cat(
            [self._model(self._cache.read(block, device)).logits.cpu() for block in blocks]
        )
        means = torch.stack(
            [part.double().mean(dim=0) for part in torch.split(logits, self._lengths)]
        )
        codes = logits_to_codes(means.float().numpy())
        score = score_codes(codes, self._positions, self._data)
        return () if score is None else (score,)


def select_training_maps(
    model: CRNNHash, genre_cnn: GenreCNN, data: TrainingData, config: ModelConfig
) -> Tensor:
    """Select each block's maps on evenly spaced segments of training tracks.

    Returns
    -------
    (n_blocks, n_maps) int64
    """
    stage, train = config.training.hash_stage, data.split.train
    n_tracks = min(len(train), stage.selection_segments)
    per_track = max(1, min(8, stage.selection_segments // n_tracks))
    segments = config.segments.model_copy(update={"max_per_track": per_track})
    parts = []
    for i in train[np.linspace(0, len(train) - 1, n_tracks).astype(np.int64)]:
        track = data.tracks[i]
        cut = cut_segments(track, segment_starts(len(track.frames), segments), segments)
        maps = _feature_maps(genre_cnn, cut)
        parts.append([map_statistics(model.interpolate(one)) for one in maps])
    shape = config.crnn_hash
    selected = [
        select_maps(
            merge_statistics(list(layer_parts)),
            shape.n_maps,
            rule=shape.selection,
            seed=config.training.seed + layer,
        )
        for layer, layer_parts in enumerate(zip(*parts, strict=True))
    ]
    return torch.from_numpy(np.stack(selected))


def cache_random_crops(
    model: CRNNHash,
    genre_cnn: GenreCNN,
    data: TrainingData,
    config: ModelConfig,
    rng: np.random.Generator,
) -> PyramidCache:
    """Compute the pyramids of random crops of each training track.

    Returns
    -------
    PyramidCache
        Row ``i * n_crops + j`` is crop j of the i-th training track, the number of crops being
        `crops_per_track`.
    """
    n_crops = crops_per_track(config, len(data.split.train))
    tracks = [data.tracks[i] for i in data.split.train for _ in range(n_crops)]
    parts = []
    for first in range(0, len(tracks), ENCODER_BATCH):
        some = tracks[first : first + ENCODER_BATCH]
        cut = random_segments(some, config.segments, config.training.augmentation, rng)
        parts.append(_pyramid(model, genre_cnn, cut))
    return PyramidCache(parts)


def crops_per_track(config: ModelConfig, n_tracks: int) -> int:
    """Give the crops kept per track: as configured, fewer (at least 2) when memory bounds them."""
    stage = config.training.hash_stage
    return max(2, min(stage.cached_crops, stage.max_cached // n_tracks))


def _batches(
    data: TrainingData, cache: PyramidCache, config: ModelConfig, rng: np.random.Generator
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Draw one epoch: as many segments as are cached, every genre equally often.

    Returns
    -------
    list of (rows, tracks), each (n_segments,) int64
        Rows of the cache; positions of their tracks in ``data.tracks``.
    """
    stage, train = config.training.hash_stage, data.split.train
    n_crops = len(cache) // len(train)
    n_used = min(stage.crops_per_batch, n_crops)
    drawn = balanced_draw(data.labels[train], len(cache) // n_used, rng)
    batches = []
    for members in np.array_split(drawn, -(-len(drawn) // stage.tracks_per_batch)):
        crops = np.stack([rng.permutation(n_crops)[:n_used] for _ in members])
        rows = (members[:, None] * n_crops + crops).ravel()
        batches.append((rows, train[np.repeat(members, n_used)]))
    return batches


@torch.inference_mode()
def _feature_maps(genre_cnn: GenreCNN, segments: NDArray[np.float32]) -> list[Tensor]:
    """Run the frozen encoder on its device."""
    return genre_cnn.feature_maps(torch.from_numpy(segments).to(genre_cnn.input_mean.device))


@torch.inference_mode()
def _pyramid(model: CRNNHash, genre_cnn: GenreCNN, segments: NDArray[np.float32]) -> Pyramid:
    """Compute the pyramids of a batch of segments."""
    return model.pyramid(_feature_maps(genre_cnn, segments))
