"""Decibels in bytes: against the definition, computed in double precision."""

import math

import librosa
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from musichash_core.decibels import (
    CEILING_DB,
    FLOOR_DB,
    bytes_to_db,
    bytes_to_model_input,
    compression_table,
    db_to_bytes,
    power_to_db,
)

SINGLE_ROUNDING_DB = 1e-5  # float32 near 80 has steps of 7.6e-6


@given(st.floats(1e-30, 1e20))
def test_power_to_db_is_ten_times_the_logarithm_above_the_floor(power):
    expected = max(FLOOR_DB, 10 * math.log10(np.float32(power)))
    got = power_to_db(np.array([power], np.float32))
    assert got.dtype == np.float32
    assert got[0] == pytest.approx(expected, abs=10 * SINGLE_ROUNDING_DB)


def test_zero_power_is_the_floor_without_a_warning():
    floored = power_to_db(np.zeros((2, 3), np.float32))
    np.testing.assert_allclose(floored, np.full((2, 3), FLOOR_DB), atol=SINGLE_ROUNDING_DB)


def test_bytes_survive_the_way_to_decibels_and_back():
    every = np.arange(256, dtype=np.uint8)
    assert np.array_equal(db_to_bytes(bytes_to_db(every)), every)


@given(st.floats(FLOOR_DB, CEILING_DB, width=32))
def test_stored_decibels_are_within_a_quarter(db):
    stored = bytes_to_db(db_to_bytes(np.array([db], np.float32)))
    assert abs(float(stored[0]) - db) <= 0.25 + SINGLE_ROUNDING_DB


@pytest.mark.parametrize(("db", "stored"), [(-np.inf, 0), (-200, 0), (48, 255), (np.inf, 255)])
def test_decibels_outside_the_range_are_clipped(db, stored):
    assert db_to_bytes(np.array([db], np.float32)) == stored


@pytest.mark.parametrize("frequency_hz", [30.0, 440.0, 1000.0, 5000.0, 10_900.0])
def test_a_full_scale_sine_fits_below_the_ceiling(sounds, frequency_hz):
    y = sounds.tone(frequency_hz, level=1.0)
    loudest = librosa.feature.melspectrogram(y=y, sr=22_050, n_fft=2048, hop_length=512).max()
    assert 10 * math.log10(loudest) < CEILING_DB


def test_compression_follows_its_formula_for_every_byte():
    for peak in (1.0, 0.25, 1e-4):
        power = 10 ** ((np.arange(256) * 0.5 - 80) / 10)
        expected = np.log10(1 + 1e4 * power / peak**2)
        table = compression_table(peak)
        assert table.dtype == np.float32
        np.testing.assert_allclose(table[1:], expected[1:], rtol=1e-6)
        assert table[0] == 0


def test_compression_makes_loud_and_quiet_copies_alike():
    # Half the amplitude is 6.02 dB, within a tenth of a step of 12 bytes.
    loud, quiet = compression_table(1.0), compression_table(0.5)
    np.testing.assert_allclose(quiet[40:200], loud[52:212], atol=0.005)


def test_silence_compresses_to_zero():
    assert compression_table(0.0)[0] == 0
    assert np.isfinite(compression_table(0.0)).all()
    assert np.isfinite(compression_table(1e-30)).all()


def test_model_input_has_frames_last_and_equals_a_plain_loop():
    stored = np.random.default_rng(0).integers(0, 256, (2, 5, 3, 4), dtype=np.uint8)
    table = compression_table(0.7)
    got = bytes_to_model_input(stored, 0.7)
    assert got.shape == (2, 3, 4, 5)
    assert got.flags.c_contiguous
    for n, t, c, m in np.ndindex(stored.shape):
        assert got[n, c, m, t] == table[stored[n, t, c, m]]
