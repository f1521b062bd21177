"""Walk the pages of an Ogg file and check that each is there and intact.

libsndfile drops a page whose checksum is wrong and plays on: the file is silently shorter, by a
second for Opus. Checking costs about a hundredth of the decoding, because zlib can compute Ogg's
checksum: it is CRC-32 with the bits of each byte, and of the result, in the other order.

Public: `check_ogg_pages`.
"""

import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from musichash_core.errors import DecodeError

CAPTURE = b"OggS"
HEADER_BYTES = 27
LARGEST_PAGE_BYTES = 65_307
WINDOW_BYTES = 1 << 20

BEGINS_STREAM = 2
ENDS_STREAM = 4

_HEADER = struct.Struct("<4sBBqIIIB")
_REVERSED = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))


@dataclass(frozen=True, slots=True)
class _Page:
    offset: int
    flags: int
    serial: int
    sequence: int
    is_intact: bool


def check_ogg_pages(descriptor: int, n_bytes: int) -> tuple[str, ...]:
    """Check the pages of the first stream of an Ogg file.

    Parameters
    ----------
    descriptor : int
        The open file; its position is left alone.
    n_bytes : int
        Size of the file.

    Returns
    -------
    tuple of str
        Warnings: ``pages-missing`` (their numbers leave a gap), ``no-end-mark`` (all pages are
        whole, the last one does not say that it is the last).

    Raises
    ------
    DecodeError
        With code truncated (the file ends inside a page) or damaged (a checksum is wrong).
    """
    first: _Page | None = None
    last: _Page | None = None
    has_gap = has_body = False
    for page in _pages(descriptor, n_bytes):
        if not page.is_intact:
            raise DecodeError(
                "damaged", f"the Ogg page at byte {page.offset} does not match its checksum"
            )
        if page.flags & BEGINS_STREAM and has_body:
            break  # another stream is joined on: that is for `check_complete` to notice
        has_body |= not page.flags & BEGINS_STREAM
        first = first or page
        if page.serial == first.serial:
            has_gap |= last is not None and page.sequence != last.sequence + 1
            last = page
    warnings = ("pages-missing",) if has_gap else ()
    is_ended = last is not None and bool(last.flags & ENDS_STREAM)
    return warnings if is_ended else (*warnings, "no-end-mark")


def _pages(descriptor: int, n_bytes: int) -> Iterator[_Page]:
    """Give the pages one after the other, up to the end or to what is no page."""
    start, window = 0, os.pread(descriptor, WINDOW_BYTES, 0)
    at = 0
    while at < n_bytes:
        if at + LARGEST_PAGE_BYTES > start + len(window) < n_bytes:
            start, window = at, os.pread(descriptor, WINDOW_BYTES, at)
        page_bytes = _page_bytes(window, at - start)
        if page_bytes is None:
            _check_no_page_follows(os.pread(descriptor, WINDOW_BYTES, at), at)
            return
        page = window[at - start : at - start + page_bytes]
        if len(page) < page_bytes:
            raise DecodeError("truncated", f"the file ends inside the Ogg page at byte {at}")
        yield _parse(page, at)
        at += page_bytes


def _check_no_page_follows(rest: bytes, at: int) -> None:
    """Tell a damaged page inside a stream from tags behind it, or from another stream."""
    follows = rest.find(CAPTURE)
    flags_at = follows + 5
    if follows > 0 and flags_at < len(rest) and not rest[flags_at] & BEGINS_STREAM:
        raise DecodeError("damaged", f"there is no Ogg page at byte {at}, but one behind it")


def _page_bytes(window: bytes, at: int) -> int | None:
    """Give the length of the page at a place; None when there is no page."""
    capture = window[at : at + len(CAPTURE)]
    if capture != CAPTURE[: len(capture)]:
        return None
    n_segments = window[at + HEADER_BYTES - 1] if at + HEADER_BYTES <= len(window) else 255
    table = window[at + HEADER_BYTES : at + HEADER_BYTES + n_segments]
    return HEADER_BYTES + n_segments + sum(table)


def _parse(page: bytes, offset: int) -> _Page:
    _, _, flags, _, serial, sequence, stated, _ = _HEADER.unpack_from(page)
    without = page[:22] + bytes(4) + page[26:]
    return _Page(offset, flags, serial, sequence, _checksum(without) == stated)


def _checksum(page: bytes) -> int:
    crc = zlib.crc32(page.translate(_REVERSED), 0xFFFF_FFFF) ^ 0xFFFF_FFFF
    return int.from_bytes(crc.to_bytes(4, "little").translate(_REVERSED), "big")
