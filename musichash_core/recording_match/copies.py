"""Which of several copies of a recording looks best to keep: a hint, from what files say.

Public: `Copy`, `rank_copies`, `is_lossless`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

FULL_RATE_HZ = 44_100
"""Higher sample rates do not make a copy better."""

SAME_LENGTH_S = 1.0
"""Copies are of one length that differ by less: encoders pad."""

_LOSSLESS = ("PCM_", "FLAC", "ALAC", "FLOAT", "DOUBLE", "WAVPACK", "APE", "TTA", "TAK")
_LOSSY = ("PCM_MULAW", "PCM_ALAW")


@dataclass(frozen=True, slots=True)
class Copy:
    """Facts of one file.

    Attributes
    ----------
    track_id : str
    codec : str
        Sample coding.
    sr : int
        Hz.
    n_channels : int
    duration_s : float
    n_bytes : int
        Size of the file.
    """

    track_id: str
    codec: str
    sr: int
    n_channels: int
    duration_s: float
    n_bytes: int

    @property
    def bit_rate(self) -> float:
        """Bits per second of the whole file."""
        return 8.0 * self.n_bytes / self.duration_s if self.duration_s > 0 else 0.0


def is_lossless(codec: str) -> bool:
    """Tell whether a sample coding keeps what it was given; what was lost before is lost."""
    name = codec.upper()
    return name.startswith(_LOSSLESS) and not name.startswith(_LOSSY)


def rank_copies(copies: Sequence[Copy]) -> list[Copy]:
    """Order copies from the one to keep: full sample rate, lossless, stereo, longest, bit rate.

    It is a hint: a file cannot tell that it was coded with loss before, or clipped.
    """
    longest_s = max((copy.duration_s for copy in copies), default=0.0)

    def merit(copy: Copy) -> tuple[float, bool, int, float, float, str]:
        missing_s = longest_s - copy.duration_s
        return (
            -min(copy.sr, FULL_RATE_HZ),
            not is_lossless(copy.codec),
            -min(copy.n_channels, 2),
            missing_s if missing_s > SAME_LENGTH_S else 0.0,
            -copy.bit_rate,
            copy.track_id,
        )

    return sorted(copies, key=merit)
