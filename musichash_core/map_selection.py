"""Which feature maps of a block enter the pyramid: the similarity selection of METHOD 4.2.

The statistics come from training segments only. Every rule is deterministic, and its order is part
of the result: the maps are read by a recurrent network in that order.

Legend
------
N segments, C maps of a block, D points of an interpolated map.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from musichash_core.errors import ParameterError
from musichash_core.model_config import SelectionRule

MIN_NORM = 1e-8
"""Below it a centred map counts as constant, and is similar to nothing, not even itself."""

DECIMALS = 9
"""Sums that agree to so many decimals are equal: which map wins must not hang on rounding."""


@dataclass(frozen=True, slots=True)
class MapStatistics:
    """What the selection rules look at, for one block.

    Attributes
    ----------
    similarity : (n_maps, n_maps) float64
        Mean over segments of the positive part of the correlation of two maps; 0 to 1.
    variances : (n_maps,) float64
        Mean over segments of the variance inside a map.
    n_segments : int
        Segments that the means are taken over.
    """

    similarity: NDArray[np.float64]
    variances: NDArray[np.float64]
    n_segments: int


def map_statistics(maps_NCD: Tensor) -> MapStatistics:
    """Compare the maps of one block with one another, segment by segment.

    Parameters
    ----------
    maps_NCD : (n_segments, n_maps, n_points) float32
        Interpolated maps, flattened.
    """
    if maps_NCD.ndim != 3 or maps_NCD.shape[0] < 1:
        raise ParameterError(
            f"maps of shape {tuple(maps_NCD.shape)}: want (segments, maps, points)"
        )
    centred_NCD = maps_NCD - maps_NCD.mean(dim=2, keepdim=True)
    norms_NC1 = centred_NCD.norm(dim=2, keepdim=True)
    unit_NCD = torch.where(norms_NC1 > MIN_NORM, centred_NCD / norms_NC1.clamp(min=MIN_NORM), 0.0)
    similarity_CC = (unit_NCD @ unit_NCD.transpose(1, 2)).clamp(min=0).double().mean(dim=0)
    variances_C = centred_NCD.square().mean(dim=2).double().mean(dim=0)
    return MapStatistics(
        similarity=similarity_CC.cpu().numpy(),
        variances=variances_C.cpu().numpy(),
        n_segments=int(maps_NCD.shape[0]),
    )


def merge_statistics(parts: list[MapStatistics]) -> MapStatistics:
    """Average the statistics of several batches of segments, each by its number of segments."""
    if not parts:
        raise ParameterError("no map statistics to merge: there is no training segment")
    n_segments = sum(part.n_segments for part in parts)
    similarity = sum((part.similarity * part.n_segments for part in parts), np.zeros(()))
    variances = sum((part.variances * part.n_segments for part in parts), np.zeros(()))
    return MapStatistics(similarity / n_segments, variances / n_segments, n_segments)


def select_maps(
    statistics: MapStatistics, n_maps: int, *, rule: SelectionRule = "rep", seed: int = 0
) -> NDArray[np.int64]:
    """Choose maps of one block by a rule.

    Parameters
    ----------
    n_maps : 1 to the block's number of maps
    rule : "rep", "cons", "div", "var" or "rand"
        Representative (facility location), most similar to the rest, least similar to one another,
        largest variance, or random (the control).
    seed : >= 0
        Of the random rule; the others ignore it.

    Returns
    -------
    (n_maps,) int64
        Different maps in the order of their choice.
    """
    n_all = len(statistics.similarity)
    if not 1 <= n_maps <= n_all:
        raise ParameterError(f"n_maps={n_maps}: the block has {n_all} feature maps")
    if rule == "rep":
        return select_representative(statistics.similarity, n_maps)
    if rule == "div":
        return select_diverse(statistics.similarity, n_maps)
    if rule == "cons":
        return _largest(statistics.similarity.sum(axis=1), n_maps)
    if rule == "var":
        return _largest(statistics.variances, n_maps)
    return np.random.default_rng(seed).permutation(n_all)[:n_maps].astype(np.int64)


def select_representative(similarity: NDArray[np.float64], n_maps: int) -> NDArray[np.int64]:
    """Maximise facility location ``sum_i max_{j chosen} A_ij`` greedily (SEL-REP).

    The result is within 1 - 1/e of the best (the function is monotone and submodular). Equal gains
    go to the lower map number.

    Parameters
    ----------
    similarity : (n_all, n_all) float64, >= 0

    Returns
    -------
    (n_maps,) int64
        By descending gain.
    """
    covered = np.zeros(len(similarity))
    chosen: list[int] = []
    for _ in range(n_maps):
        gains = np.maximum(similarity - covered[:, None], 0.0).sum(axis=0).round(DECIMALS)
        gains[chosen] = -1.0
        best = int(gains.argmax())
        chosen.append(best)
        covered = np.maximum(covered, similarity[:, best])
    return np.array(chosen, dtype=np.int64)


def select_diverse(similarity: NDArray[np.float64], n_maps: int) -> NDArray[np.int64]:
    """Take the map most similar to the rest, then always the one least similar to those chosen.

    "Least similar" is by its largest similarity to a chosen map (farthest first, SEL-DIV).

    Parameters
    ----------
    similarity : (n_all, n_all) float64, >= 0

    Returns
    -------
    (n_maps,) int64
    """
    chosen = [int(_largest(similarity.sum(axis=1), 1)[0])]
    while len(chosen) < n_maps:
        nearest = similarity[:, chosen].max(axis=1)
        nearest[chosen] = np.inf
        chosen.append(int(nearest.argmin()))
    return np.array(chosen, dtype=np.int64)


def _largest(values: NDArray[np.float64], n_maps: int) -> NDArray[np.int64]:
    """Give the positions of the largest values, equal ones by position."""
    return np.argsort(-values.round(DECIMALS), kind="stable")[:n_maps].astype(np.int64)
