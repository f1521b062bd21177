"""The chunks of WAV, RF64, W64, AIFF and CAF files, and the header of AU: where the audio lies.

Public: `find_audio_chunk`, `is_row_of_chunks`, `AudioChunk`, `PCM_CONTAINERS`.
"""

import os
import struct
from dataclasses import dataclass

MAX_CHUNKS = 1000
"""How many chunks are looked through for the audio; bounds the time for a hostile file."""

STREAMED_SIZES = (range(0x7FFF_0000, 0x8000_0001), range(0xFFFF_0000, 0x1_0000_0000))
"""Writers to a pipe put 0, or the largest number with or without a sign, in the place of a length;
some subtract the header or round down to a block (SoX: 0x7FFFF000)."""

FORMAT_BYTES = 64
"""As much of the chunk that describes the coding is read."""


@dataclass(frozen=True, slots=True)
class _ChunkLayout:
    """How a container of chunks is laid out: where chunks begin, and the header that each has."""

    first: int
    id_bytes: int
    size_format: str
    size_counts_header: bool
    alignment: int
    audio_id: bytes
    format_id: bytes
    lead_bytes: int

    @property
    def header_bytes(self) -> int:
        return self.id_bytes + struct.calcsize(self.size_format)


_CHUNK_LAYOUTS = {
    "wav": _ChunkLayout(12, 4, "<I", False, 2, b"data", b"fmt ", 0),
    "rf64": _ChunkLayout(12, 4, "<I", False, 2, b"data", b"fmt ", 0),
    "aiff": _ChunkLayout(12, 4, ">I", False, 2, b"SSND", b"COMM", 8),
    "w64": _ChunkLayout(40, 16, "<q", True, 8, b"data", b"fmt ", 0),
    "caf": _ChunkLayout(8, 4, ">q", False, 1, b"data", b"desc", 4),
}
_RF64_DATA_SIZE_AT = 28
_AU_HEADER_BYTES = 24
_AU_SIZE_AT = 8

PCM_CONTAINERS = frozenset({*_CHUNK_LAYOUTS, "au"})
"""Containers of this module, as `musichash_core.decode.sniffing` names them."""


@dataclass(frozen=True, slots=True)
class AudioChunk:
    """Where a file's audio lies.

    Attributes
    ----------
    start : int
        Offset of its first byte.
    n_bytes : int or None
        Its length by the header; None when the header was written before the length was known.
    size_at : int
        Offset of the field that announces the length.
    lead_bytes : int
        How much of what that field counts stands before `start`.
    format : bytes
        The beginning of what describes the coding; empty when it does not stand before the audio.
    """

    start: int
    n_bytes: int | None
    size_at: int
    lead_bytes: int
    format: bytes


def find_audio_chunk(descriptor: int, container: str, n_bytes: int) -> AudioChunk | None:
    """Find the audio of a file of `PCM_CONTAINERS`; None when the header does not lead there.

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    if container == "au":
        return _find_au_audio(descriptor)
    layout = _CHUNK_LAYOUTS[container]
    at, described = layout.first, b""
    for _ in range(MAX_CHUNKS):
        header = os.pread(descriptor, layout.header_bytes, at)
        if len(header) < layout.header_bytes:
            return None
        (size,) = struct.unpack(layout.size_format, header[layout.id_bytes :])
        body = at + layout.header_bytes
        if header.startswith(layout.audio_id):
            lead = layout.lead_bytes + (layout.header_bytes if layout.size_counts_header else 0)
            known = _known_size(descriptor, container, size)
            return AudioChunk(
                start=body + layout.lead_bytes,
                n_bytes=None if known is None else known - lead,
                size_at=at + layout.id_bytes,
                lead_bytes=lead,
                format=described,
            )
        if header.startswith(layout.format_id):
            described = os.pread(descriptor, max(0, min(size, FORMAT_BYTES)), body)
        at = _next_chunk(layout, at, size)
        if not layout.first < at < n_bytes:
            return None
    return None


def _next_chunk(layout: _ChunkLayout, at: int, size: int) -> int:
    body = at if layout.size_counts_header else at + layout.header_bytes
    return body + -(-size // layout.alignment) * layout.alignment


def _known_size(descriptor: int, container: str, size: int) -> int | None:
    if container == "rf64" and size == 0xFFFF_FFFF:
        (size,) = struct.unpack("<Q", os.pread(descriptor, 8, _RF64_DATA_SIZE_AT))
        return int(size)
    is_32_bit = container in {"wav", "aiff", "rf64"}
    return None if size <= 0 or (is_32_bit and _is_streamed(size)) else size


def _is_streamed(size: int) -> bool:
    return any(size in sizes for sizes in STREAMED_SIZES)


def _find_au_audio(descriptor: int) -> AudioChunk | None:
    header = os.pread(descriptor, _AU_HEADER_BYTES, 0)
    if len(header) < _AU_HEADER_BYTES:
        return None
    _, start, size = struct.unpack_from(">III", header)
    known = None if size == 0 or _is_streamed(size) else size
    return AudioChunk(start, known, _AU_SIZE_AT, 0, header)


def is_row_of_chunks(descriptor: int, container: str, at: int, n_bytes: int) -> bool:
    """Whether what lies from a place to the end of the file is chunks, as far as can be told.

    They should begin at an even place (one that 8 divides, in W64); some writers do not care.
    """
    layout = _CHUNK_LAYOUTS.get(container)
    if layout is None:
        return False
    aligned = -(-at // layout.alignment) * layout.alignment
    return any(_is_row(descriptor, layout, start, n_bytes) for start in {at, aligned})


def _is_row(descriptor: int, layout: _ChunkLayout, at: int, n_bytes: int) -> bool:
    for _ in range(MAX_CHUNKS):
        header = os.pread(descriptor, layout.header_bytes, at)
        if not header.strip(b"\0"):
            return at + len(header) >= n_bytes
        if len(header) < layout.header_bytes or not _is_name(header[:4]):
            return False
        (size,) = struct.unpack(layout.size_format, header[layout.id_bytes :])
        following = _next_chunk(layout, at, size)
        if following <= at or following > n_bytes + layout.alignment:
            return False
        at = following
        if at >= n_bytes:
            return True
    return False


def _is_name(name: bytes) -> bool:
    return all(0x20 <= byte < 0x7F for byte in name)
