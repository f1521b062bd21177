"""The hashing loss "T" (METHOD 4.5): classification, similarity, quantisation and balance.

Beside the three parts of METHOD there is an instance term: genre alone lets all tracks of a genre
share one code, and then no search can tell them apart.

Legend
------
N segments of a batch, K bits, G genres; ``v`` is the relaxed code tanh(u).
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from musichash_core.model_config import LossConfig


class HashLoss(NamedTuple):
    """The weighted sum and its parts before weighting, each a scalar tensor."""

    total: Tensor
    classification: Tensor
    similarity: Tensor
    quantisation: Tensor
    balance: Tensor
    instance: Tensor


def hash_loss(
    genre_logits_NG: Tensor,
    relaxed_NK: Tensor,
    genres_N: Tensor,
    tracks_N: Tensor,
    config: LossConfig,
) -> HashLoss:
    """Compute ``J = J_cls + l_s J_sim + l_q J_q + l_b J_b + l_i J_i``.

    Parameters
    ----------
    genre_logits_NG : (n_segments, n_genres) float32
        Softmax layer's input.
    relaxed_NK : (n_segments, n_bits) float32
        ``v``, in -1..1.
    genres_N : (n_segments,) int64
    tracks_N : (n_segments,) int64
        Which track each segment is from.
    """
    classification = functional.cross_entropy(genre_logits_NG, genres_N)
    similarity = similarity_loss(relaxed_NK, genres_N)
    quantisation = quantisation_loss(relaxed_NK)
    balance = balance_loss(relaxed_NK)
    instance = instance_loss(relaxed_NK, tracks_N, temperature=config.instance_temperature)
    total = (
        classification
        + config.similarity_weight * similarity
        + config.quantisation_weight * quantisation
        + config.balance_weight * balance
        + config.instance_weight * instance
    )
    return HashLoss(total, classification, similarity, quantisation, balance, instance)


def similarity_loss(relaxed_NK: Tensor, genres_N: Tensor) -> Tensor:
    """Compute the pairwise likelihood of DPSH, both kinds of pairs weighing half (HashNet).

    ``l_ij = log(1 + exp(th_ij)) - S_ij th_ij`` with ``th_ij = v_i . v_j / 2``. A kind of pair that
    the batch does not have counts as 0.
    """
    theta_NN = 0.5 * relaxed_NK @ relaxed_NK.T
    is_same_NN = genres_N[:, None] == genres_N
    is_self_NN = torch.eye(len(genres_N), dtype=torch.bool, device=genres_N.device)
    loss_NN = functional.softplus(theta_NN) - is_same_NN * theta_NN
    same = _masked_mean(loss_NN, is_same_NN & ~is_self_NN)
    different = _masked_mean(loss_NN, ~is_same_NN)
    return 0.5 * (same + different)


def quantisation_loss(relaxed_NK: Tensor) -> Tensor:
    """Compute ``mean((|v| - 1)^2)``: the cost of replacing v by its sign."""
    return (relaxed_NK.abs() - 1).square().mean()


def balance_loss(relaxed_NK: Tensor) -> Tensor:
    """Compute ``mean_k (mean_i v_ik)^2``: 0 when each bit is set in half of the batch."""
    return relaxed_NK.mean(dim=0).square().mean()


def instance_loss(relaxed_NK: Tensor, tracks_N: Tensor, *, temperature: float) -> Tensor:
    """Compute the contrastive loss that calls for segments of one track to be nearest neighbours.

    For each segment, the mean over the others of its track of ``-log softmax(cos / temperature)``
    among all other segments of the batch (SupCon with the track as the class). Segments whose
    track is met once only serve as the others. 0 when every track is met once.
    """
    unit_NK = functional.normalize(relaxed_NK, dim=1)
    is_self_NN = torch.eye(len(tracks_N), dtype=torch.bool, device=tracks_N.device)
    similarity_NN = (unit_NK @ unit_NK.T / temperature).masked_fill(is_self_NN, -1e9)
    log_share_NN = similarity_NN - similarity_NN.logsumexp(dim=1, keepdim=True)
    is_partner_NN = (tracks_N[:, None] == tracks_N) & ~is_self_NN
    n_partners_N = is_partner_NN.sum(dim=1)
    loss_N = -(log_share_NN * is_partner_NN).sum(dim=1) / n_partners_N.clamp(min=1)
    return _masked_mean(loss_N, n_partners_N > 0)


def _masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Average the masked values; 0 when there are none."""
    return (values * mask).sum() / mask.sum().clamp(min=1)
