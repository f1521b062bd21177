"""Compare what a container announces with what was decoded from it.

libsndfile returns the audio of a truncated WAV, AIFF, MP3 or Ogg file without an error, and stops
without one at the end of the first of several joined streams. These checks read the few header or
trailer bytes that tell.

Public: `check_complete`.
"""

import os
import struct
from dataclasses import dataclass

from musichash_core.decode.ogg_pages import check_ogg_pages
from musichash_core.decode.reader import UNKNOWN_FRAMES
from musichash_core.errors import DecodeError

SLACK_S = 0.5
"""Sound files of real catalogues end up to 0.2 s before the length their headers estimate (MP3 with
tags counted as audio, Ogg with pre-skip): up to this it is a warning, beyond it truncation."""

TRAILER_BYTES = 8192
"""Tags behind the last frame are shorter as a rule; more than this may be another stream."""

MAX_CHUNKS = 1000
"""How many chunks are looked through for the audio; bounds the time for a hostile file."""

STREAMED_SIZE = 0x7F00_0000
"""Writers to a pipe put 0, -1 or something from here on in the place of a length (SoX, FFmpeg)."""


@dataclass(frozen=True, slots=True)
class _ChunkLayout:
    """How a container of chunks is laid out: where chunks begin, and the header that each has."""

    first: int
    id_bytes: int
    size_format: str
    size_counts_header: bool
    alignment: int
    audio_id: bytes


_CHUNK_LAYOUTS = {
    "wav": _ChunkLayout(12, 4, "<I", False, 2, b"data"),
    "rf64": _ChunkLayout(12, 4, "<I", False, 2, b"data"),
    "aiff": _ChunkLayout(12, 4, ">I", False, 2, b"SSND"),
    "w64": _ChunkLayout(40, 16, "<q", True, 8, b"data"),
    "caf": _ChunkLayout(8, 4, ">q", False, 1, b"data"),
}
_RF64_DATA_SIZE_AT = 28


def check_complete(
    descriptor: int, container: str, claimed_frames: int, decoded_frames: int, sr: int
) -> tuple[str, ...]:
    """Compare a file's announced length with what it holds.

    Parameters
    ----------
    descriptor : int
        The open file, positioned where its decoder stopped.
    container : str
        As `musichash_core.decode.sniffing.sniff_container` names it.
    claimed_frames, decoded_frames : int
        Length by the header and length decoded.
    sr : int
        Sample rate, Hz.

    Returns
    -------
    tuple of str
        Warnings: ``length-differs`` (by at most `SLACK_S`; MP3 and Ogg only), ``data-after-end``
        (much lies behind the audio: another stream, as a rule), and those of
        `musichash_core.decode.ogg_pages.check_ogg_pages`.

    Raises
    ------
    DecodeError
        With code truncated or damaged.
    """
    n_bytes = os.fstat(descriptor).st_size
    is_ogg = container.startswith("ogg-")
    warnings = list(check_ogg_pages(descriptor, n_bytes)) if is_ogg else []
    missing = claimed_frames - decoded_frames if claimed_frames < UNKNOWN_FRAMES else 0
    if missing > (SLACK_S * sr if is_ogg or container == "mp3" else 0):
        raise DecodeError(
            "truncated", f"{decoded_frames} frames decoded, the header announces {claimed_frames}"
        )
    if missing > 0:
        warnings.append("length-differs")
    end = _announced_end(descriptor, container, n_bytes)
    if end is not None and end > n_bytes:
        raise DecodeError(
            "truncated", f"the {container} file has {n_bytes} bytes; its audio would end at {end}"
        )
    is_framed = is_ogg or container in {"mp3", "flac"}
    if is_framed and n_bytes - os.lseek(descriptor, 0, os.SEEK_CUR) > TRAILER_BYTES:
        warnings.append("data-after-end")
    return tuple(warnings)


def _announced_end(descriptor: int, container: str, n_bytes: int) -> int | None:
    """Give where the audio should end by the container's header; None when it does not say."""
    if container == "au":
        _, start, size = struct.unpack(">III", os.pread(descriptor, 12, 0))
        return None if size >= STREAMED_SIZE else start + size
    if container not in _CHUNK_LAYOUTS:
        return None
    layout = _CHUNK_LAYOUTS[container]
    header_bytes = layout.id_bytes + struct.calcsize(layout.size_format)
    at = layout.first
    for _ in range(MAX_CHUNKS):
        header = os.pread(descriptor, header_bytes, at)
        if len(header) < header_bytes:
            return None
        (size,) = struct.unpack(layout.size_format, header[layout.id_bytes :])
        body = at if layout.size_counts_header else at + header_bytes
        if header.startswith(layout.audio_id):
            size = _audio_bytes(descriptor, container, size)
            return None if size is None else body + size
        at = body + -(-size // layout.alignment) * layout.alignment
        if not 0 < at < n_bytes:
            return None
    return None


def _audio_bytes(descriptor: int, container: str, size: int) -> int | None:
    if container == "rf64" and size == 0xFFFF_FFFF:
        (size,) = struct.unpack("<Q", os.pread(descriptor, 8, _RF64_DATA_SIZE_AT))
        return int(size)
    is_32_bit = container in {"wav", "aiff", "rf64"}
    is_unknown = size <= 0 or (is_32_bit and size >= STREAMED_SIZE)
    return None if is_unknown else size
