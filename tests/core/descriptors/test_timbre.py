"""Pooled layers against hooks on the network in double precision, and tags of a real recording."""

import copy

import numpy as np
import pytest
import torch

from musichash_core.descriptors.timbre import N_POOLED, POOLED_STEP, describe_timbre
from musichash_core.errors import ParameterError
from musichash_core.musicnn.log_mel import bytes_to_log_mel, cut_patches
from musichash_core.musicnn.pretrained import load_musicnn

OF_FLOAT = 2e-5
"""Of the largest, beside the step they are rounded to; measured 2e-6."""

N_DEAD = 44
"""Maps of the second layer that no input wakes; counted on 30 tracks."""


@pytest.fixture(scope="module")
def patches():
    rng = np.random.default_rng(0)
    levels = 120 + 40 * rng.standard_normal((5, 187, 96)) - np.linspace(0, 60, 96)
    return np.clip(levels, 0, 255).astype(np.uint8)


def test_layers_are_pooled_by_mean_and_maximum(network, patches):
    exact = copy.deepcopy(network).double()
    seen = []
    for block in (*exact.front, *exact.middle):
        block.register_forward_hook(lambda _module, _inputs, output: seen.append(output.numpy()))
    with torch.no_grad():
        logits = exact(torch.from_numpy(bytes_to_log_mel(patches)).double()).logits.numpy()
    front = np.concatenate([output[..., 0] for output in seen[:5]], axis=1)
    first, second, third = seen[5:]
    layers = [front, first, first + second, first + second + third]
    expected = np.hstack([part for m in layers for part in (m.mean(axis=2), m.max(axis=2))])

    timbre = describe_timbre(network, patches)
    assert timbre.pooled.shape == (5, N_POOLED) == (5, 512)
    assert timbre.pooled.dtype == timbre.tag_probabilities.dtype == np.float32
    tolerance = POOLED_STEP / 2 + OF_FLOAT * np.abs(expected).max()
    np.testing.assert_allclose(timbre.pooled, expected, rtol=0, atol=tolerance)
    probabilities = 1 / (1 + np.exp(-logits))
    np.testing.assert_allclose(timbre.tag_probabilities, probabilities, rtol=0, atol=OF_FLOAT)


def test_company_changes_next_to_nothing(network, patches):
    together = describe_timbre(network, np.concatenate([patches] * 4))
    for i, patch in enumerate(patches):
        alone = describe_timbre(network, patch[np.newaxis])
        for at in (i, i + 15):
            tolerance = POOLED_STEP + OF_FLOAT * together.pooled.max()
            np.testing.assert_allclose(alone.pooled[0], together.pooled[at], rtol=0, atol=tolerance)


def test_maps_that_nothing_wakes_are_constants_on_a_grid(network, patches, lazy_track):
    silence = np.zeros((3, 187, 96), np.uint8)
    some = np.concatenate([patches, silence, cut_patches(lazy_track(9)[1], np.array([0, 200]))])
    pooled = np.concatenate(
        [describe_timbre(network, some).pooled, describe_timbre(network, patches[:1]).pooled]
    )
    deviations = pooled.std(axis=0)
    assert np.count_nonzero(deviations[128:256] == 0) >= 2 * N_DEAD
    assert not np.any((deviations > 0) & (deviations < 1e-4))
    np.testing.assert_array_equal(pooled / POOLED_STEP, np.rint(pooled / POOLED_STEP))


def test_silence_is_finite(network):
    timbre = describe_timbre(network, np.zeros((1, 187, 96), np.uint8))
    assert np.isfinite(timbre.pooled).all()
    assert np.isfinite(timbre.tag_probabilities).all()


@pytest.mark.parametrize("name", ["MTT_musicnn", "MSD_vgg"])
def test_another_network_is_refused(name, patches):
    with pytest.raises(ParameterError, match="descriptions are made with MSD_musicnn"):
        describe_timbre(load_musicnn(name), patches)


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((0, 187, 96), np.uint8),
        np.zeros((1, 186, 96), np.uint8),
        np.zeros((1, 187, 96), np.float32),
    ],
)
def test_patches_of_another_kind_are_refused(network, wrong):
    with pytest.raises(ParameterError, match="want at least one"):
        describe_timbre(network, wrong)
