"""The loop that both training stages run: train, validate, report, keep the best, stop early.

After each epoch its whole state can be taken (`musichash_core.training_state`), and the loop can
begin from one.

Public: `run_epochs`, `EpochSteps`, `EarlyStopping`, `finite_loss`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from musichash_core.errors import TrainingError
from musichash_core.training_config import GenreStageConfig, HashStageConfig
from musichash_core.training_records import Stage, StageSummary, TrainingEvent
from musichash_core.training_state import (
    TrainingSession,
    TrainingState,
    capture_torch_generators,
    restore_torch_generators,
    with_prefix,
    without_prefix,
)

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

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Give the best weights, and counts and score as JSON values."""
        facts = {
            "epoch": self._epoch,
            "best_epoch": self.best_epoch,
            "best_score": list(self._best_score),
        }
        return self._best_weights, facts

    def load_state(self, best_weights: dict[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Take over what `state` gave."""
        self._best_weights = best_weights
        self._epoch, self.best_epoch = facts["epoch"], facts["best_epoch"]
        self._best_score = tuple(facts["best_score"])


@dataclass(frozen=True, slots=True)
class EpochSteps:
    """What a stage does in an epoch.

    Attributes
    ----------
    train_epoch : callable
        Takes the optimiser and the epoch's number; gives the mean loss.
    validate : callable
        Gives a score, larger is better; its first number is the metric that is reported, later
        ones decide ties. Empty when nothing can be validated.
    metric_name : str
        What the first number is.
    rng : numpy.random.Generator
        That `train_epoch` draws from, beside torch's own generators.
    kept_tensors, kept_facts : dict
        Of earlier stages, to be handed on with each state.
    """

    train_epoch: Callable[[torch.optim.Optimizer, int], float]
    validate: Callable[[], tuple[float, ...]]
    metric_name: str
    rng: np.random.Generator
    kept_tensors: Mapping[str, Tensor]
    kept_facts: Mapping[str, Any]


def run_epochs(
    model: nn.Module,
    stage: Stage,
    settings: GenreStageConfig | HashStageConfig,
    steps: EpochSteps,
    session: TrainingSession,
) -> StageSummary:
    """Train until the epochs or the patience are used up; leave the best weights in the model."""
    loop = _EpochLoop(model, settings, steps)
    if (resumed := session.resumed(stage)) is not None:
        loop.load_state(resumed)
    while loop.epoch < settings.epochs and not loop.stopping.is_over:
        score, is_best = loop.run_epoch()
        if session.on_state is not None:
            session.on_state(loop.state(session.identity, stage))
        session.on_event(
            TrainingEvent(
                stage=stage,
                epoch=loop.epoch,
                n_epochs=settings.epochs,
                train_loss=loop.losses[-1],
                metric_name=steps.metric_name,
                validation_metric=score[0] if score else None,
                is_best=is_best,
            )
        )
    loop.stopping.restore()
    model.eval()
    return StageSummary(
        steps.metric_name, tuple(loop.losses), tuple(loop.metrics), loop.stopping.best_epoch
    )


class _EpochLoop:
    """Optimiser, schedule, curves and best weights of one stage."""

    def __init__(
        self,
        model: nn.Module,
        settings: GenreStageConfig | HashStageConfig,
        steps: EpochSteps,
    ) -> None:
        self.model, self.steps = model, steps
        self.device = next(model.parameters()).device
        self.optimiser = torch.optim.AdamW(
            model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
            self.optimiser, settings.epochs, eta_min=FINAL_LEARNING_RATE * settings.learning_rate
        )
        self.stopping = EarlyStopping(model, settings.patience)
        self.losses: list[float] = []
        self.metrics: list[float] = []

    @property
    def epoch(self) -> int:
        """The last finished epoch, from 1."""
        return len(self.losses)

    def run_epoch(self) -> tuple[tuple[float, ...], bool]:
        """Train and validate once; give the score and whether it is the best."""
        self.losses.append(self.steps.train_epoch(self.optimiser, self.epoch + 1))
        self.schedule.step()
        score = self.steps.validate()
        self.metrics += score[:1]
        return score, self.stopping.update(score)

    def state(self, identity: str, stage: Stage) -> TrainingState:
        """Copy everything that the next epochs depend on."""
        best_weights, stopping = self.stopping.state()
        moments = {
            f"{parameter}.{name}": value
            for parameter, values in self.optimiser.state_dict()["state"].items()
            for name, value in values.items()
        }
        tensors = {
            **self.steps.kept_tensors,
            **with_prefix("model", self.model.state_dict()),
            **with_prefix("best", best_weights),
            **with_prefix("optimiser", moments),
            **with_prefix("generator", capture_torch_generators(self.device)),
        }
        facts = {
            **self.steps.kept_facts,
            "losses": list(self.losses),
            "metrics": list(self.metrics),
            "stopping": stopping,
            "schedule": self.schedule.state_dict(),
            "learning_rate": self.optimiser.param_groups[0]["lr"],
            "generator": self.steps.rng.bit_generator.state,
        }
        return TrainingState(identity, stage, self.epoch, tensors, facts)

    def load_state(self, state: TrainingState) -> None:
        """Stand where `state` was taken."""
        tensors, facts = state.tensors, state.facts
        self.model.load_state_dict(without_prefix("model", tensors))
        best_weights = without_prefix("best", tensors)
        self.stopping.load_state(best_weights, facts["stopping"])
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in without_prefix("optimiser", tensors).items():
            parameter, name = key.split(".")
            moments.setdefault(int(parameter), {})[name] = value.clone()
        groups = self.optimiser.state_dict()["param_groups"]
        groups[0]["lr"] = facts["learning_rate"]
        self.optimiser.load_state_dict({"state": moments, "param_groups": groups})
        self.schedule.load_state_dict(facts["schedule"])
        self.losses, self.metrics = list(facts["losses"]), list(facts["metrics"])
        self.steps.rng.bit_generator.state = facts["generator"]
        restore_torch_generators(without_prefix("generator", tensors), self.device)


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
