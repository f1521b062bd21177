"""Spectral hashing: the slowest waves on the box that the principal axes span.

Public: `learn_spectral_hash`, `slowest_waves`.
"""

import numpy as np
from numpy.typing import NDArray

from musichash_core.hash_baselines.baseline import Projection
from musichash_core.hash_baselines.linear_codes import principal_axes
from musichash_core.hash_baselines.training_items import LearningSet


def learn_spectral_hash(learning: LearningSet, n_bits: int, seed: int) -> Projection:
    """Take the signs of eigenfunctions of the Laplacian of a uniform box (SH).

    Weiss, Torralba and Fergus, NIPS 2008: along a principal axis of range ``low..low + span`` the
    eigenfunctions are ``cos(m pi (x - low) / span)``, and their eigenvalues grow with ``m / span``:
    the `n_bits` smallest are the bits. More bits than axes take higher waves of the long axes.

    Parameters
    ----------
    seed : int
        Not used: nothing is random.
    """
    del seed
    axes = principal_axes(learning.features, n_bits)
    axes = axes[:, np.abs(axes).any(axis=0)]
    if not axes.shape[1]:
        return lambda features: np.zeros((len(features), n_bits))
    projected = learning.features @ axes
    low, span = projected.min(axis=0), np.ptp(projected, axis=0)
    axis, wave = slowest_waves(span, n_bits)

    def project(features: NDArray[np.float64]) -> NDArray[np.float64]:
        position = (features @ axes - low) / span
        return np.asarray(np.cos(np.pi * wave * position[:, axis]))

    return project


def slowest_waves(
    span: NDArray[np.float64], n_waves: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Choose the waves with the smallest frequency ``m / span``; equal ones by axis.

    Parameters
    ----------
    span : (n_axes,) float64, > 0
        Ranges of the data along the axes.

    Returns
    -------
    axis, wave : (n_waves,) int64
        The axis of each wave and its number ``m`` of half periods, from 1.
    """
    wave = np.arange(1, n_waves + 1)
    frequencies = wave / span[:, None]
    chosen = np.argsort(frequencies.ravel(), kind="stable")[:n_waves]
    return chosen // n_waves, wave[chosen % n_waves]
