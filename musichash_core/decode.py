"""Audio file to blocks of mono float32 samples: the only reader of audio in the project.

The file arrives as an open descriptor, so that names never reach a decoder. libsndfile decodes it
in blocks through ``sf_readf_float``: python-soundfile's own ``read`` seeks after every call, and
on a valid VBR MP3 the samples after a seek are wrong. What the container announces is compared
with what came out: short audio is a failure, never silently fine.

Public: `DecodeConfig`, `AudioInfo`, `open_beneath`, `AudioStream`, `resample_blocks`.
"""

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from musichash_core.container_checks import UNKNOWN_FRAMES, check_complete
from musichash_core.errors import DecodeError
from musichash_core.sniffing import (
    HEAD_BYTES,
    SUPPORTED_CONTAINERS,
    id3_bytes,
    sniff_container,
)

BLOCK_FRAMES = 65_536
"""Frames per read; fixed, because decoders and the resampler may round differently by block."""

MAX_TAGS = 8
"""ID3v2 tags that are skipped before the audio; more than two are not seen in the wild."""

SYSTEM_ERROR = 2
"""libsndfile's number for "the operating system returned an error"."""

UNIMPLEMENTED_ERROR = 18
"""libsndfile's number for a known container with a coding that it does not have."""

NO_MPEG_FRAME = "no frame of MPEG audio is found"
"""libsndfile says "file does not exist or is not a regular file" then, which misleads."""

MAX_SANE_SAMPLE = 1e4
"""Float files may exceed 1; a sample beyond +80 dBFS is damage, not music."""


