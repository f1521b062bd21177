"""Rhythm of a track: how its onsets repeat, by lag and by rate, in O, H and P.

An onset is how much louder a range of bands became from one frame to the next. Its autocorrelation
peaks at the lag of a beat and of its multiples (Tzanetakis and Cook 2002, beat histogram); the
spectrum of onsets says at which rates, from 0.4 to 16 Hz, and how strongly it moves (after the
fluctuation patterns of Pampalk, Rauber and Merkl, ACM Multimedia 2002). Both are taken in 16 ranges
of eight mel bands and averaged over neighbouring ranges.

Onsets are differences of decibels, so a gain changes nothing. What lies 70 dB below the loudest
band counts as silent, so the bytes' floor is not seen either while that band is above -10 dB.

At most 60 s from the middle of a track are read. Lags that a short track does not have are zeros.
Onsets of less than 24 s are filled up with zeros before their spectrum is taken, so that every
range of rates has a frequency of its own. Neither is corrected for the length of a track: a steady
beat's peak in the spectrum grows with the root of it, and a lag counts by the share of the track
that has it.

Public: `N_RHYTHM`, `describe_rhythm`.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, next_fast_len, rfft

from musichash_core.decibels import STEP_DB
from musichash_core.descriptors.band_products import multiply_bands
from musichash_core.descriptors.frame_parts import FRAMES_PER_S, N_CHANNELS, N_MELS
from musichash_core.segments import FrameSource

MAX_FRAMES = 2584
"""60 s."""

N_RANGES = 16
RANGE_MELS = N_MELS // N_RANGES
LOUDNESS_STEPS = round(70 / STEP_DB)

LAGS = np.unique(np.round(np.geomspace(4, 172, 60)).astype(np.int64))
"""0.09 to 4 s, in frames; 50, as some of the shortest of the 60 coincide."""

N_LAG_RANGES = 4
"""Ranges of bands left of 16 after averaging autocorrelations."""

N_RATES = 20
RATE_EDGES_HZ = np.geomspace(0.4, 16.0, N_RATES + 1)
N_RATE_RANGES = 8
MIN_SPECTRUM_FRAMES = 1024
"""Its frequencies are 0.042 Hz apart, half of the narrowest range of rates."""

SILENT_POWER = 1e-6
"""Added to the power of onsets, in square decibels, so that there is no division by zero."""

N_RHYTHM = N_CHANNELS * (len(LAGS) * N_LAG_RANGES + N_RATES * N_RATE_RANGES)
"""1080."""


def describe_rhythm(frames: FrameSource) -> NDArray[np.float32]:
    """Describe the onsets of the middle minute.

    Parameters
    ----------
    frames : (n_frames, 3, 128) uint8
        O, H, P in half-decibel steps; at least one frame.

    Returns
    -------
    (N_RHYTHM,) float32
        Autocorrelations, ``(3, n_lags, 4)``: the largest in a window of an eighth of the lag, 1 at
        most; then ``log(1 + magnitude)`` of the onset spectrum, ``(3, 20, 8)``, per square root of
        the number of frames.
    """
    first = max(0, (len(frames) - MAX_FRAMES) // 2)
    onsets = _onsets(frames[first : first + MAX_FRAMES])
    if not len(onsets):
        return np.zeros(N_RHYTHM, dtype=np.float32)
    return np.concatenate([_by_lag(onsets).ravel(), _by_rate(onsets).ravel()])


def _onsets(stored: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Give the rises of each range of bands around their mean: ``(n_frames - 1, 3 * 16)``, dB."""
    quietest = np.uint8(max(0, int(stored.max()) - LOUDNESS_STEPS))
    levels = multiply_bands(np.maximum(stored, quietest), _range_means()).reshape(len(stored), -1)
    onsets: NDArray[np.float32] = np.maximum(levels[1:] - levels[:-1], np.float32(0))
    if len(onsets):
        onsets -= onsets.mean(axis=0)
    return onsets


@cache
def _range_means() -> NDArray[np.float32]:
    """Give the matrix from bytes to decibels of ranges, less those of byte 0; exact in float32."""
    return np.kron(np.eye(N_RANGES), np.full((RANGE_MELS, 1), STEP_DB / RANGE_MELS)).astype(
        np.float32
    )


def _by_lag(onsets: NDArray[np.float32]) -> NDArray[np.float32]:
    """Give the autocorrelation around each of the lags: ``(3, n_lags, 4)``."""
    windows = _lag_windows()
    n_lags_read = int(windows.max()) + 1
    n_fft = next_fast_len(len(onsets) + n_lags_read, real=True)
    power = _power(rfft(onsets, n_fft, axis=0))
    correlations = irfft(power, n_fft, axis=0)[:n_lags_read]
    correlations /= correlations[:1] + np.float32(SILENT_POWER)
    # Every second result is of a window; the others lie between one's stop and the next's start.
    largest = np.maximum.reduceat(correlations, windows, axis=0)[::2]
    by_channel = largest.reshape(len(LAGS), N_CHANNELS, N_LAG_RANGES, -1)
    means: NDArray[np.float32] = by_channel.mean(axis=3).transpose(1, 0, 2)
    return means


@cache
def _lag_windows() -> NDArray[np.int64]:
    """Give start and stop of the lags that count as each of `LAGS`, one after the other."""
    reach = np.maximum(1, LAGS // 16)
    return np.stack([LAGS - reach, LAGS + reach + 1], axis=1).ravel()


def _by_rate(onsets: NDArray[np.float32]) -> NDArray[np.float32]:
    """Give the onset spectrum in ranges of rates: ``(3, 20, 8)``."""
    n_fft = max(len(onsets), MIN_SPECTRUM_FRAMES)
    window = np.hanning(len(onsets)).astype(np.float32)
    edges = np.ceil(RATE_EDGES_HZ * (n_fft / FRAMES_PER_S)).astype(np.int64)
    spectrum = rfft(onsets * window[:, np.newaxis], n_fft, axis=0)[: edges[-1]]
    magnitudes = np.sqrt(np.maximum.reduceat(_power(spectrum), edges[:-1], axis=0))
    strengths = np.log1p(magnitudes / np.float32(np.sqrt(len(onsets))))
    by_channel = strengths.reshape(N_RATES, N_CHANNELS, N_RATE_RANGES, -1)
    means: NDArray[np.float32] = by_channel.mean(axis=3).transpose(1, 0, 2)
    return means


def _power(spectrum: NDArray[np.complex64]) -> NDArray[np.float32]:
    power: NDArray[np.float32] = spectrum.real**2 + spectrum.imag**2
    return power
