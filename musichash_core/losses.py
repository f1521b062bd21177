"""The hashing losses "T0", "T" (METHOD 4.5) and "O" (METHOD 4.6), each with an instance term.

T: classification, similarity, quantisation and balance; T0 leaves the similarity of pairs out. O:
classification by cosines to fixed centres with a margin (Hoe et al., "One loss for all", NeurIPS
2021, called OrthoHash). The instance term is not METHOD's: genre alone lets all tracks of a genre
share one code, and then no search can tell them apart.

Legend
------
N segments of a batch, K bits, G genres or tags; ``v`` is the relaxed code of
`musichash_core.crnn_hash.HashOutput`.

Public: `hash_loss`, `HashLoss`, `classification_loss`, `similarity_loss`, `quantisation_loss`,
`balance_loss`, `instance_loss`.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from musichash_core.model_config import COSINE_SCALE, LabelKind, LossConfig

SMALLEST_NORM = 1e-3
"""Shorter codes count as this long when a cosine is taken, so that no gradient is endless."""


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
    targets_NG: Tensor,
    tracks_N: Tensor,
    config: LossConfig,
    *,
    label_kind: LabelKind = "genre",
) -> HashLoss:
    """Compute ``J = J_cls + l_s J_sim + l_q J_q + l_b J_b + l_i J_i`` with the kind's weights.

    Parameters
    ----------
    genre_logits_NG : (n_segments, n_genres) float32
        Softmax layer's input.
    relaxed_NK : (n_segments, n_bits) float32
        ``v``.
    targets_NG : (n_segments, n_genres) float32
        1 for the genre, or for each tag, of a segment's track; else 0.
    tracks_N : (n_segments,) int64
        Which track each segment is from.
    label_kind : "genre" or "tags"
        Whether each row of the targets has one 1 or any number.
    """
    classification = classification_loss(genre_logits_NG, targets_NG, config, label_kind=label_kind)
    similarity = similarity_loss(relaxed_NK, targets_NG)
    quantisation = quantisation_loss(relaxed_NK)
    balance = balance_loss(relaxed_NK)
    instance = instance_loss(relaxed_NK, tracks_N, temperature=config.instance_temperature)
    is_ortho = config.kind == "ortho"
    by_kind = {"t0": 0.0, "t": config.similarity_weight, "ortho": config.centre_similarity_weight}
    total = (
        classification
        + by_kind[config.kind] * similarity
        + (0.0 if is_ortho else config.quantisation_weight) * quantisation
        + (0.0 if is_ortho else config.balance_weight) * balance
        + config.instance_weight * instance
    )
    return HashLoss(total, classification, similarity, quantisation, balance, instance)


def classification_loss(
    genre_logits_NG: Tensor, targets_NG: Tensor, config: LossConfig, *, label_kind: LabelKind
) -> Tensor:
    """Compute what the softmax layer gets wrong.

    Cross-entropy for genres, binary cross-entropy averaged over segments and tags for tags. Kind
    "ortho": cross-entropy after `LossConfig.cosine_margin` is taken off the true genre's cosine;
    with tags, against equal shares of a track's tags.
    """
    if config.kind == "ortho":
        shares_NG = targets_NG / targets_NG.sum(dim=1, keepdim=True).clamp(min=1)
        handicap_NG = COSINE_SCALE * config.cosine_margin * targets_NG
        return functional.cross_entropy(genre_logits_NG - handicap_NG, shares_NG)
    if label_kind == "tags":
        return functional.binary_cross_entropy_with_logits(genre_logits_NG, targets_NG)
    return functional.cross_entropy(genre_logits_NG, targets_NG.argmax(dim=1))


def similarity_loss(relaxed_NK: Tensor, targets_NG: Tensor) -> Tensor:
    """Compute the pairwise likelihood of DPSH, both kinds of pairs weighing half (HashNet).

    ``l_ij = log(1 + exp(th_ij)) - S_ij th_ij`` with ``th_ij = v_i . v_j / 2`` and S_ij = 1 where
    the two share a genre or tag. A kind of pair that the batch does not have counts as 0.
    """
    theta_NN = 0.5 * relaxed_NK @ relaxed_NK.T
    is_same_NN = targets_NG @ targets_NG.T > 0
    is_self_NN = torch.eye(len(targets_NG), dtype=torch.bool, device=targets_NG.device)
    loss_NN = functional.softplus(theta_NN) - is_same_NN * theta_NN
    same = _masked_mean(loss_NN, is_same_NN & ~is_self_NN)
    different = _masked_mean(loss_NN, ~is_same_NN & ~is_self_NN)
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
    unit_NK = functional.normalize(relaxed_NK, dim=1, eps=SMALLEST_NORM)
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
