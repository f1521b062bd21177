"""Walk the frames of an MPEG audio file from the first to the last, without decoding them.

The walk knows what no decoder tells: how many frames there are, whether several streams were
joined, what lies between the frames that is no audio, and whether the last frame is whole. It
looks at four bytes and a dictionary per frame, about a hundredth of the work of decoding.

Public: `walk_mpeg_frames`, `MpegStream`, `MpegWalk`.
"""

import os
import re
from dataclasses import dataclass, field

from musichash_core.decode.sndfile.mpeg_frames import (
    ENCODER_HEADER_BYTES,
    ENCODER_MARKS,
    HEADER_BYTES,
    EncoderHeader,
    FrameHeader,
    find_encoder_header,
    mark_offset,
    parse_frame_header,
)
from musichash_core.decode.tag_blocks import APE_FOOTER_BYTES, audio_end, front_tag_bytes
from musichash_core.errors import DecodeError

WINDOW_BYTES = 1 << 20
"""How much of the file is read at a time."""

FRAMES_TO_BELIEVE = 3
"""Two bytes of chance look like a frame in every 2 kB; three frames in a row do not happen."""

MAX_SEARCH_BYTES = 1 << 20
"""How far behind the last frame another one is looked for; bounds the time for hostile files."""

SEARCH_BYTES = 1 << 16
"""How much of that is looked through at a time."""

MAX_STREAMS = 1000
"""More files than this are not joined into one track; bounds the number of decoders."""

MAX_GAPS = 1000
"""How often tags or junk may break the row of frames; bounds time and memory."""

_SYNC = re.compile(rb"\xff[\xe2-\xff]")


@dataclass(slots=True)
class MpegStream:
    """A row of frames of one version, layer, sample rate and number of channels.

    Attributes
    ----------
    header : FrameHeader
        That of its first frame.
    encoder_header : EncoderHeader or None
        What the frame without sound before the others says, where there is one.
    encoder_frame : (int, int)
        Offset and length of that frame; (0, 0) where there is none.
    n_frames : int
        Frames of sound.
    runs : list of (int, int)
        Offset and length of each unbroken row of those.
    lengths : set of int
        The lengths of frames that were met, in bytes.
    """

    header: FrameHeader
    encoder_header: EncoderHeader | None = None
    encoder_frame: tuple[int, int] = (0, 0)
    n_frames: int = 0
    runs: list[tuple[int, int]] = field(default_factory=list)
    lengths: set[int] = field(default_factory=set)

    @property
    def n_samples(self) -> int:
        """Samples per channel in all frames of sound."""
        return self.n_frames * self.header.n_samples

    @property
    def is_constant(self) -> bool:
        """Whether all frames are of one bitrate: they differ by their padding at most."""
        padding_bytes = 4 if self.header.layer == 1 else 1
        return max(self.lengths) - min(self.lengths) <= padding_bytes


@dataclass(slots=True)
class MpegWalk:
    """What was found in a file.

    Attributes
    ----------
    streams : list of MpegStream
        In order; at least one, each with at least one frame of sound.
    n_leading_bytes : int
        Bytes before the first frame that are neither a frame nor a tag, or belong to an encoder's
        header whose frames are missing.
    n_junk_bytes : int
        Bytes between frames that are neither frames nor tags.
    n_trailing_bytes : int
        Bytes behind the last frame that are neither.
    is_last_frame_cut : bool
        Whether the file ends inside a frame.
    """

    streams: list[MpegStream] = field(default_factory=list)
    n_leading_bytes: int = 0
    n_junk_bytes: int = 0
    n_trailing_bytes: int = 0
    is_last_frame_cut: bool = False


def walk_mpeg_frames(descriptor: int, n_bytes: int) -> MpegWalk:
    """Find every frame of a file of MPEG audio, layers I to III.

    Parameters
    ----------
    descriptor : int
        The open file; its position is left alone.
    n_bytes : int
        Size of the file.

    Raises
    ------
    DecodeError
        With code damaged (no frame, too many streams), truncated (an encoder's header, and no
        frame behind it) or unsupported-format (free format).
    OSError
        If it cannot be read.
    """
    walker = _Walker(descriptor, audio_end(descriptor, n_bytes))
    walker.walk()
    streams = [stream for stream in walker.found.streams if stream.n_frames]
    _check_last(walker.found.streams)
    if not streams and walker.has_free_format:
        raise DecodeError(
            "unsupported-format", "MPEG audio in free format: its frames do not say their length"
        )
    if not streams:
        raise DecodeError("damaged", "no frame of MPEG audio is found in the file")
    empty = [stream for stream in walker.found.streams if not stream.n_frames]
    walker.found.n_leading_bytes += sum(stream.encoder_frame[1] for stream in empty)
    walker.found.streams = streams
    return walker.found


def _check_last(streams: list[MpegStream]) -> None:
    """Refuse a file that ends where the frames should begin that an encoder's header announces."""
    last = streams[-1] if streams else None
    if last is None or last.n_frames or last.encoder_header is None:
        return
    if last.encoder_header.n_frames:
        raise DecodeError(
            "truncated",
            f"an encoder's header announces {last.encoder_header.n_frames} MPEG frames, and none "
            "follows",
        )


