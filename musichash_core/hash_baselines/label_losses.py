"""Deep hashing from the labels themselves: GreedyHash, CSQ, SSDH and OrthoHash.

The logits are ``u``, K bits long. An item of several classes counts for each in equal parts.

Public: `GreedyHashLoss`, `CSQLoss`, `SSDHLoss`, `OrthoHashLoss`.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from musichash_core.hash_baselines.hash_centres import hash_centres, majority_centres
from musichash_core.hash_baselines.hash_head import Batch
from musichash_core.hash_baselines.training_items import LearningSet

GREEDY_WEIGHT = 0.1
"""Weight of bringing logits near -1 and +1 in GreedyHash."""

CSQ_WEIGHT = 1e-4
"""Weight of the same in CSQ."""

ORTHO_SCALE = 8.0
"""Factor on the cosines of OrthoHash (METHOD 4.6)."""

ORTHO_MARGIN = 0.2
"""What OrthoHash takes off the cosine of the right class."""


class GreedyHashLoss(nn.Module):
    """Classify the signs; the gradient passes them as if they were not there.

    Su, Zhang, Han and Tian, NeurIPS 2018: cross entropy of a linear classifier on ``sgn(u)``, plus
    `GREEDY_WEIGHT` times the mean of ``| |u| - 1 |^3``.
    """

    def __init__(self, learning: LearningSet, n_bits: int, seed: int) -> None:
        super().__init__()
        del seed
        self.classifier = nn.Linear(n_bits, learning.targets.shape[1])

    def forward(self, logits: Tensor, batch: Batch) -> Tensor:
        """Compute the loss of a batch."""
        signs = torch.where(logits.detach() >= 0, 1.0, -1.0)
        straight_through = logits + (signs - logits).detach()
        classification = _cross_entropy(self.classifier(straight_through), batch.targets)
        return classification + GREEDY_WEIGHT * (logits.abs() - 1).abs().pow(3).mean()


class CSQLoss(nn.Module):
    """Each item's bits against those of its class' centre.

    Yuan et al., CVPR 2020: binary cross entropy of ``(tanh(u) + 1) / 2`` and the centre's bits,
    plus `CSQ_WEIGHT` times the mean of ``(|tanh(u)| - 1)^2``. Items of several classes aim at the
    majority of their centres.
    """

    aims: Tensor

    def __init__(self, learning: LearningSet, n_bits: int, seed: int) -> None:
        super().__init__()
        centres = hash_centres(learning.targets.shape[1], n_bits, seed=seed)
        aims = majority_centres(learning.targets, centres, seed=seed)
        self.register_buffer("aims", torch.from_numpy(aims))

    def forward(self, logits: Tensor, batch: Batch) -> Tensor:
        """Compute the loss of a batch."""
        wanted = (self.aims[batch.rows] + 1) / 2
        # (tanh(u) + 1) / 2 is the sigmoid of 2 u, whose cross entropy does not overflow.
        central = functional.binary_cross_entropy_with_logits(2 * logits, wanted)
        return central + CSQ_WEIGHT * (torch.tanh(logits).abs() - 1).square().mean()


class SSDHLoss(nn.Module):
    """Classify relaxed codes, keep them off one half, and each code half ones.

    Yang, Lin and Chen, TPAMI 2018, as in METHOD 4.5: with ``a = sigmoid(u)``, the cross entropy of
    a linear classifier on ``a``, minus half the mean of ``(a - .5)^2``, plus half the mean over
    items of ``(mean_k a_k - .5)^2``.
    """

    def __init__(self, learning: LearningSet, n_bits: int, seed: int) -> None:
        super().__init__()
        del seed
        self.classifier = nn.Linear(n_bits, learning.targets.shape[1])

    def forward(self, logits: Tensor, batch: Batch) -> Tensor:
        """Compute the loss of a batch."""
        relaxed = torch.sigmoid(logits)
        classification = _cross_entropy(self.classifier(relaxed), batch.targets)
        spread = (relaxed - 0.5).square().mean()
        fire_rate = (relaxed.mean(dim=1) - 0.5).square().mean()
        return classification - spread / 2 + fire_rate / 2


class OrthoHashLoss(nn.Module):
    """Cosine to the centre of the right class, by a margin above the others.

    Hoe et al., NeurIPS 2021: cross entropy of ``scale (cos - margin 1_y)``. The head normalises
    each bit over the batch, which keeps bits even and needs no loss for it.
    """

    centres: Tensor

    def __init__(self, learning: LearningSet, n_bits: int, seed: int) -> None:
        super().__init__()
        centres = hash_centres(learning.targets.shape[1], n_bits, seed=seed)
        self.register_buffer("centres", torch.from_numpy(centres / np.float32(np.sqrt(n_bits))))

    def forward(self, logits: Tensor, batch: Batch) -> Tensor:
        """Compute the loss of a batch."""
        cosines = functional.normalize(logits, dim=1) @ self.centres.T
        return _cross_entropy(ORTHO_SCALE * (cosines - ORTHO_MARGIN * batch.targets), batch.targets)


def _cross_entropy(class_logits: Tensor, targets: Tensor) -> Tensor:
    """Average the cross entropy with each item's classes in equal parts."""
    shares = targets / targets.sum(dim=1, keepdim=True)
    return functional.cross_entropy(class_logits, shares)
