"""The network and loop of the deep methods: what is trained, how long, in which batches."""

import numpy as np
import torch
from torch import nn

from musichash_core.hash_baselines.hash_head import (
    HashHead,
    HeadMethod,
    HeadSettings,
    head_learner,
)
from musichash_core.hash_baselines.training_items import LearningSet


class RecordingLoss(nn.Module):
    """Mean squared distance of the logits from 1, which notes what it was shown."""

    def __init__(self, *_):
        super().__init__()
        self.seen = []

    def forward(self, logits, batch):
        self.seen.append((tuple(logits.shape), batch.rows.tolist(), batch.progress))
        return (logits - 1).square().mean()


def train(n_items, settings, **wanted):
    rng = np.random.default_rng(0)
    learning = LearningSet(
        rng.standard_normal((n_items, 6)), np.eye(2)[np.arange(n_items) % 2], np.arange(n_items)
    )
    losses = []

    def make_loss(*arguments):
        losses.append(RecordingLoss(*arguments))
        return losses[0]

    project = head_learner(HeadMethod(make_loss, **wanted), settings)(learning, 8, 0)
    return project(learning.features), losses[0].seen


def test_every_epoch_shows_every_item_once_in_another_order():
    _, seen = train(50, HeadSettings(epochs=3, min_steps=0, batch_size=16))
    assert [len(rows) for _, rows, _ in seen] == [17, 17, 16] * 3
    epochs = [[row for _, rows, _ in seen[i : i + 3] for row in rows] for i in (0, 3, 6)]
    assert all(sorted(epoch) == list(range(50)) for epoch in epochs)
    assert epochs[0] != epochs[1]
    assert [progress for _, _, progress in seen[::3]] == [0, 1 / 3, 2 / 3]


def test_few_items_get_more_epochs():
    assert len(train(50, HeadSettings(epochs=3, min_steps=100, batch_size=16))[1]) == 102
    assert len(train(5, HeadSettings(epochs=3, min_steps=10, batch_size=16))[1]) == 10


def test_the_loss_falls_and_two_views_double_the_logits():
    settings = HeadSettings(epochs=1, min_steps=300, batch_size=16)
    logits, seen = train(40, settings, sees_two_views=True)
    assert seen[0][0] == (40, 8)
    assert np.square(logits - 1).mean() < 0.1


def test_normalised_bits_are_centred_over_the_batch_at_first():
    torch.manual_seed(0)
    head = HashHead(6, 8, HeadSettings(), normalises_bits=True)
    assert head.bits.bias is None
    logits = head(torch.randn(64, 6) + 5)
    np.testing.assert_allclose(logits.detach().mean(dim=0), 0, atol=1e-5)
    np.testing.assert_allclose(logits.detach().std(dim=0, correction=0), 1, atol=1e-2)


def test_the_number_of_threads_is_put_back():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        train(20, HeadSettings(epochs=1, min_steps=0))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
