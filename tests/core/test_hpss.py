"""Harmonic–percussive separation against librosa, and against what it promises."""

import librosa
import numpy as np
import pytest

from musichash_core.errors import ParameterError
from musichash_core.hpss import hpss
from musichash_core.spectrogram import stft

OF_PEAK = 1e-5
"""Single precision through a division, a power and a product; measured 3e-7."""


@pytest.fixture(scope="module")
def magnitude():
    rng = np.random.default_rng(4)
    return np.abs(rng.standard_normal((65, 90))).astype(np.float32)


def assert_equal_to_librosa(S, **options):
    ours, theirs = hpss(S, **options), librosa.decompose.hpss(S, **options)
    scale = np.abs(S).max() if not options.get("mask") else 1.0
    for part, reference in zip(ours, theirs, strict=True):
        assert part.dtype == reference.dtype
        np.testing.assert_allclose(
            part.astype(complex), reference.astype(complex), rtol=0, atol=OF_PEAK * scale
        )


@pytest.mark.parametrize("kernel_size", [31, 1, (5, 9), [17, 8], 101])
@pytest.mark.parametrize("power", [1.0, 2.0, 3.3, 50.0, np.inf])
@pytest.mark.parametrize("margin", [1.0, 3.0, (1.0, 2.5), [2, 1]])
@pytest.mark.parametrize("mask", [False, True])
def test_parts_equal_librosas(magnitude, kernel_size, power, margin, mask):
    assert_equal_to_librosa(
        magnitude, kernel_size=kernel_size, power=power, margin=margin, mask=mask
    )


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1), (3, 200), (200, 3), (2, 3, 33, 20)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_parts_equal_librosas_for_any_shape(shape, dtype):
    rng = np.random.default_rng(5)
    # SciPy reads outside arrays that are shorter than an eighth of the kernel.
    kernel_size = tuple(min(31, 8 * n - 1) for n in (shape[-1], shape[-2]))
    assert_equal_to_librosa(
        np.abs(rng.standard_normal(shape)).astype(dtype), kernel_size=kernel_size
    )


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
@pytest.mark.parametrize("mask", [False, True])
def test_a_complex_spectrogram_keeps_its_phase(dtype, mask):
    rng = np.random.default_rng(6)
    D = (rng.standard_normal((65, 40)) + 1j * rng.standard_normal((65, 40))).astype(dtype)
    D[3, 4] = 0
    assert_equal_to_librosa(D, mask=mask)


def test_integers_are_taken_as_magnitudes():
    S = np.random.default_rng(7).integers(0, 9, (40, 50))
    for part, reference in zip(hpss(S), hpss(S.astype(np.float32)), strict=True):
        assert part.dtype == np.float32
        np.testing.assert_array_equal(part, reference)


def test_a_batch_equals_a_loop():
    S = np.abs(np.random.default_rng(8).standard_normal((2, 3, 33, 40))).astype(np.float32)
    harmonic, percussive = hpss(S)
    for i in range(2):
        for j in range(3):
            np.testing.assert_array_equal([harmonic[i, j], percussive[i, j]], hpss(S[i, j]))


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0, 8.0])
def test_parts_sum_to_the_whole_at_margin_one(magnitude, power):
    harmonic, percussive = hpss(magnitude, power=power)
    np.testing.assert_allclose(harmonic + percussive, magnitude, rtol=1e-6)


def test_margins_leave_a_residual(magnitude):
    harmonic, percussive = hpss(magnitude, margin=2.0)
    assert np.all(harmonic + percussive <= magnitude * (1 + 1e-6))
    assert (harmonic + percussive).sum() < 0.9 * magnitude.sum()


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_masks_do_not_depend_on_the_level(magnitude, scale):
    masks = hpss(magnitude, mask=True)
    scaled = hpss(magnitude * np.float32(scale), mask=True)
    np.testing.assert_allclose(scaled, masks, atol=1e-6)


@pytest.mark.parametrize(("margin", "share"), [(1.0, 0.5), (2.0, 0.0)])
def test_silence_is_shared_or_given_to_neither(margin, share):
    S = np.zeros((40, 50), dtype=np.float32)
    for mask in hpss(S, mask=True, margin=margin):
        np.testing.assert_array_equal(mask, share)
    for part in hpss(S, margin=margin):
        np.testing.assert_array_equal(part, 0)


def test_a_zero_against_something_gets_nothing():
    S = np.zeros((40, 50), dtype=np.float32)
    S[20] = 1.0  # one steady line: its median along frequency is zero
    harmonic, percussive = hpss(S, mask=True)
    np.testing.assert_array_equal(harmonic[20], 1)
    np.testing.assert_array_equal(percussive[20], 0)


def test_an_empty_spectrogram_gives_empty_parts():
    for part in hpss(np.empty((1025, 0), dtype=np.float32)):
        assert part.shape == (1025, 0)


def energy_shares(y):
    """Give the shares of harmonic and percussive energy, away from the edges."""
    S = np.abs(stft(y.astype(np.float32))).T
    whole = (S[:, 20:-20] ** 2).sum()
    return [(part[:, 20:-20] ** 2).sum() / whole for part in hpss(S)]


def test_a_steady_tone_is_harmonic():
    y = np.sin(2 * np.pi * 440 * np.arange(4 * 22050) / 22050)
    harmonic, _ = energy_shares(y)
    assert harmonic > 0.9


def test_a_train_of_clicks_is_percussive():
    y = np.zeros(4 * 22050)
    y[:: 22050 // 2] = 1
    _, percussive = energy_shares(y)
    assert percussive > 0.9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"margin": 0.5}, "margin"),
        ({"margin": (1, 0.99)}, "margin"),
        ({"margin": np.nan}, "margin"),
        ({"kernel_size": 0}, "kernel_size"),
        ({"kernel_size": (31, -1)}, "kernel_size"),
        ({"power": 0}, "power"),
        ({"power": -1}, "power"),
        ({"power": np.nan}, "power"),
    ],
)
def test_settings_out_of_range_are_refused(magnitude, options, message):
    with pytest.raises(ParameterError, match=message):
        hpss(magnitude, **options)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1e-3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bad_magnitudes_are_refused(magnitude, bad, dtype):
    S = magnitude.astype(dtype)
    S[5, 6] = bad
    with pytest.raises(
        ParameterError, match="NaN or infinity" if not np.isfinite(bad) else "-0.001"
    ):
        hpss(S)


def test_a_complex_nan_is_refused(magnitude):
    D = magnitude.astype(np.complex64)
    D[0, 0] = complex(1, np.nan)
    with pytest.raises(ParameterError, match="NaN or infinity"):
        hpss(D)


def test_one_axis_is_refused():
    with pytest.raises(ParameterError, match="n_bins, n_frames"):
        hpss(np.ones(40, dtype=np.float32))
