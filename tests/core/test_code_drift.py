"""Drift of codes, against SciPy and brute force, and with faults put in on purpose."""

import numpy as np
import pytest
import scipy.spatial.distance
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from musichash_core.code_drift import (
    PRIOR_TRACKS,
    CodeSet,
    chance_distance,
    changed_bits,
    compare_codes,
    jensen_shannon,
)
from musichash_core.codes import pack_bits
from musichash_core.errors import ParameterError

N_BITS = 64
GENRES = 4

counts = arrays(np.int64, 9, elements=st.integers(0, 50)).filter(lambda values: values.sum() > 0)


def tracks(n_tracks, *, seed, genre=None):
    """Codes as a model trained on genres gives them: each genre has its own share of each bit."""
    centres = np.random.default_rng(99).uniform(0.02, 0.98, (GENRES, N_BITS))
    rng = np.random.default_rng(seed)
    genres = rng.integers(GENRES, size=n_tracks) if genre is None else np.full(n_tracks, genre)
    return CodeSet(pack_bits(rng.random((n_tracks, N_BITS)) < centres[genres]), genres)


def both(known, new):
    """A snapshot of known and new tracks, and which are new."""
    now = CodeSet(
        np.concatenate([known.codes, new.codes]), np.concatenate([known.genres, new.genres])
    )
    return now, np.arange(len(now)) >= len(known)


def bits_of(codes):
    return np.unpackbits(codes, axis=1, bitorder="little")


@given(counts, counts)
def test_distance_of_distributions_is_that_of_scipy(first, second):
    wanted = scipy.spatial.distance.jensenshannon(first, second, base=2)

    assert jensen_shannon(first, second) == pytest.approx(wanted, abs=1e-7)
    assert jensen_shannon(first, second) == pytest.approx(jensen_shannon(second, first), abs=1e-7)


def test_distributions_with_nothing_in_common_are_one_apart():
    assert jensen_shannon(np.array([5, 0]), np.array([0, 3])) == 1.0
    assert jensen_shannon(np.array([2, 4]), np.array([1, 2])) == 0.0


def test_distance_by_chance_is_what_samples_of_one_distribution_show():
    rng = np.random.default_rng(2)
    shares = rng.dirichlet(np.full(16, 5.0))
    pairs = [(rng.multinomial(300, shares), rng.multinomial(2_000, shares)) for _ in range(400)]

    found = np.mean([jensen_shannon(*pair) ** 2 for pair in pairs])

    assert found == pytest.approx(np.mean([chance_distance(*pair) ** 2 for pair in pairs]), rel=0.1)


def test_shares_of_bits_are_those_of_numpy():
    known, new = tracks(700, seed=1), tracks(300, seed=2)
    now, is_new = both(known, new)

    drift = compare_codes(known, now, is_new)

    change = bits_of(now.codes).mean(axis=0) - bits_of(known.codes).mean(axis=0)
    assert drift.bit_change == pytest.approx(change, abs=1e-12)
    assert drift.new.bit_means == pytest.approx(bits_of(new.codes).mean(axis=0), abs=1e-12)
    assert drift.new.n_codes == 300


def test_what_is_expected_follows_from_the_genres_of_the_new_tracks():
    known, new = tracks(700, seed=1), tracks(50, seed=2, genre=2)

    drift = compare_codes(known, *both(known, new))

    bits = bits_of(known.codes)
    of_genre = bits[known.genres == 2]
    wanted = (of_genre.sum(axis=0) + PRIOR_TRACKS * bits.mean(axis=0)) / (
        len(of_genre) + PRIOR_TRACKS
    )
    assert drift.new.expected == pytest.approx(wanted, abs=1e-12)


@given(st.integers(1, 400))
def test_chunks_change_nothing(chunk_rows):
    known, new = tracks(120, seed=1), tracks(80, seed=2)
    now, is_new = both(known, new)

    one, other = (compare_codes(known, now, is_new, chunk_rows=n) for n in (chunk_rows, 1_000))

    assert one.bit_change.tolist() == other.bit_change.tolist()
    assert one.new.expected.tolist() == other.new.expected.tolist()


def test_a_night_like_the_catalogue_is_near_to_it():
    known, new = tracks(3_000, seed=1), tracks(300, seed=2)

    new_codes = compare_codes(known, *both(known, new)).new

    assert new_codes.stuck_bits == ()
    assert new_codes.shifts.mean() < 0.04
    assert new_codes.code_distance == pytest.approx(new_codes.code_distance_by_chance, rel=0.3)
    assert new_codes.genre_distance < 2 * new_codes.genre_distance_by_chance


def test_a_night_of_one_genre_is_told_from_a_fault():
    known, new = tracks(3_000, seed=1), tracks(300, seed=2, genre=1)

    new_codes = compare_codes(known, *both(known, new)).new

    assert new_codes.stuck_bits == ()
    assert new_codes.shifts.mean() < 0.04
    assert new_codes.genre_distance > 0.5


def test_a_stuck_bit_is_found():
    known, new = tracks(3_000, seed=1), tracks(300, seed=2)
    bits = bits_of(new.codes)
    usual = int(np.abs(bits_of(known.codes).mean(axis=0) - 0.5).argmin())
    bits[:, usual] = 1

    drift = compare_codes(known, *both(known, CodeSet(pack_bits(bits > 0), new.genres)))

    assert drift.new.stuck_bits == (usual,)
    assert int(drift.new.shifts.argmax()) == usual


def test_a_decoder_that_gives_silence_is_found():
    known = tracks(3_000, seed=1)
    silence = CodeSet(np.repeat(known.codes[:1], 150, axis=0), np.zeros(150, np.int64))

    new_codes = compare_codes(known, *both(known, silence)).new

    assert new_codes.largest_share == 1.0
    assert len(new_codes.stuck_bits) > N_BITS // 3
    assert new_codes.shifts.mean() > 0.3


def test_without_new_tracks_nothing_is_said_of_them():
    known = tracks(100, seed=1)

    drift = compare_codes(known, known, np.zeros(100, bool))

    assert drift.new is None
    assert not drift.bit_change.any()
    assert drift.genre_distance == 0.0


def test_changed_codes_and_bits_are_counted():
    before = np.array([[0, 0], [1, 1], [7, 0]], dtype=np.uint8)
    now = np.array([[0, 0], [1, 2], [0, 0]], dtype=np.uint8)

    assert changed_bits(before, now) == (2, 2 + 3)
    assert changed_bits(before[:0], now[:0]) == (0, 0)


def test_codes_of_two_lengths_are_refused():
    known = tracks(5, seed=1)
    shorter = CodeSet(known.codes[:, :4], known.genres)

    with pytest.raises(ParameterError, match="want codes of one length"):
        compare_codes(known, shorter, np.zeros(5, bool))
    with pytest.raises(ParameterError, match="one genre for each code"):
        CodeSet(known.codes, known.genres[:3])
