"""Walk the boxes of an MP4 or QuickTime file: are they all there, and how long is each track.

Every box begins with its size and a name of four letters (ISO/IEC 14496-12). The boxes at the top
must fill the file; ``moov`` holds the tables of the tracks, ``mdat`` the audio itself. An edit list
says which part of a track is to be played: encoders put the samples that the coding adds at both
ends outside of it.

Public: `check_mp4`.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from musichash_core.decode.ffmpeg.container_facts import ContainerFacts
from musichash_core.decode.ffmpeg.file_window import FileWindow
from musichash_core.errors import DecodeError

MAX_BOXES = 1_000_000
"""Boxes looked at, all in all; a day of one-second fragments has 173,000."""

MAX_DEPTH = 8
"""The sizes of samples lie four boxes deep in ``moov``."""

MAX_EDITS = 10_000
"""Entries of an edit list that are read; music has one or two."""

PROTECTED_FORMATS = frozenset({b"drms", b"enca", b"drmi", b"encv", b"aavd"})
"""Sample descriptions of encrypted audio: iTunes before 2009, common encryption, Audible."""

EDIT_SLACK_S = 0.5
"""An edit list that leaves out more than this of a track is worth a warning."""

TOLERANCE_S = 0.002
"""What is played is counted in units of 1/600 s at worst."""

_PARENTS = frozenset({b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"mvex"})


@dataclass(frozen=True, slots=True)
class _Box:
    name: bytes
    start: int
    body: int
    end: int


class _Times(NamedTuple):
    delay: float
    length: float


@dataclass(slots=True)
class _Track:
    number: int = 0
    handler: bytes = b""
    format: bytes = b""
    timescale: int = 0
    duration: int = 0
    edits: tuple[tuple[int, int], ...] = ()


class _Mp4Walk:
    """The walk over one file: a budget of boxes, and what the tables said so far."""

    def __init__(self, file: FileWindow) -> None:
        self._file = file
        self._n_boxes = 0
        self.movie_timescale = 0
        self.is_fragmented = False
        self.fragments_s = 0.0
        self.tracks: list[_Track] = []

    def top_boxes(self) -> Iterator[_Box]:
        """Give the boxes at the top, up to the end of the file or to a tag behind them."""
        at = 0
        while at < self._file.n_bytes:
            if self._file.is_end_of_audio(at):
                return
            box = self._box_at(at, self._file.n_bytes)
            self._file.check_end(at, box.end, f"the box {_spell(box.name)}")
            yield box
            at = box.end

    def read_tables(self, parent: _Box, depth: int = 0) -> None:
        """Read the tables of ``moov``, with those inside them."""
        if depth > MAX_DEPTH:
            raise DecodeError("damaged", f"boxes are nested more than {MAX_DEPTH} deep")
        at = parent.body
        while at + 8 <= parent.end:
            box = self._box_at(at, parent.end)
            if box.end > parent.end:
                raise DecodeError(
                    "damaged",
                    f"the box {_spell(box.name)} at byte {at} ends at byte {box.end}, the box "
                    f"{_spell(parent.name)} around it at {parent.end}",
                )
            self._read_table(box, depth)
            at = box.end

    def _read_table(self, box: _Box, depth: int) -> None:
        if box.name == b"trak":
            self.tracks.append(_Track())
        if box.name == b"mvex":
            self.is_fragmented = True
        if box.name in _PARENTS:
            self.read_tables(box, depth + 1)
        elif box.name == b"mvhd":
            self.movie_timescale, _ = self._timescale_and_duration(box)
        elif box.name == b"mehd" and self.movie_timescale:
            layout = ">Q" if self._bytes(box, 0, 1)[0] == 1 else ">I"
            (duration,) = struct.unpack(layout, self._bytes(box, 4, struct.calcsize(layout)))
            self.fragments_s = duration / self.movie_timescale
        elif self.tracks:
            self._read_track_table(box, self.tracks[-1])

    def _read_track_table(self, box: _Box, track: _Track) -> None:
        if box.name == b"tkhd":
            version = self._bytes(box, 0, 1)[0]
            (track.number,) = struct.unpack(">I", self._bytes(box, 20 if version == 1 else 12, 4))
        elif box.name == b"mdhd":
            track.timescale, track.duration = self._timescale_and_duration(box)
        elif box.name == b"hdlr" and not track.handler:
            track.handler = self._bytes(box, 8, 4)
        elif box.name == b"stsd":
            track.format = self._bytes(box, 12, 4)
        elif box.name == b"elst":
            track.edits = self._edits(box)
        elif box.name == b"stsz":
            self._check_sample_sizes(box)

    def _timescale_and_duration(self, box: _Box) -> tuple[int, int]:
        version = self._bytes(box, 0, 1)[0]
        at, layout = (20, ">IQ") if version == 1 else (12, ">II")
        timescale, duration = struct.unpack(layout, self._bytes(box, at, struct.calcsize(layout)))
        is_unknown = duration == (0xFFFF_FFFF_FFFF_FFFF if version == 1 else 0xFFFF_FFFF)
        return timescale, 0 if is_unknown else duration

    def _edits(self, box: _Box) -> tuple[tuple[int, int], ...]:
        version, n_edits = struct.unpack(">B3xI", self._bytes(box, 0, 8))
        layout = struct.Struct(">Qq4x" if version == 1 else ">Ii4x")
        if n_edits > MAX_EDITS:
            raise DecodeError(
                "damaged", f"an edit list of {n_edits} entries; {MAX_EDITS} are allowed"
            )
        return tuple(layout.iter_unpack(self._bytes(box, 8, n_edits * layout.size)))

    def _check_sample_sizes(self, box: _Box) -> None:
        """Refuse a table that claims more samples than can be: FFmpeg makes room for each."""
        size, n_samples = struct.unpack(">II", self._bytes(box, 4, 8))
        if size and size * n_samples > self._file.n_bytes:
            raise DecodeError(
                "truncated",
                f"{n_samples} samples of {size} bytes are announced; the file has "
                f"{self._file.n_bytes} bytes",
            )

    def check_fragment_index(self, box: _Box) -> None:
        """Check that the fragments that a ``sidx`` box lists are within the file."""
        version = self._bytes(box, 0, 1)[0]
        at, layout = (12, ">QQ2xH") if version == 1 else (12, ">II2xH")
        _, offset, n_fragments = struct.unpack(
            layout, self._bytes(box, at, struct.calcsize(layout))
        )
        entries = self._bytes(box, at + struct.calcsize(layout), 12 * n_fragments)
        n_bytes = sum(size & 0x7FFF_FFFF for size, _, _ in struct.iter_unpack(">III", entries))
        self._file.check_end(box.end, box.end + offset + n_bytes, "the row of fragments")

    def _bytes(self, box: _Box, offset: int, n_bytes: int) -> bytes:
        if box.body + offset + n_bytes > box.end:
            raise DecodeError(
                "damaged", f"the box {_spell(box.name)} at byte {box.start} is too short"
            )
        return self._file.read_exactly(box.body + offset, n_bytes, f"the box {_spell(box.name)}")

    def _box_at(self, at: int, parent_end: int) -> _Box:
        self._n_boxes += 1
        if self._n_boxes > MAX_BOXES:
            raise DecodeError("damaged", f"more than {MAX_BOXES} boxes")
        size, name = struct.unpack(">I4s", self._file.read_exactly(at, 8, "the header of a box"))
        header_bytes = 8
        if size == 1:
            header_bytes = 16
            wide = self._file.read_exactly(at + 8, 8, f"the size of the box {_spell(name)}")
            (size,) = struct.unpack(">Q", wide)
        elif size == 0:  # up to the end of what is around it
            size = parent_end - at
        if size < header_bytes:
            raise DecodeError("damaged", f"the box {_spell(name)} at byte {at} claims {size} bytes")
        return _Box(name, at, at + header_bytes, at + size)


def check_mp4(file: FileWindow) -> ContainerFacts:
    """Check that all boxes of an MP4 or QuickTime file are there, and read when its tracks end.

    Returns
    -------
    ContainerFacts
        `track_ends_s` by track number; of a file of fragments only `length_s`, if at all. Warnings:
        ``length-differs`` (an edit list leaves out much of a track), ``no-end-mark`` (a file of
        fragments without a list of them or a length, which may have been cut between two).

    Raises
    ------
    DecodeError
        With code truncated (a box ends behind the file, or there is no ``moov``), damaged or
        unsupported-format (encrypted audio).
    """
    walk = _Mp4Walk(file)
    names = set()
    for box in walk.top_boxes():
        names.add(box.name)
        if box.name == b"moov":
            walk.read_tables(box)
        elif box.name == b"sidx":
            walk.check_fragment_index(box)
    if b"moov" not in names:
        raise DecodeError(
            "truncated", "the file has no moov box: recording or copying stopped before its end"
        )
    audio = [track for track in walk.tracks if track.handler == b"soun"]
    _check_not_protected(audio)
    if walk.is_fragmented:
        is_listed = walk.fragments_s > 0 or bool(names & {b"mfra", b"sidx"})
        return ContainerFacts(
            length_s=walk.fragments_s or None, warnings=() if is_listed else ("no-end-mark",)
        )
    audio = [track for track in audio if track.timescale and track.duration]
    times = {track.number: _times_s(track, walk.movie_timescale) for track in audio}
    leaves_out = any(
        track.duration / track.timescale - times[track.number].length > EDIT_SLACK_S
        for track in audio
    )
    return ContainerFacts(
        tolerance_s=TOLERANCE_S,
        track_ends_s={number: track.delay + track.length for number, track in times.items()},
        warnings=("length-differs",) if leaves_out else (),
    )


def _check_not_protected(tracks: list[_Track]) -> None:
    for track in tracks:
        if track.format in PROTECTED_FORMATS:
            raise DecodeError(
                "unsupported-format",
                f"the audio is encrypted ({_spell(track.format)}): protected files are not decoded",
            )


def _times_s(track: _Track, movie_timescale: int) -> _Times:
    """Give how long a track is to be played and after which delay, exactly where possible.

    An edit's length counts in units of the movie, often milliseconds; where it ends with the track,
    the track's own finer units say the same exactly.
    """
    media_s = track.duration / track.timescale
    played = [(length, start) for length, start in track.edits if start >= 0]
    if not played or not movie_timescale:
        return _Times(0.0, media_s)
    delay_s = sum(length for length, start in track.edits if start < 0) / movie_timescale
    if len(played) == 1:
        length, start = played[0]
        rest_s = media_s - start / track.timescale
        if length == 0 or abs(length / movie_timescale - rest_s) <= 1 / movie_timescale:
            return _Times(delay_s, rest_s)
    return _Times(delay_s, sum(length for length, _ in played) / movie_timescale)


def _spell(name: bytes) -> str:
    return repr(name.decode("latin-1"))
