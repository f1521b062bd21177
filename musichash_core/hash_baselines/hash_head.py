"""The small network that all deep baselines share, and the one loop that trains it.

Only the loss differs between methods: same layers, optimiser, epochs, batches and seeds. There is
no early stopping: all epochs run, so no validation data can leak into a choice.

Public: `HashHead`, `HeadSettings`, `HeadMethod`, `Batch`, `head_learner`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional

from musichash_core.errors import TrainingError
from musichash_core.hash_baselines.baseline import Learner, Projection
from musichash_core.hash_baselines.training_items import LearningSet
from musichash_core.hash_baselines.two_views import TwoViews

ROWS_AT_ONCE = 4096
"""Items per call when logits are computed."""

FINAL_LEARNING_RATE = 0.01
"""End of the cosine, as a share of its start (METHOD 4.7)."""


class HeadSettings(BaseModel):
    """Shape and training of the head, the same for every deep method.

    Losses on pairs learn slowly: on 500 items (scikit-learn's digits, 16 bits) 40 epochs gave DPSH
    an mAP of .79, and 120 epochs .91. Hence `min_steps`, so that few items do not decide a table.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_hidden: int = Field(default=256, ge=1, le=8192, description="units of the hidden layer")
    dropout: float = Field(default=0.3, ge=0, le=0.9, description="share of hidden units dropped")
    epochs: int = Field(default=40, ge=1, le=10_000, description="passes over the items, at least")
    min_steps: int = Field(
        default=1200, ge=0, le=10_000_000, description="few items get more epochs, to make so many"
    )
    batch_size: int = Field(default=64, ge=2, le=65_536, description="items per step, at least")
    learning_rate: float = Field(
        default=1e-3, gt=0, le=1, description="AdamW, cosine to a hundredth"
    )
    weight_decay: float = Field(default=1e-4, ge=0, le=10, description="AdamW")
    max_gradient_norm: float = Field(
        default=5.0, gt=0, le=1000, description="longer gradients are cut"
    )


class Batch(NamedTuple):
    """What a loss may look at beside the logits.

    Attributes
    ----------
    rows : (n_items,) int64
        Places in the learning set.
    targets : (n_items, n_classes) float32
        1 for the classes of an item, else 0.
    tracks : (n_items,) int64
    progress : float
        Share of the training that is over, 0 to below 1.
    """

    rows: Tensor
    targets: Tensor
    tracks: Tensor
    progress: float


@dataclass(frozen=True, slots=True)
class HeadMethod:
    """A deep method: its loss, and what it needs of network and batches.

    Attributes
    ----------
    make_loss : callable
        Takes the learning set, the number of bits and the seed; gives a module that takes the
        logits, (n_items, n_bits) float32, and the `Batch`, and gives a scalar. Its parameters
        (a classifier) are trained with the head.
    normalises_bits : bool
        Whether each logit is batch-normalised, in place of an offset (OrthoHash).
    sees_two_views : bool
        Whether the logits are (2 n_items, n_bits): two views of each item, the first ones first.
    """

    make_loss: Callable[[LearningSet, int, int], nn.Module]
    normalises_bits: bool = False
    sees_two_views: bool = False


class HashHead(nn.Module):
    """One hidden layer, then one logit per bit.

    Parameters
    ----------
    n_features, n_bits : >= 1
    normalises_bits : bool
        See `HeadMethod`.
    """

    def __init__(
        self, n_features: int, n_bits: int, settings: HeadSettings, *, normalises_bits: bool
    ) -> None:
        super().__init__()
        self.hidden = nn.Linear(n_features, settings.n_hidden)
        self.dropout = nn.Dropout(settings.dropout)
        self.bits = nn.Linear(settings.n_hidden, n_bits, bias=not normalises_bits)
        self.norm: nn.Module = nn.BatchNorm1d(n_bits) if normalises_bits else nn.Identity()

    def forward(self, features: Tensor) -> Tensor:
        """Compute logits, ``(n_items, n_features)`` -> ``(n_items, n_bits)`` float32."""
        hidden = self.dropout(functional.relu(self.hidden(features)))
        logits: Tensor = self.norm(self.bits(hidden))
        return logits


def head_learner(method: HeadMethod, settings: HeadSettings) -> Learner:
    """Make a learner of a deep method."""

    def learn(learning: LearningSet, n_bits: int, seed: int) -> Projection:
        with _repeatable(seed):
            head = HashHead(
                learning.features.shape[1],
                n_bits,
                settings,
                normalises_bits=method.normalises_bits,
            )
            loss = method.make_loss(learning, n_bits, seed)
            _train(head, loss, method, learning, settings, np.random.default_rng(seed))
        head.eval()
        return lambda features: _logits(head, features)

    return learn


def _train(
    head: HashHead,
    loss: nn.Module,
    method: HeadMethod,
    learning: LearningSet,
    settings: HeadSettings,
    rng: np.random.Generator,
) -> None:
    """Run all epochs.

    Raises
    ------
    TrainingError
        The loss is not a finite number; says where.
    """
    features = torch.from_numpy(learning.features.astype(np.float32))
    targets = torch.from_numpy(learning.targets.astype(np.float32))
    tracks = torch.from_numpy(learning.tracks)
    views = TwoViews(learning.tracks)
    parameters = [*head.parameters(), *loss.parameters()]
    optimiser = torch.optim.AdamW(
        parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    n_epochs = _count_epochs(len(features), settings)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
        optimiser, n_epochs, eta_min=FINAL_LEARNING_RATE * settings.learning_rate
    )
    for epoch in range(n_epochs):
        for drawn in _batches(len(features), settings.batch_size, rng):
            rows = torch.from_numpy(drawn)
            inputs = views.draw(features, drawn, rng) if method.sees_two_views else features[rows]
            batch = Batch(rows, targets[rows], tracks[rows], epoch / n_epochs)
            value = loss(head(inputs), batch)
            if not torch.isfinite(value):
                raise TrainingError(
                    f"the hashing loss became {float(value.detach())} in epoch {epoch + 1}; lower "
                    "the learning rate, or look for features of extreme size"
                )
            optimiser.zero_grad()
            value.backward()
            nn.utils.clip_grad_norm_(parameters, settings.max_gradient_norm)
            optimiser.step()
        schedule.step()


def _count_epochs(n_items: int, settings: HeadSettings) -> int:
    """Give the number of epochs, raised where they would hold too few steps."""
    steps_per_epoch = max(1, n_items // settings.batch_size)
    return max(settings.epochs, -(-settings.min_steps // steps_per_epoch))


def _batches(n_items: int, batch_size: int, rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """Divide a random order of the items into equal batches, none smaller than asked if it can."""
    return np.array_split(rng.permutation(n_items), max(1, n_items // batch_size))


@torch.inference_mode()
def _logits(head: HashHead, features: NDArray[np.float64]) -> NDArray[np.float32]:
    """Apply a trained head in blocks."""
    inputs = torch.from_numpy(features.astype(np.float32))
    logits: NDArray[np.float32] = torch.cat(
        [head(block) for block in torch.split(inputs, ROWS_AT_ONCE)]
    ).numpy()
    return logits


@contextmanager
def _repeatable(seed: int) -> Iterator[None]:
    """Seed torch and use one thread, whose sums have one order; put both back afterwards."""
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
