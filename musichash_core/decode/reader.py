"""What every decoder gives: the facts of a container's audio, and its samples in blocks.

Public: `AudioInfo`, `BlockReader`, `BLOCK_FRAMES`, `UNKNOWN_FRAMES`, `SLACK_S`,
`TRAILER_BYTES`.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

BLOCK_FRAMES = 65_536
"""Frames per read; fixed, because decoders and the resampler may round differently by block."""

UNKNOWN_FRAMES = 1 << 40
"""Announced lengths at or above this mean that the container announces none."""

SLACK_S = 0.5
"""Sound files of real catalogues end up to 0.2 s before the length their headers estimate (MP3 with
tags counted as audio, Ogg with pre-skip): up to this it is a warning, beyond it truncation."""

TRAILER_BYTES = 8192
"""Tags behind the last frame are shorter as a rule; more than this deserves a warning."""


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """What the container says of its audio.

    Attributes
    ----------
    container : str
        As `sniff_container` names it.
    codec : str
        The decoder's name of the sample coding, for example ``VORBIS``, ``PCM_16`` or ``AAC``.
    sr : int
        Sample rate, Hz.
    n_channels : int
        Channels before the down-mix.
    claimed_frames : int
        Length that the header announces, in frames; may be a lie or unknown (huge).
    """

    container: str
    codec: str
    sr: int
    n_channels: int
    claimed_frames: int


class BlockReader(Protocol):
    """A decoder at work on one open file."""

    @property
    def info(self) -> AudioInfo:
        """What the container says of its audio."""

    def read(self) -> NDArray[np.float32]:
        """Decode the next frames.

        Returns
        -------
        (n, n_channels) float32
            At most `BLOCK_FRAMES` frames, full scale 1; empty at the end. The array may be
            overwritten by the next call.

        Raises
        ------
        DecodeError
            With code damaged or read-error.
        """

    def close(self) -> None:
        """Free the decoder; the descriptor stays open. Safe to repeat."""
