"""Walk a container's parts before FFmpeg sees them, each kind by its own rules.

Public: `walk_container`, `view_audio`.
"""

import os

from musichash_core.decode.byte_runs import ByteRuns
from musichash_core.decode.ffmpeg.asf_objects import check_asf
from musichash_core.decode.ffmpeg.container_facts import ContainerFacts
from musichash_core.decode.ffmpeg.file_window import FileWindow
from musichash_core.decode.ffmpeg.frame_walks import check_ac3, check_adts
from musichash_core.decode.ffmpeg.lossless_headers import check_dsf, check_tta, check_wavpack
from musichash_core.decode.ffmpeg.matroska_elements import check_matroska
from musichash_core.decode.ffmpeg.mp4_boxes import check_mp4
from musichash_core.decode.ogg_pages import OggStream, walk_ogg_pages
from musichash_core.decode.reader import TRAILER_BYTES
from musichash_core.decode.sniffing import skip_id3
from musichash_core.decode.tag_blocks import ID3V1_BYTES, audio_end
from musichash_core.errors import DecodeError

_WHOLE_FILE = {"mp4": check_mp4, "asf": check_asf, "matroska": check_matroska, "dsf": check_dsf}
_BEHIND_TAGS = {
    "aac-adts": check_adts,
    "ac3": check_ac3,
    "eac3": check_ac3,
    "wavpack": check_wavpack,
    "tta": check_tta,
}
_READS_TAGS = frozenset({"aac-adts", "tta"})
"""FFmpeg's demuxers that read ID3v2 tags before the audio; others stumble over them."""

_OGG_MARKS = {"ogg-flac": b"\x7fFLAC", "ogg-speex": b"Speex   "}
_FLAC_LENGTH_AT = 27
"""In the first packet of FLAC in Ogg: 64 bits, of which the lower 36 are the length in frames."""


def walk_container(descriptor: int, container: str) -> ContainerFacts:
    """Check that all parts of a file are there, and read what it promises of its audio.

    Parameters
    ----------
    descriptor : int
        The open file; its position is left alone.
    container : str
        A key of `musichash_core.decode.ffmpeg.ffmpeg_input.CONTAINER_CODECS`.

    Raises
    ------
    DecodeError
        With code truncated, damaged or unsupported-format.
    OSError
        If it cannot be read.
    """
    if container in _OGG_MARKS:
        return _walk_ogg(descriptor, container)
    file = FileWindow(descriptor)
    if container in _WHOLE_FILE:
        return _WHOLE_FILE[container](file)
    return _BEHIND_TAGS[container](file, skip_id3(descriptor))


def _walk_ogg(descriptor: int, container: str) -> ContainerFacts:
    walk = walk_ogg_pages(descriptor, os.fstat(descriptor).st_size)
    if len(walk.links) > 1:
        raise DecodeError(
            "unsupported-format",
            f"a chain of {len(walk.links)} streams of {container}: only single ones are decoded",
        )
    streams = [
        stream
        for link in walk.links
        for stream in link.values()
        if stream.first_packet.startswith(_OGG_MARKS[container])
    ]
    if not streams:
        raise DecodeError("damaged", f"no stream of the Ogg file begins as {container} does")
    stream = streams[0]
    named = {
        "several-streams": len(streams) > 1,
        "pages-missing": stream.has_gap,
        "no-end-mark": not stream.is_ended,
        "data-after-end": walk.n_trailing_bytes > TRAILER_BYTES,
    }
    return ContainerFacts(
        length_frames=_flac_frames(stream) if container == "ogg-flac" else None,
        warnings=tuple(name for name, is_so in named.items() if is_so),
    )


def _flac_frames(stream: OggStream) -> int | None:
    """Give the length by the FLAC header in a stream's first packet; None when it leaves it out."""
    field = stream.first_packet[_FLAC_LENGTH_AT : _FLAC_LENGTH_AT + 8]
    n_frames = int.from_bytes(field, "big") & 0xF_FFFF_FFFF
    return n_frames or None


def view_audio(descriptor: int, container: str, facts: ContainerFacts) -> ByteRuns:
    """Give the part of the file that FFmpeg shall see.

    Its demuxers stumble over most tags before and behind the audio. Those of WavPack, which have
    their reader nowhere else, it reads when nothing follows them.
    """
    file = FileWindow(descriptor)
    start = 0 if container in _READS_TAGS else skip_id3(descriptor)
    end = file.n_bytes if facts.audio_end is None else facts.audio_end
    if container == "wavpack" and audio_end(descriptor, file.n_bytes) == end:
        has_id3v1 = file.read_at(file.n_bytes - ID3V1_BYTES, 3) == b"TAG"
        end = file.n_bytes - ID3V1_BYTES * has_id3v1
    return ByteRuns(descriptor, ((start, end - start),))
