"""What is to be decoded from a file: which of its streams, from which bytes.

Public: `SoundPart`, `SoundParts`, `WHOLE_FILE`, `SLACK_S`, `TRAILER_BYTES`.
"""

from dataclasses import dataclass

from musichash_core.decode.byte_runs import Run
from musichash_core.decode.sndfile.flac_digest import FlacDigest

SLACK_S = 0.5
"""Sound files of real catalogues end up to 0.2 s before the length their headers estimate (MP3 with
tags counted as audio, Ogg with pre-skip): up to this it is a warning, beyond it truncation."""

TRAILER_BYTES = 8192
"""Tags behind the last frame are shorter as a rule; more than this deserves a warning."""


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
