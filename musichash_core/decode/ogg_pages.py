"""Walk the pages of an Ogg file and check that each is there and intact.

libsndfile drops a page whose checksum is wrong and plays on: the file is silently shorter, by a
second for Opus. Checking costs about a hundredth of the decoding, because zlib can compute Ogg's
checksum: it is CRC-32 with the bits of each byte, and of the result, in the other order.

A file may hold several links, one after the other (a chain), and a link several streams whose pages
alternate, told apart by serial number (sound and video, say).

Public: `walk_ogg_pages`, `OggStream`, `OggWalk`.
"""

import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from musichash_core.errors import DecodeError

CAPTURE = b"OggS"
HEADER_BYTES = 27
LARGEST_PAGE_BYTES = 65_307
WINDOW_BYTES = 1 << 20

BEGINS_STREAM = 2
ENDS_STREAM = 4

MAX_LINKS = 1000
"""More files than this are not joined into one track; bounds the number of decoders."""

MAX_STREAMS_IN_LINK = 100
"""A film in ten languages has fewer; bounds the memory for hostile files."""

MAX_RUNS = 250_000
"""How often pages of different streams may alternate: ten hours of film; bounds the memory."""

BEGINNING_BYTES = 64
"""Every codec names itself in the first bytes of its first packet."""

NO_POSITION = -1
"""Stated by a page on which no packet ends."""

POSITION_SLACK = 24_000
"""Half a second at 48 kHz: what a page may lie behind an earlier one."""

_HEADER = struct.Struct("<4sBBqIIIB")
_REVERSED = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))


@dataclass(frozen=True, slots=True)
class _Page:
    offset: int
    n_bytes: int
    flags: int
    serial: int
    sequence: int
    position: int
    is_intact: bool
    beginning: bytes


@dataclass(slots=True)
class OggStream:
    """The pages of one serial number in one link.

    Attributes
    ----------
    first_packet : bytes
        What its first page begins with, which tells the codec; empty when the page that should
        begin the stream is missing.
    runs : list of (int, int)
        Offset and length of each unbroken row of its pages.
    last_sequence : int
        Number of its last page so far.
    last_position : int
        Position in the sound (granule) that its last page so far states; 0 while there is none.
    has_gap : bool
        Whether the page numbers leave one out before the first sound: some taggers do that.
    is_ended : bool
        Whether its last page says that it is the last.
    """

    first_packet: bytes
    runs: list[tuple[int, int]] = field(default_factory=list)
    last_sequence: int = -1
    last_position: int = 0
    has_gap: bool = False
    is_ended: bool = False


@dataclass(slots=True)
class OggWalk:
    """What was found in a file.

    Attributes
    ----------
    links : list of dict
        For each link the streams by serial number, in the order of their first pages.
    n_trailing_bytes : int
        Bytes behind the last page.
    """

    links: list[dict[int, OggStream]] = field(default_factory=list)
    n_trailing_bytes: int = 0


def walk_ogg_pages(descriptor: int, n_bytes: int) -> OggWalk:
    """Check every page of an Ogg file and tell its streams apart.

    Parameters
    ----------
    descriptor : int
        The open file; its position is left alone.
    n_bytes : int
        Size of the file.

    Raises
    ------
    DecodeError
        With code truncated (the file ends inside a page) or damaged (a checksum is wrong, pages
        are missing or out of order, or there are more streams than any real file has).
    OSError
        If the file cannot be read.
    """
    walk = OggWalk()
    has_body = True
    n_runs = end = 0
    for page in _pages(descriptor, n_bytes):
        end = page.offset + page.n_bytes
        if not page.is_intact:
            raise DecodeError(
                "damaged", f"the Ogg page at byte {page.offset} does not match its checksum"
            )
        is_first = bool(page.flags & BEGINS_STREAM)
        if (is_first and has_body) or not walk.links:
            walk.links.append({})
        has_body = not is_first
        n_runs += _add_page(walk.links[-1], page)
        _check_sizes(walk, n_runs)
    walk.n_trailing_bytes = n_bytes - end
    return walk


def _check_sizes(walk: OggWalk, n_runs: int) -> None:
    sizes = (
        (len(walk.links), MAX_LINKS, "links"),
        (len(walk.links[-1]), MAX_STREAMS_IN_LINK, "streams side by side"),
        (n_runs, MAX_RUNS, "changes between streams"),
    )
    for number, limit, name in sizes:
        if number > limit:
            raise DecodeError("damaged", f"the Ogg file has more than {limit} {name}")


