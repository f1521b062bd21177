"""Where a training stands after an epoch, as tensors and JSON values, so that it can go on later.

A training that goes on from its state ends with the same weights, bit for bit on one machine and
the CPU. Nothing here reads or writes files: a state is handed to a callback, and given back.

Public: `TrainingState`, `TrainingSession`, `training_identity`, `capture_torch_generators`,
`restore_torch_generators`, `with_prefix`, `without_prefix`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from musichash_core.errors import ParameterError
from musichash_core.identity import fingerprint_of
from musichash_core.model_config import ModelConfig
from musichash_core.training_data import TrainingData
from musichash_core.training_records import Stage, TrainingEvent


@dataclass(frozen=True, slots=True)
class TrainingState:
    """Everything that the epochs to come depend on, but for the tracks and the configuration.

    Attributes
    ----------
    identity : str
        Of the tracks, labels, split and configuration (`training_identity`).
    stage : "genre" or "hash"
    epoch : int
        The stage's last finished epoch.
    tensors : dict of str to Tensor
        Weights, best weights, optimiser and generators; contiguous copies on the CPU.
    facts : dict
        JSON values: curves, best score, schedule, generator, what the finished stage left.
    """

    identity: str
    stage: Stage
    epoch: int
    tensors: dict[str, Tensor]
    facts: dict[str, Any]


@dataclass(frozen=True, slots=True)
class TrainingSession:
    """Who listens to a training, and where it begins.

    Attributes
    ----------
    identity : str
        See `training_identity`.
    on_event : callable
        Called after each epoch.
    on_state : callable, optional
        Called after each epoch, before `on_event`. Nothing is copied when it is not given.
    resume : TrainingState, optional
        Where to go on; from the beginning when not given.
    """

    identity: str
    on_event: Callable[[TrainingEvent], None]
    on_state: Callable[[TrainingState], None] | None = None
    resume: TrainingState | None = None

    def __post_init__(self) -> None:
        if self.resume is not None and self.resume.identity != self.identity:
            raise ParameterError(
                f"the training state {self.resume.identity} is of other tracks or settings than "
                f"this training ({self.identity}); go on with those, or start from the beginning"
            )

    def resumed(self, stage: Stage) -> TrainingState | None:
        """Give the state to go on from if it is of this stage."""
        return self.resume if self.resume is not None and self.resume.stage == stage else None


def training_identity(data: TrainingData, config: ModelConfig) -> str:
    """Hash what must be equal for a training to go on: configuration, tracks, labels and split."""
    facts = {
        "tracks": [track.track_id for track in data.tracks],
        "groups": data.groups.tolist(),
        "genres": list(data.genres),
        "targets": [row.nonzero()[0].tolist() for row in data.targets],
        "train": data.split.train.tolist(),
        "validation": data.split.validation.tolist(),
    }
    return fingerprint_of("training", config, facts)


def capture_torch_generators(device: torch.device) -> dict[str, Tensor]:
    """Copy the states of torch's generators: the CPU's, and the device's if it is another."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def restore_torch_generators(states: Mapping[str, Tensor], device: torch.device) -> None:
    """Put the states of torch's generators back; a device that had none keeps its own."""
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)


def with_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copy tensors to the CPU under ``prefix.name``."""
    return {
        f"{prefix}.{name}": value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in tensors.items()
    }


def without_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give the tensors whose names begin with ``prefix.``, under the rest of their names."""
    start = f"{prefix}."
    return {name[len(start) :]: one for name, one in tensors.items() if name.startswith(start)}
