"""The streams of a FLAC file, and whether the first one's header tells the truth.

A FLAC frame carries its own number, so the last one tells how long the audio really is. libsndfile
stops where the header says.

Public: `find_flac_parts`, `find_flac_stream`, `read_digest`, `MAX_FLAC_STREAMS`.
"""

import os
import re
import struct
from dataclasses import dataclass

from musichash_core.decode.byte_runs import Run
from musichash_core.decode.sndfile.flac_digest import FlacDigest
from musichash_core.decode.sndfile.sound_parts import SoundPart, SoundParts
from musichash_core.decode.sniffing import skip_id3
from musichash_core.decode.tag_blocks import audio_end
from musichash_core.errors import DecodeError

TAIL_BYTES = 1 << 18
"""The last two frames lie in this; 24 bits, 192 kHz and stereo make frames of 24 kB."""

SEARCH_BYTES = 1 << 20

MAX_FLAC_STREAMS = 1000
"""More files than this are not joined into one track; bounds the number of decoders."""

_STREAM_BEGINS = re.compile(rb"fLaC[\x00\x80]\x00\x00\x22")
_STREAM_BEGIN_BYTES = 8
_INFO_BYTES = 8 + 34
_BLOCK_FRAMES_AT = 8 + 2
_LENGTH_AT = 8 + 10
_MD5_AT = 8 + 18
_LENGTH_MASK = (1 << 36) - 1
_FRAME_SYNC = re.compile(rb"\xff[\xf8\xf9]")
_LONGEST_FRAME_HEADER = 16
_CRC_8_POLYNOMIAL = 0x07


@dataclass(frozen=True, slots=True)
class _Frame:
    """The first sample of a FLAC frame in the stream, and the one behind its last."""

    begin: int
    end: int


def find_flac_parts(descriptor: int, n_bytes: int) -> SoundParts:
    """Compare the length that a FLAC file announces with the number of its last frame.

    Where both agree, streams joined on are left to `find_flac_stream`: looking for them costs
    several hundredths of decoding, and the decoder's end tells where to look.

    Returns
    -------
    SoundParts
        One part where the lengths agree, otherwise one for each stream; with the warning
        ``header-lies`` where more frames are there than a header announces: the decoder is shown
        one that leaves the length open.

    Raises
    ------
    DecodeError
        With code truncated.
    OSError
        If the file cannot be read.
    """
    start, end = skip_id3(descriptor), audio_end(descriptor, n_bytes)
    announced, there = _read_lengths(descriptor, start, end)
    if there is None or announced == there:
        return SoundParts((SoundPart(None, digest=read_digest(descriptor, start)),))
    begins = _find_streams(descriptor, start)
    if len(begins) == 1 and not announced:
        return SoundParts((SoundPart(None, there, read_digest(descriptor, start)),))
    parts, is_lie = [], False
    for begin, behind in zip(begins, [*begins[1:], end], strict=True):
        announced, there = _read_lengths(descriptor, begin, behind)
        if there is not None and there < announced:
            raise DecodeError(
                "truncated",
                f"the last FLAC frame ends at {there}, the header announces {announced}",
            )
        is_lie |= there is not None and 0 < announced < there
        runs = _without_length(descriptor, begin, behind)
        parts.append(SoundPart(runs, there, read_digest(descriptor, begin)))
    return SoundParts(tuple(parts), ("header-lies",) if is_lie else ())


def read_digest(descriptor: int, begin: int) -> FlacDigest | None:
    """Give the checksum in the header of the FLAC stream that begins at a place, if it has one.

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    info = os.pread(descriptor, _INFO_BYTES, begin)
    if len(info) < _INFO_BYTES:
        return None
    (packed,) = struct.unpack_from(">Q", info, _LENGTH_AT)
    digest = FlacDigest(info[_MD5_AT:_INFO_BYTES], (packed >> 36 & 31) + 1)
    return digest if digest.is_checkable else None


def _find_streams(descriptor: int, start: int) -> list[int]:
    begins = [start]
    while (begin := find_flac_stream(descriptor, begins[-1] + _INFO_BYTES)) is not None:
        begins.append(begin)
        if len(begins) > MAX_FLAC_STREAMS:
            raise DecodeError("damaged", f"more than {MAX_FLAC_STREAMS} FLAC streams are joined")
    return begins


def _read_lengths(descriptor: int, begin: int, end: int) -> tuple[int, int | None]:
    """Give the length that a stream's header announces, and the one that its last frame tells."""
    info = os.pread(descriptor, _INFO_BYTES, begin)
    if len(info) < _INFO_BYTES or not _STREAM_BEGINS.match(info):
        return 0, None  # libsndfile says what is wrong with the header
    (block_frames,) = struct.unpack_from(">H", info, _BLOCK_FRAMES_AT)
    (packed,) = struct.unpack_from(">Q", info, _LENGTH_AT)
    return packed & _LENGTH_MASK, _frames_there(descriptor, block_frames, begin, end)


