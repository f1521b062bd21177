"""Bits, bytes, distances and exact neighbours."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from musichash_core.codes import (
    asymmetric_distance,
    brute_force_neighbours,
    hamming_distance,
    logits_to_bits,
    logits_to_codes,
    pack_bits,
    unpack_bits,
)
from musichash_core.errors import ParameterError

bit_arrays = st.integers(1, 4).flatmap(
    lambda n_bytes: arrays(np.bool_, st.tuples(st.integers(0, 5), st.just(8 * n_bytes)))
)


def code_arrays(n_rows: int, n_bytes: int = 2) -> st.SearchStrategy[np.ndarray]:
    return arrays(np.uint8, (n_rows, n_bytes))


def test_bit_0_is_the_lowest_bit_of_byte_0():
    bits = np.zeros((3, 16), dtype=bool)
    bits[0, 0] = True
    bits[1, [1, 7]] = True
    bits[2, 11] = True
    assert pack_bits(bits).tolist() == [[0b00000001, 0], [0b10000010, 0], [0, 0b00001000]]


@given(bit_arrays)
def test_packing_and_unpacking_give_the_bits_back(bits):
    codes = pack_bits(bits)
    assert codes.dtype == np.uint8
    assert codes.shape == (bits.shape[0], bits.shape[1] // 8)
    np.testing.assert_array_equal(unpack_bits(codes), bits)


def test_zero_of_either_sign_is_a_one():
    logits = np.array([[0.0, -0.0, 1e-30, -1e-30, 5, -5, np.inf, -np.inf]], dtype=np.float32)
    assert logits_to_bits(logits).tolist() == [[True, True, True, False, True, False, True, False]]
    assert logits_to_codes(logits).tolist() == [[0b01010111]]


def test_logits_that_are_not_numbers_are_refused():
    with pytest.raises(ParameterError, match="NaN"):
        logits_to_bits(np.array([0.0, np.nan], dtype=np.float32))


def test_a_number_of_bits_that_fills_no_byte_is_refused():
    with pytest.raises(ParameterError, match="multiple of 8"):
        pack_bits(np.zeros((2, 12), dtype=bool))


def test_codes_of_another_dtype_are_refused():
    with pytest.raises(ParameterError, match="want uint8"):
        hamming_distance(np.zeros((1, 2)), np.zeros((1, 2), dtype=np.uint8))


def test_codes_of_different_lengths_are_refused():
    with pytest.raises(ParameterError, match="different n_bits"):
        hamming_distance(np.zeros((1, 2), np.uint8), np.zeros((1, 4), np.uint8))


@given(code_arrays(6))
def test_hamming_distance_is_a_metric_and_counts_differing_bits(codes):
    distances = hamming_distance(codes[:, None], codes)
    bits = unpack_bits(codes)
    np.testing.assert_array_equal(distances, (bits[:, None] != bits).sum(axis=-1))
    np.testing.assert_array_equal(distances, distances.T)
    assert (np.diag(distances) == 0).all()
    assert (distances[:, :, None] <= distances[:, None] + distances[None]).all()


@given(code_arrays(3), code_arrays(9), st.integers(1, 12))
def test_neighbours_are_ordered_by_distance_then_row(queries, codes, k):
    distances, rows = brute_force_neighbours(queries, codes, k)
    assert distances.shape == rows.shape == (3, min(k, 9))
    for query, found_distances, found_rows in zip(queries, distances, rows, strict=True):
        truth = [(int(hamming_distance(query, code)), row) for row, code in enumerate(codes)]
        assert list(zip(found_distances, found_rows, strict=True)) == sorted(truth)[:k]


def test_neighbours_do_not_depend_on_the_block_size(monkeypatch):
    rng = np.random.default_rng(0)
    queries, codes = (rng.integers(0, 4, (n, 1), dtype=np.uint8) for n in (11, 50))
    whole = brute_force_neighbours(queries, codes, 7)
    monkeypatch.setattr("musichash_core.codes.BLOCK_BYTES", 1)
    for one, other in zip(whole, brute_force_neighbours(queries, codes, 7), strict=True):
        np.testing.assert_array_equal(one, other)


def test_neighbours_among_no_codes_are_none():
    distances, rows = brute_force_neighbours(
        np.zeros((2, 8), np.uint8), np.zeros((0, 8), np.uint8), 3
    )
    assert distances.shape == rows.shape == (2, 0)


def test_no_neighbours_asked_for_is_refused():
    with pytest.raises(ParameterError, match="k=0"):
        brute_force_neighbours(np.zeros((1, 8), np.uint8), np.zeros((1, 8), np.uint8), 0)


def test_asymmetric_distance_follows_its_formula():
    rng = np.random.default_rng(1)
    logits = rng.standard_normal((4, 16)).astype(np.float32)
    codes = rng.integers(0, 256, (6, 2), dtype=np.uint8)
    signs = np.where(unpack_bits(codes), 1.0, -1.0)
    expected = -np.tanh(logits.astype(np.float64)) @ signs.T
    rounding = 16 * 0.5 / 2**15  # n_bits times half a step
    np.testing.assert_allclose(asymmetric_distance(logits, codes), expected, atol=rounding)


def test_sure_queries_are_ranked_as_by_hamming_distance():
    rng = np.random.default_rng(2)
    codes = rng.integers(0, 256, (20, 8), dtype=np.uint8)
    logits = np.where(rng.random((3, 64)) < 0.5, -40.0, 40.0).astype(np.float32)
    distances = hamming_distance(logits_to_codes(logits)[:, None], codes)
    np.testing.assert_array_equal(asymmetric_distance(logits, codes), 2.0 * distances - 64)


def test_equal_codes_tie_exactly_by_asymmetric_distance():
    rng = np.random.default_rng(3)
    codes = np.repeat(rng.integers(0, 256, (1, 8), dtype=np.uint8), 301, axis=0)
    logits = rng.standard_normal((5, 64)).astype(np.float32)
    assert (np.ptp(asymmetric_distance(logits, codes), axis=1) == 0).all()


def test_queries_of_another_length_are_refused():
    with pytest.raises(ParameterError, match="32 bits and codes of 64 bits"):
        asymmetric_distance(np.zeros((1, 32), np.float32), np.zeros((1, 8), np.uint8))
