"""Ogg pages taken apart and put together again, with the checksum of RFC 3533.

Public: `OggPage`, `split_pages`, `join_pages`, `with_serial`, `with_checksums`, the header flags.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass, replace

CONTINUES, BEGINS, ENDS = 1, 2, 4

_HEADER = struct.Struct("<4sBBqIII")


def _table_entry(index: int) -> int:
    value = index << 24
    for _ in range(8):
        value = ((value << 1) ^ (0x04C1_1DB7 if value & 0x8000_0000 else 0)) & 0xFFFF_FFFF
    return value


_TABLE = tuple(map(_table_entry, range(256)))


@dataclass(frozen=True, slots=True)
class OggPage:
    """One page; `sizes` is its segment table."""

    flags: int
    granule: int
    serial: int
    sequence: int
    sizes: bytes
    body: bytes

    def to_bytes(self) -> bytes:
        """Write the page with its checksum."""
        head = _HEADER.pack(b"OggS", 0, self.flags, self.granule, self.serial, self.sequence, 0)
        page = head + bytes([len(self.sizes)]) + self.sizes + self.body
        return page[:22] + struct.pack("<I", _checksum(page)) + page[26:]


def _checksum(page: bytes) -> int:
    value = 0
    for byte in page:
        value = ((value << 8) & 0xFFFF_FFFF) ^ _TABLE[(value >> 24) ^ byte]
    return value


def split_pages(content: bytes) -> list[OggPage]:
    """Take a whole Ogg file apart."""
    pages = []
    at = 0
    while at < len(content):
        _, _, flags, granule, serial, sequence, _ = _HEADER.unpack_from(content, at)
        n_segments = content[at + 26]
        body_at = at + 27 + n_segments
        sizes = content[at + 27 : body_at]
        body = content[body_at : body_at + sum(sizes)]
        pages.append(OggPage(flags, granule, serial, sequence, sizes, body))
        at = body_at + sum(sizes)
    return pages


def join_pages(pages: Iterable[OggPage]) -> bytes:
    """Write pages one after the other."""
    return b"".join(page.to_bytes() for page in pages)


def with_checksums(content: bytes) -> bytes:
    """Make the checksums of all pages right, as far as there are whole pages in a row."""
    mended = bytearray(content)
    at = 0
    while content[at : at + 4] == b"OggS" and at + 27 <= len(content):
        body_at = at + 27 + content[at + 26]
        end = body_at + sum(content[at + 27 : body_at])
        mended[at + 22 : at + 26] = bytes(4)
        mended[at + 22 : at + 26] = struct.pack("<I", _checksum(bytes(mended[at:end])))
        at = end
    return bytes(mended)


def with_serial(content: bytes, serial: int) -> bytes:
    """Replace the random number that encoders give a stream."""
    return join_pages(replace(page, serial=serial) for page in split_pages(content))
