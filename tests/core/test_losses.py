"""The hashing losses against plain loops of METHOD's formulas, and in limiting cases."""

import math

import numpy as np
import pytest
import torch

from musichash_core.losses import (
    balance_loss,
    classification_loss,
    hash_loss,
    instance_loss,
    quantisation_loss,
    similarity_loss,
)
from musichash_core.model_config import LossConfig

FLOAT32 = 1e-5  # relative; sums of some dozens of float32 terms


def batch(n: int = 12, n_bits: int = 16, seed: int = 0):
    rng = np.random.default_rng(seed)
    relaxed = torch.from_numpy(np.tanh(rng.standard_normal((n, n_bits))).astype(np.float32))
    genres = torch.nn.functional.one_hot(torch.from_numpy(rng.integers(0, 3, n)), 3).float()
    tracks = torch.from_numpy(np.repeat(np.arange(n // 3), 3))
    return relaxed, genres, tracks


def test_similarity_is_the_mean_over_both_kinds_of_pairs():
    relaxed, genres, _ = batch()
    same, different = [], []
    for i in range(12):
        for j in range(12):
            theta = 0.5 * float(relaxed[i] @ relaxed[j])
            if i != j and (genres[i] == genres[j]).all():
                same.append(math.log1p(math.exp(theta)) - theta)
            elif i != j:
                different.append(math.log1p(math.exp(theta)))
    expected = 0.5 * (np.mean(same) + np.mean(different))
    assert float(similarity_loss(relaxed, genres)) == pytest.approx(expected, rel=FLOAT32)


def test_similarity_of_a_batch_of_one_genre_is_finite():
    relaxed, _, _ = batch()
    assert torch.isfinite(similarity_loss(relaxed, torch.ones(12, 1)))
    assert float(similarity_loss(relaxed[:1], torch.ones(1, 1))) == 0.0


def test_similarity_prefers_codes_that_agree_with_the_genres():
    genres = torch.eye(2).repeat_interleave(2, dim=0)
    agreeing = torch.tensor([1.0, 1.0, -1.0, -1.0])[:, None].expand(4, 8)
    crossing = torch.tensor([1.0, -1.0, 1.0, -1.0])[:, None].expand(4, 8)
    assert similarity_loss(agreeing, genres) < similarity_loss(crossing, genres)


def test_quantisation_is_zero_for_signs_and_one_for_zeros():
    assert float(quantisation_loss(torch.tensor([[1.0, -1.0], [-1.0, -1.0]]))) == 0.0
    assert float(quantisation_loss(torch.zeros(3, 4))) == 1.0


def test_balance_is_zero_for_even_bits_and_one_for_constant_ones():
    assert float(balance_loss(torch.tensor([[1.0, -1.0], [-1.0, 1.0]]))) == 0.0
    assert float(balance_loss(torch.ones(3, 4))) == 1.0


def test_instance_loss_is_the_mean_cross_entropy_of_partners():
    relaxed, _, tracks = batch()
    unit = torch.nn.functional.normalize(relaxed, dim=1)
    losses = []
    for i in range(12):
        scores = [float(unit[i] @ unit[j]) / 0.3 for j in range(12) if j != i]
        total = math.log(sum(math.exp(score) for score in scores))
        partners = [j for j in range(12) if j != i and tracks[i] == tracks[j]]
        losses.append(np.mean([total - float(unit[i] @ unit[j]) / 0.3 for j in partners]))
    found = instance_loss(relaxed, tracks, temperature=0.3)
    assert float(found) == pytest.approx(np.mean(losses), rel=FLOAT32)


def test_instance_loss_without_partners_is_zero_and_harmless():
    relaxed, _, _ = batch()
    relaxed.requires_grad_()
    loss = instance_loss(relaxed, torch.arange(12), temperature=0.1)
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert torch.isfinite(relaxed.grad).all()


def test_the_whole_is_the_weighted_sum_of_its_parts():
    relaxed, genres, tracks = batch()
    logits = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
    config = LossConfig(
        similarity_weight=0.5,
        quantisation_weight=0.25,
        balance_weight=2.0,
        instance_weight=0.125,
        instance_temperature=0.3,
    )
    loss = hash_loss(logits, relaxed, genres, tracks, config)
    expected = (
        torch.nn.functional.cross_entropy(logits, genres.argmax(dim=1))
        + 0.5 * similarity_loss(relaxed, genres)
        + 0.25 * quantisation_loss(relaxed)
        + 2.0 * balance_loss(relaxed)
        + 0.125 * instance_loss(relaxed, tracks, temperature=0.3)
    )
    assert float(loss.total) == pytest.approx(float(expected), rel=FLOAT32)


def test_large_codes_do_not_overflow():
    relaxed = torch.ones(4, 256)
    genres = torch.eye(2).repeat_interleave(2, dim=0)
    loss = hash_loss(torch.zeros(4, 2), relaxed, genres, torch.tensor([0, 0, 1, 1]), LossConfig())
    assert torch.isfinite(loss.total)


def some_logits(n: int = 12, n_genres: int = 3) -> torch.Tensor:
    return torch.randn(n, n_genres, generator=torch.Generator().manual_seed(0))


def some_tags(n: int = 12) -> torch.Tensor:
    """Give zero to three tags of three per item."""
    return torch.tensor([[i & 1, i >> 1 & 1, i >> 2 & 1] for i in range(n)]).float()


def test_t0_is_t_without_pairs():
    relaxed, genres, tracks = batch()
    t, t0, without = (
        hash_loss(some_logits(), relaxed, genres, tracks, config).total
        for config in (LossConfig(), LossConfig(kind="t0"), LossConfig(similarity_weight=0))
    )
    assert float(t0) == pytest.approx(float(without), rel=FLOAT32)
    assert float(t0) != pytest.approx(float(t), rel=0.01)


def test_ortho_is_cross_entropy_of_scaled_cosines_with_a_margin():
    rng = np.random.default_rng(0)
    codes, centres = rng.standard_normal((6, 8)), rng.choice([-1.0, 1.0], (3, 8))
    truth = [0, 1, 2, 2, 1, 0]
    losses = []
    for code, own in zip(codes, truth, strict=True):
        cosines = [code @ one / (np.linalg.norm(code) * np.linalg.norm(one)) for one in centres]
        logits = [8.0 * (cos - 0.25 * (i == own)) for i, cos in enumerate(cosines)]
        losses.append(math.log(sum(math.exp(one) for one in logits)) - logits[own])
    unit = codes / np.linalg.norm(codes, axis=1, keepdims=True)
    scaled = torch.from_numpy(8.0 * unit @ centres.T / math.sqrt(8)).float()
    config = LossConfig(kind="ortho", cosine_margin=0.25)
    found = classification_loss(scaled, torch.eye(3)[truth], config, label_kind="genre")
    assert float(found) == pytest.approx(np.mean(losses), rel=FLOAT32)


def test_ortho_of_tags_aims_at_equal_shares_of_them():
    logits, tags = some_logits(), some_tags()
    losses = []
    for row, own in zip(logits.numpy().astype(float), tags.numpy(), strict=True):
        handicapped = row - 8.0 * 0.2 * own
        log_p = handicapped - math.log(np.exp(handicapped).sum())
        losses.append(-(own / max(own.sum(), 1) * log_p).sum())
    found = classification_loss(logits, tags, LossConfig(kind="ortho"), label_kind="tags")
    assert float(found) == pytest.approx(np.mean(losses), rel=FLOAT32)


def test_ortho_asks_for_no_quantisation_and_balance():
    relaxed, genres, tracks = batch()
    config = LossConfig(kind="ortho", centre_similarity_weight=0.1, instance_weight=0.5)
    loss = hash_loss(some_logits(), relaxed, genres, tracks, config)
    expected = loss.classification + 0.1 * loss.similarity + 0.5 * loss.instance
    assert float(loss.total) == pytest.approx(float(expected), rel=FLOAT32)


def test_tags_are_learned_by_binary_cross_entropy():
    logits, tags = some_logits(), some_tags()
    p = 1 / (1 + np.exp(-logits.numpy().astype(float)))
    expected = -np.where(tags.numpy() == 1, np.log(p), np.log(1 - p)).mean()
    found = classification_loss(logits, tags, LossConfig(), label_kind="tags")
    assert float(found) == pytest.approx(expected, rel=FLOAT32)


def test_tracks_that_share_a_tag_are_alike():
    relaxed, _, _ = batch()
    tags = some_tags()
    same, different = [], []
    for i in range(12):
        for j in range(12):
            theta = 0.5 * float(relaxed[i] @ relaxed[j])
            shared = {*np.flatnonzero(tags[i])} & {*np.flatnonzero(tags[j])}
            if i != j:
                (same if shared else different).append(
                    math.log1p(math.exp(theta)) - bool(shared) * theta
                )
    expected = 0.5 * (np.mean(same) + np.mean(different))
    assert float(similarity_loss(relaxed, tags)) == pytest.approx(expected, rel=FLOAT32)


@pytest.mark.parametrize("label_kind", ["genre", "tags"])
@pytest.mark.parametrize("kind", ["t0", "t", "ortho"])
@pytest.mark.parametrize("case", ["one genre", "one track", "no code", "equal codes", "one item"])
def test_degenerate_batches_have_finite_gradients(case, kind, label_kind):
    relaxed, genres, tracks = batch()
    if case == "one genre":
        genres = torch.eye(3)[[1] * 12]
    elif case == "one track":
        tracks = torch.zeros(12, dtype=torch.int64)
    elif case == "no code":
        relaxed = torch.zeros(12, 16)
    elif case == "equal codes":
        relaxed = torch.ones(12, 16)
    else:
        relaxed, genres, tracks = relaxed[:1], genres[:1], tracks[:1]
    logits = torch.zeros(len(genres), 3, requires_grad=True)
    relaxed = relaxed.clone().requires_grad_()
    config = LossConfig(kind=kind, centre_similarity_weight=0.1)
    loss = hash_loss(logits, relaxed, genres, tracks, config, label_kind=label_kind)
    loss.total.backward()
    assert torch.isfinite(loss.total)
    assert torch.isfinite(logits.grad).all()
    assert float(relaxed.grad.abs().max()) < 1e6
