"""Rhythm against np.correlate and a Fourier transform written out, and on clicks of known tempo."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.signal import windows

from musichash_core.descriptors.rhythm import LAGS, MAX_FRAMES, N_RHYTHM, describe_rhythm

FRAMES_PER_S = 22_050 / 512

OF_FLOAT = 5e-6
"""Single precision on numbers of up to 4. Measured 3e-7."""

EDGES_HZ = 0.4 * 40 ** (np.arange(21) / 20)


def plain_onsets(frames):
    db = frames * 0.5 - 80.0
    db = np.maximum(db, db.max() - 70)
    rises = np.maximum(np.diff(db.reshape(len(db), 3, 16, 8).mean(axis=3), axis=0), 0)
    return rises - rises.mean(axis=0)


def plain_by_lag(onsets):
    """Give ``(3, n_lags, 4)``, one range of bands after the other."""
    largest = np.zeros((3, len(LAGS), 16))
    for channel in range(3):
        for band in range(16):
            x = onsets[:, channel, band]
            full = np.correlate(x, x, "full")[len(x) - 1 :] / (x @ x + 1e-6)
            full = np.append(full, np.zeros(400))
            for i, lag in enumerate(LAGS):
                reach = max(1, lag // 16)
                largest[channel, i, band] = full[lag - reach : lag + reach + 1].max()
    return largest.reshape(3, len(LAGS), 4, 4).mean(axis=3)


def plain_by_rate(onsets):
    """Give ``(3, 20, 8)``, with zeros up to 1024 frames, one range of rates after the other."""
    n = len(onsets)
    n_fft = max(n, 1024)
    rates_hz = np.arange(n_fft // 2 + 1) * FRAMES_PER_S / n_fft
    turns = np.exp(-2j * np.pi * np.outer(np.arange(n_fft // 2 + 1), np.arange(n)) / n_fft)
    windowed = onsets * windows.hann(n, sym=True)[:, None, None]
    magnitudes = np.abs(np.tensordot(turns, windowed, 1))
    strengths = [
        np.log1p(magnitudes[(rates_hz >= low) & (rates_hz < high)].max(axis=0) / np.sqrt(n))
        for low, high in pairwise(EDGES_HZ)
    ]
    return np.stack(strengths, axis=1).reshape(3, 20, 8, 2).mean(axis=3)


def parts_of(rhythm):
    return rhythm[:600].reshape(3, 50, 4), rhythm[600:].reshape(3, 20, 8)


@pytest.mark.parametrize("n_frames", [3, 60, 173, 430, 1292, 1500])
def test_it_is_what_the_definition_says(random_frames, n_frames):
    frames = random_frames(n_frames)
    rhythm = describe_rhythm(frames)
    assert rhythm.dtype == np.float32
    assert rhythm.shape == (N_RHYTHM,) == (1080,)
    by_lag, by_rate = parts_of(rhythm)
    onsets = plain_onsets(frames)
    np.testing.assert_allclose(by_lag, plain_by_lag(onsets), rtol=0, atol=OF_FLOAT)
    np.testing.assert_allclose(by_rate, plain_by_rate(onsets), rtol=0, atol=OF_FLOAT)


@pytest.mark.parametrize("beats_per_minute", [84, 120, 150])
def test_clicks_repeat_at_the_lag_and_the_rate_of_their_tempo(frames_of, beats_per_minute):
    """Not louder than 1: the strongest lag below one and a half beats is the beat itself."""
    beats_per_s = beats_per_minute / 60
    y = np.random.default_rng(0).normal(0, 1e-4, 22_050 * 20).astype(np.float32)
    y[np.arange(0, len(y), 22_050 / beats_per_s).astype(int)] = 0.9
    by_lag, by_rate = parts_of(describe_rhythm(frames_of(y)[0].frames))

    beat_frames = FRAMES_PER_S / beats_per_s
    before_next = beat_frames * 1.5 > LAGS
    for channel in (0, 2):
        strongest = LAGS[before_next][by_lag[channel, before_next].mean(axis=1).argmax()]
        assert abs(strongest - beat_frames) <= 1 + beat_frames / 16
        below = EDGES_HZ[1:] < 1.9 * beats_per_s
        at = by_rate[channel, below].mean(axis=1).argmax()
        assert EDGES_HZ[at] * 0.97 <= beats_per_s <= EDGES_HZ[at + 1] * 1.03
    assert by_lag.max() <= 1 + OF_FLOAT


def test_a_steady_tone_has_less_rhythm_than_clicks(sounds, frames_of):
    tone = sounds.tone(800.0, duration_s=8.0)
    of_tone, of_clicks = (
        parts_of(describe_rhythm(frames_of(y)[0].frames))[1].mean()
        for y in (tone, sounds.clicks(duration_s=8.0, per_s=2))
    )
    assert of_clicks > 2 * of_tone


@pytest.mark.parametrize("gain_steps", [-12, 12])
def test_a_gain_changes_nothing(random_frames, gain_steps):
    frames = np.clip(random_frames(800), 30, 230)
    louder = (frames.astype(int) + gain_steps).astype(np.uint8)
    np.testing.assert_array_equal(describe_rhythm(louder), describe_rhythm(frames))


def test_noise_seventy_decibels_down_is_not_heard(random_frames):
    frames = random_frames(600)
    frames[:, :, 64:] = 200
    frames[:, :, :64] = np.minimum(frames[:, :, :64], 60)
    assert not describe_rhythm(frames).any()


@pytest.mark.parametrize("byte", [0, 90, 255])
@pytest.mark.parametrize("n_frames", [1, 2, 3, 1292])
def test_frames_that_never_change_have_no_rhythm(byte, n_frames):
    assert not describe_rhythm(np.full((n_frames, 3, 128), byte, dtype=np.uint8)).any()


def test_only_the_middle_minute_is_read(lazy_track):
    track, _ = lazy_track(3 * 3600)
    rhythm = describe_rhythm(track.frames)
    ((first, stop),) = track.frames.reads
    assert stop - first == MAX_FRAMES
    assert abs((first + stop) / 2 - len(track.frames) / 2) <= 1
    np.testing.assert_array_equal(rhythm, describe_rhythm(track.frames[first:stop]))
