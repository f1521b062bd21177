"""A hashing method, and what it becomes after learning: the two records that all methods share.

Public: `Baseline`, `FittedHash`, and the types `Learner` and `Projection` that a method fills in.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from musichash_core.errors import ParameterError
from musichash_core.hash_baselines.training_items import (
    LearningSet,
    Standardisation,
    TrainingItems,
    check_features,
    prepare,
)

Projection = Callable[[NDArray[np.float64]], NDArray[np.floating]]
"""Standardised features, (n_items, n_features) float64, to logits, (n_items, n_bits)."""

Learner = Callable[[LearningSet, int, int], Projection]
"""Takes the learning set, the number of bits and the seed."""

MAX_BITS = 4096
"""Longest code; a guard against a number of items given for a number of bits."""


@dataclass(frozen=True, slots=True, eq=False)
class FittedHash:
    """A hash function that is done learning."""

    n_features: int
    standardisation: Standardisation
    project: Projection

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute hash logits; their signs are the codes (`musichash_core.codes.logits_to_codes`).

        Parameters
        ----------
        features : (n_items, n_features) float32
            Not standardised: as given for training.

        Returns
        -------
        (n_items, n_bits) float32
            Of a method that does not hash (`Baseline.is_binary` is False): unit vectors of
            n_features, to be ranked by inner product.
        """
        check_features(features)
        if features.shape[1] != self.n_features:
            raise ParameterError(
                f"features of {features.shape[1]} columns: the method was fitted on "
                f"{self.n_features}"
            )
        return self.project(self.standardisation.apply(features)).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Baseline:
    """A method of METHOD 5.

    Attributes
    ----------
    name : str
        As tables print it.
    source : str
        Authors, venue and year.
    is_supervised : bool
        Whether it sees labels; one that is not never gets them.
    is_binary : bool
        Whether the signs of its logits are codes.
    learn : callable
        The method itself, on a `LearningSet`.
    """

    name: str
    source: str
    is_supervised: bool
    learn: Learner
    is_binary: bool = True

    def fit(self, items: TrainingItems, *, n_bits: int, seed: int = 0) -> FittedHash:
        """Learn a hash function; the order of the items changes nothing.

        Parameters
        ----------
        n_bits : 1 to `MAX_BITS`
            More bits than dimensions or classes are allowed; each method says what it does then.
        seed : >= 0

        Raises
        ------
        ParameterError
            A number is out of range, or labels are missing.
        TrainingError
            The loss became NaN or infinite.
        """
        if not 1 <= n_bits <= MAX_BITS:
            raise ParameterError(f"n_bits={n_bits}: want 1 to {MAX_BITS}")
        if seed < 0:
            raise ParameterError(f"seed={seed}: want 0 or more")
        standardisation, learning = prepare(items, is_supervised=self.is_supervised)
        project = self.learn(learning, n_bits, seed)
        return FittedHash(items.features.shape[1], standardisation, project)
