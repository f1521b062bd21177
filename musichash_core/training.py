"""Train both models on labelled tracks: genre network first, hashing network on top of it.

Equal tracks, labels, groups and configuration give equal weights, bit for bit on one machine and
on the CPU, in whatever order the tracks come, and whether training went through at once or was
stopped and went on.

Public: `train_models`, `train_prepared`, `TrainedModels`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from musichash_core.codes import logits_to_codes
from musichash_core.compute_device import choose_device, reproducible_torch
from musichash_core.errors import ParameterError
from musichash_core.genre_cnn import GenreCNN
from musichash_core.genre_training import train_genre_cnn
from musichash_core.hash_training import train_crnn_hash
from musichash_core.inference import EncodedTrack, MusicModels, encode_track
from musichash_core.metrics import accuracy, confusion_matrix, macro_f1
from musichash_core.model_config import ModelConfig
from musichash_core.segments import TrackFrames
from musichash_core.training_data import TrainingData, prepare_training_data
from musichash_core.training_records import StageSummary, TrainingEvent, TrainingSummary
from musichash_core.training_state import (
    TrainingSession,
    TrainingState,
    training_identity,
    without_prefix,
)
from musichash_core.validation_map import choose_database, score_codes


@dataclass(frozen=True, slots=True)
class TrainedModels(MusicModels):
    """`MusicModels` and how they came about.

    Attributes
    ----------
    summary : TrainingSummary
    """

    summary: TrainingSummary


def train_models(
    tracks: Sequence[TrackFrames],
    genres: Sequence[str],
    groups: Sequence[str],
    config: ModelConfig,
    *,
    device: str = "cpu",
    on_event: Callable[[TrainingEvent], None] | None = None,
) -> TrainedModels:
    """Train the genre network and, on its frozen maps, the hashing network.

    Parameters
    ----------
    tracks : sequence of TrackFrames
        Frames are read piece by piece and may be memory maps.
    genres, groups : sequence of str
        Label and group (artist) of each track. Tracks of one group are never both trained and
        validated on; give each track its own group when nothing is known.
    device : str
        Where torch computes: "cpu", "cuda", or "auto" for CUDA where there is any. The models come
        back on the CPU.
    on_event : callable, optional
        Called after each epoch.

    Returns
    -------
    TrainedModels
        In evaluation mode, on the CPU.

    Raises
    ------
    ParameterError
        Lengths differ, an id occurs twice, or frames do not fit together.
    TrainingError
        There are fewer than two genres, a genre has a single track, or the loss is not a number.
    """
    data = prepare_training_data(tracks, genres, groups, config.training)
    return train_prepared(data, config, device=device, on_event=on_event)


def train_prepared(
    data: TrainingData,
    config: ModelConfig,
    *,
    device: str = "cpu",
    on_event: Callable[[TrainingEvent], None] | None = None,
    on_state: Callable[[TrainingState], None] | None = None,
    resume: TrainingState | None = None,
) -> TrainedModels:
    """Train both models on tracks that are checked and divided already.

    The same as `train_models`, for callers that bring their own split or tags
    (`musichash_core.training_data`), or that want to go on after a stop.

    Parameters
    ----------
    on_state : callable, optional
        Called after each epoch with all that is needed to go on from there.
    resume : TrainingState, optional
        What `on_state` got last. The epochs before it are not run again.

    Raises
    ------
    ParameterError
        `ModelConfig.label_kind` is not that of the data, there is no such device, or `resume` is
        of other tracks or settings.
    TrainingError
        The loss is not a number.
    """
    if data.label_kind != config.label_kind:
        raise ParameterError(
            f"label_kind={config.label_kind!r} but the tracks are labelled with "
            f"{data.label_kind!r}; set models.label_kind to that"
        )
    torch_device = choose_device(device)
    report = on_event if on_event is not None else _ignore
    session = TrainingSession(training_identity(data, config), report, on_state, resume)
    with reproducible_torch(config.training.seed, config.training.n_threads, torch_device):
        genre_cnn, genre_stage = _genre_stage(data, config, torch_device, session)
        crnn_hash, hash_stage = train_crnn_hash(data, genre_cnn, genre_stage, config, session)
        models = MusicModels(genre_cnn.cpu(), crnn_hash.cpu(), data.genres, config)
        summary = _summarise(models, data, genre_stage, hash_stage)
    return TrainedModels(genre_cnn, crnn_hash, data.genres, config, summary)


def _genre_stage(
    data: TrainingData, config: ModelConfig, device: torch.device, session: TrainingSession
) -> tuple[GenreCNN, StageSummary]:
    """Train the genre network, or take it from a state in which it was finished."""
    state = session.resumed("hash")
    if state is None:
        return train_genre_cnn(data, config, device=device, session=session)
    n_channels, n_mels = data.frame_shape
    model = GenreCNN(
        config.genre_cnn, n_channels=n_channels, n_mels=n_mels, n_genres=len(data.genres)
    )
    model.load_state_dict(without_prefix("genre_cnn", state.tensors))
    facts = state.facts["genre_stage"]
    summary = StageSummary(
        facts["metric_name"],
        tuple(facts["train_losses"]),
        tuple(facts["validation_metrics"]),
        facts["best_epoch"],
    )
    return model.to(device).eval(), summary


def _summarise(
    models: MusicModels, data: TrainingData, genre_stage: StageSummary, hash_stage: StageSummary
) -> TrainingSummary:
    """Evaluate the final models on the validation tracks."""
    validation = data.split.validation
    positions, database = choose_database(data)
    encoded = (
        {int(i): encode_track(models, data.tracks[i]) for i in positions} if len(validation) else {}
    )
    n_genres = len(data.genres)
    judged = validation if data.label_kind == "genre" else validation[:0]
    truth = data.targets[judged].argmax(axis=1)
    predicted = np.array([encoded[int(i)].genre for i in judged], dtype=np.int64)
    confusion = confusion_matrix(truth, predicted, n_genres)
    true_counts = np.bincount(truth, minlength=n_genres)
    return TrainingSummary(
        genres=data.genres,
        tracks_per_genre=_counts(data.targets),
        validation_tracks_per_genre=_counts(data.targets[validation]),
        n_parameters_genre=_parameter_count(models.genre_cnn),
        n_parameters_hash=_parameter_count(models.crnn_hash),
        validation_track_ids=tuple(data.tracks[i].track_id for i in validation),
        genre_stage=genre_stage,
        hash_stage=hash_stage,
        validation_accuracy=accuracy(confusion) if len(truth) else None,
        validation_macro_f1=macro_f1(confusion) if len(truth) else None,
        chance_accuracy=float(true_counts.max() / len(truth)) if len(truth) else None,
        confusion=tuple(tuple(int(n) for n in row) for row in confusion),
        validation_map=_map(encoded, positions, data),
        chance_map=_map(encoded, positions, data, blank=True),
        map_database=database,
    )


def _map(
    encoded: dict[int, EncodedTrack],
    positions: NDArray[np.int64],
    data: TrainingData,
    *,
    blank: bool = False,
) -> float | None:
    """Score the tracks' codes, or codes that are all equal; None without validation tracks."""
    if not encoded:
        return None
    codes = logits_to_codes(np.stack([encoded[int(i)].hash_logits for i in positions]))
    return score_codes(np.zeros_like(codes) if blank else codes, positions, data)


def _counts(targets: NDArray[np.bool_]) -> tuple[int, ...]:
    """Count tracks per genre or tag."""
    return tuple(int(n) for n in targets.sum(axis=0))


def _parameter_count(model: nn.Module) -> int:
    """Count trainable numbers."""
    return sum(parameter.numel() for parameter in model.parameters())


def _ignore(event: TrainingEvent) -> None:
    """Take an event and do nothing."""
