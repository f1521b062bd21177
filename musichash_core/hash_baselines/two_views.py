"""Two views of an item for a method that learns from likeness to itself (CIBHash).

Public: `TwoViews`.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

NOISE = 0.5
"""Standard deviation of the noise on features, which have 1."""


class TwoViews:
    """Another item of the same track, or noise on the features when there is none.

    Parameters
    ----------
    tracks : (n_items,) int64
    """

    def __init__(self, tracks: NDArray[np.int64]) -> None:
        self._by_track = np.argsort(tracks, kind="stable")
        _, track, counts = np.unique(tracks, return_inverse=True, return_counts=True)
        self._start = (np.cumsum(counts) - counts)[track]
        self._count = counts[track]
        self._place = np.empty(len(tracks), dtype=np.int64)
        self._place[self._by_track] = np.arange(len(tracks))

    def partners(self, rows: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        """Draw another item of each item's track; the item itself when it is the only one.

        Parameters
        ----------
        rows : (n,) int64

        Returns
        -------
        (n,) int64
        """
        start, count = self._start[rows], self._count[rows]
        step = rng.integers(1, np.maximum(count, 2))
        place = start + (self._place[rows] - start + step) % count
        return np.asarray(self._by_track[place], dtype=np.int64)

    def draw(self, features: Tensor, rows: NDArray[np.int64], rng: np.random.Generator) -> Tensor:
        """Give both views of some items, all first ones first.

        Parameters
        ----------
        features : (n_items, n_features) float32
            Standardised.
        rows : (n,) int64

        Returns
        -------
        (2 n, n_features) float32
        """
        partners = self.partners(rows, rng)
        both = features[torch.from_numpy(np.concatenate([rows, partners]))]
        noise = rng.standard_normal(both.shape, dtype=np.float32) * np.float32(NOISE)
        noise[np.tile(partners != rows, 2)] = 0.0
        return both + torch.from_numpy(noise)
