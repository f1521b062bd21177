"""Genres from descriptors: a logistic regression and a few perceptrons, averaged.

Legend: N tracks, P parts of a track, D descriptors, G genres, B batch.

Public: `GenreHead`, `train_genre_head`.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from musichash_core.descriptor_models.standardisation import Standardisation, fit_standardisation
from musichash_core.errors import TrainingError
from musichash_core.hash_baselines.controls import fit_softmax_regression
from musichash_core.model_config import DescriptorHeadsConfig

EVENTS = 20
"""Pieces that training is reported in."""


class GenreHead(nn.Module):
    """Log-probabilities of genres; regression and perceptrons count half each.

    Parameters
    ----------
    config : DescriptorHeadsConfig
    n_descriptors, n_genres : >= 1
    """

    def __init__(self, config: DescriptorHeadsConfig, *, n_descriptors: int, n_genres: int) -> None:
        super().__init__()
        self.standardisation = Standardisation(n_descriptors)
        self.regression = nn.Linear(n_descriptors, n_genres)
        self.perceptrons = nn.ModuleList(
            nn.Sequential(
                nn.Dropout(config.input_dropout),
                nn.Linear(n_descriptors, config.n_hidden),
                nn.BatchNorm1d(config.n_hidden),
                nn.ReLU(),
                nn.Dropout(config.dropout),
                nn.Linear(config.n_hidden, n_genres),
            )
            for _ in range(config.n_perceptrons)
        )

    def forward(self, vectors_ND: Tensor) -> Tensor:
        """Compute log-probabilities, ``(n_tracks, n_genres)``, of raw vectors."""
        x_ND = self.standardisation(vectors_ND)
        log_p_NG: Tensor = self.regression(x_ND).log_softmax(dim=1)
        if len(self.perceptrons):
            of_each = [perceptron(x_ND).log_softmax(dim=1) for perceptron in self.perceptrons]
            log_p_NG = (log_p_NG + torch.stack(of_each).mean(dim=0)) / 2
        return log_p_NG.log_softmax(dim=1)


def train_genre_head(
    vectors: NDArray[np.float32],
    labels: NDArray[np.int64],
    n_genres: int,
    config: DescriptorHeadsConfig,
    *,
    seed: int,
    on_progress: Callable[[int, int, float, GenreHead], None],
) -> GenreHead:
    """Train on whole tracks (regression) and on them and their halves (perceptrons).

    Parameters
    ----------
    vectors : (n_tracks, 3, n_descriptors) float32
        Of the whole track and its halves.
    labels : (n_tracks,) int64
        From 0 to ``n_genres - 1``; perceptrons see rare genres more often than they occur.
    seed : >= 0
    on_progress : callable
        Takes the piece (from 1), the number of pieces, the mean loss of its steps and the head so
        far, after each piece of the training.

    Raises
    ------
    TrainingError
        The loss is not a number.
    """
    torch.manual_seed(seed)
    head = GenreHead(config, n_descriptors=vectors.shape[2], n_genres=n_genres)
    head.standardisation = fit_standardisation(vectors[:, 0])
    with torch.no_grad():
        x_NPD = head.standardisation(torch.from_numpy(vectors))
    targets_NG = functional.one_hot(torch.from_numpy(labels), n_genres).float()
    _fit_regression(head, x_NPD[:, 0], targets_NG, config.regression_penalty)
    if not len(head.perceptrons):
        on_progress(1, 1, _loss_of(head.regression(x_NPD[:, 0]), targets_NG), head.eval())
        return head.eval()
    n_tracks = len(labels)
    rng = np.random.default_rng(seed)
    learning = _Learning(x_NPD, targets_NG, _chances(labels, n_genres))
    n_steps = max(config.min_steps, config.epochs * n_tracks // config.batch_size)
    optimiser = torch.optim.AdamW(
        head.perceptrons.parameters(),
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
        fused=True,  # the plain one takes half of a step's time
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, n_steps)
    ends = np.unique(np.linspace(0, n_steps, EVENTS + 1).astype(int)[1:]).tolist()
    losses: list[float] = []
    for step in range(1, n_steps + 1):
        head.train()
        losses.append(_step(head, learning, config, rng, optimiser))
        schedule.step()
        if step in ends:
            mean_loss = float(np.mean(losses))
            if not np.isfinite(mean_loss):
                raise TrainingError(
                    f"the loss of the genre head became {mean_loss} by step {step} of {n_steps}; "
                    "lower models.heads.learning_rate"
                )
            on_progress(ends.index(step) + 1, len(ends), mean_loss, head.eval())
            losses.clear()
    return head.eval()


class _Learning(NamedTuple):
    """Standardised descriptions of parts, targets, and how likely each track is drawn."""

    inputs: Tensor
    targets: Tensor
    chances: NDArray[np.float64]


def _step(
    head: GenreHead,
    learning: _Learning,
    config: DescriptorHeadsConfig,
    rng: np.random.Generator,
    optimiser: torch.optim.Optimizer,
) -> float:
    """Improve every perceptron on a batch of its own; give their mean loss."""
    x_NPD, targets_NG, chances = learning
    losses = []
    for perceptron in head.perceptrons:
        picked = torch.from_numpy(rng.choice(len(chances), config.batch_size, p=chances))
        parts = torch.from_numpy(rng.integers(0, x_NPD.shape[1], config.batch_size))
        x_BD, targets_BG = x_NPD[picked, parts], targets_NG[picked]
        if config.mixup:
            share = rng.beta(config.mixup, config.mixup, (config.batch_size, 1)).astype(np.float32)
            share_B1 = torch.from_numpy(share)
            other = torch.from_numpy(rng.permutation(config.batch_size))
            x_BD = share_B1 * x_BD + (1 - share_B1) * x_BD[other]
            targets_BG = share_B1 * targets_BG + (1 - share_B1) * targets_BG[other]
        losses.append(-(targets_BG * perceptron(x_BD).log_softmax(dim=1)).sum(dim=1).mean())
    loss = torch.stack(losses).mean()
    optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()
    return float(loss.detach())


def _fit_regression(head: GenreHead, x_ND: Tensor, targets_NG: Tensor, penalty: float) -> None:
    weights, offsets = fit_softmax_regression(
        x_ND.double().numpy(), targets_NG.double().numpy(), penalty=penalty
    )
    with torch.no_grad():
        head.regression.weight.copy_(torch.from_numpy(weights.T))
        head.regression.bias.copy_(torch.from_numpy(offsets))


def _chances(labels: NDArray[np.int64], n_genres: int) -> NDArray[np.float64]:
    """Draw tracks of rare genres more often: a genre by the square root of its size."""
    counts = np.bincount(labels, minlength=n_genres)
    chances = 1.0 / np.sqrt(counts[labels])
    return np.asarray(chances / chances.sum())


@torch.no_grad()
def _loss_of(logits_NG: Tensor, targets_NG: Tensor) -> float:
    return float(-(targets_NG * logits_NG.log_softmax(dim=1)).sum(dim=1).mean())
