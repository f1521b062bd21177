"""Cepstra against librosa's and plain NumPy, patch by patch."""

import librosa
import numpy as np
import pytest

from musichash_core.descriptors.cepstra import N_CEPSTRA, WINDOW_FRAMES, describe_cepstra
from musichash_core.musicnn.log_mel import patch_starts

OF_FLOAT = 2e-3
"""Decibels; single precision on coefficients of up to 900. Measured 2e-4, and 1.4e-3 where
frames never change."""

GAIN_STEPS = 12
"""6 dB."""


def plainly(frames, first, n_frames):
    """Describe one patch in double precision, following the definition."""
    db = frames[first : first + n_frames] * 0.5 - 80.0
    cepstra = np.concatenate(
        [librosa.feature.mfcc(S=db[:, channel].T, n_mfcc=25, norm="ortho") for channel in range(3)]
    )
    ranges = (db[:, 1] - db[:, 2]).reshape(-1, 16, 8).mean(axis=2)
    return np.concatenate(
        [
            cepstra.mean(axis=1),
            cepstra.std(axis=1),
            np.diff(cepstra).std(axis=1),
            ranges.mean(axis=0),
            ranges.std(axis=0),
        ]
    )


@pytest.mark.parametrize("n_frames", [129, 130, 700, 1292])
def test_each_patch_is_what_librosa_and_numpy_say(random_frames, n_frames):
    frames = random_frames(n_frames)
    starts = patch_starts(round(n_frames / 22_050 * 512 * 62.5))
    described = describe_cepstra(frames, starts)
    assert described.shape == (len(starts), N_CEPSTRA) == (len(starts), 257)
    assert described.dtype == np.float32
    for row, start in zip(described, starts, strict=True):
        first = min(int(start * 0.016 * 22_050 / 512), n_frames - 129)
        np.testing.assert_allclose(row, plainly(frames, first, 129), rtol=0, atol=OF_FLOAT)


@pytest.mark.parametrize("n_frames", [2, 50, 128])
def test_a_short_track_is_one_window(random_frames, n_frames):
    frames = random_frames(n_frames)
    described = describe_cepstra(frames, np.array([0]))
    np.testing.assert_allclose(described[0], plainly(frames, 0, n_frames), rtol=0, atol=OF_FLOAT)


def test_a_single_frame_has_no_deviations(random_frames):
    described = describe_cepstra(random_frames(1), np.array([0]))[0]
    assert np.isfinite(described).all()
    assert not described[75:225].any()
    assert not described[241:].any()


@pytest.mark.parametrize("byte", [0, 1, 255])
def test_frames_that_never_change_deviate_by_rounding_only(byte):
    frames = np.full((300, 3, 128), byte, dtype=np.uint8)
    described = describe_cepstra(frames, np.array([0, 100]))
    expected = np.zeros(257)
    expected[[0, 25, 50]] = (byte * 0.5 - 80) * np.sqrt(128)
    np.testing.assert_allclose(described, np.stack([expected] * 2), rtol=0, atol=OF_FLOAT)


def test_a_gain_moves_the_first_coefficients_alone(random_frames):
    frames = np.clip(random_frames(400), 0, 255 - GAIN_STEPS)
    starts = np.array([0, 150, 300])
    moved = describe_cepstra(frames + np.uint8(GAIN_STEPS), starts) - describe_cepstra(
        frames, starts
    )
    expected = np.zeros(257)
    expected[[0, 25, 50]] = 6 * np.sqrt(128)
    np.testing.assert_allclose(moved, np.stack([expected] * 3), rtol=0, atol=OF_FLOAT)


def test_a_tone_is_harmonic_and_clicks_are_percussive(sounds, frames_of):
    """Of 16 ranges up to 11 kHz, 800 Hz lie in the fourth."""
    tone = sounds.tone(800.0, duration_s=4.0)
    of_tone, of_clicks = (
        describe_cepstra(frames_of(y)[0].frames, np.array([0]))[0, 225:241]
        for y in (tone, sounds.clicks(duration_s=4.0))
    )
    assert of_tone[3] > 10
    assert (of_clicks < -10).all()


def test_only_frames_under_patches_are_read(lazy_track):
    track, of_tagger = lazy_track(3 * 3600)
    starts = patch_starts(len(of_tagger), 16)
    describe_cepstra(track.frames, starts)
    assert len(track.frames.reads) == 16
    assert track.frames.n_read == 16 * WINDOW_FRAMES
    assert track.frames.reads[-1][1] <= len(track.frames)
