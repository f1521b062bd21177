"""The torch front end against the CPU's."""

import numpy as np
import pytest
import torch

from musichash_core.errors import ParameterError
from musichash_core.features import FeatureConfig, extract_features
from musichash_core.features_torch import extract_features_torch

CONFIG = FeatureConfig()
CPU = torch.device("cpu")

LARGEST_SHARE = 1e-3
"""Bytes that may be one step off: powers within rounding error of a threshold; measured 2e-5."""


def noisy_chord(n_samples, seed):
    rng = np.random.default_rng(seed)
    t = np.arange(n_samples) / 22050
    y = sum(np.sin(2 * np.pi * f * t) for f in rng.uniform(100, 2000, 3)) / 4
    y[:: 22050 // 4] += 0.9
    return (y + 0.01 * rng.standard_normal(n_samples)).astype(np.float32)


def assert_nearly_equal(tracks, config, device):
    features = extract_features_torch(tracks, config, device=device)
    assert len(features) == len(tracks)
    n_bytes = n_different = 0
    for y, ours in zip(tracks, features, strict=True):
        reference = extract_features(y, config)
        assert ours.dtype == np.uint8
        assert ours.shape == reference.shape
        difference = np.abs(ours.astype(int) - reference)
        assert difference.max(initial=0) <= 1
        n_bytes += difference.size
        n_different += np.count_nonzero(difference)
    assert n_different <= LARGEST_SHARE * n_bytes


LENGTHS = (60_000, 1, 513, 44_100, 100_000)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"kernel_size": 1},
        {"kernel_size": 61, "power": 1.0, "margin": 2.0},
        {"n_fft": 600, "hop_length": 170, "n_mels": 24},
    ],
)
def test_a_batch_of_any_lengths_nearly_equals_the_cpus_tracks(changes):
    tracks = [noisy_chord(n, seed) for seed, n in enumerate(LENGTHS)]
    assert_nearly_equal(tracks, FeatureConfig(**changes), CPU)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_nearly_equals_the_cpu():
    tracks = [noisy_chord(n, seed) for seed, n in enumerate(LENGTHS)]
    assert_nearly_equal(tracks, CONFIG, torch.device("cuda"))


def test_a_track_does_not_depend_on_its_neighbours():
    tracks = [noisy_chord(n, seed) for seed, n in enumerate((50_000, 30_000, 70_000))]
    together = extract_features_torch(tracks, CONFIG, device=CPU)
    for y, features in zip(tracks, together, strict=True):
        (alone,) = extract_features_torch([y], CONFIG, device=CPU)
        assert np.abs(alone.astype(int) - features).max() <= 1
        assert np.mean(alone != features) <= LARGEST_SHARE


def test_silence_is_byte_zero():
    (features,) = extract_features_torch([np.zeros(9000, dtype=np.float32)], CONFIG, device=CPU)
    np.testing.assert_array_equal(features, 0)


def test_no_tracks_give_no_features():
    assert extract_features_torch([], CONFIG, device=CPU) == []


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros(0, dtype=np.float32),
        np.zeros((2, 9), dtype=np.float32),
        np.zeros(9, dtype=np.int16),
        np.array([0, np.nan], dtype=np.float32),
        np.array([0, np.inf], dtype=np.float32),
    ],
)
def test_a_bad_track_is_named(bad):
    with pytest.raises(ParameterError, match="track 1"):
        extract_features_torch([np.zeros(9, dtype=np.float32), bad], CONFIG, device=CPU)
