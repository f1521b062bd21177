"""The parts of the hashing loss against plain loops and limiting cases."""

import math

import numpy as np
import pytest
import torch

from musichash_core.losses import (
    balance_loss,
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
    genres = torch.from_numpy(rng.integers(0, 3, n))
    tracks = torch.from_numpy(np.repeat(np.arange(n // 3), 3))
    return relaxed, genres, tracks


def test_similarity_is_the_mean_over_both_kinds_of_pairs():
    relaxed, genres, _ = batch()
    same, different = [], []
    for i in range(12):
        for j in range(12):
            theta = 0.5 * float(relaxed[i] @ relaxed[j])
            if i != j and genres[i] == genres[j]:
                same.append(math.log1p(math.exp(theta)) - theta)
            elif genres[i] != genres[j]:
                different.append(math.log1p(math.exp(theta)))
    expected = 0.5 * (np.mean(same) + np.mean(different))
    assert float(similarity_loss(relaxed, genres)) == pytest.approx(expected, rel=FLOAT32)


def test_similarity_of_a_batch_of_one_genre_is_finite():
    relaxed, _, _ = batch()
    assert torch.isfinite(similarity_loss(relaxed, torch.zeros(12, dtype=torch.int64)))
    assert float(similarity_loss(relaxed[:1], torch.zeros(1, dtype=torch.int64))) == 0.0


def test_similarity_prefers_codes_that_agree_with_the_genres():
    genres = torch.tensor([0, 0, 1, 1])
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
        torch.nn.functional.cross_entropy(logits, genres)
        + 0.5 * similarity_loss(relaxed, genres)
        + 0.25 * quantisation_loss(relaxed)
        + 2.0 * balance_loss(relaxed)
        + 0.125 * instance_loss(relaxed, tracks, temperature=0.3)
    )
    assert float(loss.total) == pytest.approx(float(expected), rel=FLOAT32)


def test_large_codes_do_not_overflow():
    relaxed = torch.ones(4, 256)
    genres = torch.tensor([0, 0, 1, 1])
    loss = hash_loss(torch.zeros(4, 2), relaxed, genres, torch.tensor([0, 0, 1, 1]), LossConfig())
    assert torch.isfinite(loss.total)
