"""Transforms and mel filters against librosa."""

import warnings

import librosa
import numpy as np
import pytest

from musichash_core.errors import ParameterError
from musichash_core.spectrogram import count_frames, hann_window, mel_bands, mel_filter_bank, stft

OF_PEAK = 1e-6
"""Single-precision transforms of 2048 samples; measured 2e-7."""


def librosa_stft(y, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the signal is shorter than a frame
        return librosa.stft(y, **options).T


@pytest.mark.parametrize("n_samples", [1, 2, 511, 512, 1023, 2048, 22050])
@pytest.mark.parametrize(("n_fft", "hop_length"), [(2048, 512), (512, 256), (600, 170), (64, 64)])
def test_stft_equals_librosas(n_samples, n_fft, hop_length):
    y = np.random.default_rng(n_samples).standard_normal(n_samples).astype(np.float32)
    D = stft(y, n_fft=n_fft, hop_length=hop_length)
    reference = librosa_stft(y, n_fft=n_fft, hop_length=hop_length)
    assert D.dtype == np.complex64
    assert D.shape == (count_frames(n_samples, hop_length), n_fft // 2 + 1)
    np.testing.assert_allclose(D, reference, rtol=0, atol=OF_PEAK * np.abs(reference).max())


def test_the_window_is_periodic_hann():
    np.testing.assert_allclose(
        hann_window(2048), librosa.filters.get_window("hann", 2048), atol=1e-7
    )
    assert not hann_window(2048).flags.writeable


@pytest.mark.parametrize(
    "options",
    [
        {"sr": 22050, "n_fft": 2048},
        {"sr": 22050, "n_fft": 2048, "n_mels": 96, "fmin_hz": 30.0, "fmax_hz": 8000.0},
        {"sr": 16000, "n_fft": 512, "n_mels": 40},
        {"sr": 8000, "n_fft": 4096, "n_mels": 64, "fmin_hz": 1200.0},
    ],
)
def test_mel_filters_equal_librosas(options):
    names = {"fmin_hz": "fmin", "fmax_hz": "fmax"}
    reference = librosa.filters.mel(**{names.get(name, name): x for name, x in options.items()})
    bank = mel_filter_bank(**options)
    assert bank.dtype == np.float32
    np.testing.assert_allclose(bank, reference, rtol=2e-6, atol=1e-9)


@pytest.mark.parametrize("n_mels", [8, 40, 128])
@pytest.mark.parametrize("fmax_hz", [None, 5000.0])
def test_bands_hold_the_whole_filter_bank(n_mels, fmax_hz):
    bank = mel_filter_bank(sr=22050, n_fft=2048, n_mels=n_mels, fmin_hz=50.0, fmax_hz=fmax_hz)
    bands = mel_bands(bank)
    rebuilt = np.zeros((n_mels + 1, bank.shape[1]), dtype=np.float32)
    for b, (mel, weights) in enumerate(zip(bands.lower_mel, bands.weights, strict=True)):
        rebuilt[mel : mel + 2, b] = weights
    np.testing.assert_array_equal(rebuilt[:-1], bank)
    np.testing.assert_array_equal(rebuilt[-1], 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fmax_hz": 12000.0}, "11025.0 Hz"),
        ({"fmin_hz": 5000.0, "fmax_hz": 4000.0}, "fmin < fmax"),
        ({"fmin_hz": -1.0}, "fmin"),
        ({"n_mels": 700}, "contains no bin"),
    ],
)
def test_impossible_filters_are_refused(options, message):
    with pytest.raises(ParameterError, match=message):
        mel_filter_bank(sr=22050, n_fft=2048, **options)


@pytest.mark.parametrize(
    ("y", "options"),
    [
        (np.zeros(0, dtype=np.float32), {}),
        (np.zeros((2, 100), dtype=np.float32), {}),
        (np.zeros(100, dtype=np.float32), {"n_fft": 2047}),
        (np.zeros(100, dtype=np.float32), {"hop_length": 0}),
    ],
)
def test_impossible_transforms_are_refused(y, options):
    with pytest.raises(ParameterError):
        stft(y, **options)
