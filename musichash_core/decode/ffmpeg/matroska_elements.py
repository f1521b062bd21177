"""Walk the elements of a Matroska or WebM file: are they all there, do their checksums match.

Every element begins with its number and its size, both of variable length (RFC 8794). The segment
holds the others: information, tracks, and clusters with the audio. Where one is broken FFmpeg looks
for the next cluster and plays on; this walk does not.

Public: `check_matroska`.
"""

import struct
import zlib
from dataclasses import dataclass

from musichash_core.decode.ffmpeg.container_facts import ContainerFacts
from musichash_core.decode.ffmpeg.file_window import WINDOW_BYTES, FileWindow
from musichash_core.decode.reader import TRAILER_BYTES
from musichash_core.errors import DecodeError

MAX_ELEMENTS = 10_000_000
"""Elements looked at; a day of audio in clusters of unknown size has 5 million."""

EBML = 0x1A45DFA3
SEGMENT = 0x18538067
INFORMATION = 0x1549A966
CLUSTER = 0x1F43B675
DURATION = 0x4489
TIMESTAMP_SCALE = 0x2AD7B1
CHECKSUM = 0xBF

_TOP_LEVEL = frozenset(
    {0x114D9B74, INFORMATION, 0x1654AE6B, CLUSTER, 0x1C53BB6B, 0x1941A469, 0x1043A770, 0x1254C367}
)
"""What stands directly inside a segment, beside padding; ends a cluster of unknown size."""

_VOID = 0xEC
_DEFAULT_SCALE_NS = 1_000_000


@dataclass(frozen=True, slots=True)
class _Element:
    number: int
    start: int
    body: int
    end: int | None
    """None: of unknown size, as writers leave it who cannot go back."""


