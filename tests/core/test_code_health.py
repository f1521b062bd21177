"""Measures of codes, against scikit-learn, SciPy and NumPy, and against cases worked by hand."""

from collections import Counter

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import mutual_info_score

from musichash_core.code_health import (
    MAX_CHUNK_ROWS,
    count_bits,
    count_buckets,
    measure_codes,
    unsure_shares,
)
from musichash_core.codes import pack_bits
from musichash_core.errors import ParameterError

NEAR = 1e-12
"""Sums of the same numbers in another order."""


def codes_of(n_codes, code_bytes, *, seed=3, n_centres=None):
    """Random codes; with centres, many of them alike."""
    rng = np.random.default_rng(seed)
    if n_centres is None:
        return rng.integers(0, 256, (n_codes, code_bytes), dtype=np.uint8)
    centres = rng.integers(0, 256, (n_centres, code_bytes), dtype=np.uint8)
    return centres[rng.integers(n_centres, size=n_codes)]


def bits_of(codes):
    return np.unpackbits(codes, axis=1, bitorder="little")


small_codes = st.integers(1, 20).flatmap(
    lambda code_bytes: arrays(
        np.uint8, st.tuples(st.integers(1, 40), st.just(code_bytes)), elements=st.integers(0, 3)
    )
)


@pytest.mark.parametrize("code_bytes", [1, 2, 8, 16, 17])
def test_balance_and_correlation_are_those_of_numpy(code_bytes):
    codes = codes_of(500, code_bytes)

    measures = measure_codes(codes)

    bits = bits_of(codes)
    assert measures.bit_means == pytest.approx(bits.mean(axis=0), abs=NEAR)
    assert measures.correlation == pytest.approx(np.corrcoef(bits.T.astype(float)), abs=1e-9)


@pytest.mark.parametrize("n_centres", [None, 1, 7, 100])
@pytest.mark.parametrize("code_bytes", [8, 16])
def test_entropy_is_that_of_scipy_and_of_scikit_learn(code_bytes, n_centres):
    codes = codes_of(600, code_bytes, n_centres=n_centres)

    buckets = count_buckets(codes)

    counts = Counter(map(bytes, codes))
    numbers = np.unique(codes, axis=0, return_inverse=True)[1]
    assert buckets.entropy == pytest.approx(scipy.stats.entropy([*counts.values()], base=2))
    # What a code says of itself is its entropy; scikit-learn counts in nats.
    assert buckets.entropy == pytest.approx(mutual_info_score(numbers, numbers) / np.log(2))
    assert buckets.n_distinct == len(counts)
    assert buckets.largest == max(counts.values())


@given(small_codes)
def test_buckets_are_what_counting_gives(codes):
    buckets = count_buckets(codes)

    counts = Counter(map(bytes, codes))
    largest = max(counts.values())
    assert (buckets.n_distinct, buckets.largest) == (len(counts), largest)
    assert bytes(buckets.largest_code) == min(
        code for code, count in counts.items() if count == largest
    )
    assert sum(buckets.tracks_by_size) == len(codes)
    assert buckets.tracks_by_size[0] == sum(count == 1 for count in counts.values())
    assert buckets.tracks_by_size[-1] > 0


@given(small_codes, st.integers(1, 50), st.randoms(use_true_random=False))
def test_neither_chunks_nor_order_change_anything(codes, chunk_rows, random):
    shuffled = codes[random.sample(range(len(codes)), len(codes))]

    one, other = measure_codes(codes), measure_codes(shuffled, chunk_rows=chunk_rows)

    assert one.bit_means.tolist() == other.bit_means.tolist()
    assert one.correlation.tolist() == other.correlation.tolist()
    assert one.buckets.entropy == other.buckets.entropy
    assert one.buckets.tracks_by_size == other.buckets.tracks_by_size
    assert one.buckets.largest_code.tolist() == other.buckets.largest_code.tolist()


def test_codes_that_all_differ_have_all_the_entropy_there_is():
    codes = np.arange(256, dtype=np.uint8)[:, None]

    measures = measure_codes(codes)

    assert measures.buckets.entropy == 8.0
    assert measures.entropy_share == 1.0
    assert measures.bit_means.tolist() == [0.5] * 8
    assert measures.mean_correlation == 0.0
    assert measures.mean_bit_entropy == 1.0
    assert measures.buckets.tracks_by_size == (256,)


