"""Stage 2 of training: the hashing network on the frozen genre network (METHOD 4.7).

Public: `train_crnn_hash`, `select_training_maps`; for pyramids that were made before,
`PyramidTraining` and `train_on_pyramids`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from musichash_core.augmentation import balanced_draw
from musichash_core.codes import logits_to_codes
from musichash_core.compute_device import mixed_precision
from musichash_core.crnn_hash import CRNNHash, HashOutput
from musichash_core.epoch_loop import EpochSteps, finite_loss, run_epochs
from musichash_core.genre_cnn import GenreCNN
from musichash_core.hash_baselines.hash_centres import hash_centres
from musichash_core.losses import hash_loss
from musichash_core.map_selection import (
    MapStatistics,
    map_statistics,
    merge_statistics,
    select_maps,
)
from musichash_core.model_config import ModelConfig
from musichash_core.pyramid_cache import (
    EvenSegments,
    FrozenEncoder,
    TrainingCrops,
    cache_even_segments,
    cache_training_crops,
    feature_maps_of,
)
from musichash_core.segments import cut_segments, segment_starts
from musichash_core.training_config import HashStageConfig
from musichash_core.training_data import TrainingData
from musichash_core.training_records import METRIC_NAMES, StageSummary
from musichash_core.training_state import TrainingSession, with_prefix
from musichash_core.validation_map import choose_database, score_codes, score_halves

SCORING_BATCH = 256
"""Segments per call of the hashing network when it is validated."""


@dataclass(frozen=True, slots=True)
class PyramidTraining:
    """What a hashing network is trained on, once nothing more is asked of the frozen encoder.

    Attributes
    ----------
    data : TrainingData
    config : ModelConfig
    crops : TrainingCrops
    validation : EvenSegments or None
        Of the tracks that are searched in validation; None without validation tracks.
    rng : numpy.random.Generator
        Draws the batches.
    kept_tensors, kept_facts : mapping
        Handed on with each state, see `musichash_core.epoch_loop.EpochSteps`.
    """

    data: TrainingData
    config: ModelConfig
    crops: TrainingCrops
    validation: EvenSegments | None
    rng: np.random.Generator
    kept_tensors: Mapping[str, Tensor] = field(default_factory=dict)
    kept_facts: Mapping[str, Any] = field(default_factory=dict)


def train_crnn_hash(
    data: TrainingData,
    genre_cnn: GenreCNN,
    genre_stage: StageSummary,
    config: ModelConfig,
    session: TrainingSession,
) -> tuple[CRNNHash, StageSummary]:
    """Train the hashing network on the device of the encoder, which is only read.

    Keeps the epoch with the best validation score (see `_validate`). Without validation tracks all
    epochs run and the last one is kept.

    Parameters
    ----------
    genre_stage : StageSummary
        How the encoder was trained; handed on with each state.

    Raises
    ------
    TrainingError
        The loss is not a number.
    """
    rng = np.random.default_rng([config.training.seed, 2])
    genre_cnn.eval()
    model = _new_network(data, genre_cnn, config)
    crops = cache_training_crops(model, genre_cnn, data, config, rng)
    validation: EvenSegments | None = None
    if len(data.split.validation):
        positions, _ = choose_database(data)
        validation = cache_even_segments(model, genre_cnn, data, positions, config)
    training = PyramidTraining(
        data,
        config,
        crops,
        validation,
        rng,
        kept_tensors=with_prefix("genre_cnn", genre_cnn.state_dict()),
        kept_facts={"genre_stage": asdict(genre_stage)},
    )
    return model, train_on_pyramids(model, training, session)


def train_on_pyramids(
    model: CRNNHash, training: PyramidTraining, session: TrainingSession
) -> StageSummary:
    """Train a hashing network in place; keep the epoch with the best validation score.

    Parameters
    ----------
    model : CRNNHash
        With its maps selected and its centres set, on the device to train on.

    Raises
    ------
    TrainingError
        The loss is not a number.
    """
    data, config, rng = training.data, training.config, training.rng
    targets = torch.from_numpy(data.targets).float()
    device, stage = model.selected.device, config.training.hash_stage

    def train_epoch(optimiser: torch.optim.Optimizer, epoch: int) -> float:
        model.train()
        losses: list[float] = []
        for rows, tracks in _batches(data, training.crops, stage, rng):
            with mixed_precision(device, is_wanted=config.training.mixed_precision):
                output = HashOutput(
                    *(part.float() for part in model(training.crops.cache.read(rows, device)))
                )
            loss = hash_loss(
                output.genre_logits,
                output.relaxed,
                targets[tracks].to(device),
                torch.from_numpy(tracks).to(device),
                config.loss,
                label_kind=config.label_kind,
            ).total
            losses.append(finite_loss(loss, f"hash stage, epoch {epoch}, step {len(losses) + 1}"))
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), stage.max_gradient_norm)
            optimiser.step()
        return float(np.mean(losses))

    def validate() -> tuple[float, ...]:
        tells_tracks_apart = config.loss.instance_weight > 0
        return _validate(model, training.validation, data, tells_tracks_apart=tells_tracks_apart)

    steps = EpochSteps(
        train_epoch,
        validate,
        metric_name=METRIC_NAMES["hash", data.label_kind],
        rng=rng,
        kept_tensors=dict(training.kept_tensors),
        kept_facts=dict(training.kept_facts),
    )
    return run_epochs(model, "hash", stage, steps, session)


def _new_network(data: TrainingData, genre_cnn: GenreCNN, config: ModelConfig) -> CRNNHash:
    """Build the network with its maps selected and its centres drawn, on the encoder's device."""
    n_genres = len(data.genres)
    model = CRNNHash(config.crnn_hash, widths=config.genre_cnn.widths, n_genres=n_genres)
    model.to(genre_cnn.input_mean.device)
    model.set_selected_maps(select_training_maps(model, genre_cnn, data, config))
    if config.crnn_hash.head == "centres":
        centres = hash_centres(n_genres, config.crnn_hash.n_bits, seed=config.training.seed)
        model.set_centres(torch.from_numpy(centres))
    return model