class _MatroskaWalk:
    def __init__(self, file: FileWindow) -> None:
        self._file = file
        self._n_elements = 0
        self.scale_ns = _DEFAULT_SCALE_NS
        self.duration: float | None = None

    def element_at(self, at: int) -> _Element:
        self._n_elements += 1
        if self._n_elements > MAX_ELEMENTS:
            raise DecodeError("damaged", f"more than {MAX_ELEMENTS} Matroska elements")
        head = self._file.read_at(at, 12)
        number_bytes = _variable_bytes(head[:1])
        size_bytes = _variable_bytes(head[number_bytes : number_bytes + 1])
        if len(head) < max(2, number_bytes + max(1, size_bytes)):
            raise DecodeError("truncated", f"the file ends inside the element at byte {at}")
        if number_bytes > 4 or not size_bytes or not number_bytes:
            raise DecodeError("damaged", f"there is no Matroska element at byte {at}")
        body = at + number_bytes + size_bytes
        mask = (1 << 7 * size_bytes) - 1
        size = int.from_bytes(head[number_bytes : number_bytes + size_bytes], "big") & mask
        return _Element(
            int.from_bytes(head[:number_bytes], "big"),
            at,
            body,
            None if size == mask else body + size,
        )

    def walk_segment(self, segment: _Element) -> int:
        """Visit what stands in the segment; give where it ends."""
        end = self._file.n_bytes if segment.end is None else segment.end
        at = segment.body
        while at < end:
            if segment.end is None and self._file.is_end_of_audio(at):
                return at
            element = self.element_at(at)
            if element.number not in _TOP_LEVEL and element.number not in {_VOID, CHECKSUM}:
                if segment.end is None and element.number == EBML:
                    return at
                raise DecodeError(
                    "damaged", f"there is no Matroska element of a segment at byte {at}"
                )
            at = self._visit(element, end)
        return end

    def _visit(self, element: _Element, segment_end: int) -> int:
        """Look at one element of the segment; give where it ends."""
        if element.end is None:
            return self._walk_unknown_size(element, segment_end)
        self._file.check_end(element.start, element.end, f"the element {element.number:X}")
        self._check_checksum(element)
        if element.number == INFORMATION:
            self._read_information(element, element.end)
        elif element.number == CLUSTER:
            self._walk_cluster(element, element.end)
        return element.end

    def _walk_cluster(self, cluster: _Element, end: int) -> None:
        at = cluster.body
        while at < end:
            child = self.element_at(at)
            if child.end is None or child.end > end:
                raise DecodeError(
                    "damaged",
                    f"the element {child.number:X} at byte {at} leaves its cluster, which ends at "
                    f"byte {end}",
                )
            at = child.end

    def _walk_unknown_size(self, parent: _Element, segment_end: int) -> int:
        at = parent.body
        while at < segment_end:
            child = self.element_at(at)
            if child.number in _TOP_LEVEL or child.number == EBML:
                return at
            if child.end is None:
                raise DecodeError("damaged", f"the element at byte {at} does not say its size")
            self._file.check_end(at, child.end, f"the element {child.number:X}")
            at = child.end
        return at

    def _check_checksum(self, element: _Element) -> None:
        """Compare an element with the CRC-32 that it begins with, if it has one."""
        if element.end is None or self._file.read_at(element.body, 2) != b"\xbf\x84":
            return
        (expected,) = struct.unpack("<I", self._file.read_exactly(element.body + 2, 4, "a CRC"))
        crc = 0
        for at in range(element.body + 6, element.end, WINDOW_BYTES):
            crc = zlib.crc32(self._file.read_at(at, min(WINDOW_BYTES, element.end - at)), crc)
        if crc != expected:
            raise DecodeError(
                "damaged",
                f"the Matroska element {element.number:X} at byte {element.start} does not match "
                "its checksum",
            )

    def _read_information(self, element: _Element, end: int) -> None:
        at = element.body
        while at < end:
            child = self.element_at(at)
            if child.end is None or child.end > end:
                raise DecodeError(
                    "damaged", f"the element at byte {at} leaves the segment's information"
                )
            value = self._file.read_at(child.body, min(child.end - child.body, 8))
            if child.number == TIMESTAMP_SCALE:
                self.scale_ns = int.from_bytes(value, "big")
            elif child.number == DURATION and len(value) in {4, 8}:
                (self.duration,) = struct.unpack(">f" if len(value) == 4 else ">d", value)
            at = child.end


def check_matroska(file: FileWindow) -> ContainerFacts:
    """Check that all elements of a Matroska or WebM file are there, and read its length.

    Returns
    -------
    ContainerFacts
        With `length_s` (of the longest track) where the file announces it. Warnings:
        ``no-end-mark`` (neither length nor size are announced), ``data-after-end``.

    Raises
    ------
    DecodeError
        With code truncated or damaged.
    """
    walk = _MatroskaWalk(file)
    header = walk.element_at(0)
    if header.number != EBML or header.end is None:
        raise DecodeError("damaged", "the file does not begin with an EBML header")
    file.check_end(0, header.end, "the EBML header")
    segment = walk.element_at(header.end)
    while segment.number == _VOID and segment.end is not None:
        segment = walk.element_at(segment.end)
    if segment.number != SEGMENT:
        raise DecodeError("damaged", f"there is no Matroska segment at byte {segment.start}")
    if segment.end is not None:
        file.check_end(segment.start, segment.end, "the Matroska segment")
    end = walk.walk_segment(segment)
    length_s = None if walk.duration is None else walk.duration * walk.scale_ns / 1e9
    named = {
        "no-end-mark": segment.end is None and length_s is None,
        "data-after-end": file.n_bytes - end > TRAILER_BYTES,
    }
    return ContainerFacts(
        length_s=length_s, warnings=tuple(name for name, is_so in named.items() if is_so)
    )


def _variable_bytes(first: bytes) -> int:
    """Give the length of a number of variable length by its first byte: 1 to 8, 0 if impossible."""
    return 9 - first[0].bit_length() if first and first[0] else 0