def _without_length(descriptor: int, begin: int, end: int) -> tuple[Run, ...]:
    """Give a view of a stream whose header leaves the length open."""
    before = os.pread(descriptor, _LENGTH_AT + 8, begin)
    (packed,) = struct.unpack_from(">Q", before, _LENGTH_AT)
    behind = begin + len(before)
    opened = before[:_LENGTH_AT] + struct.pack(">Q", packed & ~_LENGTH_MASK)
    return opened, (behind, end - behind)


def find_flac_stream(descriptor: int, begin: int) -> int | None:
    """Give where the next FLAC stream begins, from a place on; None when there is none.

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    while chunk := os.pread(descriptor, SEARCH_BYTES, begin):
        match = _STREAM_BEGINS.search(chunk)
        if match:
            return begin + match.start()
        begin += max(1, len(chunk) - _STREAM_BEGIN_BYTES + 1)
    return None


def _frames_there(descriptor: int, block_frames: int, begin: int, end: int) -> int | None:
    """Give the length of the stream by its last frame; None when it cannot be told.

    A header is believed when its checksum is right and the frame before it ends where it begins.
    """
    start = max(begin, end - TAIL_BYTES)
    tail = os.pread(descriptor, end - start, start)
    ends: set[int] = set()
    last = None
    for match in _FRAME_SYNC.finditer(tail):
        header = tail[match.start() : match.start() + _LONGEST_FRAME_HEADER]
        frame = _parse_frame(header, block_frames)
        if frame is None:
            continue
        if frame.begin in ends:
            last = frame.end
        ends.add(frame.end)
    return last


def _parse_frame(header: bytes, block_frames: int) -> _Frame | None:
    """Read the header of a frame; None when it is none (RFC 9639, section 9.1)."""
    if len(header) < 6 or header[3] & 1:
        return None
    size_code, rate_code = header[2] >> 4, header[2] & 15
    number_bytes = _coded_number_bytes(header[4])
    size_at = 4 + number_bytes
    crc_at = size_at + {6: 1, 7: 2}.get(size_code, 0) + {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    is_reserved = size_code == 0 or rate_code == 15 or header[3] >> 4 > 10 or number_bytes == 0
    if is_reserved or len(header) <= crc_at or _crc_8(header[:crc_at]) != header[crc_at]:
        return None
    number = _coded_number(header[4:size_at])
    begin = number if header[1] & 1 else number * block_frames
    return _Frame(begin, begin + _frame_samples(size_code, header[size_at : size_at + 2]))


def _frame_samples(size_code: int, stated: bytes) -> int:
    if size_code == 1:
        return 192
    if size_code <= 5:
        return 576 << (size_code - 2)
    if size_code == 6:
        return stated[0] + 1
    if size_code == 7:
        return int.from_bytes(stated, "big") + 1
    return 256 << (size_code - 8)


def _coded_number_bytes(first: int) -> int:
    """Give the length of a number coded like UTF-8, by its first byte; 0 when it cannot be one."""
    n_ones = 8 - (first ^ 0xFF).bit_length()
    return 1 if n_ones == 0 else n_ones if 2 <= n_ones <= 7 else 0


def _coded_number(coded: bytes) -> int:
    if len(coded) == 1:
        return coded[0]
    number = coded[0] & (0x7F >> len(coded))
    for byte in coded[1:]:
        number = (number << 6) | (byte & 0x3F)
    return number


def _crc_8(data: bytes) -> int:
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1) ^ (_CRC_8_POLYNOMIAL if crc & 0x80 else 0)
        crc &= 0xFF
    return crc
