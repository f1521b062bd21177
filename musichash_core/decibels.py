"""Mel power in decibels, its one-byte form, and the compression that models read.

Stores keep mel power in dB *before* any gain, because a gain changes neither the HPSS masks nor the
information (METHOD 2). The one-byte form has steps of 0.5 dB from -80 dB (byte 0) to +47.5 dB
(byte 255): -80 dB is where the rounding noise of 16-bit audio lies in a mel band, and +47.5 dB is
above the loudest full-scale sine (about +40 dB at ``n_fft=2048``).

Public: `power_to_db`, `db_to_bytes`, `bytes_to_db`, `compression_table`, `bytes_to_model_input`.
"""

import numpy as np
from numpy.typing import NDArray

FLOOR_DB = -80.0
STEP_DB = 0.5
CEILING_DB = FLOOR_DB + 255 * STEP_DB

FLOOR_POWER = 10.0 ** (FLOOR_DB / 10.0)
"""Mel power below which everything is byte 0."""

COMPRESSION = 1e4
"""Slope of ``log10(1 + COMPRESSION * power)``; the value musicnn uses (METHOD 2)."""


def power_to_db(power: NDArray[np.float32]) -> NDArray[np.float32]:
    """Convert mel power to dB re 1, floored at `FLOOR_DB`; any shape, float32."""
    return np.asarray(10.0 * np.log10(np.maximum(power, FLOOR_POWER)), dtype=np.float32)


def db_to_bytes(db: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Round decibels to the nearest 0.5 dB step; clipped to `FLOOR_DB` .. `CEILING_DB`.

    Parameters
    ----------
    db : (...) float32
        Decibels re 1.

    Returns
    -------
    (...) uint8
    """
    steps = np.rint((np.asarray(db) - FLOOR_DB) / STEP_DB)
    return np.asarray(np.clip(steps, 0, 255), dtype=np.uint8)


def bytes_to_db(stored: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Give the decibels that the bytes stand for; the inverse of `db_to_bytes` on its image."""
    return np.asarray(stored, dtype=np.float32) * np.float32(STEP_DB) + np.float32(FLOOR_DB)


def compression_table(peak: float) -> NDArray[np.float32]:
    """Tabulate byte -> ``log10(1 + 1e4 * power * gain^2)`` for a track normalised to peak 1.

    Byte 0 means "nothing measured" and maps to 0 for every gain, so that the floor of a quiet
    track does not become a pedestal.

    Parameters
    ----------
    peak : >= 0
        Largest absolute sample of the track; 0 (silence) means a gain of 1.

    Returns
    -------
    (256,) float32
    """
    gain = 1.0 / peak if peak > 0 else 1.0
    power = 10.0 ** ((np.arange(256) * STEP_DB + FLOOR_DB) / 10.0)
    table = np.log10(1.0 + COMPRESSION * power * gain * gain)
    table[0] = 0.0
    return np.asarray(table, dtype=np.float32)


def bytes_to_model_input(stored: NDArray[np.uint8], peak: float) -> NDArray[np.float32]:
    """Compress stored bytes to model input, at the track's peak gain.

    Parameters
    ----------
    stored : (..., n_frames, n_channels, n_mels) uint8
        Frames as a feature store holds them.
    peak : >= 0
        The track's largest absolute sample.

    Returns
    -------
    (..., n_channels, n_mels, n_frames) float32
        The order of axes that the networks take.
    """
    values = compression_table(peak)[stored]
    return np.ascontiguousarray(np.moveaxis(values, -3, -1))
