"""Train the heads on described, labelled tracks: ten seconds for a thousand tracks.

Whole groups are kept aside, heads trained on the others and judged by those; then the heads to
keep are trained on all tracks. Equal descriptions, labels and settings give equal weights on one
machine, in whatever order the tracks come.

Public: `train_descriptor_models`, `DescribedTracks`, `TrainedHeads`.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from musichash_core.codes import logits_to_codes
from musichash_core.compute_device import reproducible_torch
from musichash_core.descriptor_models.default_model import load_detail_basis
from musichash_core.descriptor_models.genre_head import GenreHead, train_genre_head
from musichash_core.descriptor_models.models import DescriptorModels, build_models
from musichash_core.descriptors import N_DESCRIPTORS
from musichash_core.errors import ParameterError, TrainingError
from musichash_core.metrics import accuracy, confusion_matrix, macro_f1
from musichash_core.model_config import ModelConfig
from musichash_core.splits import Split, split_by_group
from musichash_core.training_data import MIN_TRACKS_PER_GENRE
from musichash_core.training_records import (
    METRIC_NAMES,
    StageSummary,
    TrainingEvent,
    TrainingSummary,
)
from musichash_core.validation_map import choose_database, score_codes

N_THREADS = 1
"""Whatever the networks use. Steps of a few milliseconds gain nothing from a second thread up to
some thousand tracks, and where the machine has other work the threads wait for each other: seven
times as long, and four times the CPU time."""


@dataclass(frozen=True, slots=True, eq=False)
class DescribedTracks:
    """Labelled tracks as numbers; one entry, or row, per track.

    Attributes
    ----------
    track_ids : tuple of str
    vectors : (n_tracks, 3, N_DESCRIPTORS) float32
        Of the whole track, its first and its second half.
    genres, groups : tuple of str
        Tracks of one group (artist) are never both trained and judged by.
    """

    track_ids: tuple[str, ...]
    vectors: NDArray[np.float32]
    genres: tuple[str, ...]
    groups: tuple[str, ...]

    def __post_init__(self) -> None:
        n_tracks = len(self.track_ids)
        if self.vectors.shape != (n_tracks, 3, N_DESCRIPTORS):
            raise ParameterError(
                f"vectors of shape {self.vectors.shape}: want ({n_tracks}, 3, {N_DESCRIPTORS})"
            )
        if {len(self.genres), len(self.groups)} != {n_tracks}:
            raise ParameterError(
                f"{n_tracks} tracks, {len(self.genres)} genres, {len(self.groups)} groups; give "
                "one of each per track"
            )
        if len(set(self.track_ids)) < n_tracks:
            raise ParameterError("a track id occurs twice; give each track once")

    def sorted(self) -> "DescribedTracks":
        """Give the tracks in the order of their ids."""
        order = sorted(range(len(self.track_ids)), key=self.track_ids.__getitem__)
        return DescribedTracks(
            tuple(self.track_ids[i] for i in order),
            self.vectors[order],
            tuple(self.genres[i] for i in order),
            tuple(self.groups[i] for i in order),
        )


@dataclass(frozen=True, slots=True)
class TrainedHeads:
    """Heads and how they came about.

    Attributes
    ----------
    models : DescriptorModels
        Trained on all tracks.
    summary : TrainingSummary
        Of heads trained without the validation tracks.
    """

    models: DescriptorModels
    summary: TrainingSummary


@dataclass(frozen=True, slots=True, eq=False)
class _Divided:
    """Labels and split, as `musichash_core.validation_map` reads them."""

    names: tuple[str, ...]
    targets: NDArray[np.bool_]
    groups: NDArray[np.str_]
    split: Split

    @property
    def labels(self) -> NDArray[np.int64]:
        return np.asarray(self.targets.argmax(axis=1))


def train_descriptor_models(
    items: DescribedTracks,
    config: ModelConfig,
    *,
    split: Split | None = None,
    on_event: Callable[[TrainingEvent], None] | None = None,
) -> TrainedHeads:
    """Train both heads.

    Parameters
    ----------
    split : Split, optional
        Rows to train and to judge by, instead of dividing here; others are left out, and the heads
        are then trained on the training rows alone.
    on_event : callable, optional
        Called as the genre head learns.

    Raises
    ------
    ParameterError
        ``config.label_kind`` is "tags", which these heads cannot learn.
    TrainingError
        There are fewer than two genres, a genre has a single track, a group is on both sides, or
        the loss is not a number.
    """
    if config.label_kind != "genre":
        raise ParameterError(
            f"models.label_kind={config.label_kind!r} with models.encoder='musicnn', whose heads "
            "learn one genre per track; set models.encoder='hpss-cnn' for tags"
        )
    ordered = items if split is not None else items.sorted()
    data = _divide(ordered, config, split)
    events: list[TrainingEvent] = []

    def report(event: TrainingEvent) -> None:
        events.append(event)
        if on_event is not None:
            on_event(event)

    with reproducible_torch(config.training.seed, N_THREADS, torch.device("cpu")):
        judged = _train(ordered.vectors, data, data.split.train, config, report)
        summary = _summarise(judged, ordered, data, events)
        if split is not None or not len(data.split.validation):
            return TrainedHeads(judged, summary)
        everything = np.arange(len(data.targets))
        return TrainedHeads(_train(ordered.vectors, data, everything, config, None), summary)


def _divide(items: DescribedTracks, config: ModelConfig, split: Split | None) -> _Divided:
    counts = Counter(items.genres)
    if len(counts) < 2:
        raise TrainingError(f"genres {sorted(counts)}: two are needed to tell apart")
    single = sorted(genre for genre, count in counts.items() if count < MIN_TRACKS_PER_GENRE)
    if single:
        raise TrainingError(
            f"genres with a single track: {', '.join(single)}; give each at least "
            f"{MIN_TRACKS_PER_GENRE}, or leave them out"
        )
    names = tuple(sorted(counts))
    targets = np.array(items.genres)[:, None] == np.array(names)
    groups = np.array(items.groups)
    if split is None:
        split = split_by_group(
            items.genres,
            items.groups,
            validation_share=config.training.validation_share,
            seed=config.training.seed,
        )
    both = set(groups[split.train]) & set(groups[split.validation])
    if both:
        raise TrainingError(f"groups on both sides of the split: {', '.join(sorted(both)[:3])}")
    return _Divided(names, targets, groups, split)


def _train(
    vectors: NDArray[np.float32],
    data: _Divided,
    rows: NDArray[np.int64],
    config: ModelConfig,
    report: Callable[[TrainingEvent], None] | None,
) -> DescriptorModels:
    """Train on some rows; with `report`, judge by the validation rows on the way."""
    models = build_models(config, data.names)
    validation = data.split.validation

    def on_progress(piece: int, n_pieces: int, loss: float, head: GenreHead) -> None:
        if report is None:
            return
        score = None
        if len(validation):
            predicted = _probabilities(head, vectors[validation, 0]).argmax(dim=1).numpy()
            score = float((predicted == data.labels[validation]).mean())
        name = METRIC_NAMES["genre", "genre"]
        report(TrainingEvent("genre", piece, n_pieces, loss, name, score, piece == n_pieces))

    seed = config.training.seed
    genre_head = train_genre_head(
        vectors[rows],
        data.labels[rows],
        len(data.names),
        config.heads,
        seed=seed,
        on_progress=on_progress,
    )
    models.hash_head.set_detail(load_detail_basis())
    models.hash_head.set_genres(
        _probabilities(genre_head, vectors[rows, 0]),
        detail_weight=config.heads.detail_weight,
        power=config.heads.genre_power,
        seed=seed,
    )
    return DescriptorModels(genre_head, models.hash_head, data.names, config)


@torch.no_grad()
def _probabilities(head: GenreHead, vectors: NDArray[np.float32]) -> torch.Tensor:
    probabilities: torch.Tensor = head(torch.from_numpy(vectors)).exp()
    return probabilities


def _summarise(
    models: DescriptorModels, items: DescribedTracks, data: _Divided, events: list[TrainingEvent]
) -> TrainingSummary:
    """Judge by the validation rows."""
    assert models.genre_head is not None
    validation = data.split.validation
    n_genres = len(data.names)
    truth = data.labels[validation]
    probabilities = _probabilities(models.genre_head, items.vectors[:, 0])
    predicted = probabilities[validation].argmax(dim=1).numpy()
    confusion = confusion_matrix(truth, predicted, n_genres)
    true_counts = np.bincount(truth, minlength=n_genres)
    positions, database = choose_database(data)
    with torch.no_grad():
        logits = models.hash_head(torch.from_numpy(items.vectors[:, 0]), probabilities)
    codes = logits_to_codes(logits.numpy()[positions])
    map_, chance = (
        score_codes(some, positions, data) if len(validation) else None
        for some in (codes, np.zeros_like(codes))
    )
    metrics = tuple(e.validation_metric for e in events if e.validation_metric is not None)
    return TrainingSummary(
        genres=data.names,
        tracks_per_genre=tuple(int(n) for n in data.targets.sum(axis=0)),
        validation_tracks_per_genre=tuple(int(n) for n in true_counts),
        n_parameters_genre=sum(p.numel() for p in models.genre_head.parameters()),
        n_parameters_hash=0,
        validation_track_ids=tuple(items.track_ids[i] for i in validation),
        genre_stage=StageSummary(
            METRIC_NAMES["genre", "genre"],
            tuple(event.train_loss for event in events),
            metrics,
            len(events),
        ),
        hash_stage=StageSummary(METRIC_NAMES["hash", "genre"], (), (), 0),
        validation_accuracy=accuracy(confusion) if len(truth) else None,
        validation_macro_f1=macro_f1(confusion) if len(truth) else None,
        chance_accuracy=float(true_counts.max() / len(truth)) if len(truth) else None,
        confusion=tuple(tuple(int(n) for n in row) for row in confusion),
        validation_map=map_,
        chance_map=chance,
        map_database=database,
    )
