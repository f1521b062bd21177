"""The deep losses against the papers' equations, written out in plain numpy."""

import numpy as np
import pytest
import torch

from musichash_core.hash_baselines.contrastive_loss import (
    CIBHashLoss,
    bernoulli_divergence,
    contrast,
)
from musichash_core.hash_baselines.hash_head import Batch
from musichash_core.hash_baselines.label_losses import (
    CSQLoss,
    GreedyHashLoss,
    OrthoHashLoss,
    SSDHLoss,
)
from musichash_core.hash_baselines.pair_losses import DPSHLoss, DSHLoss, HashNetLoss
from musichash_core.hash_baselines.training_items import LearningSet
from musichash_core.hash_baselines.two_views import TwoViews

FLOAT32 = 1e-5  # relative; sums of some hundreds of float32 terms
N, BITS = 7, 16


def case(progress=0.0, seed=0):
    """Logits of a batch of all items; the last item has two classes."""
    rng = np.random.default_rng(seed)
    targets = np.eye(3)[[0, 0, 1, 1, 2, 2, 0]]
    targets[-1, 1] = 1
    learning = LearningSet(rng.standard_normal((N, 4)), targets, np.arange(N))
    logits = (rng.standard_normal((N, BITS)) * 1.5).astype(np.float32)
    batch = Batch(torch.arange(N), torch.from_numpy(targets).float(), torch.arange(N), progress)
    return learning, logits, batch


def value(loss, logits, batch):
    torch.manual_seed(0)
    return float(loss(torch.from_numpy(logits), batch).detach())


def alike(learning, i, j):
    return bool((learning.targets[i] * learning.targets[j]).any())


def pairs():
    return [(i, j) for i in range(N) for j in range(N) if i != j]


def cross_entropy(class_logits, targets):
    log_probabilities = class_logits - np.log(np.exp(class_logits).sum(axis=1, keepdims=True))
    shares = targets / targets.sum(axis=1, keepdims=True)
    return -(shares * log_probabilities).sum(axis=1).mean()


def classifier(loss):
    layer = loss.classifier
    weights, offset = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    return lambda codes: codes @ weights.T.astype(np.float64) + offset


def test_dsh():
    learning, u, batch = case()
    losses = []
    for i, j in pairs():
        d = np.square(u[i] - u[j]).sum()
        losses.append(d / 2 if alike(learning, i, j) else max(0, 2 * BITS - d) / 2)
    expected = np.mean(losses) + 0.01 * np.abs(np.abs(u) - 1).mean()
    assert value(DSHLoss(learning, BITS, 0), u, batch) == pytest.approx(expected, rel=FLOAT32)


def test_dpsh_on_items_met_before():
    learning, u, batch = case()
    loss = DPSHLoss(learning, BITS, 0)
    before = (u + 0.3).astype(np.float32)
    value(loss, before, batch)
    rows = torch.tensor([4, 1])
    part = Batch(rows, batch.targets[rows], rows, 0.0)
    bank = before.astype(np.float64)
    bank[[4, 1]] = u[[4, 1]]
    losses = []
    for i in (4, 1):
        for j in range(N):
            if i != j:
                theta = u[i] @ bank[j] / 2
                losses.append(np.log1p(np.exp(theta)) - alike(learning, i, j) * theta)
    signs = np.where(u[[4, 1]] >= 0, 1, -1)
    expected = np.mean(losses) + 0.1 * np.square(u[[4, 1]] - signs).mean()
    assert value(loss, u[[4, 1]], part) == pytest.approx(expected, rel=FLOAT32)


def test_dpsh_leaves_out_items_not_met_yet():
    learning, u, batch = case()
    rows = torch.tensor([0, 2])
    part = Batch(rows, batch.targets[rows], rows, 0.0)
    theta = u[0].astype(np.float64) @ u[2] / 2
    signs = np.where(u[[0, 2]] >= 0, 1, -1)
    expected = np.log1p(np.exp(theta)) + 0.1 * np.square(u[[0, 2]] - signs).mean()
    found = value(DPSHLoss(learning, BITS, 0), u[[0, 2]], part)
    assert found == pytest.approx(expected, rel=FLOAT32)


@pytest.mark.parametrize(("progress", "steepness"), [(0.0, 1), (0.55, 6), (0.975, 10)])
def test_hashnet(progress, steepness):
    learning, u, batch = case(progress)
    h = np.tanh(steepness * u.astype(np.float64))
    n_alike = sum(alike(learning, i, j) for i, j in pairs())
    losses = []
    for i, j in pairs():
        theta = 10 / BITS * h[i] @ h[j]
        n_kind = n_alike if alike(learning, i, j) else len(pairs()) - n_alike
        weight = len(pairs()) / n_kind
        losses.append(weight * (np.log1p(np.exp(theta)) - alike(learning, i, j) * theta))
    found = value(HashNetLoss(learning, BITS, 0), u, batch)
    assert found == pytest.approx(np.mean(losses), rel=FLOAT32)


