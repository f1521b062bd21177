"""The front end against librosa and the original package, and its independence of the cutting."""

import tracemalloc

import librosa
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musichash_core.decibels import db_to_bytes, power_to_db
from musichash_core.errors import ParameterError
from musichash_core.musicnn.log_mel import (
    LARGEST_SAMPLE,
    MAX_PATCHES,
    N_MELS,
    PATCH_FRAMES,
    MelPowerExtractor,
    bytes_to_log_mel,
    cut_patches,
    extract_mel_power,
    patch_starts,
    power_to_bytes,
    power_to_log_mel,
)

OF_LIBROSA = 2e-5
"""Largest difference of log10(1 + 10000 power); two single-precision transforms. Measured 2e-6."""

FLOAT16_STEP = np.log10(1 + 2**-10)
"""Of the reference: it rounded power to 11 bits, which may fall on either side of a step."""

HALF_STEP = 0.25 / 10 + 1e-5
"""A quarter of a decibel, in powers of ten: what rounding to bytes may change."""


def noise(n_samples, seed=0, level=0.3):
    rng = np.random.default_rng(seed)
    return (level * rng.standard_normal(n_samples)).astype(np.float32)


def librosa_log_mel(y):
    power = librosa.feature.melspectrogram(y=y, sr=16_000, n_fft=512, hop_length=256, n_mels=96)
    return np.log10(1 + 10_000 * power.T.astype(np.float64))


@pytest.mark.parametrize("n_samples", [512, 16_383, 16_384, 16_640, 16_641, 32_768, 50_000])
def test_log_mel_equals_librosas(n_samples):
    y = noise(n_samples)
    ours = power_to_log_mel(extract_mel_power(y))
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, librosa_log_mel(y), rtol=0, atol=OF_LIBROSA)


def test_log_mel_of_music_equals_librosas(reference_samples):
    ours = power_to_log_mel(extract_mel_power(reference_samples))
    np.testing.assert_allclose(ours, librosa_log_mel(reference_samples), rtol=0, atol=OF_LIBROSA)


def test_patches_are_the_original_packages_before_its_rounding(reference, reference_samples):
    power = extract_mel_power(reference_samples)
    patches = cut_patches(power, np.arange(3) * PATCH_FRAMES)
    theirs = reference["patches_log_mel"]
    np.testing.assert_allclose(
        power_to_log_mel(patches), theirs, rtol=0, atol=FLOAT16_STEP / 2 + OF_LIBROSA
    )
    rounded = power_to_log_mel(patches.astype(np.float16).astype(np.float32))
    np.testing.assert_allclose(rounded, theirs, rtol=0, atol=FLOAT16_STEP + 1e-6)
    assert np.mean(np.abs(rounded - theirs) < 1e-6) > 0.999


def test_powers_beyond_float16_stay_finite():
    """Where the original package goes to infinity."""
    y = 1000 * noise(20_000)
    with np.errstate(over="ignore"):
        assert np.isinf(extract_mel_power(y).astype(np.float16)).any()
    assert np.isfinite(power_to_log_mel(extract_mel_power(y))).all()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 40_000), max_size=8), st.integers(1, 60_000))
def test_the_cutting_changes_no_bit(cuts, n_samples):
    y = noise(n_samples, seed=n_samples)
    extractor = MelPowerExtractor()
    pieces = [extractor.push(piece) for piece in np.split(y, sorted(c for c in cuts if c < len(y)))]
    pieces.append(extractor.finish())
    joined = np.concatenate(pieces)
    assert joined.shape == (1 + n_samples // 256, N_MELS)
    np.testing.assert_array_equal(joined, extract_mel_power(y))


def test_a_block_does_not_depend_on_what_was_extracted_before():
    y = noise(3 * 16_384 + 1000)
    np.testing.assert_array_equal(extract_mel_power(y)[:60], extract_mel_power(y[:16_384])[:60])


def test_memory_does_not_grow_with_the_track():
    piece = noise(16_384)
    extractor = MelPowerExtractor()
    extractor.push(piece)
    tracemalloc.start()
    for _ in range(100):
        extractor.push(piece)
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert held < 1 << 20


def test_silence_is_zero():
    np.testing.assert_array_equal(power_to_log_mel(extract_mel_power(np.zeros(5000, "f4"))), 0)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.zeros((2, 10), np.float32), "one row"),
        (np.zeros(10, np.int16), "one row of floats"),
        (np.array([0, 0, np.nan], np.float32), "sample 7 is nan"),
        (np.array([0, -np.inf], np.float32), "sample 6 is -inf"),
        (np.array([2 * LARGEST_SAMPLE], np.float32), "sample 5 is"),
    ],
)
def test_samples_that_are_none_are_refused(y, message):
    extractor = MelPowerExtractor()
    extractor.push(np.zeros(5, np.float32))
    with pytest.raises(ParameterError, match=message):
        extractor.push(y)


