"""Hash functions that are one matrix: LSH, rotated PCA, ITQ and ITQ-CCA.

The matrix is applied to standardised features. Where a method has fewer directions than bits (PCA
of few dimensions, CCA with few classes) the missing directions are zero and the rotation spreads
the others over all bits: each bit is then a direction inside their space, bits are correlated, and
no bit is constant.

Public: `learn_lsh`, `learn_rotated_pca`, `learn_itq`, `learn_itq_cca`, and the parts
`principal_axes`, `canonical_axes`, `random_rotation`, `quantising_rotation`.
"""

from typing import NamedTuple

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from musichash_core.hash_baselines.baseline import Projection
from musichash_core.hash_baselines.training_items import LearningSet

ITQ_ITERATIONS = 50
"""Gong and Lazebnik, CVPR 2011."""

CCA_RIDGE = 0.3
"""Added to the variance of each standardised feature (1) and class indicator.

A compromise: on synthetic clusters with many noisy features mAP rose with it up to 3 (64 bits: .63
at .1, .70 at .3, .74 at 3), on scikit-learn's digits it fell (.88 at .1, .80 at 3).
"""

NO_VARIANCE = 1e-10
"""Axes with a smaller share of the largest axis' variance, or correlation squared, are zero."""


class QuantisingRotation(NamedTuple):
    """The rotation of ITQ.

    Attributes
    ----------
    rotation : (n_bits, n_bits) float64
        Orthogonal.
    errors : (n_iterations,) float64
        Mean over items of the squared distance between rotated data and its signs; never rises.
    """

    rotation: NDArray[np.float64]
    errors: NDArray[np.float64]


def learn_lsh(learning: LearningSet, n_bits: int, seed: int) -> Projection:
    """Draw the signs of random projections (Charikar, STOC 2002); only the mean is learned."""
    rng = np.random.default_rng(seed)
    return _matrix(rng.standard_normal((learning.features.shape[1], n_bits)))


def learn_rotated_pca(learning: LearningSet, n_bits: int, seed: int) -> Projection:
    """Project on the principal axes and rotate at random, which evens out the bits' variances.

    Where ITQ starts from (Jégou et al., CVPR 2010, for the use of a random rotation).
    """
    rotation = random_rotation(n_bits, np.random.default_rng(seed))
    return _matrix(principal_axes(learning.features, n_bits) @ rotation)


def learn_itq(learning: LearningSet, n_bits: int, seed: int) -> Projection:
    """Project on the principal axes and rotate towards the corners of the cube (ITQ)."""
    axes = principal_axes(learning.features, n_bits)
    found = quantising_rotation(learning.features @ axes, np.random.default_rng(seed))
    return _matrix(axes @ found.rotation)


def learn_itq_cca(learning: LearningSet, n_bits: int, seed: int) -> Projection:
    """Project on the directions most correlated with the labels, then rotate as ITQ does."""
    axes = canonical_axes(learning.features, learning.targets, n_bits)
    found = quantising_rotation(learning.features @ axes, np.random.default_rng(seed))
    return _matrix(axes @ found.rotation)


def principal_axes(features: NDArray[np.float64], n_axes: int) -> NDArray[np.float64]:
    """Find the directions of largest variance, largest first.

    Of the two directions of an axis the one whose largest component is positive is given.

    Parameters
    ----------
    features : (n_items, n_features) float64
        Centred.

    Returns
    -------
    (n_features, n_axes) float64
        Orthonormal columns, then columns of zeros where the data has no more dimensions.
    """
    covariance = features.T @ features / len(features)
    variances, axes = scipy.linalg.eigh(covariance)
    return _first_axes(variances, axes, n_axes)


def canonical_axes(
    features: NDArray[np.float64], targets: NDArray[np.float64], n_axes: int
) -> NDArray[np.float64]:
    """Find the directions most correlated with the labels: ridge CCA of features and labels.

    Each axis is scaled by its correlation, as the authors of ITQ do.

    Parameters
    ----------
    features : (n_items, n_features) float64
        Centred.
    targets : (n_items, n_classes) float64

    Returns
    -------
    (n_features, n_axes) float64
        Columns of zeros beyond the number of classes less one (of single labels).
    """
    n_items = len(features)
    centred = targets - targets.mean(axis=0)
    within = features.T @ features / n_items + CCA_RIDGE * np.eye(features.shape[1])
    of_targets = centred.T @ centred / n_items + CCA_RIDGE * np.eye(targets.shape[1])
    between = features.T @ centred / n_items
    explained = between @ scipy.linalg.solve(of_targets, between.T, assume_a="pos")
    squares, axes = scipy.linalg.eigh((explained + explained.T) / 2, within)
    return _first_axes(squares, axes * np.sqrt(np.maximum(squares, 0.0)), n_axes)


def random_rotation(n: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw an orthogonal matrix, all equally likely, ``(n, n)`` float64."""
    orthogonal, triangle = np.linalg.qr(rng.standard_normal((n, n)))
    return np.asarray(orthogonal * np.where(np.diag(triangle) >= 0, 1.0, -1.0))


def quantising_rotation(
    projected: NDArray[np.float64],
    rng: np.random.Generator,
    *,
    n_iterations: int = ITQ_ITERATIONS,
) -> QuantisingRotation:
    """Rotate data so that replacing it by its signs loses least (Gong and Lazebnik, CVPR 2011).

    Alternates signs ``B`` of the rotated data and the orthogonal matrix that brings the data
    nearest to ``B`` (Procrustes), from a random rotation.

    Parameters
    ----------
    projected : (n_items, n_bits) float64
    n_iterations : >= 1
    """
    rotation = random_rotation(projected.shape[1], rng)
    errors = np.empty(n_iterations)
    for iteration in range(n_iterations):
        rotated = projected @ rotation
        signs = np.where(rotated >= 0, 1.0, -1.0)
        errors[iteration] = np.square(signs - rotated).sum(axis=1).mean()
        left, _, right = np.linalg.svd(projected.T @ signs)
        rotation = left @ right
    return QuantisingRotation(rotation, errors)


def _first_axes(
    sizes: NDArray[np.float64], axes: NDArray[np.float64], n_axes: int
) -> NDArray[np.float64]:
    """Take the axes of the largest sizes, given ascending; zeros for the missing ones."""
    largest = np.argsort(-sizes, kind="stable")[:n_axes]
    kept = largest[sizes[largest] > NO_VARIANCE * max(float(sizes.max()), NO_VARIANCE)]
    first = axes[:, kept]
    heaviest = np.abs(first).argmax(axis=0)
    signs = np.where(first[heaviest, np.arange(len(kept))] >= 0, 1.0, -1.0)
    return np.pad(first * signs, [(0, 0), (0, n_axes - len(kept))])


def _matrix(matrix: NDArray[np.float64]) -> Projection:
    """Make a projection of a matrix, (n_features, n_bits)."""
    return lambda features: np.asarray(features @ matrix)
