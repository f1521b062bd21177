"""Decode with FFmpeg what libsndfile lacks: AAC, ALAC, WMA, Matroska, AC-3, WavPack, TTA, DSF...

Before FFmpeg sees a file, a walk over its container's parts checks that they are all there; after
the last block, what came out is compared with what the container announces. FFmpeg alone plays
what it finds of a truncated file, without an error.

Public: `FfmpegReader`, `FFMPEG_CONTAINERS`.
"""

from collections.abc import Iterator
from itertools import chain

import av
import numpy as np
from av.audio.stream import AudioStream as FfmpegStream
from av.container import InputContainer
from av.stream import Discard, Disposition
from numpy.typing import NDArray

from musichash_core.decode.ffmpeg.container_walks import view_audio, walk_container
from musichash_core.decode.ffmpeg.ffmpeg_input import (
    CONTAINER_CODECS,
    ffmpeg_at_work,
    open_container,
)
from musichash_core.decode.ffmpeg.frame_blocks import FrameBlocks
from musichash_core.decode.reader import BLOCK_FRAMES, SLACK_S, UNKNOWN_FRAMES, AudioInfo
from musichash_core.decode.safe_open import reading
from musichash_core.errors import DecodeError

FFMPEG_CONTAINERS = frozenset(CONTAINER_CODECS)
"""Containers, as `musichash_core.decode.sniffing` names them, that FFmpeg decodes."""

MAX_PADDING_FRAMES = 8_192
"""What codings add behind the last sample, at most two packets; more is audio."""

MAX_SR_HZ = 2_000_000
MAX_CHANNELS = 64
"""Beyond any limit that can be configured: refused before a decoder makes room for it."""

MAX_FRAME_SAMPLES = 1 << 20
"""Frames in one packet of any coding stay below (TTA at 768 kHz has 800,000)."""

STRICT_DECODING = {
    "err_detect": "crccheck+bitstream+buffer+explode",
    "max_samples": str(MAX_FRAME_SAMPLES),
}
"""Checksums are compared and errors reported, instead of a guess at the missing sound."""


