"""What is to be decoded from a file: which of its streams, from which bytes.

Public: `SoundPart`, `SoundParts`, `WHOLE_FILE`.
"""

from dataclasses import dataclass

from musichash_core.decode.byte_runs import Run
from musichash_core.decode.sndfile.flac_digest import FlacDigest


@dataclass(frozen=True, slots=True)
class SoundPart:
    """One stream of a file.

    Attributes
    ----------
    runs : tuple of Run or None
        The bytes that the decoder is shown; None for the file as it is.
    n_frames : int or None
        How many frames of sound they hold; None when the decoder's own word is as good.
    digest : FlacDigest or None
        What the samples are to be compared with.
    """

    runs: tuple[Run, ...] | None
    n_frames: int | None = None
    digest: FlacDigest | None = None


@dataclass(frozen=True, slots=True)
class SoundParts:
    """The streams of a file that follow one another, and what was noticed when they were found."""

    parts: tuple[SoundPart, ...]
    warnings: tuple[str, ...] = ()


WHOLE_FILE = SoundParts((SoundPart(None),))
"""The usual case: one stream, and a header that tells the truth."""
