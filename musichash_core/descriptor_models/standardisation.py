"""Bring descriptors to one scale, with limits: a single wild number must not decide.

Public: `Standardisation`, `fit_standardisation`, `STANDARDISED_LIMIT`.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from musichash_core.descriptors.description import DESCRIPTOR_BLOCKS
from musichash_core.errors import ParameterError

STANDARDISED_LIMIT = 4.0
"""Standard deviations from the mean beyond which a descriptor counts as this far."""

SMALLEST_SHARE = 0.05
"""Of a block's mean spread is added to each descriptor's: one that hardly varies among the training
tracks would otherwise be blown up to the limit by tracks of another kind."""


class Standardisation(nn.Module):
    """Subtract means, divide by spreads, cut at `STANDARDISED_LIMIT`.

    Parameters
    ----------
    n_descriptors : >= 1
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, n_descriptors: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_descriptors))
        self.register_buffer("spread", torch.ones(n_descriptors))

    def forward(self, vectors_ND: Tensor) -> Tensor:
        """Standardise ``(n_tracks, n_descriptors)``."""
        standardised_ND: Tensor = (vectors_ND - self.mean) / self.spread
        return standardised_ND.clamp(-STANDARDISED_LIMIT, STANDARDISED_LIMIT)


def fit_standardisation(vectors: NDArray[np.float32]) -> Standardisation:
    """Measure means and spreads of whole descriptions, or of their first blocks.

    Parameters
    ----------
    vectors : (n_tracks, n_descriptors) float32
        At least two tracks; blocks end where `DESCRIPTOR_BLOCKS` end.

    Raises
    ------
    ParameterError
        If there are fewer tracks, or the vectors end inside a block.
    """
    n_tracks, n_descriptors = vectors.shape
    ends = np.cumsum(list(DESCRIPTOR_BLOCKS.values()))
    if n_tracks < 2 or n_descriptors not in ends:
        raise ParameterError(
            f"vectors of shape {vectors.shape}: want at least two rows of "
            f"{', '.join(str(end) for end in ends)} numbers"
        )
    exact = vectors.astype(np.float64)
    spread = exact.std(axis=0)
    start = 0
    for end in ends[ends <= n_descriptors]:
        spread[start:end] += SMALLEST_SHARE * spread[start:end].mean() + 1e-6
        start = end
    fitted = Standardisation(n_descriptors)
    fitted.mean.copy_(torch.from_numpy(exact.mean(axis=0)))
    fitted.spread.copy_(torch.from_numpy(spread))
    return fitted
