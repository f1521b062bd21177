"""Cepstra of each patch: the shape of the spectrum of O, H and P, and how H and P share it.

The mel cepstrum is the discrete cosine transform (type II, orthonormal) of a frame's decibels, here
its first 25 coefficients; that a track is described by their means and deviations goes back to
Tzanetakis and Cook (IEEE Transactions on Speech and Audio Processing 10(5), 2002). Taken from H and
P alone as well (METHOD 1), it tells a drum's colour from that of the chords above it. The
difference of H and P in decibels says, in 16 ranges of bands, which of the two prevails.

All of it is one matrix product on the stored bytes: decibels are their linear function.

A gain adds to the first coefficient and changes nothing else, as far as no band was at the bytes'
floor of -80 dB.

Public: `N_CEPSTRA`, `describe_cepstra`.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct

from musichash_core.decibels import FLOOR_DB, STEP_DB
from musichash_core.descriptors.band_products import multiply_bands
from musichash_core.descriptors.frame_parts import (
    FRAMES_PER_S,
    N_CHANNELS,
    N_MELS,
    TAGGER_FRAMES_PER_S,
)
from musichash_core.musicnn.log_mel import PATCH_FRAMES
from musichash_core.segments import FrameSource

N_COEFFICIENTS = 25
N_RANGES = 16

WINDOW_FRAMES = round(PATCH_FRAMES / TAGGER_FRAMES_PER_S * FRAMES_PER_S)
"""As long as a patch."""

N_CEPSTRA = 3 * N_CHANNELS * N_COEFFICIENTS + 2 * N_RANGES
"""257."""


def describe_cepstra(frames: FrameSource, patch_starts: NDArray[np.int64]) -> NDArray[np.float32]:
    """Describe the frames under each patch.

    Parameters
    ----------
    frames : (n_frames, 3, 128) uint8
        O, H, P in half-decibel steps; read only where patches lie.
    patch_starts : (n_patches,) int64
        First frame of each patch, in tagger frames.

    Returns
    -------
    (n_patches, N_CEPSTRA) float32
        Over the frames of a patch: the mean of the coefficients (O, H, P), their standard
        deviation, that of their change from frame to frame; then the mean and the standard
        deviation of H - P, low bands to high. All in decibels.
    """
    n_window = min(WINDOW_FRAMES, len(frames))
    firsts = np.floor(patch_starts * (FRAMES_PER_S / TAGGER_FRAMES_PER_S)).astype(np.int64)
    # The last may start a frame earlier than its patch, so as to end in the track.
    firsts = np.minimum(firsts, len(frames) - n_window)
    # One by one: the memory of a window is small enough to be used again for the next.
    return np.stack([_describe_window(frames[first : first + n_window]) for first in firsts])


def _describe_window(stored: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Describe consecutive frames: ``(N_CEPSTRA,)``."""
    transformed = multiply_bands(stored, _basis())
    cepstra = transformed[..., :N_COEFFICIENTS].reshape(len(stored), -1)
    ranges = transformed[:, 1, N_COEFFICIENTS:] - transformed[:, 2, N_COEFFICIENTS:]

    means, deviations = _mean_and_deviation(cepstra)
    means[::N_COEFFICIENTS] += np.float32(FLOOR_DB * np.sqrt(N_MELS))
    changes = np.zeros_like(deviations)
    if len(stored) > 1:
        _, changes = _mean_and_deviation(cepstra[1:] - cepstra[:-1])
    return np.concatenate([means, deviations, changes, *_mean_and_deviation(ranges)])


@cache
def _basis() -> NDArray[np.float32]:
    """Give the matrix from bytes to coefficients and means of ranges, less what the floor adds."""
    cosines = dct(np.eye(N_MELS), axis=1, norm="ortho")[:, :N_COEFFICIENTS]
    means = np.kron(np.eye(N_RANGES), np.full((N_MELS // N_RANGES, 1), N_RANGES / N_MELS))
    return (STEP_DB * np.hstack([cosines, means])).astype(np.float32)


def _mean_and_deviation(
    values: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Average ``(n_frames, d)`` over frames, and give the deviation from the average."""
    means: NDArray[np.float32] = values.mean(axis=0)
    centred = values - means
    squares = np.einsum("td,td->d", centred, centred)
    return means, np.sqrt(squares / np.float32(len(values)))
