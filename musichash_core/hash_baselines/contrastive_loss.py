"""Deep hashing without labels: two views of an item get codes nearer than any other (CIBHash).

Public: `CIBHashLoss`, `contrast`, `bernoulli_divergence`.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from musichash_core.hash_baselines.hash_head import Batch
from musichash_core.hash_baselines.training_items import LearningSet

TEMPERATURE = 0.3
"""Cosine difference that counts as one nat."""

DIVERGENCE_WEIGHT = 0.001
"""Weight of the information bottleneck: the two views' bits have like probabilities."""


class CIBHashLoss(nn.Module):
    """Contrast of sampled codes, and the divergence of the two views' bit probabilities.

    Qiu et al., IJCAI 2021. Bits are drawn with probability ``sigmoid(u)`` and the gradient passes
    the draw as if it were its probability. Other items of the same track are no negatives here:
    they were other images there.
    """

    def __init__(self, learning: LearningSet, n_bits: int, seed: int) -> None:
        super().__init__()
        del learning, n_bits, seed

    def forward(self, logits: Tensor, batch: Batch) -> Tensor:
        """Compute the loss of a batch of two views, ``(2 n_items, n_bits)`` logits."""
        probabilities = torch.sigmoid(logits)
        drawn = torch.where(torch.rand_like(probabilities) < probabilities.detach(), 1.0, -1.0)
        codes = probabilities + (drawn - probabilities).detach()
        first, second = logits.chunk(2)
        divergence = bernoulli_divergence(first, second) + bernoulli_divergence(second, first)
        return contrast(codes, batch.tracks) + DIVERGENCE_WEIGHT * divergence / 2


def contrast(codes: Tensor, tracks: Tensor) -> Tensor:
    """Average ``-log softmax(cos / temperature)`` of each view's partner among the other tracks.

    Parameters
    ----------
    codes : (2 n_items, n_bits) float32
        First views, then second views in the same order.
    tracks : (n_items,) int64
        Views of one track are left out of the softmax, the partner apart.
    """
    n_items = len(tracks)
    unit = functional.normalize(codes, dim=1)
    similarity = unit @ unit.T / TEMPERATURE
    partner = torch.arange(2 * n_items).roll(n_items)
    both_tracks = tracks.repeat(2)
    is_left_out = both_tracks[:, None] == both_tracks
    is_left_out[torch.arange(2 * n_items), partner] = False
    return functional.cross_entropy(similarity.masked_fill(is_left_out, -torch.inf), partner)


def bernoulli_divergence(first: Tensor, second: Tensor) -> Tensor:
    """Compute the mean over items of ``KL(p || q)``, summed over bits.

    Parameters
    ----------
    first, second : (n_items, n_bits) float32
        Logits of p and of q.
    """
    p = torch.sigmoid(first)
    ones = functional.logsigmoid(first) - functional.logsigmoid(second)
    zeros = functional.logsigmoid(-first) - functional.logsigmoid(-second)
    return (p * ones + (1 - p) * zeros).sum(dim=1).mean()