def _add_page(link: dict[int, OggStream], page: _Page) -> bool:
    """Add a page to its stream; tell whether it begins another run."""
    if page.serial not in link:
        link[page.serial] = OggStream(page.beginning if page.flags & BEGINS_STREAM else b"")
    stream = link[page.serial]
    _check_order(stream, page)
    stream.last_sequence = page.sequence
    stream.last_position = max(stream.last_position, page.position)
    stream.is_ended = bool(page.flags & ENDS_STREAM)
    if stream.runs and sum(stream.runs[-1]) == page.offset:
        start, length = stream.runs[-1]
        stream.runs[-1] = (start, length + page.n_bytes)
        return False
    stream.runs.append((page.offset, page.n_bytes))
    return True


def _check_order(stream: OggStream, page: _Page) -> None:
    if stream.runs and page.sequence != stream.last_sequence + 1:
        if stream.last_position > 0:
            raise DecodeError(
                "damaged",
                f"the Ogg page at byte {page.offset} has number {page.sequence}, the one before it "
                f"{stream.last_sequence}: pages are missing or out of order",
            )
        stream.has_gap = True
    if NO_POSITION < page.position < stream.last_position - POSITION_SLACK:
        raise DecodeError(
            "damaged",
            f"the Ogg page at byte {page.offset} ends at position {page.position}, an earlier one "
            f"at {stream.last_position}",
        )


def _pages(descriptor: int, n_bytes: int) -> Iterator[_Page]:
    """Give the pages one after the other, up to the last one."""
    start, window = 0, os.pread(descriptor, WINDOW_BYTES, 0)
    at = n_gaps = 0
    while at < n_bytes:
        if at + LARGEST_PAGE_BYTES > start + len(window) < n_bytes:
            start, window = at, os.pread(descriptor, WINDOW_BYTES, at)
        page_bytes = _page_bytes(window, at - start)
        if page_bytes is None:
            follows = _find_next_link(descriptor, at)
            n_gaps += 1
            if follows is None or n_gaps > MAX_LINKS:  # the walk's caller finds bytes left over
                return
            at, start, window = follows, follows, os.pread(descriptor, WINDOW_BYTES, follows)
            continue
        page = window[at - start : at - start + page_bytes]
        if len(page) < page_bytes:
            raise DecodeError("truncated", f"the file ends inside the Ogg page at byte {at}")
        yield _parse(page, at)
        at += page_bytes


def _find_next_link(descriptor: int, at: int) -> int | None:
    """Give where, behind something that is no page, the next link begins; None for nowhere.

    Tags may stand behind a link. When the next page is inside a stream, pages are lost.
    """
    begin = at
    while rest := os.pread(descriptor, WINDOW_BYTES, begin):
        follows = rest.find(CAPTURE)
        if follows >= 0:
            header = os.pread(descriptor, HEADER_BYTES, begin + follows)
            if len(header) == HEADER_BYTES and not header[5] & BEGINS_STREAM:
                raise DecodeError(
                    "damaged", f"there is no Ogg page at byte {at}, but one behind it"
                )
            return begin + follows if len(header) == HEADER_BYTES else None
        begin += max(1, len(rest) - len(CAPTURE) + 1)
    return None


def _page_bytes(window: bytes, at: int) -> int | None:
    """Give the length of the page at a place; None when there is no page."""
    capture = window[at : at + len(CAPTURE)]
    if capture != CAPTURE[: len(capture)]:
        return None
    n_segments = window[at + HEADER_BYTES - 1] if at + HEADER_BYTES <= len(window) else 255
    table = window[at + HEADER_BYTES : at + HEADER_BYTES + n_segments]
    return HEADER_BYTES + n_segments + sum(table)


def _parse(page: bytes, offset: int) -> _Page:
    _, _, flags, position, serial, sequence, stated, n_segments = _HEADER.unpack_from(page)
    without = page[:22] + bytes(4) + page[26:]
    body_at = HEADER_BYTES + n_segments
    beginning = page[body_at : body_at + BEGINNING_BYTES] if flags & BEGINS_STREAM else b""
    is_intact = _checksum(without) == stated
    return _Page(offset, len(page), flags, serial, sequence, position, is_intact, beginning)


def _checksum(page: bytes) -> int:
    crc = zlib.crc32(page.translate(_REVERSED), 0xFFFF_FFFF) ^ 0xFFFF_FFFF
    return int.from_bytes(crc.to_bytes(4, "little").translate(_REVERSED), "big")
