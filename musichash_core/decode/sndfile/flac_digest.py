"""Compare decoded FLAC with the checksum of the samples that the encoder left in the header.

It finds what the checksums of the frames cannot: a frame that is missing (the decoder puts silence
in its place), two that changed places, and an encoder's or a tool's mistake.

Public: `DigestReader`, `FlacDigest`.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from musichash_core.decode.reader import AudioInfo, BlockReader
from musichash_core.errors import DecodeError

CHECKED_BITS = frozenset({8, 16, 24})
"""Bits per sample that single precision holds exactly and libsndfile gives unchanged."""

LEFT_OUT = bytes(16)
"""Encoders that do not know the checksum when they write the header leave zeros."""


@dataclass(frozen=True, slots=True)
class FlacDigest:
    """The MD5 of a FLAC stream's samples, as its header states it, and their size in bits."""

    md5: bytes
    n_bits: int

    @property
    def is_checkable(self) -> bool:
        """Whether there is a checksum, and decoded samples can be compared with it."""
        return self.md5 != LEFT_OUT and self.n_bits in CHECKED_BITS


class DigestReader:
    """A `musichash_core.decode.reader.BlockReader` over another one, which checks its samples.

    Parameters
    ----------
    reader : BlockReader
        Of FLAC; closed with this one.
    digest : FlacDigest
        What must come out; checkable.
    """

    def __init__(self, reader: BlockReader, digest: FlacDigest) -> None:
        self._reader = reader
        self._digest = digest
        self._md5 = hashlib.md5(usedforsecurity=False)

    @property
    def info(self) -> AudioInfo:
        """What the container says of its audio."""
        return self._reader.info

    def read(self) -> NDArray[np.float32]:
        """Decode the next frames; see `BlockReader`.

        Raises
        ------
        DecodeError
            With code damaged at the end, when the samples are not those of the checksum.
        """
        frames = self._reader.read()
        if len(frames):
            self._md5.update(_as_stored(frames, self._digest.n_bits))
        elif self._md5.digest() != self._digest.md5:
            raise DecodeError(
                "damaged",
                f"the samples do not match the MD5 of the FLAC header, {self._digest.md5.hex()}",
            )
        return frames

    def close(self) -> None:
        """Free the decoder; safe to repeat."""
        self._reader.close()


def _as_stored(frames: NDArray[np.float32], n_bits: int) -> bytes:
    """Give samples as the encoder counted them: whole numbers, the least byte first."""
    scaled = frames * np.float32(1 << (n_bits - 1))
    if n_bits == 24:
        return scaled.astype("<i4").view(np.uint8).reshape(-1, 4)[:, :3].tobytes()
    return scaled.astype(f"<i{n_bits // 8}").tobytes()