class DecodeConfig(BaseModel):
    """Limits that an audio file must keep; they bound time and memory per track."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_duration_s: float = Field(
        default=1.0, gt=0, allow_inf_nan=False, description="shorter audio is refused, seconds"
    )
    max_duration_s: float = Field(
        default=4 * 3600.0,
        gt=0,
        allow_inf_nan=False,
        description="longer audio is refused, seconds",
    )
    min_sr_hz: int = Field(default=4_000, ge=1_000, description="lowest sample rate accepted, Hz")
    max_sr_hz: int = Field(
        default=768_000, le=2_000_000, description="highest sample rate accepted, Hz"
    )
    max_channels: int = Field(default=32, ge=1, le=1024, description="most channels accepted")

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.min_duration_s > self.max_duration_s:
            raise ValueError(
                f"min_duration_s={self.min_duration_s} exceeds max_duration_s={self.max_duration_s}"
            )
        if self.min_sr_hz > self.max_sr_hz:
            raise ValueError(f"min_sr_hz={self.min_sr_hz} exceeds max_sr_hz={self.max_sr_hz}")
        return self


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """What the container says of its audio.

    Attributes
    ----------
    container : str
        As `sniff_container` names it.
    codec : str
        libsndfile's name of the sample coding, for example ``VORBIS`` or ``PCM_16``.
    sr : int
        Sample rate, Hz.
    n_channels : int
        Channels before the down-mix.
    claimed_frames : int
        Length that the header announces, in frames; may be a lie or unknown (huge).
    """

    container: str
    codec: str
    sr: int
    n_channels: int
    claimed_frames: int


def open_beneath(root: str, path_raw: bytes) -> int:
    """Open a file below a catalogue root, following no link and never blocking.

    Each component is opened relative to its parent with ``O_NOFOLLOW``; ``..`` and absolute paths
    are refused; pipes and devices do not block.

    Parameters
    ----------
    root : str
        The catalogue root; may itself be a link.
    path_raw : bytes
        Path below it, as the file system spells it.

    Returns
    -------
    int
        A descriptor of a regular file; the caller closes it.

    Raises
    ------
    DecodeError
        With code outside-root, not-a-regular-file, vanished, permission or read-error.
    """
    parts = path_raw.split(b"/")
    if path_raw.startswith(b"/") or b".." in parts or b"\0" in path_raw:
        raise DecodeError("outside-root", f"path {path_raw!r} does not stay below the root {root}")
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        parent = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        for part in parts[:-1]:
            child = _open_at(parent, part, flags | os.O_DIRECTORY)
            parent = child
        descriptor = _open_at(parent, parts[-1], flags)
    except OSError as error:
        raise _as_decode_error(error, path_raw) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise DecodeError("not-a-regular-file", f"{path_raw!r} is not a regular file")
    return descriptor


def _open_at(parent: int, name: bytes, flags: int) -> int:
    try:
        return os.open(name, flags, dir_fd=parent)
    finally:
        os.close(parent)


def _as_decode_error(error: OSError, path_raw: bytes) -> DecodeError:
    code = {
        errno.ENOENT: "vanished",
        errno.EACCES: "permission",
        errno.EPERM: "permission",
        errno.ELOOP: "not-a-regular-file",
        errno.ENOTDIR: "not-a-regular-file",
        errno.ENXIO: "not-a-regular-file",
    }.get(error.errno or 0, "read-error")
    return DecodeError(code, f"{path_raw!r} cannot be opened: {error.strerror}")


@contextmanager
def _reading() -> Iterator[None]:
    """Turn what the operating system says about reading a file into a failure of that file."""
    try:
        yield
    except OSError as error:
        raise DecodeError("read-error", f"reading failed: {error.strerror}") from error


def resample_blocks(
    blocks: Iterable[NDArray[np.float32]], sr_from: int, sr_to: int
) -> Iterator[NDArray[np.float32]]:
    """Resample a stream of mono blocks with soxr at high quality; equal rates pass through.

    Yields
    ------
    (n,) float32
        Samples at `sr_to` Hz.
    """
    if sr_from == sr_to:
        yield from blocks
        return
    resampler = soxr.ResampleStream(sr_from, sr_to, 1, dtype="float32", quality="HQ")
    for block in blocks:
        yield resampler.resample_chunk(block)
    yield resampler.resample_chunk(np.empty(0, dtype=np.float32), last=True)


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
        Set after the last block; see `musichash_core.container_checks.check_complete`.

    Raises
    ------
    DecodeError
        With code empty, not-audio, unsupported-format, damaged, over-limit, too-long or
        read-error.
    """

    def __init__(self, descriptor: int, config: DecodeConfig) -> None:
        self._descriptor = descriptor
        self._config = config
        self._sound: Any = None
        self.n_frames = 0
        self.warnings: tuple[str, ...] = ()
        try:
            with _reading():
                self._before = os.fstat(descriptor)
                container = self._container()
            self.info = self._open(container)
            self._check_limits(self.info)
        except BaseException:
            self.close()
            raise

    def _container(self) -> str:
        if self._before.st_size == 0:
            raise DecodeError("empty", "the file has 0 bytes")
        at = 0
        head = os.pread(self._descriptor, HEAD_BYTES, at)
        for _ in range(MAX_TAGS):
            if not (tag_bytes := id3_bytes(head)):
                break
            at += tag_bytes
            head = os.pread(self._descriptor, HEAD_BYTES, at)
        if not head:
            raise DecodeError("truncated", "the file ends inside the ID3 tag that it begins with")
        container = sniff_container(head)
        if container is None:
            raise DecodeError(
                "not-audio", f"the content begins with {head[:16]!r}: no audio format"
            )
        if container not in SUPPORTED_CONTAINERS:
            raise DecodeError(
                "unsupported-format",
                f"the content is {container}; "
                f"decoded are {', '.join(sorted(SUPPORTED_CONTAINERS))}",
            )
        return container

    def _open(self, container: str) -> AudioInfo:
        try:
            self._sound = soundfile.SoundFile(self._descriptor, closefd=False)
        except soundfile.LibsndfileError as error:
            code = {
                SYSTEM_ERROR: "read-error",
                UNIMPLEMENTED_ERROR: "unsupported-format",
            }.get(error.code, "damaged")
            reason = NO_MPEG_FRAME if container == "mp3" else error.error_string
            raise DecodeError(code, f"the {container} header cannot be read: {reason}") from error
        except (RuntimeError, ValueError, TypeError) as error:
            raise DecodeError(
                "damaged", f"the {container} header cannot be read: {error}"
            ) from error
        return AudioInfo(
            container=container,
            codec=self._sound.subtype,
            sr=self._sound.samplerate,
            n_channels=self._sound.channels,
            claimed_frames=self._sound.frames,
        )

    def _check_limits(self, info: AudioInfo) -> None:
        limits = self._config
        if not limits.min_sr_hz <= info.sr <= limits.max_sr_hz:
            raise DecodeError(
                "over-limit",
                f"sample rate {info.sr} Hz; "
                f"allowed are {limits.min_sr_hz} to {limits.max_sr_hz} Hz",
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

    def check_unchanged(self, n_bytes: int, mtime_ns: int) -> None:
        """Refuse a file that is not the one that the scan saw.

        Raises
        ------
        DecodeError
            With code changed-while-reading.
        """
        if (self._before.st_size, self._before.st_mtime_ns) != (n_bytes, mtime_ns):
            raise DecodeError(
                "changed-while-reading",
                f"the scan saw {n_bytes} bytes, now there are {self._before.st_size}, "
                "or the modification time differs",
            )

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Decode to the end, one mono block at a time, at the file's own rate.

        Channels are averaged. After the last block the length is compared with what the container
        announced and the file with what it was when it was opened.

        Yields
        ------
        (n,) float32
            At most `BLOCK_FRAMES` samples.

        Raises
        ------
        DecodeError
            With code truncated, damaged, empty, too-short, too-long, changed-while-reading or
            read-error.
        """
        buffer = np.empty((BLOCK_FRAMES, self.info.n_channels), dtype=np.float32)
        longest = self._config.max_duration_s * self.info.sr
        while (n_read := self._read_into(buffer)) > 0:
            self.n_frames += n_read
            if self.n_frames > longest:
                raise DecodeError(
                    "too-long",
                    f"more than {self._config.max_duration_s:.0f} s of audio; "
                    "decode.max_duration_s sets the limit",
                )
            yield self._down_mix(buffer[:n_read])
        self._check_end()

    def _read_into(self, buffer: NDArray[np.float32]) -> int:
        library = soundfile._snd  # soundfile's own functions have no read without a seek
        pointer = soundfile._ffi.cast("float *", buffer.ctypes.data)
        handle = self._sound._file
        n_read = int(library.sf_readf_float(handle, pointer, len(buffer)))
        error = library.sf_error(handle)
        if error and not self._has_all_of_flac(n_read):
            reason = soundfile._ffi.string(library.sf_error_number(error)).decode()
            at_s = (self.n_frames + n_read) / self.info.sr
            code = "read-error" if error == SYSTEM_ERROR else "damaged"
            raise DecodeError(code, f"the decoder stopped at {at_s:.2f} s: {reason}")
        return n_read

    def _has_all_of_flac(self, n_read: int) -> bool:
        """Whether the decoder stumbled over a tag behind the last FLAC frame, which is harmless."""
        is_flac = self.info.container == "flac"
        return is_flac and self.n_frames + n_read == self.info.claimed_frames

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

    def _check_end(self) -> None:
        info = self.info
        with _reading():
            after = os.fstat(self._descriptor)
            if (after.st_size, after.st_mtime_ns) != (
                self._before.st_size,
                self._before.st_mtime_ns,
            ):
                raise DecodeError("changed-while-reading", "size or time changed while it was read")
            self.warnings = check_complete(
                self._descriptor, info.container, info.claimed_frames, self.n_frames, info.sr
            )
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
        if self._sound is not None:
            self._sound.close()
            self._sound = None
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
