"""The loop over epochs: what it keeps, when it stops, what it says."""

import numpy as np
import pytest
import torch
from torch import nn

from musichash_core.epoch_loop import EarlyStopping, EpochSteps, finite_loss, run_epochs
from musichash_core.errors import TrainingError
from musichash_core.training_config import GenreStageConfig
from musichash_core.training_state import TrainingSession


def run(scores, *, epochs=10, patience=3):
    """Run epochs that set the only weight to their number, and validate as told."""
    model = nn.Linear(1, 1, bias=False)
    events = []

    def train_epoch(optimiser, epoch):
        with torch.no_grad():
            model.weight.fill_(epoch)
        return 10.0 - epoch

    validate = iter(scores).__next__
    settings = GenreStageConfig(epochs=epochs, patience=patience)
    steps = EpochSteps(train_epoch, validate, "score", np.random.default_rng(0), {}, {})
    session = TrainingSession("identity", events.append)
    with pytest.warns(UserWarning, match="lr_scheduler"):  # no step is taken here
        summary = run_epochs(model, "genre", settings, steps, session)
    return float(model.weight.detach()), summary, events


def test_the_best_epoch_is_kept_and_patience_ends_the_run():
    weight, summary, events = run([(0.1,), (0.5,), (0.5,), (0.4,), (0.3,), (0.9,)])
    assert weight == summary.best_epoch == 2
    assert summary.validation_metrics == (0.1, 0.5, 0.5, 0.4, 0.3)
    assert summary.train_losses == (9.0, 8.0, 7.0, 6.0, 5.0)
    assert [event.is_best for event in events] == [True, True, False, False, False]
    assert [event.epoch for event in events] == [1, 2, 3, 4, 5]
    assert events[1].validation_metric == 0.5


def test_later_numbers_of_a_score_decide_ties():
    weight, _, _ = run([(0.5, -1.0), (0.5, -0.5), (0.5, -0.7), (0.4, 0.0)], epochs=4)
    assert weight == 2


def test_without_validation_all_epochs_run_and_the_last_is_kept():
    weight, summary, events = run([()] * 6, epochs=6, patience=1)
    assert weight == summary.best_epoch == 6
    assert summary.validation_metrics == ()
    assert events[-1].validation_metric is None


def test_restoring_gives_back_copies_not_the_live_weights():
    model = nn.Linear(1, 1)
    stopping = EarlyStopping(model, patience=1)
    before = model.weight.detach().clone()
    stopping.update((1.0,))
    with torch.no_grad():
        model.weight.add_(1)
    assert not stopping.update((0.5,))
    assert stopping.is_over
    stopping.restore()
    torch.testing.assert_close(model.weight.detach(), before)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_a_number_stops_and_says_where(value):
    with pytest.raises(TrainingError, match=r"became (nan|inf) in epoch 3, step 2"):
        finite_loss(torch.tensor(value), "epoch 3, step 2")
