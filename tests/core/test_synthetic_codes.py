"""Codes that are made up: the same for a seed, and of the shape that is promised."""

import numpy as np
import pytest

from musichash_core.errors import ParameterError
from musichash_core.synthetic_codes import (
    ADDITIONS,
    BLOCK_CODES,
    DATABASE,
    QUERIES,
    CodeShape,
    clustered_codes,
    uniform_codes,
)


def bit_distances(codes):
    bits = np.unpackbits(codes, axis=1).astype(np.int32)
    sums = bits.sum(1)
    counted = sums[:, None] + sums - 2 * bits @ bits.T
    return counted[np.triu_indices(len(codes), 1)]


@pytest.mark.parametrize(
    ("n_bits", "shares"),
    [
        (64, {8: 3.9e-4, 12: 1.7e-3, 20: 2.7e-2, 28: 0.25, 32: 0.52}),
        (128, {20: 2.6e-4, 28: 8.8e-4, 48: 4.1e-2, 56: 0.17, 64: 0.50}),
    ],
)
def test_pairs_are_as_far_apart_as_those_of_real_tracks(n_bits, shares):
    """The shares are those of 946 real tracks; within a factor of 1.6, sampling included."""
    distances = bit_distances(clustered_codes(6000, n_bits, seed=5))
    for distance, share in shares.items():
        assert share / 1.6 < (distances <= distance).mean() < share * 1.6


def test_flips_have_the_rate_that_they_should():
    shape = CodeShape(n_centres=1, collapsed_share=0, near_share=0, rate=5)
    codes = clustered_codes(20_000, 64, shape=shape)
    bits = np.unpackbits(codes, axis=1)
    centre = bits.mean(0) > 0.5
    # 1.28 million draws: the deviation of their mean is 0.0003.
    assert (bits != centre).mean() == pytest.approx(5 / 32, abs=0.002)


def test_some_codes_of_a_centre_are_identical():
    shape = CodeShape(n_centres=1, collapsed_share=0.25, near_share=0)
    _, counts = np.unique(clustered_codes(8000, 64, shape=shape), axis=0, return_counts=True)
    assert counts.max() / 8000 == pytest.approx(0.25, abs=0.03)


def test_a_seed_gives_the_same_codes_and_parts_share_centres_only():
    first = clustered_codes(500, 64, seed=3)
    np.testing.assert_array_equal(first, clustered_codes(500, 64, seed=3, part=DATABASE))
    for other in (
        clustered_codes(500, 64, seed=4),
        clustered_codes(500, 64, seed=3, part=QUERIES),
        clustered_codes(500, 64, seed=3, part=ADDITIONS),
    ):
        assert (first != other).any(axis=1).mean() > 0.9
    shape = CodeShape(n_centres=3, collapsed_share=1, near_share=0)
    parts = [clustered_codes(200, 64, part=part, shape=shape) for part in (DATABASE, QUERIES)]
    np.testing.assert_array_equal(*(np.unique(part, axis=0) for part in parts))


def test_more_codes_begin_with_the_same_blocks():
    longer = clustered_codes(BLOCK_CODES + 10, 64)
    np.testing.assert_array_equal(longer[:BLOCK_CODES], clustered_codes(BLOCK_CODES, 64))


def test_uniform_codes_are_fair_and_independent():
    distances = bit_distances(uniform_codes(1500, 128))
    assert distances.mean() == pytest.approx(64, abs=0.1)
    assert distances.std() == pytest.approx(np.sqrt(32), abs=0.1)


def test_impossible_sizes_are_refused():
    with pytest.raises(ParameterError, match="n_bits=48: want a multiple of 64"):
        clustered_codes(3, 48)
    with pytest.raises(ParameterError, match="n_codes=-1"):
        uniform_codes(-1, 64)
    assert clustered_codes(0, 64).shape == (0, 8)
