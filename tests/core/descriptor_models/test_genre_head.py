"""The genre head beside scikit-learn, and its training."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from musichash_core.descriptor_models.genre_head import GenreHead, train_genre_head
from musichash_core.descriptor_models.standardisation import (
    STANDARDISED_LIMIT,
    fit_standardisation,
)
from musichash_core.descriptors import N_DESCRIPTORS
from musichash_core.descriptors.description import DESCRIPTOR_BLOCKS
from musichash_core.errors import ParameterError, TrainingError
from musichash_core.model_config import DescriptorHeadsConfig


def _ignore(piece, n_pieces, loss, head):
    pass


def _labels(described):
    names = sorted(set(described.genres))
    return np.array([names.index(genre) for genre in described.genres])


def test_standardisation_is_that_of_numpy_up_to_its_floor(described):
    vectors = described.vectors[:, 0]
    fitted = fit_standardisation(vectors)
    spread = vectors.astype(np.float64).std(axis=0)
    timbre = DESCRIPTOR_BLOCKS["timbre"]
    expected = spread[:timbre] + 0.05 * spread[:timbre].mean() + 1e-6
    np.testing.assert_allclose(fitted.spread[:timbre], expected, rtol=1e-6)
    standardised = fitted(torch.from_numpy(vectors)).numpy()
    np.testing.assert_allclose(standardised.mean(axis=0), 0, atol=2e-3)


def test_a_constant_descriptor_stays_harmless(described):
    vectors = described.vectors[:, 0].copy()
    vectors[:, 3] = 7.0
    fitted = fit_standardisation(vectors)
    wild = vectors[:1].copy()
    wild[0, 3] = 1e9
    standardised = fitted(torch.from_numpy(wild))[0, 3]
    assert standardised == STANDARDISED_LIMIT
    assert fitted(torch.from_numpy(vectors))[:, 3].abs().max() < 1e-3


@pytest.mark.parametrize("shape", [(1, N_DESCRIPTORS), (5, 1000)])
def test_standardisation_refuses_what_is_no_table_of_descriptions(shape):
    with pytest.raises(ParameterError, match="want at least two rows of 1024, 1538, 2138, 2618"):
        fit_standardisation(np.zeros(shape, np.float32))


def test_without_perceptrons_the_head_is_scikit_learns_regression(described):
    labels = _labels(described)
    config = DescriptorHeadsConfig(n_perceptrons=0, regression_penalty=50.0)
    head = train_genre_head(described.vectors, labels, 3, config, seed=0, on_progress=_ignore)
    with torch.no_grad():
        x = head.standardisation(torch.from_numpy(described.vectors[:, 0])).double().numpy()
        ours = head(torch.from_numpy(described.vectors[:, 0])).exp().numpy()
    theirs = LogisticRegression(C=1 / 50.0, max_iter=2000, tol=1e-8).fit(x, labels)
    np.testing.assert_allclose(ours, theirs.predict_proba(x), atol=2e-3)


def test_training_is_repeatable_and_reports_falling_losses(described, small_heads):
    labels = _labels(described)
    told: list[tuple[int, int, float]] = []

    def on_progress(piece, n_pieces, loss, head):
        assert not head.training
        told.append((piece, n_pieces, loss))

    runs = [
        train_genre_head(
            described.vectors, labels, 3, small_heads.heads, seed=seed, on_progress=on_progress
        )
        for seed in (1, 1, 2)
    ]
    first, again, other = (run.state_dict() for run in runs)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)
    per_run = told[: len(told) // 3]
    assert [piece for piece, _, _ in per_run] == list(range(1, per_run[0][1] + 1))
    assert per_run[-1][2] < 0.7 * per_run[0][2]


def test_probabilities_sum_to_one_and_do_not_depend_on_other_rows(described, small_heads):
    torch.manual_seed(3)
    head = GenreHead(small_heads.heads, n_descriptors=N_DESCRIPTORS, n_genres=3).eval()
    vectors = torch.from_numpy(described.vectors[:8, 0])
    with torch.no_grad():
        together = head(vectors).exp()
        alone = torch.cat([head(row[None]).exp() for row in vectors])
    np.testing.assert_allclose(together.sum(dim=1), 1, atol=1e-5)
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_a_loss_that_is_no_number_stops(described):
    wild = DescriptorHeadsConfig(learning_rate=1.0, weight_decay=10, n_hidden=4, min_steps=20)
    vectors = described.vectors.copy()
    vectors[0, 1:] = np.nan  # halves only: the regression sees whole tracks
    with pytest.raises(TrainingError, match="the loss of the genre head became nan by step"):
        train_genre_head(vectors, _labels(described), 3, wild, seed=0, on_progress=_ignore)
