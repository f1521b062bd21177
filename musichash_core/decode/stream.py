"""One audio file, from its open descriptor to blocks of mono samples.

The file arrives as a descriptor, so that names never reach a decoder, and its content decides
which one. What the container announces is compared with what came out: short audio is a failure,
never silently fine.

Public: `AudioStream`.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from musichash_core.decode.ffmpeg.ffmpeg_reader import FFMPEG_CONTAINERS, FfmpegReader
from musichash_core.decode.foreign_content import FORMAT_NAMES
from musichash_core.decode.limits import DecodeConfig
from musichash_core.decode.reader import UNKNOWN_FRAMES, AudioInfo
from musichash_core.decode.resampling import resample_blocks
from musichash_core.decode.safe_open import reading
from musichash_core.decode.sndfile.complete_reader import open_complete
from musichash_core.decode.sndfile.completeness import check_complete
from musichash_core.decode.sndfile.joined_reader import JoinedReader
from musichash_core.decode.sndfile.sndfile_reader import SNDFILE_CONTAINERS
from musichash_core.decode.sniffing import find_container
from musichash_core.decode.tags import AudioTags, read_tags, tags_from_metadata
from musichash_core.errors import DecodeError

MAX_SANE_SAMPLE = 1e4
"""Float files may exceed 1; a sample beyond +80 dBFS is damage, not music."""


class AudioStream:
    """One audio file being decoded; a context manager that owns its descriptor.

    Parameters
    ----------
    descriptor : int
        Open file, positioned at its start; closed by this object.
    config : DecodeConfig
        Limits, checked before the first sample where the header tells, and while reading.

    Attributes
    ----------
    info : AudioInfo
        What the container says.
    n_frames : int
        Frames decoded so far.
    warnings : tuple of str
        Set after the last block; see `musichash_core.decode.sndfile.complete_reader.open_complete`,
        `musichash_core.decode.sndfile.completeness.check_complete` and `FfmpegReader`.
    tags : AudioTags
        Set after the last block.

    Raises
    ------
    DecodeError
        With code empty, not-audio, unsupported-format, truncated, damaged, over-limit, too-long,
        changed-while-reading, memory or read-error.
    """

    def __init__(self, descriptor: int, config: DecodeConfig) -> None:
        self._descriptor = descriptor
        self._config = config
        self._reader: JoinedReader | FfmpegReader | None = None
        self.n_frames = 0
        self.warnings: tuple[str, ...] = ()
        self.tags = AudioTags()
        try:
            with reading():
                self._before = os.fstat(descriptor)
            with self._blaming_changes():
                with reading():
                    container = find_container(descriptor)
                self._reader = _open_reader(descriptor, container)
                self.info: AudioInfo = self._reader.info
                _check_limits(self.info, config)
        except BaseException:
            self.close()
            raise

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Decode to the end, one mono block at a time, at the file's own rate.

        Channels are averaged. After the last block the length is compared with what the container
        announced and the file with what it was when it was opened.

        Yields
        ------
        (n,) float32
            At most `musichash_core.decode.reader.BLOCK_FRAMES` samples.

        Raises
        ------
        DecodeError
            With code truncated, damaged, empty, too-short, too-long, changed-while-reading or
            read-error.
        """
        if self._reader is None:
            return
        with self._blaming_changes():
            yield from self._decode(self._reader)

    def _decode(self, reader: JoinedReader | FfmpegReader) -> Iterator[NDArray[np.float32]]:
        longest = self._config.max_duration_s * self.info.sr
        while len(frames := reader.read()) > 0:
            self.n_frames += len(frames)
            if self.n_frames > longest:
                raise DecodeError(
                    "too-long",
                    f"more than {self._config.max_duration_s:.0f} s of audio; "
                    "decode.max_duration_s sets the limit",
                )
            yield self._down_mix(frames)
        self._check_end(reader)

    def _down_mix(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        highest, lowest = float(frames.max()), float(frames.min())
        if not (highest <= MAX_SANE_SAMPLE and lowest >= -MAX_SANE_SAMPLE):
            worst = highest if highest > -lowest else lowest
            at_s = self.n_frames / self.info.sr
            raise DecodeError("damaged", f"a sample near {at_s:.2f} s has the value {worst:g}")
        mono = frames[:, 0].copy()
        for channel in range(1, frames.shape[1]):  # many times faster than a mean over axis 1
            mono += frames[:, channel]
        mono *= np.float32(1 / frames.shape[1])
        return mono

    @contextmanager
    def _blaming_changes(self) -> Iterator[None]:
        """When the file has changed meanwhile, say so, and not what followed from it."""
        try:
            yield
        except DecodeError as error:
            if self._has_changed():
                raise _changed() from error
            raise

    def _has_changed(self) -> bool:
        with reading():
            after = os.fstat(self._descriptor)
        before = self._before
        return (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns)

    def _check_end(self, reader: JoinedReader | FfmpegReader) -> None:
        info = self.info
        if self._has_changed():
            raise _changed()
        self.warnings = reader.warnings
        if isinstance(reader, JoinedReader):  # FFmpeg's compares for itself
            self.warnings += check_complete(reader.info, self.n_frames)
            self.tags = read_tags(self._descriptor, info.container)
        else:
            self.tags = tags_from_metadata(reader.metadata)
        if self.n_frames == 0:
            raise DecodeError("empty", "the container holds no samples")
        duration_s = self.n_frames / info.sr
        if duration_s < self._config.min_duration_s:
            raise DecodeError(
                "too-short",
                f"{duration_s:.2f} s of audio; decode.min_duration_s asks for "
                f"{self._config.min_duration_s:.2f} s",
            )

    def resampled(self, sr: int) -> Iterator[NDArray[np.float32]]:
        """Decode like `blocks`, resampled to `sr` with soxr at high quality.

        Yields
        ------
        (n,) float32
            Mono samples at `sr` Hz.
        """
        yield from resample_blocks(self.blocks(), self.info.sr, sr)

    def close(self) -> None:
        """Close the decoder and the descriptor; safe to repeat."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _changed() -> DecodeError:
    return DecodeError("changed-while-reading", "size or time changed while it was read")


def _open_reader(descriptor: int, container: str) -> JoinedReader | FfmpegReader:
    if container in FFMPEG_CONTAINERS:
        return FfmpegReader(descriptor, container)
    if container in SNDFILE_CONTAINERS or container == "ogg-unknown":  # which says what it is
        return open_complete(descriptor, container)
    is_decoded = SNDFILE_CONTAINERS | FFMPEG_CONTAINERS
    decoded = ", ".join(name for key, name in FORMAT_NAMES.items() if key in is_decoded)
    raise DecodeError(
        "unsupported-format", f"the content is {FORMAT_NAMES[container]}; decoded are {decoded}"
    )


def _check_limits(info: AudioInfo, limits: DecodeConfig) -> None:
    if not limits.min_sr_hz <= info.sr <= limits.max_sr_hz:
        raise DecodeError(
            "over-limit",
            f"sample rate {info.sr} Hz; allowed are {limits.min_sr_hz} to {limits.max_sr_hz} Hz",
        )
    if info.n_channels > limits.max_channels:
        raise DecodeError(
            "over-limit", f"{info.n_channels} channels; allowed are {limits.max_channels}"
        )
    if limits.max_duration_s * info.sr < info.claimed_frames < UNKNOWN_FRAMES:
        raise DecodeError(
            "too-long",
            f"the header announces {info.claimed_frames / info.sr:.0f} s of audio; "
            f"decode.max_duration_s allows {limits.max_duration_s:.0f} s",
        )
