"""What a hashing method learns from: features, and labels and tracks where it may see them.

Two records: `TrainingItems` is what a caller gives, in any order; `LearningSet` is what a method
sees: float64, standardised with the statistics of these very items, labels as rows of 0 and 1,
and in an order that hangs on the contents alone. So the order of the catalogue changes nothing,
not even a last digit, although methods draw random rows.

Public: `TrainingItems`, `LearningSet`, `Standardisation`, `prepare`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from musichash_core.errors import ParameterError, TrainingError


@dataclass(frozen=True, slots=True, eq=False)
class TrainingItems:
    """Training tracks or segments.

    Parameters
    ----------
    features : (n_items, n_features) float32
        Finite; at least two items.
    labels : (n_items,) int64, or (n_items, n_classes) of 0 and 1; optional
        The class of each item, from 0, or its classes, at least one. At least two classes occur.
    tracks : (n_items,) int64, optional
        Which track each item is from; without it every item is its own.

    Raises
    ------
    ParameterError
        A shape or a value is wrong.
    TrainingError
        All items have the same class.
    """

    features: NDArray[np.float32]
    labels: NDArray[np.int64] | None = None
    tracks: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        check_features(self.features)
        n_items = len(self.features)
        if n_items < 2:
            raise ParameterError(f"{n_items} training items: want at least 2")
        if self.labels is not None:
            _check_labels(self.labels, n_items)
        if self.tracks is not None and self.tracks.shape != (n_items,):
            raise ParameterError(f"tracks of shape {self.tracks.shape}: want ({n_items},)")


@dataclass(frozen=True, slots=True, eq=False)
class Standardisation:
    """Mean and spread of each feature over the training items.

    Attributes
    ----------
    mean : (n_features,) float64
    inverse_scale : (n_features,) float64
        1 / standard deviation; 0 for a feature that was constant, which says nothing.
    """

    mean: NDArray[np.float64]
    inverse_scale: NDArray[np.float64]

    def apply(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Centre and scale features, ``(n_items, n_features)`` float32 -> float64."""
        return np.asarray((features.astype(np.float64) - self.mean) * self.inverse_scale)


@dataclass(frozen=True, slots=True, eq=False)
class LearningSet:
    """What a method sees.

    Attributes
    ----------
    features : (n_items, n_features) float64
        Standardised.
    targets : (n_items, n_classes) float64
        1 for the classes of an item, else 0; no columns for a method without supervision. Classes
        that no training item has are left out.
    tracks : (n_items,) int64
    """

    features: NDArray[np.float64]
    targets: NDArray[np.float64]
    tracks: NDArray[np.int64]


def prepare(items: TrainingItems, *, is_supervised: bool) -> tuple[Standardisation, LearningSet]:
    """Order and standardise training items; keep their labels only for a supervised method.

    Raises
    ------
    ParameterError
        The method is supervised and the items have no labels.
    """
    if is_supervised and items.labels is None:
        raise ParameterError("the training items have no labels; a supervised method needs them")
    targets = np.zeros((len(items.features), 0))
    if is_supervised and items.labels is not None:
        targets = _targets(items.labels)
    has_tracks = items.tracks is not None
    tracks = items.tracks if items.tracks is not None else np.arange(len(items.features))
    order = _content_order(items.features, targets, tracks if has_tracks else targets[:, :0])
    features = items.features[order]
    varies = np.ptp(features, axis=0) > 0
    deviation = features.std(axis=0, dtype=np.float64)
    standardisation = Standardisation(
        features.mean(axis=0, dtype=np.float64),
        np.divide(1.0, deviation, out=np.zeros_like(deviation), where=varies),
    )
    learning = LearningSet(
        standardisation.apply(features),
        targets[order],
        (tracks[order] if has_tracks else tracks).astype(np.int64),
    )
    return standardisation, learning


def check_features(features: NDArray[np.float32]) -> None:
    """Refuse features that are not a finite table of numbers.

    Raises
    ------
    ParameterError
    """
    if features.ndim != 2 or features.shape[1] < 1:
        raise ParameterError(f"features of shape {features.shape}: want (n_items, n_features)")
    if not np.isfinite(features).all():
        raise ParameterError("features contain NaN or infinity; the encoder's output is damaged")


def _check_labels(labels: NDArray[np.int64], n_items: int) -> None:
    if labels.ndim not in {1, 2} or len(labels) != n_items:
        raise ParameterError(
            f"labels of shape {labels.shape}: want ({n_items},) or ({n_items}, n_classes)"
        )
    if labels.min(initial=0) < 0 or (labels.ndim == 2 and labels.max(initial=0) > 1):
        raise ParameterError(
            f"labels {labels.min()}..{labels.max()}: want classes from 0, or rows of 0 and 1"
        )
    if labels.ndim == 2 and not labels.any(axis=1).all():
        raise ParameterError("an item has no class; leave unlabelled items out")
    n_classes = len(np.unique(labels)) if labels.ndim == 1 else int(labels.any(axis=0).sum())
    if n_classes < 2:
        raise TrainingError(
            f"all {n_items} training items have the same class; a supervised method needs two"
        )


def _targets(labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Write labels as rows of 0 and 1, without columns of zeros."""
    if labels.ndim == 1:
        return np.asarray(labels[:, None] == np.unique(labels), dtype=np.float64)
    return labels[:, labels.any(axis=0)].astype(np.float64)


def _content_order(*tables: NDArray[np.generic]) -> NDArray[np.int64]:
    """Sort rows by their bytes, table after table; equal rows are interchangeable."""
    n_items = len(tables[0])
    as_bytes = [
        np.ascontiguousarray(table.reshape(n_items, -1)).view(np.uint8)
        for table in tables
        if table.size
    ]
    rows = np.ascontiguousarray(np.concatenate(as_bytes, axis=1))
    keys = rows.view(np.dtype((np.void, rows.shape[1]))).ravel()
    return np.argsort(keys, kind="stable").astype(np.int64)