class FfmpegReader:
    """A `musichash_core.decode.reader.BlockReader` over FFmpeg.

    Parameters
    ----------
    descriptor : int
        Open file; read by position only, and the caller closes it.
    container : str
        One of `FFMPEG_CONTAINERS`.

    Attributes
    ----------
    info : AudioInfo
        Sample rate and channels are those of the first decoded frame: the container of HE-AAC
        announces half the rate.
    metadata : dict of str to str
        The tags of the container and of the stream, as they are called there.
    warnings : tuple of str
        Complete after the last block: ``several-streams`` (the default one or the first was
        decoded), ``length-differs``, ``data-after-end``, and for Ogg ``pages-missing`` and
        ``no-end-mark``.

    Raises
    ------
    DecodeError
        With code unsupported-format, truncated, damaged, over-limit, empty, memory or read-error.
    """

    def __init__(self, descriptor: int, container: str) -> None:
        self._container: InputContainer | None = None
        with reading():
            self._facts = walk_container(descriptor, container)
            self._view = view_audio(descriptor, container, self._facts)
        self.warnings = self._facts.warnings
        self._container = open_container(self._view, container)
        try:
            self._stream = self._choose_stream(container)
            self.metadata = {**self._container.metadata, **self._stream.metadata}
            frames = self._decode(self._container, self._stream)
            first = _first_frame(frames, container)
            self.info = self._describe(container, first)
        except BaseException:
            self.close()
            raise
        self._frames: Iterator[av.AudioFrame] = chain([first], frames)
        self._blocks = FrameBlocks(self.info.n_channels)
        self._n_decoded = 0
        self._is_ended = False

    def read(self) -> NDArray[np.float32]:
        """Decode the next frames; see `BlockReader`."""
        # Padding is known as such at the end only: as much as it can be is always held back.
        while not self._is_ended and self._blocks.n_waiting < BLOCK_FRAMES + MAX_PADDING_FRAMES:
            frame = next(self._frames, None)
            if frame is None:
                self._is_ended = True
                self._check_length()
            else:
                self._check_same(frame)
                with ffmpeg_at_work(self._view, "a decoded frame cannot be read"):
                    self._blocks.add(frame)
                self._n_decoded += frame.samples
        return self._blocks.take()

    def close(self) -> None:
        """Free the decoder; the descriptor stays open. Safe to repeat."""
        if self._container is not None:
            self._frames = iter(())
            self._container.close()
            self._container = None

    def _choose_stream(self, container: str) -> FfmpegStream:
        assert self._container is not None
        streams = self._container.streams.audio
        if not streams:
            raise DecodeError("unsupported-format", f"the {container} file has no audio stream")
        if len(streams) > 1 and "several-streams" not in self.warnings:
            self.warnings += ("several-streams",)
        defaults = [stream for stream in streams if stream.disposition & Disposition.default]
        chosen = (defaults or list(streams))[0]
        for stream in self._container.streams:
            if stream is not chosen:
                stream.discard = Discard.all
        _, codecs = CONTAINER_CODECS[container]
        context = chosen.codec_context
        codec = None if context is None else context.name
        if codec not in codecs:
            raise DecodeError(
                "unsupported-format",
                f"the {container} file holds {codec or 'an unknown coding'}; "
                f"decoded are {', '.join(sorted(codecs))}",
            )
        return chosen

    def _decode(self, container: InputContainer, stream: FfmpegStream) -> Iterator[av.AudioFrame]:
        """Give the decoded frames, packet by packet."""
        context = stream.codec_context
        if context.sample_rate > MAX_SR_HZ or context.channels > MAX_CHANNELS:
            raise DecodeError(
                "over-limit", f"{context.channels} channels at {context.sample_rate} Hz"
            )
        context.thread_count = 1
        context.options = STRICT_DECODING
        packets = container.demux(stream)
        while True:
            with ffmpeg_at_work(self._view, "the container cannot be read further"):
                packet = next(packets, None)
                if packet is None:
                    return
                _check_packet(packet, self._view.n_bytes)
                frames = packet.decode()
            yield from frames

    def _describe(self, container: str, first: av.AudioFrame) -> AudioInfo:
        sr, context = first.sample_rate, self._stream.codec_context
        announced = self._announced_frames(container, sr)
        return AudioInfo(
            container=container,
            codec=context.codec.canonical_name.upper(),
            sr=sr,
            n_channels=first.layout.nb_channels,
            claimed_frames=UNKNOWN_FRAMES if announced is None else announced,
        )

    def _announced_frames(self, container: str, sr: int) -> int | None:
        """Give the length that the container announces, in frames; None when it does not say."""
        facts, stream = self._facts, self._stream
        if facts.length_frames is not None:
            return facts.length_frames
        start_s = max(0.0, _seconds(stream, stream.start_time))  # sound may begin later
        if stream.id in facts.track_ends_s:
            return round(max(0.0, facts.track_ends_s[stream.id] - start_s) * sr)
        if facts.length_s is not None:
            # With a film the length may be that of its pictures.
            return round(max(0.0, facts.length_s - start_s) * sr) if self._is_alone() else None
        if container.startswith("ogg-") and stream.duration is not None:
            return round(_seconds(stream, stream.duration) * sr)
        return None

    def _is_alone(self) -> bool:
        """Whether no other stream beside pictures of the cover has a share in the length."""
        assert self._container is not None
        return not any(
            stream is not self._stream
            and stream.type in {"audio", "video", "subtitle"}
            and not stream.disposition & Disposition.attached_pic
            for stream in self._container.streams
        )

    def _check_same(self, frame: av.AudioFrame) -> None:
        sr, n_channels = frame.sample_rate, frame.layout.nb_channels
        if (sr, n_channels) != (self.info.sr, self.info.n_channels):
            at_s = self._n_decoded / self.info.sr
            raise DecodeError(
                "damaged",
                f"{self.info.n_channels} channels at {self.info.sr} Hz become {n_channels} at "
                f"{sr} Hz, at {at_s:.2f} s",
            )

    def _check_length(self) -> None:
        """Compare what came out with what was announced, and drop the padding at the end."""
        announced, sr = self.info.claimed_frames, self.info.sr
        if announced >= UNKNOWN_FRAMES:
            return
        missing = announced - self._n_decoded
        is_exact = self._facts.length_frames is not None
        if missing > (0 if is_exact else SLACK_S * sr):
            raise DecodeError(
                "truncated",
                f"{self._n_decoded} frames decoded, the container announces {announced}",
            )
        marks_padding = is_exact or bool(self._facts.track_ends_s)
        if marks_padding and -MAX_PADDING_FRAMES <= missing < 0:
            self._blocks.cut(-missing)
            return
        is_different = abs(missing) > self._facts.tolerance_s * sr
        if is_different and "length-differs" not in self.warnings:
            self.warnings += ("length-differs",)


def _check_packet(packet: "av.Packet[FfmpegStream]", n_bytes: int) -> None:
    """Refuse a packet that FFmpeg could not read whole; it gives what there is."""
    if packet.is_corrupt:
        is_last = packet.pos is not None and packet.pos + packet.size >= n_bytes
        code = "truncated" if is_last else "damaged"
        raise DecodeError(code, f"the packet at byte {packet.pos} is incomplete")


def _first_frame(frames: Iterator[av.AudioFrame], container: str) -> av.AudioFrame:
    first = next(frames, None)
    if first is None:
        raise DecodeError("empty", f"the {container} file holds no samples")
    return first


def _seconds(stream: FfmpegStream, ticks: int | None) -> float:
    return float(ticks * stream.time_base) if ticks and stream.time_base else 0.0
