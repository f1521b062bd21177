"""Supervised discrete hashing: binary codes from which labels can be read by a linear map.

Public: `learn_sdh`, and its three closed-form steps `fit_ridge`, `improve_codes`, `sdh_objective`.
"""

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from musichash_core.hash_baselines.anchor_kernel import fit_anchor_kernel
from musichash_core.hash_baselines.baseline import Projection
from musichash_core.hash_baselines.training_items import LearningSet

N_ROUNDS = 5
"""Alternations of the three steps (the paper's setting; codes hardly change after them)."""

N_SWEEPS = 10
"""Passes over the bits in one code step, at most; usually a few suffice."""

LABEL_RIDGE = 1.0
"""Penalty on the map from codes to labels."""

KERNEL_RIDGE = 0.01
"""Penalty on the map from kernel features to codes."""

KERNEL_WEIGHT = 1e-5
"""Weight of staying near what the kernel features predict."""


def learn_sdh(learning: LearningSet, n_bits: int, seed: int) -> Projection:
    """Alternate codes, their map to the labels, and the map from the features to them (SDH).

    Shen, Shen, Liu and Shen, CVPR 2015: minimise ``|Y - B W|^2 + l |W|^2 + n |B - F(X)|^2`` over
    signs ``B``, with ``F`` linear in the likeness to anchors. Any number of bits.
    """
    rng = np.random.default_rng(seed)
    kernel = fit_anchor_kernel(learning.features, rng)
    inputs = _with_constant(kernel.apply(learning.features))
    codes = rng.choice(np.array([-1.0, 1.0]), size=(len(inputs), n_bits))
    from_inputs = fit_ridge(inputs, codes, KERNEL_RIDGE)
    for _ in range(N_ROUNDS):
        to_targets = fit_ridge(codes, learning.targets, LABEL_RIDGE)
        codes = improve_codes(codes, learning.targets, to_targets, inputs @ from_inputs)
        from_inputs = fit_ridge(inputs, codes, KERNEL_RIDGE)
    return lambda features: np.asarray(_with_constant(kernel.apply(features)) @ from_inputs)


def fit_ridge(
    inputs: NDArray[np.float64], outputs: NDArray[np.float64], penalty: float
) -> NDArray[np.float64]:
    """Minimise ``|outputs - inputs W|^2 + penalty |W|^2``.

    Parameters
    ----------
    inputs : (n_items, n_inputs) float64
    outputs : (n_items, n_outputs) float64
    penalty : > 0

    Returns
    -------
    (n_inputs, n_outputs) float64
    """
    gram = inputs.T @ inputs + penalty * np.eye(inputs.shape[1])
    return np.asarray(scipy.linalg.solve(gram, inputs.T @ outputs, assume_a="pos"))


def improve_codes(
    codes: NDArray[np.float64],
    targets: NDArray[np.float64],
    to_targets: NDArray[np.float64],
    predicted: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Lower the objective bit by bit, each set to its best value given the others.

    Parameters
    ----------
    codes : (n_items, n_bits) float64
        -1 or +1; where to start.
    targets : (n_items, n_classes) float64
    to_targets : (n_bits, n_classes) float64
    predicted : (n_items, n_bits) float64
        What the features predict.

    Returns
    -------
    (n_items, n_bits) float64
        -1 or +1, at which no change of a single bit lowers the objective (or `N_SWEEPS` are over).
    """
    codes = codes.copy()
    wanted = targets @ to_targets.T + KERNEL_WEIGHT * predicted
    gram = to_targets @ to_targets.T
    for _ in range(N_SWEEPS):
        before = codes.copy()
        for bit in range(codes.shape[1]):
            others = codes @ gram[:, bit] - codes[:, bit] * gram[bit, bit]
            codes[:, bit] = np.where(wanted[:, bit] - others >= 0, 1.0, -1.0)
        if np.array_equal(before, codes):
            break
    return codes


def sdh_objective(
    codes: NDArray[np.float64],
    targets: NDArray[np.float64],
    to_targets: NDArray[np.float64],
    predicted: NDArray[np.float64],
) -> float:
    """Compute what SDH minimises; the shapes are those of `improve_codes`."""
    fit = np.square(targets - codes @ to_targets).sum()
    penalty = LABEL_RIDGE * np.square(to_targets).sum()
    return float(fit + penalty + KERNEL_WEIGHT * np.square(codes - predicted).sum())


def _with_constant(kernel: NDArray[np.float64]) -> NDArray[np.float64]:
    """Append a column of ones: bits need not be even, so their prediction needs an offset."""
    return np.concatenate([kernel, np.ones((len(kernel), 1))], axis=1)