def test_collapsed_codes_are_seen():
    # 6 tracks with 00000011, 2 with 00001100: entropy -(3/4 log2 3/4 + 1/4 log2 1/4) = 0.8113.
    codes = np.array([[3]] * 6 + [[12]] * 2, dtype=np.uint8)

    measures = measure_codes(codes)

    assert measures.buckets.entropy == pytest.approx(0.811278, abs=1e-6)
    assert measures.entropy_share == pytest.approx(0.811278 / 3, abs=1e-6)  # of log2 8
    assert measures.buckets.tracks_by_size == (0, 2, 6)  # of 1, of 2 to 3, of 4 to 7
    assert measures.largest_share == 0.75
    assert measures.bit_means.tolist() == [0.75, 0.75, 0.25, 0.25, 0, 0, 0, 0]
    assert measures.n_constant == 4
    assert measures.worst_bit == 4
    assert measures.correlation[0, :5].tolist() == pytest.approx([1, 1, -1, -1, 0])
    assert measures.most_correlated == (0, 1)
    # Of 28 pairs, the 6 of the first four bits are correlated by 1 or -1.
    assert measures.mean_correlation == pytest.approx(6 / 28)


def test_one_code_is_measured_too():
    measures = measure_codes(np.array([[0xFF, 0]], dtype=np.uint8))

    assert measures.n_constant == 16
    assert measures.entropy_share == 1.0
    assert not measures.correlation.any()


def test_bits_that_are_independent_are_as_correlated_as_expected():
    measures = measure_codes(codes_of(20_000, 8))

    assert measures.mean_correlation == pytest.approx(measures.expected_correlation, rel=0.1)


def test_together_counts_the_codes_with_both_bits():
    codes = pack_bits(np.array([[1, 1, 0, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0, 1]], dtype=bool))

    together = count_bits(codes).together

    assert together[0].tolist() == [2, 1, 0, 0, 0, 0, 0, 1]
    assert together[7].tolist() == [1, 0, 0, 0, 0, 0, 0, 1]


@pytest.mark.parametrize(
    "codes", [np.empty((0, 8), np.uint8), np.zeros(8, np.uint8), np.zeros((3, 8), np.int64)]
)
def test_what_is_no_set_of_codes_is_refused(codes):
    with pytest.raises(ParameterError, match="at least one row of uint8 bytes"):
        measure_codes(codes)


@pytest.mark.parametrize("chunk_rows", [0, MAX_CHUNK_ROWS + 1])
def test_chunks_too_large_to_count_are_refused(chunk_rows):
    with pytest.raises(ParameterError, match="want 1 to 16777216"):
        measure_codes(codes_of(3, 8), chunk_rows=chunk_rows)


def test_a_float32_counts_as_far_as_the_largest_chunk():
    assert np.float32(MAX_CHUNK_ROWS - 1) + np.float32(1) == MAX_CHUNK_ROWS
    assert np.float32(MAX_CHUNK_ROWS) + np.float32(1) == MAX_CHUNK_ROWS  # no further


def test_bits_near_to_flipping_are_counted():
    # Root mean square: sqrt((1 + 1 + 1 + 0.0001) / 4) = 0.866; a twentieth of it is 0.0433.
    logits = np.array([[1.0, -1.0], [1.0, 0.01]], dtype=np.float32)

    assert unsure_shares(logits) == (0.25, 0.5)
    assert unsure_shares(np.empty((0, 8), np.float32)) == (0.0, 0.0)


def test_a_twentieth_of_a_normal_distribution_is_four_percent():
    logits = np.random.default_rng(1).normal(size=(5_000, 64)).astype(np.float32)

    of_bits, of_codes = unsure_shares(logits)

    assert of_bits == pytest.approx(2 * scipy.stats.norm.cdf(0.05) - 1, rel=0.02)
    assert of_codes == pytest.approx(1 - (1 - of_bits) ** 64, rel=0.02)
