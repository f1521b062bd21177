"""Exact search over codes, against distances counted bit by bit."""

import numpy as np
import pytest

from musichash_core.code_scan import (
    BLOCK,
    GROUP,
    codes_within,
    codes_within_runs,
    nearest_codes,
    nearest_in_runs,
)
from musichash_core.errors import ParameterError


def distances_by_bits(queries, codes):
    """Count differing bits without anything of ours."""
    left = np.unpackbits(queries, axis=1).astype(np.int32)
    right = np.unpackbits(codes, axis=1).astype(np.int32)
    return left.sum(1)[:, None] + right.sum(1) - 2 * left @ right.T


def near_copies(codes, n_queries, rng):
    """Give queries that lie near some of the codes."""
    drawn = codes[rng.integers(0, len(codes), n_queries)]
    return drawn ^ (rng.random(drawn.shape) < 0.1).astype(np.uint8)


def check(found, distances, radii):
    for query, row in enumerate(distances):
        near = np.flatnonzero(row <= radii[query])
        expected = near[np.lexsort((near, row[near]))]
        rows, stated = found.of_query(query)
        np.testing.assert_array_equal(rows, expected)
        np.testing.assert_array_equal(stated, row[expected])


@pytest.mark.parametrize("n_bits", [16, 64, 72, 128, 256])
@pytest.mark.parametrize("n_codes", [1, 64, 65, BLOCK + 70])
def test_finds_what_counting_bits_finds(n_bits, n_codes):
    rng = np.random.default_rng(n_bits + n_codes)
    codes = rng.integers(0, 256, (n_codes, n_bits // 8), dtype=np.uint8)
    queries = near_copies(codes, GROUP + 3, rng)
    distances = distances_by_bits(queries, codes)
    k = min(10, n_codes)
    check(nearest_codes(codes, queries, 10), distances, np.sort(distances, axis=1)[:, k - 1])
    radius = n_bits // 4
    check(codes_within(codes, queries, radius), distances, [radius] * len(queries))


def test_answers_that_outgrow_their_room_are_all_kept():
    codes = np.zeros((9 * BLOCK + 5, 8), dtype=np.uint8)
    codes[::7] = 1
    queries = np.zeros((3, 8), dtype=np.uint8)
    queries[1] = 1
    queries[2, 0] = 3
    distances = distances_by_bits(queries, codes)
    check(nearest_codes(codes, queries, 2), distances, np.sort(distances, axis=1)[:, 1])
    check(codes_within(codes, queries, 64), distances, [64] * 3)


def test_codes_that_come_ever_nearer_push_out_the_farther_ones():
    n_codes = 8 * BLOCK
    codes = np.zeros((n_codes, 8), dtype=np.uint8)
    for bit in range(64):
        codes[: n_codes * (64 - bit) // 64, bit // 8] |= np.uint8(1 << bit % 8)
    queries = np.zeros((1, 8), dtype=np.uint8)
    distances = distances_by_bits(queries, codes)
    assert (np.diff(distances[0]) <= 0).all()
    check(nearest_codes(codes, queries, 5), distances, np.sort(distances, axis=1)[:, 4])


def far_outside(distances, runs):
    """Give distances in which what lies in no run of a query is beyond every radius."""
    masked = np.full_like(distances, 1000)
    for query, of_query in enumerate(runs):
        for start, stop in of_query:
            masked[query, start:stop] = distances[query, start:stop]
    return masked


@pytest.mark.parametrize("n_bits", [40, 64, 192])
def test_runs_are_looked_at_and_nothing_else(n_bits):
    rng = np.random.default_rng(n_bits)
    n_codes, n_queries = BLOCK + 3000, GROUP + 5
    codes = rng.integers(0, 256, (n_codes, n_bits // 8), dtype=np.uint8)
    queries = near_copies(codes, n_queries, rng)
    # Three runs that do not meet, in order; some are empty, some longer than a block.
    ends = np.sort(rng.integers(0, n_codes + 1, (n_queries, 6)), axis=1)
    runs = ends.reshape(n_queries, 3, 2)
    runs[3] = 0
    runs[4] = [[0, 0], [0, n_codes], [n_codes, n_codes]]
    masked = far_outside(distances_by_bits(queries, codes), runs)
    n_seen = (masked < 1000).sum(axis=1)
    tenth = np.sort(masked, axis=1)[np.arange(n_queries), np.minimum(10, n_seen) - 1]
    tenth[n_seen == 0] = -1
    check(nearest_in_runs(codes, queries, 10, runs), masked, tenth)
    check(codes_within_runs(codes, queries, 18, runs), masked, [18] * n_queries)


def test_ties_in_runs_that_outgrow_their_room_are_all_kept():
    codes = np.zeros((9 * BLOCK, 8), dtype=np.uint8)
    codes[::5] = 1
    queries = np.zeros((2, 8), dtype=np.uint8)
    whole = [[0, 5 * BLOCK + 3], [5 * BLOCK + 3, 9 * BLOCK]]
    runs = np.array([whole, [[7, 7], [9, 3 * BLOCK]]])
    masked = far_outside(distances_by_bits(queries, codes), runs)
    check(nearest_in_runs(codes, queries, 1, runs), masked, [0, 0])
    check(codes_within_runs(codes, queries, 64, runs), masked, [64, 64])


def test_runs_that_are_not_there_are_refused():
    codes = np.zeros((5, 8), dtype=np.uint8)
    for wrong in ([[[0, 6]]], [[[-1, 3]]], [[0, 3]], [[[0, 3]], [[0, 3]]]):
        with pytest.raises(ParameterError, match=r"want \(1, n_runs, 2\) int64, within 5 rows"):
            nearest_in_runs(codes, codes[:1], 1, np.array(wrong))


def test_nothing_asked_or_nothing_there_gives_no_answers():
    nothing, one = np.empty((0, 8), dtype=np.uint8), np.zeros((1, 8), dtype=np.uint8)
    assert nearest_codes(one, nothing, 3).limits.tolist() == [0]
    assert nearest_codes(nothing, one, 3).limits.tolist() == [0, 0]
    assert codes_within(one, one, -1).limits.tolist() == [0, 0]


def test_codes_of_a_slice_are_found_too():
    codes = np.arange(200 * 16, dtype=np.uint8).reshape(200, 16)[::2, :8]
    check(nearest_codes(codes, codes[:5], 1), distances_by_bits(codes[:5], codes), [0, 0, 0, 0, 0])


def test_other_lengths_and_no_neighbours_are_refused():
    codes = np.zeros((3, 8), dtype=np.uint8)
    with pytest.raises(ParameterError, match="cannot be compared"):
        nearest_codes(codes, codes[:, :4], 1)
    with pytest.raises(ParameterError, match="k=0: ask for at least one"):
        nearest_codes(codes, codes, 0)
    with pytest.raises(ParameterError, match="k=0: ask for at least one"):
        nearest_in_runs(codes, codes, 0, np.zeros((3, 1, 2), dtype=np.int64))
