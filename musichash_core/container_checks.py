"""Compare what a container announces with what was decoded from it.

libsndfile returns the audio of a truncated WAV, AIFF, MP3 or Ogg file without an error. These
checks read the few header or trailer bytes that tell.

Public: `check_complete`.
"""

import os
import struct

from musichash_core.errors import DecodeError

UNKNOWN_FRAMES = 1 << 40
"""libsndfile's claims at or above this mean that the length is not announced."""

SLACK_S = 0.5
"""Sound files of real catalogues end up to 0.2 s before the length their headers estimate (MP3 with
tags counted as audio, Ogg with pre-skip): up to this it is a warning, beyond it truncation."""

OGG_TAIL_BYTES = 65_307
"""The largest possible Ogg page: the last page begins within it."""

_STREAMED_SIZES = {0, 0x7FFFFFFF, 0xFFFFFFFF}


def check_complete(
    descriptor: int, container: str, claimed_frames: int, decoded_frames: int, sr: int
) -> tuple[str, ...]:
    """Compare a file's announced length with what it holds.

    Parameters
    ----------
    descriptor : int
        The open file.
    container : str
        As `musichash_core.sniffing.sniff_container` names it.
    claimed_frames, decoded_frames : int
        Length by the header and length decoded.
    sr : int
        Sample rate, Hz.

    Returns
    -------
    tuple of str
        Warnings: ``length-differs`` (by at most `SLACK_S`), ``no-end-mark`` (an Ogg stream whose
        pages are whole but whose last one does not say so).

    Raises
    ------
    DecodeError
        With code truncated.
    """
    warnings = []
    missing = claimed_frames - decoded_frames if claimed_frames < UNKNOWN_FRAMES else 0
    if missing > SLACK_S * sr:
        raise DecodeError(
            "truncated", f"{decoded_frames} frames decoded, the header announces {claimed_frames}"
        )
    if missing > 0:
        warnings.append("length-differs")
    if container in {"wav", "aiff"}:
        _check_iff_size(descriptor, container)
    elif container.startswith("ogg-") and not _has_ogg_end(descriptor):
        warnings.append("no-end-mark")
    return tuple(warnings)


def _check_iff_size(descriptor: int, container: str) -> None:
    n_bytes = os.fstat(descriptor).st_size
    order = "<I" if container == "wav" else ">I"
    (announced,) = struct.unpack(order, os.pread(descriptor, 4, 4))
    if announced not in _STREAMED_SIZES and announced + 8 > n_bytes + 1:  # a missing pad byte is legal
        raise DecodeError(
            "truncated", f"the {container} file has {n_bytes} bytes and announces {announced + 8}"
        )


def _has_ogg_end(descriptor: int) -> bool:
    n_bytes = os.fstat(descriptor).st_size
    tail = os.pread(descriptor, OGG_TAIL_BYTES, max(0, n_bytes - OGG_TAIL_BYTES))
    page = tail.rfind(b"OggS")
    if page < 0 or page + 27 > len(tail):
        raise DecodeError("truncated", "the file ends inside an Ogg page")
    n_segments = tail[page + 26]
    body_bytes = sum(tail[page + 27 : page + 27 + n_segments])
    if page + 27 + n_segments + body_bytes > len(tail):
        raise DecodeError("truncated", "the file ends inside an Ogg page")
    return bool(tail[page + 5] & 4)
