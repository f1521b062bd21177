"""Short-time Fourier transform and mel filters, with librosa's conventions.

Frames are centred: frame ``t`` has its middle at sample ``t * hop_length``, and zeros surround the
signal, so ``n_samples`` give ``1 + n_samples // hop_length`` frames. Windows are periodic Hann.
Mel filters are Slaney's triangles of unit area (linear to 1 kHz, logarithmic above). Matrices of
one signal are frame-major, ``(n_frames, n_bins)``: what a transform gives and a stream appends.

Public: `count_frames`, `hann_window`, `transform_frames`, `stft`, `mel_filter_bank`, `MelBands`,
`mel_bands`.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
import scipy.fft
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from musichash_core.errors import ParameterError

LINEAR_HZ_PER_MEL = 200.0 / 3.0
LOG_START_HZ = 1000.0
LOG_STEP = np.log(6.4) / 27.0
"""Slaney's Auditory Toolbox (1998): 27 steps from 1 kHz to 6.4 kHz."""


def count_frames(n_samples: int, hop_length: int) -> int:
    """Give the number of centred frames of a signal."""
    return 1 + n_samples // hop_length


@cache
def hann_window(n_fft: int) -> NDArray[np.float32]:
    """Give the periodic Hann window, ``(n_fft,)`` float32, not to be written to."""
    raised_cosine = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)
    window = np.asarray(raised_cosine, dtype=np.float32)
    window.setflags(write=False)
    return window


def transform_frames(
    padded: NDArray[np.float32], frames: NDArray[np.float32], *, hop_length: int
) -> NDArray[np.complex64]:
    """Window and transform a run of frames.

    Parameters
    ----------
    padded : (n_padded,) float32
        Samples from the first sample of the first frame on; frame ``i`` starts at
        ``i * hop_length`` and must end within them.
    frames : (n_frames, n_fft) float32
        Work space, overwritten; its shape says how many frames of what length.

    Returns
    -------
    (n_frames, n_fft // 2 + 1) complex64
    """
    n_frames, n_fft = frames.shape
    windows = sliding_window_view(padded, n_fft)[: n_frames * hop_length : hop_length]
    np.multiply(windows, hann_window(n_fft), out=frames)
    spectra: NDArray[np.complex64] = scipy.fft.rfft(frames, overwrite_x=True)
    return spectra


def stft(
    y: NDArray[np.float32], *, n_fft: int = 2048, hop_length: int = 512
) -> NDArray[np.complex64]:
    """Transform a whole signal.

    Parameters
    ----------
    y : (n_samples,) float32
    n_fft : even, in samples
        Frame and transform length.
    hop_length : >= 1, in samples

    Returns
    -------
    (n_frames, n_fft // 2 + 1) complex64
        The transpose of ``librosa.stft(y, n_fft=n_fft, hop_length=hop_length)``.

    Raises
    ------
    ParameterError
        If `y` is not one non-empty row, `n_fft` is odd or a length is below 1.
    """
    if y.ndim != 1 or not y.size:
        raise ParameterError(f"y has shape {y.shape}; give one row of at least one sample")
    if n_fft < 2 or n_fft % 2 or hop_length < 1:
        raise ParameterError(
            f"n_fft={n_fft}, hop_length={hop_length}: n_fft must be even, hop_length at least 1"
        )
    padded = np.pad(y.astype(np.float32, copy=False), n_fft // 2)
    frames = np.empty((count_frames(len(y), hop_length), n_fft), dtype=np.float32)
    return transform_frames(padded, frames, hop_length=hop_length)


def mel_filter_bank(
    *, sr: int, n_fft: int, n_mels: int = 128, fmin_hz: float = 0.0, fmax_hz: float | None = None
) -> NDArray[np.float32]:
    """Tabulate Slaney's mel filters.

    Parameters
    ----------
    sr : Hz
    n_fft : in samples
    n_mels : >= 1
    fmin_hz, fmax_hz : 0 <= fmin < fmax <= sr / 2
        Outer edges of the first and the last filter; by default up to ``sr / 2``.

    Returns
    -------
    (n_mels, n_fft // 2 + 1) float32
        Weights on power; equal to `librosa.filters.mel`.

    Raises
    ------
    ParameterError
        If the edges are out of range, or a filter is so narrow that it contains no bin.
    """
    fmax_hz = sr / 2 if fmax_hz is None else fmax_hz
    if not 0 <= fmin_hz < fmax_hz <= sr / 2:
        raise ParameterError(
            f"mel filters from {fmin_hz} Hz to {fmax_hz} Hz; need 0 <= fmin < fmax <= sr / 2 = "
            f"{sr / 2} Hz"
        )
    edges_mel = np.linspace(_hz_to_mel(fmin_hz), _hz_to_mel(fmax_hz), n_mels + 2)
    edges_hz = _mel_to_hz(edges_mel)[:, np.newaxis]
    bins_hz = np.arange(n_fft // 2 + 1) * (sr / n_fft)

    slopes = (bins_hz - edges_hz[:-1]) / np.diff(edges_hz, axis=0)
    triangles = np.maximum(0.0, np.minimum(slopes[:-1], 1.0 - slopes[1:]))
    bank = (triangles * (2.0 / (edges_hz[2:] - edges_hz[:-2]))).astype(np.float32)

    empty = np.flatnonzero(~bank.any(axis=1))
    if empty.size:
        raise ParameterError(
            f"mel filter {empty[0]} of {n_mels} contains no bin of {sr / n_fft:.1f} Hz; lower "
            "n_mels or raise n_fft"
        )
    return bank


def _hz_to_mel(hz: float) -> float:
    if hz < LOG_START_HZ:
        return hz / LINEAR_HZ_PER_MEL
    return float(LOG_START_HZ / LINEAR_HZ_PER_MEL + np.log(hz / LOG_START_HZ) / LOG_STEP)


def _mel_to_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    steps = mel - LOG_START_HZ / LINEAR_HZ_PER_MEL
    logarithmic = LOG_START_HZ * np.exp(LOG_STEP * np.maximum(steps, 0.0))
    return np.where(steps < 0, mel * LINEAR_HZ_PER_MEL, logarithmic)


@dataclass(frozen=True, slots=True)
class MelBands:
    """A mel filter bank by bins: neighbouring triangles overlap, so a bin feeds at most two.

    Attributes
    ----------
    lower_mel : (n_bins,) int64
        Bin ``b`` feeds filters ``lower_mel[b]`` and ``lower_mel[b] + 1``.
    weights : (n_bins, 2) float32
        With these weights; zero outside the filters.
    n_mels : int
        Number of filters; the one after the last is fed with zeros only.
    """

    lower_mel: NDArray[np.int64]
    weights: NDArray[np.float32]
    n_mels: int


def mel_bands(bank: NDArray[np.float32]) -> MelBands:
    """Compress a filter bank of triangles, ``(n_mels, n_bins)`` float32, to two weights per bin."""
    n_mels, n_bins = bank.shape
    lower_mel = np.argmax(bank > 0, axis=0)
    padded = np.vstack([bank, np.zeros((1, n_bins), dtype=bank.dtype)])
    bins = np.arange(n_bins)
    weights = np.stack([padded[lower_mel, bins], padded[lower_mel + 1, bins]], axis=1)
    return MelBands(lower_mel.astype(np.int64), np.ascontiguousarray(weights), n_mels)