def select_training_maps(
    model: CRNNHash, genre_cnn: FrozenEncoder, data: TrainingData, config: ModelConfig
) -> Tensor:
    """Select each block's maps on evenly spaced segments of training tracks.

    Returns
    -------
    (n_blocks, n_maps) int64
    """
    stage, train = config.training.hash_stage, data.split.train
    n_tracks = min(len(train), stage.selection_segments)
    per_track = min(8, stage.selection_segments // n_tracks)
    segments = config.segments.model_copy(update={"max_per_track": per_track})
    merged: list[MapStatistics] = []
    for i in train[np.linspace(0, len(train) - 1, n_tracks).astype(np.int64)]:
        track = data.tracks[i]
        cut = cut_segments(track, segment_starts(len(track.frames), segments), segments)
        maps = feature_maps_of(genre_cnn, cut)
        found = [map_statistics(model.interpolate(one)) for one in maps]
        # Merged at once: the statistics of 2000 tracks side by side would take 0.9 GB.
        pairs = zip(merged, found, strict=True)
        merged = [merge_statistics([*pair]) for pair in pairs] if merged else found
    selected = [
        select_maps(
            statistics,
            config.crnn_hash.n_maps,
            rule=config.crnn_hash.selection,
            seed=config.training.seed + layer,
        )
        for layer, statistics in enumerate(merged)
    ]
    return torch.from_numpy(np.stack(selected))


def _batches(
    data: TrainingData, crops: TrainingCrops, stage: HashStageConfig, rng: np.random.Generator
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Draw one epoch: as many segments as are cached, every label equally often.

    Returns
    -------
    list of (rows, tracks), each (n_segments,) int64
        Rows of the cache; positions of their tracks in ``data.tracks``.
    """
    n_used = min(stage.crops_per_batch, crops.n_crops)
    n_draws = len(crops.positions) * crops.n_crops // n_used
    drawn = balanced_draw(data.targets[crops.positions], n_draws, rng)
    batches = []
    for members in np.array_split(drawn, -(-len(drawn) // stage.tracks_per_batch)):
        chosen = np.stack([rng.permutation(crops.n_crops)[:n_used] for _ in members])
        rows = (members[:, None] * crops.n_crops + chosen).ravel()
        batches.append((rows, crops.positions[np.repeat(members, n_used)]))
    return batches


@torch.inference_mode()
def _validate(
    model: CRNNHash,
    validation: EvenSegments | None,
    data: TrainingData,
    *,
    tells_tracks_apart: bool,
) -> tuple[float, ...]:
    """Score the present weights by what the loss asks for; empty when nothing can be scored.

    The mean of two mAPs: tracks as queries for their genre, and, when tracks are to be told apart,
    first halves of tracks as queries for their second halves. (Genre alone rises and falls by
    chance on small sets and once kept the first epoch: .05 fewer excerpts found their track.)
    """
    if validation is None:
        return ()
    model.eval()
    cache, device = validation.cache, model.selected.device
    blocks = np.array_split(np.arange(len(cache)), -(-len(cache) // SCORING_BATCH))
    logits = torch.cat([model(cache.read(block, device)).logits.cpu() for block in blocks])
    by_track = torch.split(logits, list(validation.lengths))
    scores = [score_codes(_mean_codes(by_track), validation.positions, data)]
    halved = [segments.tensor_split(2) for segments in by_track if len(segments) > 1]
    if tells_tracks_apart and halved:
        firsts, seconds = zip(*halved, strict=True)
        scores.append(score_halves(_mean_codes(firsts), _mean_codes(seconds)))
    known = [score for score in scores if score is not None]
    return (float(np.mean(known)),) if known else ()


def _mean_codes(logits_by_track: Sequence[Tensor]) -> NDArray[np.uint8]:
    """Average hash logits over each track's segments and binarise them."""
    means = [segments.double().mean(dim=0) for segments in logits_by_track]
    return logits_to_codes(torch.stack(means).float().numpy())
