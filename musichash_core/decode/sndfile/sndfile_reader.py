"""Decode with libsndfile: PCM of every kind, FLAC, Ogg Vorbis and Opus, MP3.

Samples come through ``sf_readf_float``: python-soundfile's own ``read`` seeks after every call, and
on a valid VBR MP3 the samples after a seek are wrong.

Public: `SndfileReader`, `SNDFILE_CONTAINERS`.
"""

from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from musichash_core.decode.byte_runs import ByteRuns
from musichash_core.decode.reader import BLOCK_FRAMES, AudioInfo
from musichash_core.errors import DecodeError

SNDFILE_CONTAINERS = frozenset(
    {"wav", "rf64", "w64", "aiff", "flac", "ogg-vorbis", "ogg-opus", "mp3", "caf", "au"}
)
"""Containers, as `musichash_core.decode.sniffing` names them, that libsndfile decodes."""

_CODES = {2: "read-error", 4: "unsupported-format", 17: "memory", 18: "unsupported-format"}
"""Failure codes by libsndfile's numbers: system error, unsupported encoding, no memory, and
unimplemented format. Any other is damage."""

NO_MPEG_FRAME = "no frame of MPEG audio is found"
"""libsndfile says "file does not exist or is not a regular file" then, which misleads."""


class SndfileReader:
    """A `musichash_core.decode.reader.BlockReader` over libsndfile.

    Parameters
    ----------
    source : int or ByteRuns
        Open file, positioned at its start, or a view of one; the caller closes it.
    container : str
        One of `SNDFILE_CONTAINERS`.
    n_frames : int or None
        How many frames there are, where that is known better than libsndfile does.

    Raises
    ------
    DecodeError
        With code unsupported-format, damaged, memory or read-error.
    """

    def __init__(self, source: int | ByteRuns, container: str, n_frames: int | None = None) -> None:
        self._sound: Any = None
        self._view = source if isinstance(source, ByteRuns) else None
        try:
            self._sound = soundfile.SoundFile(source, closefd=False)
        except soundfile.LibsndfileError as error:
            reason = NO_MPEG_FRAME if container == "mp3" else _plain(error.error_string)
            raise DecodeError(
                _CODES.get(error.code, "damaged"),
                f"the {container} header cannot be read: {reason}",
            ) from error
        except (RuntimeError, ValueError, TypeError) as error:
            raise DecodeError(
                "damaged", f"the {container} header cannot be read: {error}"
            ) from error
        self.info = AudioInfo(
            container=container,
            codec=self._sound.subtype,
            sr=self._sound.samplerate,
            n_channels=self._sound.channels,
            claimed_frames=self._sound.frames if n_frames is None else n_frames,
        )
        self._n_frames = 0
        self._buffer: NDArray[np.float32] | None = None

    def read(self) -> NDArray[np.float32]:
        """Decode the next frames; see `BlockReader`."""
        if self._buffer is None:  # not before the channels have been found to be within the limits
            self._buffer = np.empty((BLOCK_FRAMES, self.info.n_channels), dtype=np.float32)
        library = soundfile._snd  # soundfile's own functions have no read without a seek
        pointer = soundfile._ffi.cast("float *", self._buffer.ctypes.data)
        handle = self._sound._file
        n_read = int(library.sf_readf_float(handle, pointer, BLOCK_FRAMES))
        self._n_frames += n_read
        if self._view is not None and self._view.error is not None:
            raise DecodeError("read-error", f"reading failed: {self._view.error.strerror}")
        error = library.sf_error(handle)
        if error and not self._has_all_of_flac():
            reason = _plain(soundfile._ffi.string(library.sf_error_number(error)).decode())
            at_s = self._n_frames / self.info.sr
            raise DecodeError(
                _CODES.get(error, "damaged"), f"the decoder stopped at {at_s:.2f} s: {reason}"
            )
        return self._buffer[:n_read]

    def _has_all_of_flac(self) -> bool:
        """Whether the decoder stumbled over a tag behind the last FLAC frame, which is harmless."""
        return self.info.container == "flac" and self._n_frames == self.info.claimed_frames

    def close(self) -> None:
        """Free the decoder; safe to repeat."""
        if self._sound is not None:
            self._sound.close()
            self._sound = None


def _plain(reason: str) -> str:
    """Take off what libsndfile puts around some of its reasons."""
    return reason.removeprefix("Error : ").removeprefix("Internal error : ").rstrip(".")
