"""How well validation tracks find what they should: what is searched, and the scores."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from musichash_core.codes import hamming_distance
from musichash_core.metrics import (
    average_precisions,
    mean_average_precision,
    relevance_masks,
)
from musichash_core.training_data import TrainingData

MapDatabase = Literal["validation", "all"]

MIN_ANSWERABLE = 0.5
"""Share of validation tracks that must have something to find among the validation tracks."""

QUERIES_PER_BLOCK = 64
"""Bounds the memory of the distance matrix."""


def choose_database(data: TrainingData) -> tuple[NDArray[np.int64], MapDatabase]:
    """Choose the tracks that validation tracks are searched in.

    The validation tracks themselves, so that no training track flatters the score, if at least
    half of them find another group's track of their genre there; all tracks otherwise.

    Returns
    -------
    positions : (n_items,) int64
        In ``data.tracks``.
    name : "validation" or "all"
    """
    queries = data.split.validation
    groups_of: dict[int, set[str]] = {}
    for i in queries:
        groups_of.setdefault(int(data.labels[i]), set()).add(str(data.groups[i]))
    n_answerable = sum(len(groups_of[int(data.labels[i])]) > 1 for i in queries)
    if len(queries) and n_answerable >= MIN_ANSWERABLE * len(queries):
        return queries, "validation"
    return np.arange(len(data.tracks), dtype=np.int64), "all"


def score_codes(
    codes: NDArray[np.uint8], positions: NDArray[np.int64], data: TrainingData
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


def _masks(
    data: TrainingData, queries: NDArray[np.int64], items: NDArray[np.int64]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Give `relevance_masks` of tracks by position."""
    return relevance_masks(
        data.labels[queries], data.labels[items], data.groups[queries], data.groups[items]
    )