def test_greedyhash_and_its_straight_gradient():
    learning, u, batch = case()
    loss = GreedyHashLoss(learning, BITS, 0)
    signs = np.where(u >= 0, 1.0, -1.0)
    expected = cross_entropy(classifier(loss)(signs), learning.targets)
    expected += 0.1 * (np.abs(np.abs(u) - 1) ** 3).mean()
    assert value(loss, u, batch) == pytest.approx(expected, rel=FLOAT32)

    logits = torch.from_numpy(u).requires_grad_()
    loss(logits, batch).backward()
    codes = torch.from_numpy(signs.astype(np.float32)).requires_grad_()
    shares = batch.targets / batch.targets.sum(dim=1, keepdim=True)
    torch.nn.functional.cross_entropy(loss.classifier(codes), shares).backward()
    distance = np.abs(u) - 1
    cubic = 0.1 * 3 * distance**2 * np.sign(distance) * np.sign(u) / u.size
    np.testing.assert_allclose(logits.grad, codes.grad.numpy() + cubic, atol=1e-6)


def test_csq():
    learning, u, batch = case()
    loss = CSQLoss(learning, BITS, 0)
    aims = loss.aims.numpy()
    assert (aims[0] == aims[1]).all()
    assert (aims[0] != aims[2]).sum() == BITS // 2
    v = np.tanh(u.astype(np.float64))
    p, t = (v + 1) / 2, (aims + 1) / 2
    expected = -(t * np.log(p) + (1 - t) * np.log(1 - p)).mean()
    expected += 1e-4 * np.square(np.abs(v) - 1).mean()
    assert value(loss, u, batch) == pytest.approx(expected, rel=FLOAT32)


def test_ssdh():
    learning, u, batch = case()
    loss = SSDHLoss(learning, BITS, 0)
    a = 1 / (1 + np.exp(-u.astype(np.float64)))
    expected = cross_entropy(classifier(loss)(a), learning.targets)
    expected -= np.square(a - 0.5).sum() / (2 * N * BITS)
    expected += np.square(a.mean(axis=1) - 0.5).sum() / (2 * N)
    assert value(loss, u, batch) == pytest.approx(expected, rel=FLOAT32)


def test_orthohash():
    learning, u, batch = case()
    loss = OrthoHashLoss(learning, BITS, 0)
    t = loss.centres.numpy().astype(np.float64)
    np.testing.assert_allclose(t @ t.T, np.eye(3), atol=1e-6)
    cosines = u @ t.T / np.linalg.norm(u, axis=1, keepdims=True)
    expected = cross_entropy(8 * (cosines - 0.2 * learning.targets), learning.targets)
    assert value(loss, u, batch) == pytest.approx(expected, rel=FLOAT32)


def test_contrast_leaves_other_views_of_a_track_out():
    codes = np.random.default_rng(0).standard_normal((8, BITS))
    tracks = [0, 1, 1, 2]
    unit = codes / np.linalg.norm(codes, axis=1, keepdims=True)
    losses = []
    for i in range(8):
        partner = (i + 4) % 8
        others = [j for j in range(8) if j == partner or tracks[j % 4] != tracks[i % 4]]
        scores = {j: unit[i] @ unit[j] / 0.3 for j in others}
        losses.append(np.log(sum(np.exp(list(scores.values())))) - scores[partner])
    found = contrast(torch.from_numpy(codes).float(), torch.tensor(tracks))
    assert float(found) == pytest.approx(np.mean(losses), rel=FLOAT32)


def test_divergence_of_bernoulli_bits():
    rng = np.random.default_rng(0)
    first, second = rng.standard_normal((2, 5, BITS))
    p, q = 1 / (1 + np.exp(-first)), 1 / (1 + np.exp(-second))
    expected = (p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))).sum() / 5
    found = bernoulli_divergence(torch.from_numpy(first), torch.from_numpy(second))
    assert float(found) == pytest.approx(expected, rel=FLOAT32)


def test_cibhash_draws_the_signs_of_sure_bits():
    learning, u, batch = case()
    sure = np.concatenate([u, u]) * 1000
    found = value(CIBHashLoss(learning, BITS, 0), sure, batch)
    signs = torch.from_numpy(np.sign(sure))
    assert found == pytest.approx(float(contrast(signs, batch.tracks)), rel=FLOAT32)


def test_two_views_are_items_of_one_track():
    tracks = np.array([5, 3, 5, 9, 5, 3])
    views, rng = TwoViews(tracks), np.random.default_rng(0)
    drawn = np.array([views.partners(np.arange(6), rng) for _ in range(60)])
    assert (tracks[drawn] == tracks).all()
    assert [sorted(set(column)) for column in drawn.T] == [
        [2, 4], [5], [0, 4], [3], [0, 2], [1],
    ]  # fmt: skip


def test_only_items_without_a_partner_get_noise():
    features = torch.randn(3, 400, generator=torch.Generator().manual_seed(0))
    views = TwoViews(np.array([1, 1, 2]))
    both = views.draw(features, np.arange(3), np.random.default_rng(0))
    assert torch.equal(both[[0, 1, 3, 4]], features[[0, 1, 1, 0]])
    assert not torch.equal(both[2], both[5])
    assert 0.2 < float((both[2] - features[2]).std()) < 2
