"""The compiled steps of feature extraction: power, masks with mel filters, bytes.

Each works on one block of `BLOCK_FRAMES` frames. Spectra are frame-major, ``(n_frames, n_bins)``;
masks and mel filters are bin-major, ``(n_bins, BLOCK_FRAMES)``, so that frames are the lanes of a
vector and a filter adds rows. Sums run in the order of the bins, and nothing is contracted or
reordered, so a block's result depends on its frames alone.

Public: `BLOCK_FRAMES`, `write_power`, `mask_and_filter`, `write_bytes`, `ByteTable`, `byte_table`.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from musichash_core.decibels import FLOOR_DB, STEP_DB
from musichash_core.hpss import odds_of_smaller, share_of
from musichash_core.kernels_cache import kernel

BLOCK_FRAMES = 64
"""Frames per block: enough to fill vectors, few enough for a block to stay in a core's cache."""

CELL_SHIFT = 19
"""Keeps exponent and 4 bits of mantissa of a float32: cells 6 % wide, half a step of 0.5 dB."""


@kernel
def write_power(spectra: NDArray[np.complex64], power: NDArray[np.float32]) -> None:
    """Write squared magnitudes of ``(n_frames, n_bins)`` complex64 into float32 of that shape."""
    for t in range(spectra.shape[0]):
        frame, out = spectra[t], power[t]
        for b in range(frame.size):
            out[b] = frame[b].real * frame[b].real + frame[b].imag * frame[b].imag


@kernel
def mask_and_filter(
    spectra: NDArray[np.float32],
    lower_mel: NDArray[np.int64],
    weights: NDArray[np.float32],
    exponent: np.float32,
    margin: np.float32,
    mel: NDArray[np.float32],
) -> None:
    """Mask one block of power spectra and sum it into mel bands.

    Medians of power are the squares of medians of magnitude, and masks are made of their ratio, so
    no root is ever taken.

    Parameters
    ----------
    spectra : (3, n_bins, BLOCK_FRAMES) float32
        Power; its median along time (harmonic); its median along frequency (percussive).
    lower_mel, weights : (n_bins,) int64, (n_bins, 2) float32
        As in `musichash_core.spectrogram.MelBands`.
    exponent : > 0
        Half the exponent of the masks on magnitude.
    margin : >= 1
        The square of the margin on magnitude.
    mel : (n_mels + 1, 3 * BLOCK_FRAMES) float32
        Overwritten with mel power of original, harmonic and percussive part; the last row is zero.
    """
    # Unpacking the array in one go would lose that its rows are contiguous.
    power, harmonic, percussive = spectra[0], spectra[1], spectra[2]
    parts = np.empty(3 * BLOCK_FRAMES, dtype=np.float32)
    mel[:] = np.float32(0)
    for b in range(power.shape[0]):
        if exponent == 1 and margin == 1:
            _split_evenly(power[b], harmonic[b], percussive[b], parts)
        else:
            _split(power[b], harmonic[b], percussive[b], exponent, margin, parts)
        _add_weighted(mel[lower_mel[b]], weights[b, 0], parts)
        _add_weighted(mel[lower_mel[b] + 1], weights[b, 1], parts)


@kernel
def _add_weighted(
    total: NDArray[np.float32], weight: np.float32, parts: NDArray[np.float32]
) -> None:
    for i in range(3 * BLOCK_FRAMES):
        total[i] += weight * parts[i]


@kernel
def _split_evenly(
    power: NDArray[np.float32],
    harmonic: NDArray[np.float32],
    percussive: NDArray[np.float32],
    parts: NDArray[np.float32],
) -> None:
    """Split one bin's power with Wiener masks (exponent 2 on magnitude, margin 1)."""
    for t in range(BLOCK_FRAMES):
        h, p = harmonic[t], percussive[t]
        odds = odds_of_smaller(h, p)
        mask_h = share_of(h, p, odds, np.float32(0.5))
        mask_p = share_of(p, h, odds, np.float32(0.5))
        parts[t] = power[t]
        parts[BLOCK_FRAMES + t] = power[t] * (mask_h * mask_h)
        parts[2 * BLOCK_FRAMES + t] = power[t] * (mask_p * mask_p)


@kernel
def _split(
    power: NDArray[np.float32],
    harmonic: NDArray[np.float32],
    percussive: NDArray[np.float32],
    exponent: np.float32,
    margin: np.float32,
    parts: NDArray[np.float32],
) -> None:
    silent = np.float32(0.5) if margin == 1 else np.float32(0)
    for t in range(BLOCK_FRAMES):
        h, p = harmonic[t], percussive[t]
        odds_h = odds_of_smaller(h, margin * p) ** exponent
        odds_p = odds_of_smaller(p, margin * h) ** exponent
        mask_h = share_of(h, margin * p, odds_h, silent)
        mask_p = share_of(p, margin * h, odds_p, silent)
        parts[t] = power[t]
        parts[BLOCK_FRAMES + t] = power[t] * (mask_h * mask_h)
        parts[2 * BLOCK_FRAMES + t] = power[t] * (mask_p * mask_p)


@dataclass(frozen=True, slots=True)
class ByteTable:
    """Look-up of the byte of a mel power, instead of a logarithm.

    Attributes
    ----------
    cell_byte : (4096,) uint8
        By the leading bits of a float32: the byte of the smallest power with these bits.
    threshold : (257,) float32
        Smallest power of each byte; infinity after the last. A cell crosses at most one.
    """

    cell_byte: NDArray[np.uint8]
    threshold: NDArray[np.float32]


@cache
def byte_table() -> ByteTable:
    """Tabulate the bytes of `musichash_core.decibels`: nearest steps of 0.5 dB from -80 dB.

    A table gives the same bytes on every processor; a vector library's logarithm does not.
    """
    middles_db = FLOOR_DB + STEP_DB * (np.arange(256) - 0.5)
    threshold = np.append(10.0 ** (middles_db / 10.0), np.inf).astype(np.float32)
    threshold[0] = 0.0
    n_cells = 1 << (31 - CELL_SHIFT)
    cell_start = (np.arange(n_cells, dtype=np.int32) << CELL_SHIFT).view(np.float32)
    is_number = ~np.isnan(cell_start)
    cell_byte = np.full(n_cells, 255, dtype=np.uint8)
    cell_byte[is_number] = np.searchsorted(threshold[1:256], cell_start[is_number], side="right")
    return ByteTable(cell_byte, threshold)


@kernel
def write_bytes(
    mel: NDArray[np.float32],
    cell_byte: NDArray[np.uint8],
    threshold: NDArray[np.float32],
    stored: NDArray[np.uint8],
) -> None:
    """Write the bytes of mel powers, ``(n_mels, 3, BLOCK_FRAMES)`` to ``(n_frames, 3, n_mels)``.

    `stored` may have fewer than `BLOCK_FRAMES` frames: the rest of the block is left out.
    """
    n_frames, n_parts, n_mels = stored.shape
    bits = mel.view(np.int32)
    for m in range(n_mels):
        for part in range(n_parts):
            for t in range(n_frames):
                byte = cell_byte[bits[m, part, t] >> CELL_SHIFT]
                is_above = mel[m, part, t] >= threshold[byte + 1]
                stored[t, part, m] = byte + is_above
