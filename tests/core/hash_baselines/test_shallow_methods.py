"""The shallow methods against scikit-learn, SciPy, exhaustive search and cases worked by hand."""

from itertools import product

import numpy as np
import pytest
import scipy.linalg
import sklearn.cross_decomposition
import sklearn.decomposition
import sklearn.linear_model
from sklearn.metrics.pairwise import rbf_kernel

from musichash_core.hash_baselines import linear_codes
from musichash_core.hash_baselines.anchor_kernel import fit_anchor_kernel
from musichash_core.hash_baselines.controls import fit_softmax_regression, learn_real_vectors
from musichash_core.hash_baselines.kernel_hash import next_bit
from musichash_core.hash_baselines.linear_codes import (
    canonical_axes,
    principal_axes,
    quantising_rotation,
    random_rotation,
)
from musichash_core.hash_baselines.spectral_hash import learn_spectral_hash, slowest_waves
from musichash_core.hash_baselines.supervised_discrete import (
    fit_ridge,
    improve_codes,
    sdh_objective,
)
from musichash_core.hash_baselines.training_items import LearningSet

EXACT = 1e-10  # eigenvectors and solved systems of well-conditioned float64 matrices


def data(n=200, d=12, seed=0):
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((n, d)) @ rng.standard_normal((d, d))
    return values - values.mean(axis=0)


def one_hot(labels):
    return np.eye(labels.max() + 1)[labels]


# --- projections ---


def test_principal_axes_are_those_of_scikit_learn():
    values = data()
    axes = principal_axes(values, 5)
    reference = sklearn.decomposition.PCA(5, svd_solver="full").fit(values).components_.T
    np.testing.assert_allclose(np.abs((axes * reference).sum(axis=0)), 1, atol=EXACT)
    assert (axes[np.abs(axes).argmax(axis=0), range(5)] > 0).all()


def test_axes_beyond_the_dimensions_are_zero():
    flat = data()[:, :3] @ np.random.default_rng(1).standard_normal((3, 12))
    axes = principal_axes(flat, 20)
    np.testing.assert_array_equal(np.abs(axes).any(axis=0), np.arange(20) < 3)


def test_canonical_axes_solve_the_ridge_problem(monkeypatch):
    # Without a ridge and with full-rank targets this is plain CCA, which scikit-learn computes.
    monkeypatch.setattr(linear_codes, "CCA_RIDGE", 0.0)
    values = data()
    targets = values[:, :2] ** 3 + np.random.default_rng(0).standard_normal((200, 2))
    axes = canonical_axes(values, targets, 2)
    reference = sklearn.cross_decomposition.CCA(2, tol=1e-12, max_iter=5000).fit(values, targets)
    ours, theirs = values @ axes, reference.transform(values)
    for column in range(2):
        correlation = np.corrcoef(ours[:, column], theirs[:, column])[0, 1]
        assert abs(correlation) == pytest.approx(1, abs=1e-6)


def test_classes_less_one_bound_the_canonical_axes():
    labels = np.arange(200) % 4
    axes = canonical_axes(data(), one_hot(labels), 16)
    np.testing.assert_array_equal(np.abs(axes).any(axis=0), np.arange(16) < 3)


def test_random_rotation_is_orthogonal_and_uniform_in_sign():
    rotation = random_rotation(9, np.random.default_rng(0))
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(9), atol=EXACT)
    corners = [random_rotation(1, np.random.default_rng(seed))[0, 0] for seed in range(40)]
    assert set(np.round(corners)) == {-1.0, 1.0}


# --- ITQ ---


@pytest.mark.parametrize("n_bits", [4, 12, 20])
def test_the_rotation_of_itq_is_orthogonal_and_its_error_never_rises(n_bits):
    values = data()
    projected = values @ principal_axes(values, n_bits)
    found = quantising_rotation(projected, np.random.default_rng(0))
    np.testing.assert_allclose(found.rotation @ found.rotation.T, np.eye(n_bits), atol=EXACT)
    assert len(found.errors) == 50
    assert (np.diff(found.errors) <= EXACT).all()
    assert found.errors[-1] < found.errors[0]


def test_itq_quantises_better_than_random_rotations():
    values = data()
    projected = values @ principal_axes(values, 8)

    def error(rotation):
        rotated = projected @ rotation
        return np.square(np.where(rotated >= 0, 1, -1) - rotated).sum(axis=1).mean()

    found = error(quantising_rotation(projected, np.random.default_rng(0)).rotation)
    random = [error(random_rotation(8, np.random.default_rng(seed))) for seed in range(20)]
    assert found < min(random)


def test_itq_undoes_a_rotation_of_the_cube():
    rng = np.random.default_rng(0)
    corners = np.array(list(product([-1.0, 1.0], repeat=3)))[rng.integers(0, 8, 500)]
    turned = corners @ random_rotation(3, rng)
    errors = [
        quantising_rotation(turned, np.random.default_rng(seed)).errors[-1] for seed in range(5)
    ]
    assert min(errors) == pytest.approx(0, abs=EXACT)


# --- spectral hashing ---


def test_waves_of_a_box_of_four_by_one():
    # m / span: 1/4, 2/4, 3/4, then 4/4 of the long side ties with 1/1 of the short one.
    axis, wave = slowest_waves(np.array([4.0, 1.0]), 5)
    assert axis.tolist() == [0, 0, 0, 0, 1]
    assert wave.tolist() == [1, 2, 3, 4, 1]


