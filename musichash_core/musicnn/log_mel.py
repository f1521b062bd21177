"""Samples in, the input of the musicnn networks out: mel power, its logarithm, patches.

A frame of 32 ms every 16 ms (512 and 256 samples at 16 kHz), 96 mel bands up to 8 kHz, compressed
as ``log10(1 + 10000 power)``, in patches of 187 frames (3 s). These are what the networks were
trained on, so nothing here can be set. Frames are rows: ``(n_frames, 96)``.

`MelPowerExtractor` takes samples in pieces of any length and holds one block of frames, whatever
the length of the track. Blocks start at multiples of their length, so its output does not depend
on how the samples were cut, to the last bit. It gives mel power, which a caller either compresses
at once or keeps as bytes, in the same half-decibel steps as the other features.

The authors round mel power to float16 before the logarithm. We do not: it changes the input by up
to 2.1e-4 and a tag probability by less than 0.0001, and would turn a loud recording in floating
point into infinities (above 65504).

Public: `SR_HZ`, `N_MELS`, `PATCH_FRAMES`, `MAX_PATCHES`, `MelPowerExtractor`, `extract_mel_power`,
`power_to_log_mel`, `power_to_bytes`, `bytes_to_log_mel`, `patch_starts`, `cut_patches`.
"""

from collections.abc import Iterator
from functools import cache
from typing import TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from musichash_core.decibels import COMPRESSION, compression_table
from musichash_core.errors import ParameterError
from musichash_core.feature_kernels import BLOCK_FRAMES, byte_table, write_bytes
from musichash_core.kernels_cache import kernel
from musichash_core.segments import FrameSource, SegmentConfig, segment_starts
from musichash_core.spectrogram import (
    MelBands,
    count_frames,
    mel_bands,
    mel_filter_bank,
    transform_frames,
)

SR_HZ = 16_000
N_FFT = 512
HOP_LENGTH = 256
N_MELS = 96
PATCH_FRAMES = 187

MAX_PATCHES = 16
"""Patches that describe a track, by default: 48 s of it."""

LARGEST_SAMPLE = 1e12
"""Beyond this, single-precision power overflows; full scale is 1."""

WINDOW_SAMPLES = (BLOCK_FRAMES - 1) * HOP_LENGTH + N_FFT
BLOCK_SAMPLES = BLOCK_FRAMES * HOP_LENGTH

Value = TypeVar("Value", np.float32, np.uint8)


