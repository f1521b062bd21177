"""What the report says of the models: scores on held-out tracks, confusion matrix, learning curves.

Public: `training_facts`, `TrainingFacts`, `Confusion`.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musichash_core.training_records import StageSummary, TrainingSummary

TOP_GENRES = 20
"""Genres with a row of their own in the confusion matrix."""

OTHERS = "(all others)"


@dataclass(frozen=True, slots=True)
class Confusion:
    """A confusion matrix fit to be shown.

    Attributes
    ----------
    names : list of str
        Genres of rows and columns; the last may be `OTHERS`.
    counts : (n_names, n_names) int64
        Row = true, column = predicted.
    n_folded : int
        Genres that `OTHERS` stands for.
    """

    names: list[str]
    counts: NDArray[np.int64]
    n_folded: int

    def share(self, row: int, column: int) -> float:
        """Give the share of a true genre's tracks that got a prediction, 0 to 1."""
        return float(self.counts[row, column] / max(1, self.counts[row].sum()))


@dataclass(frozen=True, slots=True)
class TrainingFacts:
    """How the models in use were trained and judged.

    Attributes
    ----------
    summary : TrainingSummary
        As the model card has it.
    n_tracks, n_held_out : int
        Labelled tracks in all, and those kept away from training.
    confusion : Confusion or None
        Of the held-out tracks; None when there are none.
    """

    summary: TrainingSummary
    n_tracks: int
    n_held_out: int
    confusion: Confusion | None

    @property
    def has_curves(self) -> bool:
        """Whether a model was trained in epochs; heads that are solved for at once have none."""
        return bool(self.summary.genre_stage.train_losses or self.summary.hash_stage.train_losses)


def training_facts(card: dict[str, Any]) -> TrainingFacts | None:
    """Read the account of the training in a model card; None when it has none that we can read."""
    account = card.get("summary") or {}
    try:
        stages = {name: StageSummary(**account[name]) for name in ("genre_stage", "hash_stage")}
        summary = TrainingSummary(**(account | stages))
    except (KeyError, TypeError):
        return None
    n_held_out = len(summary.validation_track_ids)
    return TrainingFacts(
        summary,
        n_tracks=sum(summary.tracks_per_genre),
        n_held_out=n_held_out,
        confusion=_confusion(summary) if n_held_out else None,
    )


def _confusion(summary: TrainingSummary) -> Confusion:
    counts = np.array(summary.confusion, dtype=np.int64)
    names = list(summary.genres)
    if len(names) <= TOP_GENRES:
        return Confusion(names, counts, n_folded=0)
    largest = np.argsort(-counts.sum(axis=1), kind="stable")[:TOP_GENRES]
    target = np.full(len(names), TOP_GENRES)
    target[np.sort(largest)] = np.arange(TOP_GENRES)
    folded = np.zeros((TOP_GENRES + 1, TOP_GENRES + 1), dtype=np.int64)
    np.add.at(folded, (target[:, None], target[None, :]), counts)
    kept = [names[position] for position in np.sort(largest)]
    return Confusion([*kept, OTHERS], folded, n_folded=len(names) - TOP_GENRES)