def test_spectral_hashing_of_a_line_halves_and_quarters_it():
    line = np.linspace(-1, 1, 101)[:, None]
    learning = LearningSet(line, np.zeros((101, 0)), np.arange(101))
    bits = learn_spectral_hash(learning, 2, 0)(np.array([[-0.9], [-0.4], [0.4], [0.9]])) >= 0
    assert bits[:, 0].tolist() == [True, True, False, False]
    assert bits[:, 1].tolist() == [True, False, False, True]


# --- kernels, SDH, KSH ---


def test_the_kernel_is_gaussian_and_centred():
    values = data(30)
    kernel = fit_anchor_kernel(values, np.random.default_rng(0), n_anchors=10)
    reference = rbf_kernel(values, kernel.anchors, gamma=1 / kernel.squared_width)
    np.testing.assert_allclose(kernel.apply(values), reference - reference.mean(0), atol=EXACT)
    np.testing.assert_allclose(kernel.apply(values).mean(axis=0), 0, atol=EXACT)


def test_the_ridge_step_is_scikit_learns():
    values, targets = data(), data(d=3, seed=1)
    reference = sklearn.linear_model.Ridge(alpha=2.5, fit_intercept=False).fit(values, targets)
    np.testing.assert_allclose(fit_ridge(values, targets, 2.5), reference.coef_.T, atol=EXACT)


def test_the_code_step_of_one_bit_is_the_sign_worked_by_hand():
    # |y - b w|^2 with y = (1, 0) and w = (2, -1) is least at b = sgn(y . w) = +1; for y = (0, 1)
    # at sgn(-1) = -1; for y = (1, 2) y . w is 0 and the prediction -3 decides: -1.
    codes = improve_codes(
        np.array([[-1.0], [1.0], [1.0]]),
        np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 2.0]]),
        np.array([[2.0, -1.0]]),
        np.array([[0.0], [0.0], [-3.0]]),
    )
    assert codes.ravel().tolist() == [1.0, -1.0, -1.0]


def test_no_single_bit_can_improve_the_codes():
    rng = np.random.default_rng(0)
    codes = rng.choice([-1.0, 1.0], size=(6, 5))
    targets, to_targets = one_hot(np.arange(6) % 3), rng.standard_normal((5, 3))
    predicted = rng.standard_normal((6, 5))
    found = improve_codes(codes, targets, to_targets, predicted)
    lowest = sdh_objective(found, targets, to_targets, predicted)
    assert lowest < sdh_objective(codes, targets, to_targets, predicted)
    for item, bit in product(range(6), range(5)):
        changed = found.copy()
        changed[item, bit] *= -1
        assert sdh_objective(changed, targets, to_targets, predicted) >= lowest


def test_the_label_step_is_least_for_its_codes():
    rng = np.random.default_rng(0)
    codes, targets = rng.choice([-1.0, 1.0], size=(40, 8)), one_hot(np.arange(40) % 4)
    best = fit_ridge(codes, targets, 1.0)
    lowest = sdh_objective(codes, targets, best, codes)
    for _ in range(20):
        nearby = best + 0.01 * rng.standard_normal(best.shape)
        assert sdh_objective(codes, targets, nearby, codes) > lowest


def test_a_bit_of_ksh_explains_at_least_what_the_spectral_solution_does():
    rng = np.random.default_rng(0)
    inputs, labels = rng.standard_normal((60, 6)), np.arange(60) % 3
    inputs[:, :3] += one_hot(labels)
    similar = np.where(labels[:, None] == labels, 1.0, -1.0)
    signs = np.where(inputs @ next_bit(inputs, similar) >= 0, 1, -1)
    _, vectors = scipy.linalg.eigh(inputs.T @ similar @ inputs, inputs.T @ inputs)
    spectral = np.where(inputs @ vectors[:, -1] >= 0, 1, -1)
    random = [np.where(inputs @ rng.standard_normal(6) >= 0, 1, -1) for _ in range(50)]
    explained = signs @ similar @ signs
    assert explained >= spectral @ similar @ spectral
    assert explained >= max(one @ similar @ one for one in random)


# --- controls ---


def test_softmax_regression_is_scikit_learns():
    rng = np.random.default_rng(0)
    values, labels = data(), rng.integers(0, 3, 200)
    weights, offsets = fit_softmax_regression(values, one_hot(labels))
    reference = sklearn.linear_model.LogisticRegression(C=1.0, tol=1e-8, max_iter=5000)
    reference.fit(values, labels)
    # Log-odds are the same for every choice of a common offset; L-BFGS stops at about 1e-4.
    ours = values @ weights + offsets
    theirs = reference.decision_function(values)
    centred = ours - ours.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(centred, theirs - theirs.mean(axis=1, keepdims=True), atol=5e-3)


def test_real_vectors_rank_by_cosine():
    values = data()
    learning = LearningSet(values, np.zeros((200, 0)), np.arange(200))
    unit = learn_real_vectors(learning, 8, 0)(values)
    expected = sklearn.metrics.pairwise.cosine_similarity(values)
    np.testing.assert_allclose(unit @ unit.T, expected, atol=EXACT)
