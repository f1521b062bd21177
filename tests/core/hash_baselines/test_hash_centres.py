"""Centres of classes against the definition of a Hadamard matrix and against exhaustive search."""

from itertools import combinations

import numpy as np
import pytest

from musichash_core.errors import ParameterError
from musichash_core.hash_baselines.hash_centres import (
    far_codes,
    hadamard_matrix,
    hash_centres,
    majority_centres,
)


def smallest_distance(codes):
    return min(int((a != b).sum()) for a, b in combinations(codes, 2))


@pytest.mark.parametrize("order", [1, 2, 4, 8, 12, 16, 20, 24, 32, 40, 48, 64, 96, 128, 256])
def test_rows_of_a_hadamard_matrix_are_orthogonal_signs(order):
    matrix = hadamard_matrix(order)
    assert set(np.unique(matrix)) <= {-1, 1}
    np.testing.assert_array_equal(matrix @ matrix.T, order * np.eye(order, dtype=int))


@pytest.mark.parametrize("order", [3, 6, 10, 14, 18])
def test_orders_for_which_there_is_none_give_none(order):
    assert hadamard_matrix(order) is None


@pytest.mark.parametrize("n_bits", [12, 16, 24, 32, 48, 64, 128])
def test_ten_classes_are_half_of_the_bits_apart(n_bits):
    centres = hash_centres(10, n_bits, seed=3)
    assert centres.dtype == np.float32
    distances = {int((a != b).sum()) for a, b in combinations(centres, 2)}
    assert distances == {n_bits // 2}


def test_classes_beyond_the_bits_get_complements():
    centres = hash_centres(20, 16, seed=0)
    distances = sorted({int((a != b).sum()) for a, b in combinations(centres, 2)})
    assert distances == [8, 16]


@pytest.mark.parametrize(("n_classes", "n_bits", "least"), [(10, 56, 22), (50, 16, 4), (8, 10, 4)])
def test_random_centres_are_far_apart(n_classes, n_bits, least):
    # One random set of 10 codes of 56 bits has a smallest distance of about 19.
    assert smallest_distance(hash_centres(n_classes, n_bits, seed=0)) >= least


def test_few_short_codes_are_as_far_apart_as_can_be():
    everything = [[(number >> bit) & 1 for bit in range(5)] for number in range(32)]
    best = max(smallest_distance(np.array(chosen)) for chosen in combinations(everything, 4))
    assert smallest_distance(far_codes(4, 5, np.random.default_rng(0))) == best


def test_a_seed_gives_the_same_centres_and_another_seed_others():
    for n_bits in (16, 56):
        first, again, other = (hash_centres(10, n_bits, seed=seed) for seed in (0, 0, 1))
        np.testing.assert_array_equal(first, again)
        assert (first != other).any()


@pytest.mark.parametrize(
    ("n_classes", "n_bits", "seed", "message"),
    [
        (0, 8, 0, "n_classes=0"),
        (2, 0, 0, "n_bits=0"),
        (2, 8, -1, "seed=-1"),
        (9, 3, 0, "use more bits"),
    ],
)
def test_impossible_centres_are_refused(n_classes, n_bits, seed, message):
    with pytest.raises(ParameterError, match=message):
        hash_centres(n_classes, n_bits, seed=seed)


def test_several_classes_aim_at_the_majority_of_their_centres():
    centres = np.array([[1, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]], dtype=np.float32)
    targets = np.array([[0, 1, 0], [1, 1, 1], [1, 1, 0], [1, 1, 0]], dtype=np.float64)
    aims = majority_centres(targets, centres, seed=0)
    np.testing.assert_array_equal(aims[0], centres[1])
    np.testing.assert_array_equal(aims[1], [1, -1, -1, -1])
    np.testing.assert_array_equal(aims[2, [0, 3]], [1, -1])
    np.testing.assert_array_equal(aims[2], aims[3])
    assert set(np.unique(aims)) == {-1, 1}
