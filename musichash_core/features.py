"""The one definition of a feature: samples in, mel power of original, harmonic, percussive out.

A frame of 93 ms every 23 ms (2048 and 512 samples at 22,050 Hz) gives ``(3, n_mels)`` bytes, in
steps of 0.5 dB (`musichash_core.decibels`) before any gain: the track's peak is kept beside them.

`FeatureExtractor` takes samples in pieces of any length and holds a few blocks of frames, whatever
the length of the track. It works on blocks of `BLOCK_FRAMES` frames that start at multiples of
their length, so its output does not depend on how the samples were cut, to the last bit.

Public: `FEATURE_FORMAT`, `FeatureConfig`, `FeatureExtractor`, `extract_features`,
`extract_mel_power`.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from musichash_core.errors import ParameterError
from musichash_core.feature_kernels import (
    BLOCK_FRAMES,
    byte_table,
    mask_and_filter,
    write_bytes,
    write_power,
)
from musichash_core.medians import median_rows, reflected_rows
from musichash_core.spectrogram import (
    MelBands,
    count_frames,
    mel_bands,
    mel_filter_bank,
    transform_frames,
)

FEATURE_FORMAT = 1
"""Raised whenever the same samples and settings would give other bytes."""

N_PARTS = 3
"""Original, harmonic, percussive."""

LARGEST_SAMPLE = 1e12
"""Beyond this, single-precision power overflows; full scale is 1."""


MelBlock = tuple[NDArray[np.float32], int]
"""``(n_mels, 3, BLOCK_FRAMES)`` mel powers, and how many of the frames belong to the track."""


class FeatureConfig(BaseModel):
    """Settings of the front end; every one of them changes the features."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sr: int = Field(default=22050, ge=4000, le=192_000, description="sample rate, Hz")
    n_fft: int = Field(default=2048, ge=64, le=32_768, description="frame length, samples; even")
    hop_length: int = Field(default=512, ge=16, description="samples between two frames")
    n_mels: int = Field(default=128, ge=8, le=512, description="mel bands")
    fmin_hz: float = Field(default=0.0, ge=0, description="lower edge of the first mel band, Hz")
    fmax_hz: float | None = Field(
        default=None, gt=0, description="upper edge of the last mel band, Hz; sr / 2 if not given"
    )
    kernel_size: int = Field(
        default=31, ge=1, le=1023, description="median lengths, frames and bins; odd"
    )
    power: float = Field(default=2.0, gt=0, le=16, description="exponent of the soft masks")
    margin: float = Field(
        default=1.0, ge=1, le=100, description="how much one part must exceed the other"
    )

    @model_validator(mode="after")
    def _check_relations(self) -> "FeatureConfig":
        if self.n_fft % 2:
            raise ValueError(f"n_fft={self.n_fft} must be even")
        if self.hop_length > self.n_fft:
            raise ValueError(f"hop_length={self.hop_length} exceeds n_fft={self.n_fft}")
        if self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size={self.kernel_size} must be odd")
        self.mel_filter_bank()
        return self

    def mel_filter_bank(self) -> NDArray[np.float32]:
        """Give the mel filters, ``(n_mels, n_bins)`` float32."""
        return mel_filter_bank(
            sr=self.sr,
            n_fft=self.n_fft,
            n_mels=self.n_mels,
            fmin_hz=self.fmin_hz,
            fmax_hz=self.fmax_hz,
        )

    @property
    def n_bins(self) -> int:
        """Frequency bins of a frame, from 0 Hz to ``sr / 2``."""
        return self.n_fft // 2 + 1

    @property
    def frame_rate_hz(self) -> float:
        """Frames per second."""
        return self.sr / self.hop_length


def extract_features(y: NDArray[np.float32], config: FeatureConfig) -> NDArray[np.uint8]:
    """Extract the features of a whole track at once.

    Parameters
    ----------
    y : (n_samples,) float32
        Mono, at ``config.sr``; at least one sample.

    Returns
    -------
    (n_frames, 3, n_mels) uint8
        As `FeatureExtractor` gives them; ``n_frames`` is ``1 + n_samples // hop_length``.

    Raises
    ------
    ParameterError
        See `FeatureExtractor`.
    """
    extractor = FeatureExtractor(config)
    return np.concatenate([extractor.push(y), extractor.finish()])


