"""How well several tags per track are predicted: average precision and ROC area of each tag.

Public: `score_tags`, `TagScores`, `roc_area`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from musichash_core.errors import ParameterError
from musichash_core.metrics import average_precision


@dataclass(frozen=True, slots=True)
class TagScores:
    """Prediction of tags on a set of tracks.

    Attributes
    ----------
    average_precision : (n_tags,) float64
        Tie-aware. NaN for a tag that every track has or none.
    roc_area : (n_tags,) float64
        NaN likewise.
    prior : (n_tags,) float64
        Share of the tracks that have the tag: the average precision of a random order.
    """

    average_precision: NDArray[np.float64]
    roc_area: NDArray[np.float64]
    prior: NDArray[np.float64]

    def figures(self) -> dict[str, float]:
        """Average over the tags that some tracks have and some do not."""
        scored = ~np.isnan(self.roc_area)
        return {
            "n_tags": float(len(scored)),
            "n_tags_scored": float(scored.sum()),
            "macro_average_precision": float(self.average_precision[scored].mean()),
            "macro_roc_area": float(self.roc_area[scored].mean()),
            "chance": float(self.prior[scored].mean()),
        }


def score_tags(has_tag: NDArray[np.bool_], scores: NDArray[np.floating]) -> TagScores:
    """Score the predictions of each tag.

    Parameters
    ----------
    has_tag : (n_tracks, n_tags) bool
    scores : (n_tracks, n_tags) float
        Logits or probabilities: only their order within a tag counts.

    Raises
    ------
    ParameterError
        Shapes do not fit, a score is NaN, or no tag separates the tracks.
    """
    truth: NDArray[np.bool_] = np.asarray(has_tag, dtype=bool)
    values = np.asarray(scores)
    if truth.ndim != 2 or truth.shape != values.shape:
        raise ParameterError(f"tags {truth.shape} and scores {values.shape}: want (n, n_tags) both")
    if np.isnan(values).any():
        raise ParameterError("scores contain NaN; the model or its input is damaged")
    separates: NDArray[np.bool_] = np.asarray(truth.any(axis=0) & ~truth.all(axis=0))
    if not separates.any():
        raise ParameterError(
            f"none of {truth.shape[1]} tags is on some of the {truth.shape[0]} tracks and not on "
            "others"
        )
    precisions, areas = np.full(len(separates), np.nan), np.full(len(separates), np.nan)
    for tag in np.flatnonzero(separates):
        precisions[tag] = average_precision(-values[:, tag], truth[:, tag])
        areas[tag] = roc_area(values[:, tag], truth[:, tag])
    return TagScores(precisions, areas, truth.mean(axis=0))


def roc_area(scores: NDArray[np.floating], is_positive: NDArray[np.bool_]) -> float:
    """Give the chance that a positive has a higher score than a negative; equal ones count half.

    The area under the ROC curve, from ranks (Mann and Whitney 1947).

    Parameters
    ----------
    scores : (n_items,) float
    is_positive : (n_items,) bool
        At least one of each kind.
    """
    positive = np.asarray(is_positive, dtype=bool)
    n_positive = int(positive.sum())
    n_negative = len(positive) - n_positive
    if not n_positive or not n_negative:
        raise ParameterError(
            f"{n_positive} positives and {n_negative} negatives: want some of each"
        )
    _, group, sizes = np.unique(scores, return_inverse=True, return_counts=True)
    middle_ranks = np.cumsum(sizes) - (sizes - 1) / 2
    above = middle_ranks[group][positive].sum() - n_positive * (n_positive + 1) / 2
    return float(above / (n_positive * n_negative))
