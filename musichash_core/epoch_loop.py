"""The loop that both training stages run: train, validate, report, keep the best, stop early.

Public: `run_epochs`, `finite_loss`, `EarlyStopping`.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from musichash_core.errors import TrainingError
from musichash_core.model_config import GenreStageConfig, HashStageConfig
from musichash_core.training_records import METRIC_NAMES, Stage, StageSummary, TrainingEvent

FINAL_LEARNING_RATE = 0.01
"""End of the cosine, as a share of its start (METHOD 3: 1e-3 to 1e-5)."""


class EarlyStopping:
    """The best weights so far, by a validation score; larger is better.

    Parameters
    ----------
    model : nn.Module
        Whose weights are copied and restored.
    patience : >= 1
        Epochs without a better score after which `is_over` says so.
    """

    def __init__(self, model: nn.Module, patience: int) -> None:
        self.best_epoch = 0
        self._model = model
        self._patience = patience
        self._epoch = 0
        self._best_score: tuple[float, ...] = ()
        self._best_weights: dict[str, Tensor] = {}

    def update(self, score: tuple[float, ...]) -> bool:
        """Count one more epoch; keep its weights if its score is the best, and say whether it is.

        Parameters
        ----------
        score : tuple of float
            Compared from left to right. Empty when nothing can be validated: the last epoch is
            the best.
        """
        self._epoch += 1
        if self.best_epoch and score and score <= self._best_score:
            return False
        self._best_score = score
        self.best_epoch = self._epoch
        weights = self._model.state_dict()
        self._best_weights = {name: value.detach().clone() for name, value in weights.items()}
        return True

    @property
    def is_over(self) -> bool:
        """Whether the best epoch lies `patience` epochs back."""
        return self._epoch - self.best_epoch >= self._patience

    def restore(self) -> None:
        """Put the best weights back into the model."""
        self._model.load_state_dict(self._best_weights)


def run_epochs(
    model: nn.Module,
    stage: Stage,
    settings: GenreStageConfig | HashStageConfig,
    train_epoch: Callable[[torch.optim.Optimizer, int], float],
    validate: Callable[[], tuple[float, ...]],
    on_event: Callable[[TrainingEvent], None],
) -> StageSummary:
    """Train until the epochs or the patience are used up; leave the best weights in the model.

    Parameters
    ----------
    train_epoch : callable
        Takes the optimiser and the epoch's number; gives the mean loss.
    validate : callable
        Gives a score, larger is better; its first number is the metric that is reported, later
        ones decide ties. Empty when nothing can be validated.
    """
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
        optimiser, settings.epochs, eta_min=FINAL_LEARNING_RATE * settings.learning_rate
    )
    stopping = EarlyStopping(model, settings.patience)
    losses: list[float] = []
    metrics: list[float] = []
    for epoch in range(1, settings.epochs + 1):
        losses.append(train_epoch(optimiser, epoch))
        schedule.step()
        score = validate()
        metrics += score[:1]
        is_best = stopping.update(score)
        on_event(
            TrainingEvent(
                stage=stage,
                epoch=epoch,
                n_epochs=settings.epochs,
                train_loss=losses[-1],
                metric_name=METRIC_NAMES[stage],
                validation_metric=score[0] if score else None,
                is_best=is_best,
            )
        )
        if stopping.is_over:
            break
    stopping.restore()
    model.eval()
    return StageSummary(METRIC_NAMES[stage], tuple(losses), tuple(metrics), stopping.best_epoch)


def finite_loss(loss: Tensor, where: str) -> float:
    """Give the value of a loss.

    Raises
    ------
    TrainingError
        It is NaN or infinite; says where.
    """
    value = float(loss.detach())
    if not np.isfinite(value):
        raise TrainingError(
            f"the loss became {value} in {where}; lower the learning rate, or look for damaged "
            "features"
        )
    return value
