"""The streams of an MP3 file, each with a header that tells the truth about its length.

libsndfile plays as many frames as the encoder's header announces, and where there is no such header
as many as the first frame's bitrate suggests: of a file of variable bitrate without one it may
play a quarter. Here the frames have been counted. Where a header is wrong or missing, the decoder
is shown one with the count that was found, and each of several joined files by itself.

Public: `find_mpeg_parts`.
"""

import os
import struct

from musichash_core.decode.byte_runs import Run
from musichash_core.decode.reader import SLACK_S, TRAILER_BYTES
from musichash_core.decode.sndfile.mpeg_frames import HEADER_BYTES, make_count_frame
from musichash_core.decode.sndfile.mpeg_walk import (
    MAX_SEARCH_BYTES,
    MpegStream,
    MpegWalk,
    walk_mpeg_frames,
)
from musichash_core.decode.sndfile.sound_parts import SoundPart, SoundParts
from musichash_core.errors import DecodeError


def find_mpeg_parts(descriptor: int, n_bytes: int) -> SoundParts:
    """Walk an MPEG audio file and give its streams.

    Returns
    -------
    SoundParts
        Several when files were joined, or the sample rate or the channels change. With warnings:
        ``header-lies`` (more frames than the encoder's header announces), ``junk-skipped`` (bytes
        between the frames that are no audio, worth at most `SLACK_S` of sound),
        ``last-frame-cut`` (the file ends inside a frame, and no header announced more) and
        ``data-after-end`` (more than `TRAILER_BYTES` behind the last frame).

    Raises
    ------
    DecodeError
        With code truncated, damaged or unsupported-format.
    OSError
        If the file cannot be read.
    """
    walk = walk_mpeg_frames(descriptor, n_bytes)
    for stream in walk.streams:
        _check_announced(stream)
    _check_junk(walk)
    return SoundParts(
        tuple(_part(descriptor, walk, stream) for stream in walk.streams), _warnings(walk)
    )


def _announced(stream: MpegStream) -> int | None:
    return stream.encoder_header.n_frames if stream.encoder_header else None


def _check_announced(stream: MpegStream) -> None:
    missing = (_announced(stream) or 0) - stream.n_frames
    if missing * stream.header.n_samples > SLACK_S * stream.header.sr:
        raise DecodeError(
            "truncated",
            f"{stream.n_frames} MPEG frames are there, the encoder's header announces "
            f"{_announced(stream)}",
        )


def _check_junk(walk: MpegWalk) -> None:
    duration_s = sum(stream.n_samples / stream.header.sr for stream in walk.streams)
    n_bytes = sum(length for stream in walk.streams for _, length in stream.runs)
    junk_s = walk.n_junk_bytes * duration_s / n_bytes
    if junk_s > SLACK_S:
        raise DecodeError(
            "damaged",
            f"{walk.n_junk_bytes} bytes between the MPEG frames are no audio: about {junk_s:.2f} s "
            f"are lost, allowed are {SLACK_S} s",
        )
    last = walk.streams[-1]
    is_as_announced = last.n_frames == _announced(last)
    if walk.n_trailing_bytes > MAX_SEARCH_BYTES and not is_as_announced:
        raise DecodeError(
            "damaged", f"the last {walk.n_trailing_bytes} bytes of the file are no MPEG audio"
        )


def _warnings(walk: MpegWalk) -> tuple[str, ...]:
    warnings = {
        "header-lies": any(_is_understated(stream) for stream in walk.streams),
        "junk-skipped": walk.n_junk_bytes > 0,
        "last-frame-cut": walk.is_last_frame_cut and _announced(walk.streams[-1]) is None,
        "data-after-end": walk.n_trailing_bytes > TRAILER_BYTES,
    }
    return tuple(name for name, is_met in warnings.items() if is_met)


def _is_understated(stream: MpegStream) -> bool:
    announced = _announced(stream)
    return announced is not None and announced < stream.n_frames


def _part(descriptor: int, walk: MpegWalk, stream: MpegStream) -> SoundPart:
    announced = _announced(stream)
    is_guess_right = stream.encoder_header is None and stream.is_constant
    is_header_right = announced is not None and announced >= stream.n_frames
    is_alone = len(walk.streams) == len(stream.runs) == 1 and walk.n_leading_bytes == 0
    n_frames = stream.n_samples if stream.encoder_header is None else None
    if is_alone and (is_guess_right or is_header_right):
        return SoundPart(None, n_frames)
    if is_guess_right:
        return SoundPart(tuple(stream.runs), n_frames)
    encoder_frame = stream.encoder_frame if is_header_right else _true_header(descriptor, stream)
    return SoundPart((encoder_frame, *stream.runs))


def _true_header(descriptor: int, stream: MpegStream) -> Run:
    """Give the frame that announces how many frames follow: the file's, corrected, or a new one."""
    if stream.encoder_header and stream.encoder_header.count_at is not None:
        start, length = stream.encoder_frame
        frame = os.pread(descriptor, length, start)
        at = stream.encoder_header.count_at
        return frame[:at] + struct.pack(">I", stream.n_frames) + frame[at + 4 :]
    if stream.header.layer != 3:
        raise DecodeError(
            "unsupported-format",
            f"MPEG layer {stream.header.layer} audio of variable bitrate; decoded are MPEG "
            "layer III, and layers I and II of constant bitrate",
        )
    return make_count_frame(os.pread(descriptor, HEADER_BYTES, stream.runs[0][0]), stream.n_frames)
