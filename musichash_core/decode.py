"""Audio file to blocks of mono float32 samples: the only reader of audio in the project.

The file arrives as an open descriptor, so that names never reach a decoder. libsndfile decodes it
in blocks through ``sf_readf_float``: python-soundfile's own ``read`` seeks after every call, and
on a valid VBR MP3 the samples after a seek are wrong. What the container announces is compared
with what came out: short audio is a failure, never silently fine.

Public: `DecodeConfig`, `AudioInfo`, `open_beneath`, `AudioStream`.
"""

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from musichash_core.container_checks import check_complete
from musichash_core.errors import DecodeError
from musichash_core.sniffing import HEAD_BYTES, SUPPORTED_CONTAINERS, sniff_container

BLOCK_FRAMES = 65_536
"""Frames per read; fixed, because decoders and the resampler may round differently by block."""

MAX_SANE_SAMPLE = 1e4
"""Float files may exceed 1; a sample beyond +80 dBFS is damage, not music."""


class DecodeConfig(BaseModel):
    """Limits that an audio file must keep; they bound time and memory per track."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_duration_s: float = Field(1.0, gt=0, description="shorter audio is refused, seconds")
    max_duration_s: float = Field(4 * 3600.0, gt=0, description="longer audio is refused, seconds")
    min_sr_hz: int = Field(4_000, ge=1_000, description="lowest sample rate accepted, Hz")
    max_sr_hz: int = Field(768_000, le=2_000_000, description="highest sample rate accepted, Hz")
    max_channels: int = Field(32, ge=1, le=1024, description="most channels accepted")


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
        With code empty, not-audio, unsupported-format, damaged, over-limit or too-long.
    """

    def __init__(self, descriptor: int, config: DecodeConfig) -> None:
        self._descriptor = descriptor
        self._config = config
        self._sound: Any = None
        self.n_frames = 0
        self.warnings: tuple[str, ...] = ()
        try:
            self._before = os.fstat(descriptor)
            self.info = self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> AudioInfo:
        if self._before.st_size == 0:
            raise DecodeError("empty", "the file has 0 bytes")
        head = os.pread(self._descriptor, HEAD_BYTES, 0)
        container = sniff_container(head)
        if container is None:
            raise DecodeError("not-audio", f"the content begins with {head[:16]!r}: no audio format")
        if container not in SUPPORTED_CONTAINERS:
            raise DecodeError(
                "unsupported-format",
                f"the content is {container}; decoded are {', '.join(sorted(SUPPORTED_CONTAINERS))}",
            )
        try:
            self._sound = soundfile.SoundFile(self._descriptor, closefd=False)
        except (soundfile.LibsndfileError, RuntimeError, ValueError, TypeError) as error:
            raise DecodeError("damaged", f"the {container} header cannot be read: {error}") from error
        info = AudioInfo(
            container=container,
            codec=self._sound.subtype,
            sr=self._sound.samplerate,
            n_channels=self._sound.channels,
            claimed_frames=self._sound.frames,
        )
        self._check_limits(info)
        return info

    def _check_limits(self, info: AudioInfo) -> None:
        limits = self._config
        if not limits.min_sr_hz <= info.sr <= limits.max_sr_hz:
            raise DecodeError(
                "over-limit",
                f"sample rate {info.sr} Hz; allowed are {limits.min_sr_hz} to {limits.max_sr_hz} Hz",
            )
        if info.n_channels > limits.max_channels:
            raise DecodeError(
                "over-limit", f"{info.n_channels} channels; allowed are {limits.max_channels}"
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
            With code truncated, damaged, empty, too-short, too-long or changed-while-reading.
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
        library = soundfile._snd  # noqa: SLF001 - soundfile has no read without a seek
        pointer = soundfile._ffi.cast("float *", buffer.ctypes.data)  # noqa: SLF001
        handle = self._sound._file  # noqa: SLF001
        n_read = int(library.sf_readf_float(handle, pointer, len(buffer)))
        if error := library.sf_error(handle):
            reason = soundfile._ffi.string(library.sf_error_number(error)).decode()  # noqa: SLF001
            at_s = (self.n_frames + n_read) / self.info.sr
            raise DecodeError("damaged", f"the decoder stopped at {at_s:.2f} s: {reason}")
        return n_read

    def _down_mix(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        mono = frames[:, 0].copy() if frames.shape[1] == 1 else frames.mean(axis=1)
        largest = float(np.abs(mono).max())
        if not largest <= MAX_SANE_SAMPLE:
            at_s = self.n_frames / self.info.sr
            raise DecodeError("damaged", f"a sample near {at_s:.2f} s has the value {largest}")
        return mono.astype(np.float32, copy=False)

    def _check_end(self) -> None:
        after = os.fstat(self._descriptor)
        if (after.st_size, after.st_mtime_ns) != (self._before.st_size, self._before.st_mtime_ns):
            raise DecodeError("changed-while-reading", "size or time changed while it was read")
        info = self.info
        self.warnings = check_complete(
            self._descriptor, info.container, info.claimed_frames, self.n_frames, info.sr
        )
        if self.n_frames == 0:
            raise DecodeError("empty", "the container holds no samples")
        duration_s = self.n_frames / self.info.sr
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
        if sr == self.info.sr:
            yield from self.blocks()
            return
        resampler = soxr.ResampleStream(self.info.sr, sr, 1, dtype="float32", quality="HQ")
        for block in self.blocks():
            yield resampler.resample_chunk(block)
        yield resampler.resample_chunk(np.empty(0, dtype=np.float32), last=True)

    def close(self) -> None:
        """Close the decoder and the descriptor; safe to repeat."""
        if self._sound is not None:
            self._sound.close()
            self._sound = None
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> "AudioStream":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
