"""Likeness to some training items: the features that SDH and KSH work on.

Public: `AnchorKernel`, `fit_anchor_kernel`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

N_ANCHORS = 300
"""Anchors of KSH (Liu et al., CVPR 2012); METHOD 5."""


@dataclass(frozen=True, slots=True, eq=False)
class AnchorKernel:
    """Gaussian kernel between items and anchors, centred on the training items.

    Attributes
    ----------
    anchors : (n_anchors, n_features) float64
    squared_width : float
        ``k(x, a) = exp(-|x - a|^2 / squared_width)``.
    mean : (n_anchors,) float64
        Of the kernel over the training items.
    """

    anchors: NDArray[np.float64]
    squared_width: float
    mean: NDArray[np.float64]

    def apply(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """Compare items with the anchors, ``(n_items, n_features)`` -> ``(n_items, n_anchors)``."""
        return _gaussian(features, self.anchors, self.squared_width) - self.mean


def fit_anchor_kernel(
    features: NDArray[np.float64], rng: np.random.Generator, *, n_anchors: int = N_ANCHORS
) -> AnchorKernel:
    """Draw anchors from the training items; the width is their mean squared distance to them.

    Parameters
    ----------
    features : (n_items, n_features) float64
    n_anchors : >= 1
        Fewer are drawn when there are fewer items.
    """
    drawn = rng.permutation(len(features))[:n_anchors]
    anchors = features[drawn]
    squared_width = float(cdist(features, anchors, "sqeuclidean").mean()) or 1.0
    mean = _gaussian(features, anchors, squared_width).mean(axis=0)
    return AnchorKernel(anchors, squared_width, mean)


def _gaussian(
    features: NDArray[np.float64], anchors: NDArray[np.float64], squared_width: float
) -> NDArray[np.float64]:
    return np.asarray(np.exp(-cdist(features, anchors, "sqeuclidean") / squared_width))
