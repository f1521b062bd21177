"""How well validation tracks find what they should: what is searched, and the scores.

A track should find the tracks that share its genre or one of its tags.

Public: `DividedLabels`, `choose_database`, `score_codes`, `score_halves`, `score_tags`.
"""

from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from musichash_core.codes import hamming_distance
from musichash_core.metrics import (
    average_precision,
    average_precisions,
    mean_average_precision,
)
from musichash_core.splits import Split

MapDatabase = Literal["validation", "all"]


class DividedLabels(Protocol):
    """What is known of the tracks, such as `musichash_core.training_data.TrainingData`."""

    @property
    def targets(self) -> NDArray[np.bool_]:
        """The genre, or the tags, of each track, ``(n_tracks, n_genres)``."""

    @property
    def groups(self) -> NDArray[np.str_]:
        """The group of each track."""

    @property
    def split(self) -> Split:
        """Positions of the training and the validation tracks."""


MIN_ANSWERABLE = 0.5
"""Share of validation tracks that must have something to find among the validation tracks."""

QUERIES_PER_BLOCK = 64
"""Bounds the memory of the distance matrix."""


def choose_database(data: DividedLabels) -> tuple[NDArray[np.int64], MapDatabase]:
    """Choose the tracks that validation tracks are searched in.

    The validation tracks themselves, so that no training track flatters the score, if at least
    half of them find another group's track with a label of theirs there; all tracks otherwise.

    Returns
    -------
    positions : (n_items,) int64
        Rows of ``data.targets``.
    name : "validation" or "all"
    """
    queries = data.split.validation
    targets = data.targets[queries]
    is_shared = np.array(
        [len(np.unique(data.groups[queries][has_label])) > 1 for has_label in targets.T]
    )
    n_answerable = int((targets & is_shared).any(axis=1).sum())
    if len(queries) and n_answerable >= MIN_ANSWERABLE * len(queries):
        return queries, "validation"
    return np.arange(len(data.targets), dtype=np.int64), "all"


def score_codes(
    codes: NDArray[np.uint8], positions: NDArray[np.int64], data: DividedLabels
) -> float | None:
    """Compute the tie-aware mAP of the validation tracks, by Hamming distance, other groups only.

    Parameters
    ----------
    codes : (n_items, code_bytes) uint8
        Of the tracks at `positions`; equal rows give the chance level.

    Returns
    -------
    float or None
        None when no validation track has anything to find.
    """
    rows = np.flatnonzero(np.isin(positions, data.split.validation))
    scores = np.empty(len(rows))
    for first in range(0, len(rows), QUERIES_PER_BLOCK):
        block = rows[first : first + QUERIES_PER_BLOCK]
        relevant, excluded = _masks(data, positions[block], positions)
        distances = hamming_distance(codes[block, None], codes)
        scores[first : first + len(block)] = average_precisions(distances, relevant, excluded)
    answered = scores[~np.isnan(scores)]
    return float(answered.mean()) if len(answered) else None


def score_halves(first_codes: NDArray[np.uint8], second_codes: NDArray[np.uint8]) -> float:
    """Compute the tie-aware mAP of finding a track by half of it among the other halves.

    With one right answer per query, average precision is the expected reciprocal rank.

    Parameters
    ----------
    first_codes, second_codes : (n_tracks, code_bytes) uint8
        Of the first and of the second half of the same tracks, at least one.
    """
    distances = hamming_distance(first_codes[:, None], second_codes)
    is_own = np.eye(len(first_codes), dtype=bool)
    return mean_average_precision(distances, is_own, np.zeros_like(is_own))


def score_tags(scores: NDArray[np.floating], targets: NDArray[np.bool_]) -> float | None:
    """Compute the mean over tags of the tie-aware average precision of ranking tracks by a tag.

    Parameters
    ----------
    scores : (n_tracks, n_tags) floating
        Larger for tracks that rather have the tag.
    targets : (n_tracks, n_tags) bool

    Returns
    -------
    float or None
        Over the tags that some track has; None without any.
    """
    precisions = [
        average_precision(-of_tag, has_tag)
        for of_tag, has_tag in zip(scores.T, targets.T, strict=True)
        if has_tag.any()
    ]
    return float(np.mean(precisions)) if precisions else None


def _masks(
    data: DividedLabels, queries: NDArray[np.int64], items: NDArray[np.int64]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Say what each query should find (a shared label), and what it must not (its own group)."""
    n_shared = data.targets[queries].astype(np.float32) @ data.targets[items].T.astype(np.float32)
    return n_shared > 0, data.groups[queries][:, None] == data.groups[items]
