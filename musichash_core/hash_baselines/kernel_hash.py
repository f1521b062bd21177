"""Supervised hashing with kernels: one bit after another, each mending what the last ones missed.

Public: `learn_ksh`, `next_bit`.
"""

import numpy as np
import scipy.linalg
import scipy.optimize
from numpy.typing import NDArray

from musichash_core.hash_baselines.anchor_kernel import fit_anchor_kernel
from musichash_core.hash_baselines.baseline import Projection
from musichash_core.hash_baselines.training_items import LearningSet

N_LABELLED = 1000
"""Items whose pairs are learned from, at most: the paper's setting, and the cost is its square."""

N_GRADIENT_STEPS = 20
"""Steps of L-BFGS per bit; the paper runs Nesterov's gradient on the same smooth objective."""

RIDGE = 1e-6
"""Share of the mean variance that is added so that the kernel features can be inverted."""


def learn_ksh(learning: LearningSet, n_bits: int, seed: int) -> Projection:
    """Fit inner products of codes to the labels' similarity, greedily (KSH).

    Liu, Wang, Ji, Jiang and Chang, CVPR 2012: minimise ``|n_bits S - sum_k b_k b_k^T|^2`` where
    ``S`` is +1 for items that share a class and -1 for others, and ``b_k`` are the signs of a
    linear function of the likeness to anchors. Any number of bits.
    """
    rng = np.random.default_rng(seed)
    kernel = fit_anchor_kernel(learning.features, rng)
    labelled = np.sort(rng.permutation(len(learning.features))[:N_LABELLED])
    inputs = kernel.apply(learning.features[labelled])
    targets = learning.targets[labelled]
    residual = n_bits * np.where(targets @ targets.T > 0, 1.0, -1.0)
    weights = np.empty((inputs.shape[1], n_bits))
    for bit in range(n_bits):
        weights[:, bit] = next_bit(inputs, residual)
        signs = _signs(inputs @ weights[:, bit])
        residual -= np.outer(signs, signs)
    return lambda features: np.asarray(kernel.apply(features) @ weights)


def next_bit(inputs: NDArray[np.float64], residual: NDArray[np.float64]) -> NDArray[np.float64]:
    """Find the function whose signs explain most of the similarity that is left.

    The spectral solution (signs dropped), then gradient steps with the signs replaced by a
    sigmoid; the better of the two by the objective itself.

    Parameters
    ----------
    inputs : (n_items, n_inputs) float64
    residual : (n_items, n_items) float64
        Symmetric.

    Returns
    -------
    (n_inputs,) float64
    """
    gram = inputs.T @ inputs
    gram += RIDGE * max(np.trace(gram) / len(gram), RIDGE) * np.eye(len(gram))
    last = len(gram) - 1
    _, vectors = scipy.linalg.eigh(inputs.T @ residual @ inputs, gram, subset_by_index=(last, last))
    spectral = vectors[:, 0]
    spectral = spectral * np.sqrt(len(inputs) / (spectral @ gram @ spectral))
    spectral = spectral * (1.0 if spectral[np.abs(spectral).argmax()] >= 0 else -1.0)

    def smooth(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        relaxed = np.tanh(inputs @ weights / 2)
        explained = residual @ relaxed
        slope = -(explained * (1 - np.square(relaxed))) @ inputs
        return -float(relaxed @ explained) / len(inputs), slope / len(inputs)

    found = scipy.optimize.minimize(
        smooth, spectral, jac=True, method="L-BFGS-B", options={"maxiter": N_GRADIENT_STEPS}
    )
    both: list[NDArray[np.float64]] = [spectral, np.asarray(found.x)]
    signs = [_signs(inputs @ weights) for weights in both]
    explained = [float(one @ residual @ one) for one in signs]
    return both[int(np.argmax(explained))]


def _signs(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(values >= 0, 1.0, -1.0)
