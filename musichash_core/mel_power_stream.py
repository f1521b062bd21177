"""Samples in, blocks of mel power of original, harmonic and percussive part out.

This is the machinery of `musichash_core.features`: the buffers of one track, and which frames can
be finished when. Public: `LARGEST_SAMPLE`, `N_PARTS`, `MelBlock`, `MelPowerStream`.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from musichash_core.errors import ParameterError
from musichash_core.feature_config import FeatureConfig
from musichash_core.feature_kernels import BLOCK_FRAMES, mask_and_filter, write_power
from musichash_core.medians import median_rows, reflected_rows
from musichash_core.spectrogram import MelBands, count_frames, mel_bands, transform_frames

N_PARTS = 3
"""Original, harmonic, percussive."""

LARGEST_SAMPLE = 1e12
"""Beyond this, single-precision power overflows; full scale is 1."""

MelBlock = tuple[NDArray[np.float32], int]
"""``(n_mels, 3, BLOCK_FRAMES)`` mel powers, and how many of the frames belong to the track."""


class MelPowerStream:
    """The buffers of one track.

    Frames are transformed in blocks of `BLOCK_FRAMES`. Their power lies in a ring long enough for
    the medians along time, which look ``kernel_size // 2`` frames back and ahead. A block given
    out is overwritten by the next one.

    Parameters
    ----------
    config : FeatureConfig
    on_step : callable
        As for `musichash_core.features.FeatureExtractor`.
    """

    def __init__(self, config: FeatureConfig, on_step: Callable[[str], None]) -> None:
        self._config = config
        self._on_step = on_step
        self._bands = _mel_bands(config)
        self._reach = config.kernel_size // 2
        self._bins = reflected_rows(0, config.n_bins, config.kernel_size, config.n_bins)

        n_ring = BLOCK_FRAMES * (1 + 2 * -(-self._reach // BLOCK_FRAMES))
        n_window = (BLOCK_FRAMES - 1) * config.hop_length + config.n_fft
        self._samples = np.zeros(n_window, dtype=np.float32)
        self._n_held = config.n_fft // 2
        self._frames = np.empty((BLOCK_FRAMES, config.n_fft), dtype=np.float32)
        self._ring = np.zeros((n_ring, config.n_bins), dtype=np.float32)
        self._smooth = np.empty((BLOCK_FRAMES, config.n_bins), dtype=np.float32)
        self._spectra = np.empty((3, config.n_bins, BLOCK_FRAMES), dtype=np.float32)
        self._mel = np.empty((config.n_mels + 1, N_PARTS, BLOCK_FRAMES), dtype=np.float32)

        self.n_samples = 0
        self.peak = 0.0
        self._sum_squares = 0.0
        self._n_transformed = 0
        self._n_given = 0
        self._is_finished = False

    def push(self, y: NDArray[np.float32]) -> Iterator[MelBlock]:
        """Take the next samples, ``(n,)`` float32, and give the blocks that are ready.

        Raises
        ------
        ParameterError
            If `y` is not one row of floats, has a NaN, an infinity or a sample beyond
            `LARGEST_SAMPLE`, or comes after `finish`.
        """
        self._check_samples(y)
        self.n_samples += len(y)
        while y.size:
            taken = y[: len(self._samples) - self._n_held]
            self._samples[self._n_held : self._n_held + len(taken)] = taken
            self._n_held += len(taken)
            y = y[len(taken) :]
            if self._n_held == len(self._samples):
                self._transform_block()
                yield from self._give_complete_blocks()

    def finish(self) -> Iterator[MelBlock]:
        """Give the blocks still held back.

        Raises
        ------
        ParameterError
            If no sample was pushed, or at the second call.
        """
        if self._is_finished or not self.n_samples:
            reason = "was called before" if self._is_finished else "needs at least one sample"
            raise ParameterError(f"finish() {reason}")
        self._is_finished = True
        n_frames = count_frames(self.n_samples, self._config.hop_length)
        while self._n_transformed < n_frames:
            yield from self._give_complete_blocks()
            self._samples[self._n_held :] = 0.0
            self._transform_block()
        while self._n_given < n_frames:
            yield self._give_block(n_frames)

    def sum_squares(self) -> float:
        """Add up the squared samples, in blocks that do not depend on how they were pushed."""
        held = np.square(self._samples[: self._n_held], dtype=np.float64).sum()
        return float(self._sum_squares + held)

    def _check_samples(self, y: NDArray[np.float32]) -> None:
        if self._is_finished:
            raise ParameterError(
                "samples were pushed after finish(); use a new extractor per track"
            )
        if y.ndim != 1 or not np.issubdtype(y.dtype, np.floating):
            raise ParameterError(
                f"y has shape {y.shape} and dtype {y.dtype}; give one row of floats"
            )
        if not y.size:
            return
        peak = float(np.maximum(y.max(), -y.min()))
        if not peak <= LARGEST_SAMPLE:
            index = int(np.argmax(~(np.abs(y) <= LARGEST_SAMPLE)))
            raise ParameterError(
                f"sample {self.n_samples + index} is {y[index]}; samples must be finite and not "
                f"exceed {LARGEST_SAMPLE:.0e} (full scale is 1)"
            )
        self.peak = max(self.peak, peak)

    def _transform_block(self) -> None:
        """Transform the next frames into the ring, and drop the samples no later frame needs."""
        spectra = transform_frames(self._samples, self._frames, hop_length=self._config.hop_length)
        place = self._n_transformed % len(self._ring)
        write_power(spectra, self._ring[place : place + BLOCK_FRAMES])
        self._n_transformed += BLOCK_FRAMES

        n_passed = BLOCK_FRAMES * self._config.hop_length
        self._sum_squares += np.square(self._samples[:n_passed], dtype=np.float64).sum()
        self._n_held = len(self._samples) - n_passed
        self._samples[: self._n_held] = self._samples[n_passed:].copy()
        self._on_step("stft")

    def _give_complete_blocks(self) -> Iterator[MelBlock]:
        """Give the blocks whose medians look at no frame that is still to come."""
        while self._n_given + BLOCK_FRAMES + self._reach <= self._n_transformed:
            yield self._give_block(self._n_transformed)

    def _give_block(self, n_frames: int) -> MelBlock:
        """Give the next block of a track of which `n_frames` frames are known."""
        start, kernel_size = self._n_given, self._config.kernel_size
        power, harmonic, percussive = self._spectra
        rows = reflected_rows(start, start + BLOCK_FRAMES, kernel_size, n_frames) % len(self._ring)
        median_rows(self._ring, rows, kernel_size, self._smooth)
        place = start % len(self._ring)
        power[:] = self._ring[place : place + BLOCK_FRAMES].T
        harmonic[:] = self._smooth.T
        median_rows(power, self._bins, kernel_size, percussive)
        self._on_step("medians")

        mask_and_filter(
            self._spectra,
            self._bands.lower_mel,
            self._bands.weights,
            np.float32(self._config.power / 2),
            np.float32(self._config.margin**2),
            self._mel.reshape(len(self._mel), -1),
        )
        self._n_given += BLOCK_FRAMES
        self._on_step("masks_mel")
        return self._mel[:-1], min(BLOCK_FRAMES, n_frames - start)


@lru_cache(maxsize=8)
def _mel_bands(config: FeatureConfig) -> MelBands:
    """Tabulate once what every track of a run needs: it takes as long as two seconds of audio."""
    return mel_bands(config.mel_filter_bank())
