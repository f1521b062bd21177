"""Deep hashing from pairs of items, alike or not: DSH, DPSH and HashNet.

Two items are alike when they share a class. The logits are ``u``, K bits long; a pair of an item
with itself never counts.

Public: `DSHLoss`, `DPSHLoss`, `HashNetLoss`.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from musichash_core.hash_baselines.hash_head import Batch
from musichash_core.hash_baselines.training_items import LearningSet

DSH_WEIGHT = 0.01
"""Weight of bringing logits near -1 and +1 in DSH."""

DPSH_WEIGHT = 0.1
"""Weight of the same in DPSH."""

HASHNET_SLOPE = 10.0
"""HashNet divides this by the number of bits and multiplies inner products with it."""

HASHNET_STAGES = 10
"""Steps by which the tanh of HashNet becomes steeper: 1, 2, ... 10."""


class DSHLoss(nn.Module):
    """Squared distances: short for alike items, beyond a margin for others.

    Liu, Wang, Shan and Chen, CVPR 2016: ``s d / 2 + (1 - s) max(0, 2 K - d) / 2``, averaged over
    pairs, plus `DSH_WEIGHT` times the mean of ``| |u| - 1 |``.
    """

    def __init__(self, learning: LearningSet, n_bits: int, seed: int) -> None:
        super().__init__()
        del learning, seed
        self.margin = 2.0 * n_bits

    def forward(self, logits: Tensor, batch: Batch) -> Tensor:
        """Compute the loss of a batch."""
        alike = _alike(batch.targets, batch.targets)
        norms = logits.square().sum(dim=1)
        distances = norms[:, None] + norms - 2 * logits @ logits.T
        losses = torch.where(alike, distances, (self.margin - distances).clamp(min=0)) / 2
        return _mean(losses, _others(batch)) + DSH_WEIGHT * (logits.abs() - 1).abs().mean()


class DPSHLoss(nn.Module):
    """Likelihood of the pairs of a batch with all training items.

    Li, Wang and Kang, IJCAI 2016: ``log(1 + exp(th)) - s th`` with ``th = u_i . u_j / 2``, averaged
    over pairs, plus `DPSH_WEIGHT` times the mean of ``(u - sgn u)^2``. The other items are
    represented by the logits they had when last met; items not met yet do not count.
    """

    bank: Tensor
    was_met: Tensor
    targets: Tensor

    def __init__(self, learning: LearningSet, n_bits: int, seed: int) -> None:
        super().__init__()
        del seed
        n_items = len(learning.features)
        self.register_buffer("targets", torch.from_numpy(learning.targets).float())
        self.register_buffer("bank", torch.zeros(n_items, n_bits))
        self.register_buffer("was_met", torch.zeros(n_items))

    def forward(self, logits: Tensor, batch: Batch) -> Tensor:
        """Compute the loss of a batch; keep its logits for later ones."""
        self.bank[batch.rows] = logits.detach()
        self.was_met[batch.rows] = 1.0
        theta = logits @ self.bank.T / 2
        losses = functional.softplus(theta) - _alike(batch.targets, self.targets) * theta
        with_self = (losses @ self.was_met).sum()
        without_self = with_self - losses[torch.arange(len(logits)), batch.rows].sum()
        n_pairs = len(logits) * (self.was_met.sum() - 1).clamp(min=1)
        signs = torch.where(logits.detach() >= 0, 1.0, -1.0)
        return without_self / n_pairs + DPSH_WEIGHT * (logits - signs).square().mean()


class HashNetLoss(nn.Module):
    """Likelihood of pairs, both kinds weighing the same, with a tanh that becomes a sign.

    Cao, Long, Wang and Yu, ICCV 2017: ``w (log(1 + exp(th)) - s th)`` with ``th = a h_i . h_j``,
    ``h = tanh(b u)``, ``b`` from 1 to `HASHNET_STAGES` by equal stages of the training, and ``w``
    the number of pairs divided by the number of pairs of the same kind.
    """

    def __init__(self, learning: LearningSet, n_bits: int, seed: int) -> None:
        super().__init__()
        del learning, seed
        self.slope = HASHNET_SLOPE / n_bits

    def forward(self, logits: Tensor, batch: Batch) -> Tensor:
        """Compute the loss of a batch."""
        steepness = 1 + int(batch.progress * HASHNET_STAGES)
        relaxed = torch.tanh(steepness * logits)
        theta = self.slope * relaxed @ relaxed.T
        alike = _alike(batch.targets, batch.targets)
        losses = functional.softplus(theta) - alike * theta
        others = _others(batch)
        return _mean(losses, alike & others) + _mean(losses, ~alike)


def _alike(left: Tensor, right: Tensor) -> Tensor:
    """Say which pairs share a class, ``(n, n_classes), (m, n_classes) -> (n, m)`` bool."""
    return left @ right.T > 0


def _others(batch: Batch) -> Tensor:
    """Mark the pairs of two different items, ``(n, n)`` bool."""
    return ~torch.eye(len(batch.rows), dtype=torch.bool)


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    """Average the masked values; 0 when there are none."""
    return (values * mask).sum() / mask.sum().clamp(min=1)
