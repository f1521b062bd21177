"""Descriptions made by hand: genres lie apart along some of the descriptors."""

import numpy as np
import pytest

from musichash_core.descriptor_models import DescribedTracks
from musichash_core.descriptors import N_DESCRIPTORS
from musichash_core.model_config import DescriptorHeadsConfig, ModelConfig

N_PER_GENRE = 24
GENRES = ("blues", "jazz", "metal")


@pytest.fixture(scope="session")
def described() -> DescribedTracks:
    rng = np.random.default_rng(5)
    directions = rng.standard_normal((len(GENRES), N_DESCRIPTORS))
    vectors, genres, groups = [], [], []
    for genre, direction in zip(GENRES, directions, strict=True):
        for number in range(N_PER_GENRE):
            own = rng.standard_normal(N_DESCRIPTORS)
            parts = 0.6 * direction + own + 0.3 * rng.standard_normal((3, N_DESCRIPTORS))
            vectors.append(parts)
            genres.append(genre)
            groups.append(f"{genre}-{number // 3}")
    ids = [f"{number:03d}" for number in rng.permutation(len(genres))]
    return DescribedTracks(tuple(ids), np.array(vectors, np.float32), tuple(genres), tuple(groups))


@pytest.fixture(scope="session")
def small_heads() -> ModelConfig:
    return ModelConfig(
        heads=DescriptorHeadsConfig(n_hidden=16, n_perceptrons=2, min_steps=40, epochs=1)
    )