class _Walker:
    """The state of a walk: a window on the file, and what was found so far."""

    def __init__(self, descriptor: int, end: int) -> None:
        self._descriptor = descriptor
        self._end = end
        self._start = 0
        self._window = b""
        self._n_gaps = 0
        self._last_frame = 0
        self._known_lengths: dict[bytes, int] = {}
        self.has_free_format = False
        self.found = MpegWalk()

    def walk(self) -> None:
        """Go from frame to frame, over tags and junk, to the end of the audio."""
        at = 0
        while at < self._end:
            begin = self._find_frame(at)
            if begin is None:
                self.found.n_trailing_bytes = self._end - at
                return
            if self.found.streams:
                self._count_gap(begin - at)
            else:
                self.found.n_leading_bytes += begin - at
            tag_bytes = front_tag_bytes(self._look(begin, APE_FOOTER_BYTES))
            at = begin + tag_bytes if tag_bytes else self._follow(begin)

    def _count_gap(self, n_bytes: int) -> None:
        self._n_gaps += 1
        self.found.n_junk_bytes += n_bytes
        if self._n_gaps > MAX_GAPS or self.found.n_junk_bytes > MAX_SEARCH_BYTES:
            raise DecodeError(
                "damaged",
                f"the row of MPEG frames is broken {self._n_gaps} times, by "
                f"{self.found.n_junk_bytes} bytes that are no audio",
            )

    def _look(self, at: int, n_bytes: int) -> bytes:
        """Give bytes of the file from a place on; fewer at the end of the audio."""
        window_end = self._start + len(self._window)
        is_inside = self._start <= at and (at + n_bytes <= window_end or window_end >= self._end)
        if not is_inside:
            self._start = at
            self._window = os.pread(self._descriptor, max(0, min(WINDOW_BYTES, self._end - at)), at)
        return self._window[at - self._start : at - self._start + n_bytes]

    def _find_frame(self, at: int) -> int | None:
        """Give the first place from `at` on where frames or, right there, a tag begin."""
        if front_tag_bytes(self._look(at, APE_FOOTER_BYTES)) or self._is_believable(at):
            return at
        for begin in range(at, min(self._end, at + MAX_SEARCH_BYTES), SEARCH_BYTES):
            for match in _SYNC.finditer(self._look(begin, SEARCH_BYTES + 1)):
                candidate = begin + match.start()
                if self._is_believable(candidate):
                    return candidate
        return None

    def _is_believable(self, at: int) -> bool:
        """Whether a row of like frames begins here; the end of the audio may cut it short."""
        first = parse_frame_header(self._look(at, HEADER_BYTES))
        if first is None or not first.n_bytes:
            self.has_free_format |= first is not None
            return False
        streams = self.found.streams
        is_expected = not streams or first.is_like(streams[-1].header)
        at += first.n_bytes
        for _ in range(FRAMES_TO_BELIEVE - 1):
            if at >= self._end:
                return is_expected
            header = parse_frame_header(self._look(at, HEADER_BYTES))
            if header is None or not header.n_bytes:
                return is_expected and front_tag_bytes(self._look(at, APE_FOOTER_BYTES)) > 0
            if not header.is_like(first):
                return False
            at += header.n_bytes
        return True

    def _follow(self, at: int) -> int:
        """Take in the frames from `at` on as long as one follows the other; give their end."""
        at = self._begin_stream(at)
        stream = self.found.streams[-1]
        begin = at
        while (step := self._step(at, stream)) is not None:
            n_frames, at = step
            stream.n_frames += n_frames
        if at > begin:
            self._end_run(stream, begin, at)
        return at

    def _end_run(self, stream: MpegStream, begin: int, end: int) -> None:
        stream.lengths.update(self._known_lengths.values())
        if end > self._end:
            self.found.is_last_frame_cut = True
            stream.n_frames -= 1
            end = self._last_frame
        if end > begin:
            stream.runs.append((begin, end - begin))

    def _begin_stream(self, at: int) -> int:
        """Open another stream where an encoder's header or a new format asks for one."""
        head = self._look(at, ENCODER_HEADER_BYTES)
        header = parse_frame_header(head)
        assert header is not None  # the caller has looked
        encoder_header = find_encoder_header(head, header)
        streams = self.found.streams
        if encoder_header is None and streams and header.is_like(streams[-1].header):
            return at
        self._known_lengths = {}
        if len(streams) == MAX_STREAMS:
            raise DecodeError("damaged", f"more than {MAX_STREAMS} MPEG streams are joined")
        if encoder_header is None:
            streams.append(MpegStream(header))
            return at
        streams.append(MpegStream(header, encoder_header, (at, header.n_bytes)))
        return at + header.n_bytes

    def _step(self, at: int, stream: MpegStream) -> tuple[int, int] | None:
        """Pass the frames in the window; give their number and end, None when there is none."""
        head = self._look(at, ENCODER_HEADER_BYTES)
        header = parse_frame_header(head)
        if header is None or not header.n_bytes or not header.is_like(stream.header):
            return None
        if find_encoder_header(head, header) is not None:
            return None
        self._known_lengths[head[:HEADER_BYTES]] = header.n_bytes
        known, window, mark_at = self._known_lengths, self._window, mark_offset(header)
        n_frames, place, last = 0, at - self._start, at - self._start
        while length := known.get(window[place : place + HEADER_BYTES]):
            if window[place + mark_at : place + mark_at + 4] in ENCODER_MARKS:
                break
            last = place
            place += length
            n_frames += 1
        self._last_frame = self._start + last
        return (n_frames, self._start + place) if n_frames else None