class MelPowerExtractor:
    """Turn a stream of samples into a stream of mel power, in constant memory.

    A track of at least one sample gives ``1 + n_samples // 256`` frames: zeros surround it.
    """

    def __init__(self) -> None:
        self._bands = _bands()
        self._samples = np.zeros(WINDOW_SAMPLES, dtype=np.float32)
        self._frames = np.empty((BLOCK_FRAMES, N_FFT), dtype=np.float32)
        self._n_held = N_FFT // 2
        self._n_given = 0
        self._is_finished = False
        self.n_samples = 0

    def push(self, y: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take the next samples; give the frames that are ready, often none.

        Parameters
        ----------
        y : (n,) float32
            Mono, at `SR_HZ`, full scale 1; any length, also 0.

        Returns
        -------
        (k, 96) float32
            Mel power.

        Raises
        ------
        ParameterError
            If `y` is not one row of floats, has a NaN, an infinity or a sample beyond
            `LARGEST_SAMPLE`, or comes after `finish`.
        """
        if self._is_finished:
            raise ParameterError(
                "samples were pushed after finish(); use a new extractor per track"
            )
        _check_samples(y, self.n_samples)
        self.n_samples += len(y)
        return _joined(self._fill(y))

    def finish(self) -> NDArray[np.float32]:
        """Give the frames still held back, as `push` does; nothing may be pushed afterwards.

        Raises
        ------
        ParameterError
            If no sample was pushed, or at the second call.
        """
        if self._is_finished or not self.n_samples:
            reason = "was called before" if self._is_finished else "needs at least one sample"
            raise ParameterError(f"finish() {reason}")
        self._is_finished = True
        n_frames = count_frames(self.n_samples, HOP_LENGTH)
        return _joined(self._drain(n_frames))

    def _fill(self, y: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
        while y.size:
            taken = y[: WINDOW_SAMPLES - self._n_held]
            self._samples[self._n_held : self._n_held + len(taken)] = taken
            self._n_held += len(taken)
            y = y[len(taken) :]
            if self._n_held == WINDOW_SAMPLES:
                yield self._give_block()

    def _drain(self, n_frames: int) -> Iterator[NDArray[np.float32]]:
        while self._n_given < n_frames:
            self._samples[self._n_held :] = 0.0
            n_left = n_frames - self._n_given
            yield self._give_block()[:n_left]

    def _give_block(self) -> NDArray[np.float32]:
        """Transform the samples held, and keep those that the next block begins with."""
        spectra = transform_frames(self._samples, self._frames, hop_length=HOP_LENGTH)
        mel = np.zeros((BLOCK_FRAMES, N_MELS + 1), dtype=np.float32)
        add_mel_power(spectra, self._bands.lower_mel, self._bands.weights, mel)
        self._n_given += BLOCK_FRAMES
        self._n_held = max(0, self._n_held - BLOCK_SAMPLES)
        self._samples[: WINDOW_SAMPLES - BLOCK_SAMPLES] = self._samples[BLOCK_SAMPLES:].copy()
        return mel[:, :N_MELS]


@kernel
def add_mel_power(
    spectra: NDArray[np.complex64],
    lower_mel: NDArray[np.int64],
    weights: NDArray[np.float32],
    mel: NDArray[np.float32],
) -> None:
    """Add the power of ``(n_frames, n_bins)`` spectra to ``(n_frames, n_mels + 1)`` mel bands.

    Parameters
    ----------
    lower_mel, weights : (n_bins,) int64, (n_bins, 2) float32
        As in `musichash_core.spectrogram.MelBands`.
    """
    for t in range(spectra.shape[0]):
        frame, out = spectra[t], mel[t]
        for b in range(frame.size):
            power = frame[b].real * frame[b].real + frame[b].imag * frame[b].imag
            out[lower_mel[b]] += weights[b, 0] * power
            out[lower_mel[b] + 1] += weights[b, 1] * power


def extract_mel_power(y: NDArray[np.float32]) -> NDArray[np.float32]:
    """Extract the mel power of a whole track at once.

    Parameters
    ----------
    y : (n_samples,) float32
        Mono, at `SR_HZ`; at least one sample.

    Returns
    -------
    (1 + n_samples // 256, 96) float32

    Raises
    ------
    ParameterError
        See `MelPowerExtractor`.
    """
    extractor = MelPowerExtractor()
    return np.concatenate([extractor.push(y), extractor.finish()])


def power_to_log_mel(power: NDArray[np.float32]) -> NDArray[np.float32]:
    """Compress mel power, of any shape, to the networks' input: ``log10(1 + 10000 power)``."""
    log_mel: NDArray[np.float32] = np.log10(np.float32(COMPRESSION) * power + np.float32(1))
    return log_mel


def power_to_bytes(power: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Round mel power to the half-decibel steps of `musichash_core.decibels`.

    Parameters
    ----------
    power : (n_frames, 96) float32
        Not negative, and not NaN.

    Returns
    -------
    (n_frames, 96) uint8
        The same on every processor: looked up, not computed with a logarithm.
    """
    if power.ndim != 2:
        raise ParameterError(f"power has shape {power.shape}; want (n_frames, {N_MELS})")
    table = byte_table()
    stored = np.empty((len(power), 1, power.shape[1]), dtype=np.uint8)
    by_band = np.ascontiguousarray(power.T, dtype=np.float32)[:, np.newaxis]
    write_bytes(by_band, table.cell_byte, table.threshold, stored)
    return stored[:, 0]


def bytes_to_log_mel(stored: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Give the networks' input for stored bytes, of any shape, with the level they came with."""
    log_mel: NDArray[np.float32] = compression_table(1.0)[stored]
    return log_mel


def patch_starts(n_frames: int, max_patches: int = MAX_PATCHES) -> NDArray[np.int64]:
    """Give the first frames of a track's patches: evenly spaced from its start to its end.

    There are as many as fit side by side, at most `max_patches`, at least one.

    Parameters
    ----------
    n_frames : >= 1
        Frames of the track.
    max_patches : 1 to 1024

    Returns
    -------
    (n_patches,) int64
    """
    if not 1 <= max_patches <= 1024:
        raise ParameterError(f"max_patches={max_patches}: want 1 to 1024")
    spacing = SegmentConfig(
        n_frames=PATCH_FRAMES, hop_frames=PATCH_FRAMES, max_per_track=max_patches
    )
    return segment_starts(n_frames, spacing)


@overload
def cut_patches(frames: NDArray[Value], starts: NDArray[np.int64]) -> NDArray[Value]: ...


@overload
def cut_patches(frames: FrameSource, starts: NDArray[np.int64]) -> NDArray[np.uint8]: ...


def cut_patches(
    frames: NDArray[Value] | FrameSource, starts: NDArray[np.int64]
) -> NDArray[Value] | NDArray[np.uint8]:
    """Cut patches out of a track; one shorter than a patch is repeated until it fills it.

    Parameters
    ----------
    frames : (n_frames, 96) float32 or uint8
        Power, its logarithm or its bytes; a lazy source is read only where patches lie.
    starts : (n_patches,) int64
        From `patch_starts`.

    Returns
    -------
    (n_patches, 187, 96), of the dtype of `frames`

    Raises
    ------
    ParameterError
        If `frames` is not such a matrix, or a patch begins or ends outside it.
    """
    if frames.ndim != 2 or frames.shape[1] != N_MELS or not len(frames):
        raise ParameterError(f"frames have shape {frames.shape}; want (n_frames, {N_MELS})")
    if len(frames) < PATCH_FRAMES:
        whole = frames[0 : len(frames)]
        frames = np.concatenate([whole] * -(-PATCH_FRAMES // len(whole)))[:PATCH_FRAMES]
    last = len(frames) - PATCH_FRAMES
    if not len(starts) or starts.min() < 0 or starts.max() > last:
        raise ParameterError(f"patches start at {starts}; want at least one, from 0 to {last}")
    return np.stack([frames[start : start + PATCH_FRAMES] for start in starts])


@cache
def _bands() -> MelBands:
    return mel_bands(mel_filter_bank(sr=SR_HZ, n_fft=N_FFT, n_mels=N_MELS))


def _joined(blocks: Iterator[NDArray[np.float32]]) -> NDArray[np.float32]:
    return np.concatenate([np.empty((0, N_MELS), dtype=np.float32), *blocks])


def _check_samples(y: NDArray[np.float32], n_before: int) -> None:
    if y.ndim != 1 or not np.issubdtype(y.dtype, np.floating):
        raise ParameterError(f"y has shape {y.shape} and dtype {y.dtype}; give one row of floats")
    is_fit = np.abs(y) <= LARGEST_SAMPLE
    if not is_fit.all():
        index = int(np.argmin(is_fit))
        raise ParameterError(
            f"sample {n_before + index} is {y[index]}; samples must be finite and not exceed "
            f"{LARGEST_SAMPLE:.0e} (full scale is 1)"
        )