def extract_mel_power(y: NDArray[np.float32], config: FeatureConfig) -> NDArray[np.float32]:
    """Give the mel powers behind the bytes of `extract_features`, ``(n_frames, 3, n_mels)``."""
    stream = _MelPowerStream(config, _ignore_step)
    blocks = [mel.transpose(2, 1, 0)[:n].copy() for mel, n in stream.push(y)]
    blocks += [mel.transpose(2, 1, 0)[:n].copy() for mel, n in stream.finish()]
    return np.concatenate(blocks)


@lru_cache(maxsize=8)
def _mel_bands(config: FeatureConfig) -> MelBands:
    """Tabulate once what every track of a run needs: it takes as long as two seconds of audio."""
    return mel_bands(config.mel_filter_bank())


def _ignore_step(step: str) -> None:
    """Be told of a finished step, and do nothing."""


class FeatureExtractor:
    """Turn a stream of samples into a stream of features, in constant memory.

    A track of at least one sample gives ``1 + n_samples // hop_length`` frames: zeros surround it,
    so one shorter than a frame gives at least one. Silence gives byte 0 throughout.

    Parameters
    ----------
    config : FeatureConfig
    on_step : callable, optional
        Told ``"stft"``, ``"medians"`` or ``"masks_mel"`` whenever a block has passed that step.
    """

    def __init__(
        self, config: FeatureConfig, *, on_step: Callable[[str], None] | None = None
    ) -> None:
        self.config = config
        self._on_step = on_step or _ignore_step
        self._stream = _MelPowerStream(config, self._on_step)

    def push(self, y: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Take the next samples; give the frames that are ready, often none.

        Parameters
        ----------
        y : (n,) float32
            Mono, at ``config.sr``, full scale 1; any length, also 0.

        Returns
        -------
        (k, 3, n_mels) uint8
            Bytes of mel power of original, harmonic and percussive part.

        Raises
        ------
        ParameterError
            If `y` is not one row of floats, has a NaN, an infinity or a sample beyond
            `LARGEST_SAMPLE`, or comes after `finish`.
        """
        return self._to_bytes(self._stream.push(y))

    def finish(self) -> NDArray[np.uint8]:
        """Give the frames still held back, as `push` does; nothing may be pushed afterwards.

        Raises
        ------
        ParameterError
            If no sample was pushed.
        """
        return self._to_bytes(self._stream.finish())

    @property
    def n_samples(self) -> int:
        """Samples pushed so far."""
        return self._stream.n_samples

    @property
    def n_frames(self) -> int:
        """Frames that the samples pushed so far give, once `finish` was called."""
        return count_frames(self.n_samples, self.config.hop_length) if self.n_samples else 0

    @property
    def peak(self) -> float:
        """Largest absolute sample so far; 0 before the first."""
        return self._stream.peak

    @property
    def mean_square(self) -> float:
        """Mean of the squared samples so far; 0 before the first."""
        return self._stream.sum_squares() / max(1, self.n_samples)

    def _to_bytes(self, blocks: Iterator[MelBlock]) -> NDArray[np.uint8]:
        table, n_mels = byte_table(), self.config.n_mels
        stored = [np.empty((0, N_PARTS, n_mels), dtype=np.uint8)]
        for mel, n_frames in blocks:
            stored.append(np.empty((n_frames, N_PARTS, n_mels), dtype=np.uint8))
            write_bytes(mel, table.cell_byte, table.threshold, stored[-1])
            self._on_step("masks_mel")
        return np.concatenate(stored)


class _MelPowerStream:
    """Samples in, blocks of mel power out; owns the buffers of one track.

    Frames are transformed in blocks of `BLOCK_FRAMES`. Their power lies in a ring long enough for
    the medians along time, which look `kernel_size // 2` frames back and ahead. A block given out
    is overwritten by the next one.
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
