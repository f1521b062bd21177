"""A fingerprint of a recording: the signs of how the energy of neighbouring bands changes.

After Haitsma and Kalker, "A highly robust audio fingerprinting system" (ISMIR 2002): a bit is 1
where the energy of one band exceeds that of the next by more than it did a moment before. Gain
changes no sign, coding with loss few, and a cut only moves them in time. Theirs is made of spectra
of 0.37 s every 12 ms; ours of the stored mel frames, smoothed over 0.74 s and compared over as long
a time: over 0.37 s the worst encodings had a third more wrong bits.

A word is 32 bits (fewer where the features have fewer bands): bit ``k`` is about bands ``k`` and
``k + 1``. There is a word for each frame; of these every fourth (0.093 s) is kept for alignment.

Public: `FINGERPRINT_FORMAT`, `FingerprintPlan`, `RecordingFingerprint`, `FrameWords`,
`plan_fingerprint`, `fingerprint_frames`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import convolve1d

from musichash_core.decibels import FLOOR_DB, FLOOR_POWER, STEP_DB
from musichash_core.errors import ParameterError
from musichash_core.segments import FrameSource

FINGERPRINT_FORMAT = 1
"""Raised whenever the same frames would give another fingerprint."""

MAX_BITS = 32
MIN_BITS = 8
"""With fewer bits per word different recordings agree too often."""

LOWEST_HZ, HIGHEST_HZ = 200.0, 4500.0
"""Between them lies what every codec and every sample rate from 9 kHz up leaves alone."""

SMOOTHED_S = 0.74
COMPARED_S = 0.74
STEP_S = 0.093

AUDIBLE_RANGE_DB = 50.0
"""Words of moments that much below the loudest are noise of codecs, and say nothing."""

AUDIBLE_ABOVE_FLOOR_DB = 10.0
"""Nor do words of bands that hold next to nothing at all."""

N_UNCERTAIN = 3
"""Bits of a word that may be uncertain and the word still counts as certain."""

BLOCK_FRAMES = 16_384
"""Frames read at once: 6 MB."""


@dataclass(frozen=True, slots=True)
class FingerprintPlan:
    """How to make fingerprints of the frames of one feature configuration.

    Attributes
    ----------
    band_edges : (n_bits + 2,) tuple of int
        Mel bands are summed between two neighbouring edges.
    smoothed_frames, compared_frames, step_frames : int
        Length of the smoothing window, distance of the compared moments, and distance of the
        words that are kept.
    frame_rate_hz : float
        Feature frames per second.
    """

    band_edges: tuple[int, ...]
    smoothed_frames: int
    compared_frames: int
    step_frames: int
    frame_rate_hz: float

    @property
    def n_bits(self) -> int:
        """Bits of a word that are used."""
        return len(self.band_edges) - 2

    @property
    def word_s(self) -> float:
        """Seconds between two words that are kept."""
        return self.step_frames / self.frame_rate_hz


def plan_fingerprint(band_hz: NDArray[np.floating], frame_rate_hz: float) -> FingerprintPlan:
    """Lay out a fingerprint for features with these bands at this rate.

    Parameters
    ----------
    band_hz : (n_mels,) float
        Centres of the mel bands, ascending.
    frame_rate_hz : > 0

    Raises
    ------
    ParameterError
        If fewer than `MIN_BITS` + 1 bands lie between `LOWEST_HZ` and `HIGHEST_HZ`, or frames are
        so far apart that fewer than two fall into the smoothing window.
    """
    first, stop = (int(edge) for edge in np.searchsorted(band_hz, (LOWEST_HZ, HIGHEST_HZ)))
    n_bands = min(MAX_BITS + 1, stop - first)
    smoothed = round(SMOOTHED_S * frame_rate_hz)
    if n_bands < MIN_BITS + 1 or smoothed < 2:
        raise ParameterError(
            f"{max(0, n_bands)} mel bands between {LOWEST_HZ:.0f} and {HIGHEST_HZ:.0f} Hz, and "
            f"{smoothed} frames in {SMOOTHED_S} s: fingerprints need {MIN_BITS + 1} bands and 2 "
            "frames; extract with more features.n_mels or a smaller features.hop_length"
        )
    edges = np.rint(np.linspace(first, stop, n_bands + 1)).astype(int)
    return FingerprintPlan(
        band_edges=tuple(edges.tolist()),
        smoothed_frames=smoothed,
        compared_frames=max(1, round(COMPARED_S * frame_rate_hz)),
        step_frames=max(1, round(STEP_S * frame_rate_hz)),
        frame_rate_hz=frame_rate_hz,
    )


@dataclass(frozen=True, slots=True, eq=False)
class RecordingFingerprint:
    """Words of one track.

    Attributes
    ----------
    words : (n_words,) uint32
        In order of time.
    is_audible : (n_words,) bool
        False where there is silence, whose bits say nothing.
    """

    words: NDArray[np.uint32]
    is_audible: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.words)


@dataclass(frozen=True, slots=True, eq=False)
class FrameWords:
    """A word for every frame of a track.

    Attributes
    ----------
    words, is_audible : (n_words,) uint32, (n_words,) bool
        As in `RecordingFingerprint`.
    certainty : (n_words,) float32
        How far the least certain bits of each word are from turning over, in shares of the energy
        that they compare; the three least certain bits aside.
    """

    words: NDArray[np.uint32]
    is_audible: NDArray[np.bool_]
    certainty: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.words)

    def thinned(self, step: int) -> RecordingFingerprint:
        """Keep every `step`-th word."""
        return RecordingFingerprint(self.words[::step].copy(), self.is_audible[::step].copy())


def fingerprint_frames(frames: FrameSource, plan: FingerprintPlan) -> FrameWords:
    """Make the words of a track, one for each frame; `FrameWords.thinned` keeps some.

    Parameters
    ----------
    frames : (n_frames, n_channels, n_mels) uint8
        Stored frames; channel 0, the original, is read.

    Returns
    -------
    FrameWords
        ``n_frames - plan.compared_frames`` of them; none for a track shorter than that.
    """
    energy = _band_energies(frames, plan)
    n_words = len(energy) - plan.compared_frames
    if n_words < 1:
        return FrameWords(np.empty(0, np.uint32), np.empty(0, np.bool_), np.empty(0, np.float32))
    steepness = energy[:, :-1] - energy[:, 1:]
    change = steepness[plan.compared_frames :] - steepness[: -plan.compared_frames]
    bits = np.zeros((n_words, MAX_BITS), np.bool_)
    bits[:, : plan.n_bits] = change > 0
    words = np.packbits(bits, axis=1, bitorder="little").view("<u4").ravel()
    level = energy.sum(axis=1)
    quietest = max(
        float(level.max()) * 10.0 ** (-AUDIBLE_RANGE_DB / 10.0),
        len(plan.band_edges) * FLOOR_POWER * 10.0 ** (AUDIBLE_ABOVE_FLOOR_DB / 10.0),
    )
    is_audible = np.maximum(level[plan.compared_frames :], level[:n_words]) > quietest
    return FrameWords(words.astype(np.uint32), is_audible, _certainty(change, energy, plan))


def _certainty(
    change: NDArray[np.float32], energy: NDArray[np.float32], plan: FingerprintPlan
) -> NDArray[np.float32]:
    """Measure how far the signs of changes ``(n_words, n_bits)`` are from turning over."""
    both = energy[:, :-1] + energy[:, 1:]
    compared = both[plan.compared_frames :] + both[: -plan.compared_frames]
    margin = np.abs(change) / np.maximum(compared, np.float32(FLOOR_POWER))
    return np.asarray(np.partition(margin, N_UNCERTAIN, axis=1)[:, N_UNCERTAIN])


def _band_energies(frames: FrameSource, plan: FingerprintPlan) -> NDArray[np.float32]:
    """Sum the power of mel bands into `plan`'s bands, smoothed in time; ``(n_frames, n_bands)``."""
    first, stop = plan.band_edges[0], plan.band_edges[-1]
    starts = np.array(plan.band_edges[:-1]) - first
    power = (10.0 ** ((np.arange(256) * STEP_DB + FLOOR_DB) / 10.0)).astype(np.float32)
    energy = np.empty((len(frames), len(starts)), np.float32)
    for begin in range(0, len(frames), BLOCK_FRAMES):
        block = frames[begin : begin + BLOCK_FRAMES][:, 0, first:stop]
        energy[begin : begin + len(block)] = np.add.reduceat(power[block], starts, axis=1)
    if not len(energy):
        return energy
    window = np.hanning(plan.smoothed_frames + 2)[1:-1].astype(np.float32)
    return np.asarray(convolve1d(energy, window / window.sum(), axis=0, mode="nearest"))
