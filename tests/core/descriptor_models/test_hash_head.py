"""Codes from descriptors: components beside scikit-learn, frames, prefixes, genres."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from musichash_core.descriptor_models.default_model import load_detail_basis
from musichash_core.descriptor_models.hash_head import (
    CEPSTRA_WEIGHT,
    MAX_COMPONENTS,
    N_DETAIL,
    HashHead,
    detail_components,
    fit_detail_basis,
)
from musichash_core.descriptors.description import DESCRIPTOR_BLOCKS
from musichash_core.errors import ParameterError


@pytest.fixture(scope="module")
def vectors():
    rng = np.random.default_rng(8)
    factors = rng.standard_normal((300, 90)) * np.geomspace(3, 0.3, 90)
    mixed = factors @ rng.standard_normal((90, N_DETAIL)) / 9
    return (mixed + 0.1 * rng.standard_normal(mixed.shape) + 5).astype(np.float32)


def _logits(head, vectors, probabilities=None):
    if probabilities is None:
        probabilities = torch.empty(len(vectors), len(head.centres))
    with torch.no_grad():
        return head(torch.from_numpy(vectors), probabilities).numpy()


def test_components_are_those_of_scikit_learn(vectors):
    basis = fit_detail_basis(vectors)
    weights = np.ones(N_DETAIL)
    weights[DESCRIPTOR_BLOCKS["timbre"] :] = CEPSTRA_WEIGHT
    x = np.clip((vectors - basis.mean.numpy()) / basis.spread.numpy(), -4, 4) * weights
    pca = PCA(MAX_COMPONENTS, svd_solver="full").fit(x)
    theirs = np.abs(pca.transform(x) / pca.singular_values_**0.5 * len(x) ** 0.25)
    standardised = np.clip((vectors - basis.mean.numpy()) / basis.spread.numpy(), -4, 4)
    ours = np.abs(standardised @ basis.components.numpy().T - basis.offset.numpy())
    np.testing.assert_allclose(ours, theirs, atol=2e-2)


@pytest.mark.parametrize("n_bits", [16, 32, 64, 128])
def test_each_bit_is_set_in_half_of_the_fitted_tracks_and_varies_alike(vectors, n_bits):
    head = HashHead(n_bits=n_bits, n_genres=0)
    head.set_detail(fit_detail_basis(vectors))
    logits = _logits(head, vectors)
    np.testing.assert_allclose(logits.mean(axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(logits.std(axis=0), 1, rtol=0.02)
    assert np.abs((logits >= 0).mean(axis=0) - 0.5).max() < 0.1


@pytest.mark.parametrize("n_bits", [32, 64, 128, 256])
def test_directions_form_a_tight_frame(n_bits):
    head = HashHead(n_bits=n_bits, n_genres=0)
    basis = load_detail_basis()
    n_components = detail_components(n_bits)
    plain = basis._replace(deviation=torch.ones(MAX_COMPONENTS))
    head.set_detail(plain)
    kept = basis.components[:n_components].double()
    # Each direction has length 1 among orthonormal ones: solve for it, and look at the frame.
    directions = torch.linalg.lstsq(kept.T, head.projection.double()).solution
    lengths = directions.norm(dim=0)
    np.testing.assert_allclose(lengths, 1, atol=1e-4)
    frame = directions @ directions.T
    expected = torch.eye(n_components).double() * n_bits / n_components
    np.testing.assert_allclose(frame, expected, atol=1e-3)


def test_shorter_codes_are_prefixes(vectors):
    basis = fit_detail_basis(vectors)
    of_length = {}
    for n_bits in (16, 32, 64):
        head = HashHead(n_bits=n_bits, n_genres=0)
        head.set_detail(basis)
        of_length[n_bits] = _logits(head, vectors)
    np.testing.assert_allclose(of_length[16], of_length[64][:, :16], atol=1e-4)
    np.testing.assert_allclose(of_length[32], of_length[64][:, :32], atol=1e-4)


def test_genres_move_codes_towards_their_own(vectors):
    head = HashHead(n_bits=64, n_genres=4)
    head.set_detail(fit_detail_basis(vectors))
    sure = torch.eye(4).repeat_interleave(10, dim=0)
    head.set_genres(sure, detail_weight=0.0, power=1.0, seed=3)
    codes = _logits(head, vectors[:40], sure) >= 0
    distances = (codes[:, None] != codes).sum(axis=2)
    genre = np.repeat(np.arange(4), 10)
    same = genre[:, None] == genre
    assert distances[same].max() == 0
    assert distances[~same].min() >= 16
    assert np.abs(_logits(head, vectors[:40], sure)).mean() == pytest.approx(1, rel=1e-5)
    head.set_genres(sure, detail_weight=0.5, power=1.0, seed=3)
    mixed = _logits(head, vectors[:40], sure) >= 0
    apart = (mixed[:, None] != mixed).sum(axis=2)
    assert 0 < apart[same & ~np.eye(40, dtype=bool)].mean() < apart[~same].mean()


def test_a_power_gives_second_choices_more_weight(vectors):
    head = HashHead(n_bits=16, n_genres=2)
    head.set_detail(fit_detail_basis(vectors))
    even = torch.tensor([[1.0, 0.0], [0.0, 1.0]])  # prior: one half each
    head.set_genres(even, detail_weight=0.0, power=0.5, seed=0)
    first, second = head.centres.numpy()
    # The roots of .9 and .1 are as 3 to 1.
    expected = (0.75 - 0.5) * first + (0.25 - 0.5) * second
    found = _logits(head, vectors[:1], torch.tensor([[0.9, 0.1]]))[0]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_basis_needs_more_tracks_than_components(vectors):
    with pytest.raises(ParameterError, match="64 tracks: want more than 64"):
        fit_detail_basis(vectors[:64])
