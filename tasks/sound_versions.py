"""Versions of a track that a listener takes for the same music: coded with loss, cut, softer.

Versions are made of mono samples at `SR_HZ`, and written as files, because files are what arrives.
Bit rates are those per channel of a stereo file: 64 kbit/s here are 128 kbit/s of a file as people
have them, or a little less quality than those, because two channels share what they have in common.

Public: `SoundVersion`, `VERSIONS`, `UNCHANGED`, `SR_HZ`, `write_version`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from musichash_core.decode import resample_blocks

SR_HZ = 44_100
HALF_RATE_HZ = 22_050
SHIFT_S = 1.0
EXCERPT_S = 10.0
GAIN_DB = -6.0

SHORTEST_S = 3.0
"""A version shorter than this is not made: too little would be left of the track."""

_MP3_LOWEST_KBITS, _MP3_HIGHEST_KBITS, _MP3_KBITS = 32, 320, 64
"""libsndfile takes the share of the way from the highest to the lowest bit rate."""

_VORBIS_QUALITY = 0.4
"""The encoder's "quality 4": about 128 kbit/s for two channels. It knows no constant rate."""


@dataclass(frozen=True, slots=True)
class SoundVersion:
    """One way to change a track.

    Attributes
    ----------
    name : str
        What was done, for people.
    change : callable
        Takes samples at `SR_HZ` (float32); gives samples and their rate.
    suffix : str
        Of the file's name.
    written_as : mapping
        How libsndfile writes it.
    """

    name: str
    change: Callable[[NDArray[np.float32]], tuple[NDArray[np.float32], int]]
    suffix: str = "wav"
    written_as: Mapping[str, Any] = field(
        default_factory=lambda: {"format": "WAV", "subtype": "FLOAT"}
    )


def write_version(version: SoundVersion, y: NDArray[np.float32], folder: Path) -> Path | None:
    """Write a version of a track into a folder; give its file, or None where too little is left.

    Parameters
    ----------
    y : (n_samples,) float32
        Mono, at `SR_HZ`.
    """
    changed, sr = version.change(y)
    if len(changed) < SHORTEST_S * sr:
        return None
    path = folder / f"version.{version.suffix}"
    with soundfile.SoundFile(path, "w", sr, 1, **version.written_as) as file:
        for start in range(0, len(changed), sr):  # its Vorbis encoder crashes on long blocks
            file.write(changed[start : start + sr])
    return path


def _unchanged(y: NDArray[np.float32]) -> tuple[NDArray[np.float32], int]:
    return y, SR_HZ


def _within_full_scale(y: NDArray[np.float32]) -> tuple[NDArray[np.float32], int]:
    """Clip what a decoder put beyond full scale, which the encoder would fold over."""
    return y.clip(-1.0, 1.0), SR_HZ


def _shifted(y: NDArray[np.float32]) -> tuple[NDArray[np.float32], int]:
    return y[round(SHIFT_S * SR_HZ) :], SR_HZ


def _at_half_rate(y: NDArray[np.float32]) -> tuple[NDArray[np.float32], int]:
    return np.concatenate(list(resample_blocks([y], SR_HZ, HALF_RATE_HZ))), HALF_RATE_HZ


def _softer(y: NDArray[np.float32]) -> tuple[NDArray[np.float32], int]:
    return y * np.float32(10.0 ** (GAIN_DB / 20.0)), SR_HZ


def _excerpt(y: NDArray[np.float32]) -> tuple[NDArray[np.float32], int]:
    """Take the middle; nothing where the excerpt would be the track."""
    n_samples = round(EXCERPT_S * SR_HZ)
    start = (len(y) - n_samples) // 2
    return (y[start : start + n_samples] if start > 0 else y[:0]), SR_HZ


UNCHANGED = SoundVersion("unchanged", _unchanged)
"""What the other versions are compared with."""

VERSIONS = (
    SoundVersion(
        "MP3, 128 kbit/s",
        _within_full_scale,
        "mp3",
        {
            "format": "MP3",
            "subtype": "MPEG_LAYER_III",
            "bitrate_mode": "CONSTANT",
            "compression_level": (_MP3_HIGHEST_KBITS - _MP3_KBITS)
            / (_MP3_HIGHEST_KBITS - _MP3_LOWEST_KBITS),
        },
    ),
    SoundVersion(
        "Ogg Vorbis, about 128 kbit/s",
        _within_full_scale,
        "ogg",
        {"format": "OGG", "subtype": "VORBIS", "compression_level": 1.0 - _VORBIS_QUALITY},
    ),
    SoundVersion("begins 1 s later", _shifted),
    SoundVersion("at 22,050 Hz", _at_half_rate),
    SoundVersion("6 dB softer", _softer),
    SoundVersion("10 s of its middle", _excerpt),
)
