"""What training reports while it runs, and what it leaves behind beside the weights.

All records hold plain numbers and strings (``dataclasses.asdict`` gives JSON), and no times: equal
input gives equal bytes.
"""

from dataclasses import dataclass
from typing import Literal

Stage = Literal["genre", "hash"]

METRIC_NAMES = {
    ("genre", "genre"): "track accuracy",
    ("genre", "tags"): "mean average precision of tags",
    ("hash", "genre"): "mAP of genre and track",
    ("hash", "tags"): "mAP of shared tags and track",
}
"""What each stage is validated by, for each kind of labels."""


@dataclass(frozen=True, slots=True)
class TrainingEvent:
    """One finished epoch.

    Attributes
    ----------
    stage : "genre" or "hash"
    epoch, n_epochs : int
        From 1; at most `n_epochs` follow, fewer when validation stops improving.
    train_loss : float
        Mean over the epoch's steps.
    metric_name : str
        What `validation_metric` is.
    validation_metric : float or None
        None when there is no validation track.
    is_best : bool
        Whether these are the weights to keep so far.
    """

    stage: Stage
    epoch: int
    n_epochs: int
    train_loss: float
    metric_name: str
    validation_metric: float | None
    is_best: bool


@dataclass(frozen=True, slots=True)
class StageSummary:
    """Learning curves of one stage.

    Attributes
    ----------
    metric_name : str
    train_losses : tuple of float
        Per epoch.
    validation_metrics : tuple of float
        Per epoch; empty when there is no validation track.
    best_epoch : int
        From 1; whose weights were kept.
    """

    metric_name: str
    train_losses: tuple[float, ...]
    validation_metrics: tuple[float, ...]
    best_epoch: int


@dataclass(frozen=True, slots=True)
class TrainingSummary:
    """How training went and what came out.

    Attributes
    ----------
    genres : tuple of str
        Sorted genres or tags; the order of every count and of the confusion matrix.
    tracks_per_genre, validation_tracks_per_genre : tuple of int
    n_parameters_genre, n_parameters_hash : int
        Trainable numbers of the two models.
    validation_track_ids : tuple of str
        Sorted.
    genre_stage, hash_stage : StageSummary
    validation_accuracy, validation_macro_f1, chance_accuracy : float or None
        Of validation tracks, by all their segments; chance is the largest genre's share of them.
        None when there is no validation track, and for tags.
    confusion : tuple of tuple of int
        Validation tracks: row = true genre, column = predicted genre. All 0 for tags.
    validation_map : float or None
        Tie-aware mean average precision of validation tracks as queries, by Hamming distance, other
        groups only. None when no query has anything to find.
    chance_map : float or None
        The same for a code that tells nothing (all tracks tied).
    map_database : "validation" or "all"
        What was searched: "all" (training tracks included, so optimistic) when fewer than half of
        the validation tracks have a track of their genre and another group in validation.
    """

    genres: tuple[str, ...]
    tracks_per_genre: tuple[int, ...]
    validation_tracks_per_genre: tuple[int, ...]
    n_parameters_genre: int
    n_parameters_hash: int
    validation_track_ids: tuple[str, ...]
    genre_stage: StageSummary
    hash_stage: StageSummary
    validation_accuracy: float | None
    validation_macro_f1: float | None
    chance_accuracy: float | None
    confusion: tuple[tuple[int, ...], ...]
    validation_map: float | None
    chance_map: float | None
    map_database: Literal["validation", "all"]