def test_the_largest_samples_stay_finite():
    y = np.full(2000, LARGEST_SAMPLE, np.float32)
    assert np.isfinite(power_to_log_mel(extract_mel_power(y))).all()


def test_the_order_of_calls_is_checked():
    extractor = MelPowerExtractor()
    with pytest.raises(ParameterError, match="at least one sample"):
        extractor.finish()
    extractor.push(np.zeros(1, np.float32))
    assert extractor.finish().shape == (1, N_MELS)
    with pytest.raises(ParameterError, match="called before"):
        extractor.finish()
    with pytest.raises(ParameterError, match="after finish"):
        extractor.push(np.zeros(1, np.float32))


def test_bytes_are_the_nearest_half_decibels(reference_samples):
    power = extract_mel_power(reference_samples)
    stored = power_to_bytes(power)
    expected = db_to_bytes(power_to_db(power))
    assert stored.dtype == np.uint8
    assert np.abs(stored.astype(int) - expected).max() <= 1
    assert np.mean(stored != expected) < 1e-3  # exactly between two steps, up to rounding
    difference = np.abs(bytes_to_log_mel(stored) - power_to_log_mel(power))
    assert difference.max() < HALF_STEP
    np.testing.assert_array_equal(power_to_bytes(np.zeros((3, N_MELS), np.float32)), 0)


@pytest.mark.parametrize(
    ("n_frames", "max_patches", "expected"),
    [
        (1, 16, [0]),
        (187, 16, [0]),
        (373, 16, [0]),
        (374, 16, [0, 187]),
        (400, 16, [0, 213]),
        (187 * 20, 3, [0, 1776, 3553]),
        (187 * 20, 1, [0]),
    ],
)
def test_patches_are_spread_over_the_track(n_frames, max_patches, expected):
    np.testing.assert_allclose(patch_starts(n_frames, max_patches), expected, atol=1)


def test_a_long_track_has_at_most_the_default_number_of_patches():
    starts = patch_starts(100_000)
    assert len(starts) == MAX_PATCHES == 16
    assert starts[-1] == 100_000 - PATCH_FRAMES


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_patches_are_runs_of_frames(dtype):
    frames = (np.arange(500)[:, None] % 251 + np.zeros(N_MELS)).astype(dtype)
    patches = cut_patches(frames, np.array([0, 100, 313]))
    assert patches.shape == (3, PATCH_FRAMES, N_MELS)
    assert patches.dtype == dtype
    np.testing.assert_array_equal(patches[1, :, 7], frames[100:287, 7])


def test_a_short_track_is_repeated():
    frames = (np.arange(50)[:, None] + np.zeros(N_MELS)).astype(np.float32)
    (patch,) = cut_patches(frames, patch_starts(50))
    np.testing.assert_array_equal(patch[:, 0], np.tile(np.arange(50), 4)[:PATCH_FRAMES])


@pytest.mark.parametrize(
    ("shape", "starts", "message"),
    [
        ((500, 40), [0], "frames have shape"),
        ((0, N_MELS), [0], "frames have shape"),
        ((500, N_MELS), [314], "from 0 to 313"),
        ((500, N_MELS), [-1], "from 0 to 313"),
        ((500, N_MELS), [], "at least one"),
    ],
)
def test_patches_outside_the_track_are_refused(shape, starts, message):
    with pytest.raises(ParameterError, match=message):
        cut_patches(np.zeros(shape, np.float32), np.array(starts, np.int64))


@pytest.mark.parametrize("max_patches", [0, 1025])
def test_numbers_of_patches_out_of_range_are_refused(max_patches):
    with pytest.raises(ParameterError, match="want 1 to 1024"):
        patch_starts(1000, max_patches)


def test_power_of_another_shape_is_refused():
    with pytest.raises(ParameterError, match="power has shape"):
        power_to_bytes(np.zeros(5, np.float32))
