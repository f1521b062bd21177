"""The two ends between which hashing methods lie: a classifier's decision, and no hashing at all.

Public: `learn_class_hash` (CLS-HASH), `learn_real_vectors` (REAL), `fit_softmax_regression`.
"""

import numpy as np
from numpy.typing import NDArray

from musichash_core.hash_baselines.baseline import Projection
from musichash_core.hash_baselines.hash_centres import hash_centres
from musichash_core.hash_baselines.training_items import LearningSet

PENALTY = 1.0
"""Half of it times the sum of squared weights is added to the sum of the items' losses."""

MAX_STEPS = 500
"""Of L-BFGS; standardised features need some dozens."""


def learn_class_hash(learning: LearningSet, n_bits: int, seed: int) -> Projection:
    """Give each item the centre of the class that a logistic regression predicts (CLS-HASH).

    What a method is worth beyond classifying: items of one predicted class cannot be told apart.
    With several labels per item, the most probable class.
    """
    weights, offsets = fit_softmax_regression(learning.features, learning.targets)
    centres = hash_centres(learning.targets.shape[1], n_bits, seed=seed)
    return lambda features: centres[(features @ weights + offsets).argmax(axis=1)]


def learn_real_vectors(learning: LearningSet, n_bits: int, seed: int) -> Projection:
    """Scale standardised features to unit length (REAL): inner products are cosines.

    Parameters
    ----------
    n_bits, seed : int
        Not used: all features are kept.
    """
    del learning, n_bits, seed

    def project(features: NDArray[np.float64]) -> NDArray[np.float64]:
        norms = np.linalg.norm(features, axis=1, keepdims=True)
        unit = np.divide(features, norms, out=np.zeros_like(features), where=norms > 0)
        return np.asarray(unit)

    return project


def fit_softmax_regression(
    features: NDArray[np.float64], targets: NDArray[np.float64], *, penalty: float = PENALTY
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fit a multinomial logistic regression.

    Parameters
    ----------
    features : (n_items, n_features) float64
    targets : (n_items, n_classes) float64
        0 or 1; an item of several classes counts for each in equal parts.
    penalty : > 0

    Returns
    -------
    weights : (n_features, n_classes) float64
    offsets : (n_classes,) float64
    """
    import scipy.optimize  # every worker imports this module, and none of them trains

    n_features, n_classes = features.shape[1], targets.shape[1]
    shares = targets / targets.sum(axis=1, keepdims=True)

    def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        table = flat.reshape(n_features + 1, n_classes)
        weights, offsets = table[:-1], table[-1]
        log_probabilities = scipy.special.log_softmax(features @ weights + offsets, axis=1)
        excess = np.exp(log_probabilities) - shares
        slope = np.concatenate([features.T @ excess + penalty * weights, excess.sum(axis=0)[None]])
        value = -(shares * log_probabilities).sum() + penalty / 2 * np.square(weights).sum()
        return float(value), slope.ravel()

    found = scipy.optimize.minimize(
        loss,
        np.zeros((n_features + 1) * n_classes),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": MAX_STEPS},
    )
    table = np.asarray(found.x).reshape(n_features + 1, n_classes)
    return table[:-1], table[-1]
