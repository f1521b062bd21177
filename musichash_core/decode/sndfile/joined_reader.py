"""Several streams of one file, decoded one after the other as if they were one.

Public: `JoinedReader`.
"""

from collections import deque
from collections.abc import Callable, Iterable

import numpy as np
import soxr
from numpy.typing import NDArray

from musichash_core.decode.reader import BLOCK_FRAMES, UNKNOWN_FRAMES, AudioInfo, BlockReader
from musichash_core.decode.safe_open import reading
from musichash_core.errors import DecodeError

MAX_RATE_RATIO = 12
"""8 to 96 kHz; bounds the memory that a block needs when it is resampled."""


class JoinedReader:
    """A `musichash_core.decode.reader.BlockReader` over several others.

    A stream of another sample rate is resampled to that of the first with soxr at high quality, one
    of other channels becomes their mean, repeated.

    Parameters
    ----------
    openers : iterable of callable
        Each opens the reader of one stream; at least one. Asked for when its turn comes, so that
        only one decoder is open at a time.
    warnings : list of str
        What was noticed before; grows while the streams are decoded.
    joint : str
        The warning that says that there was more than one stream.

    Attributes
    ----------
    warnings : tuple of str
        Complete after the last block.

    Raises
    ------
    DecodeError
        As the readers do; damaged when the sample rates differ by more than `MAX_RATE_RATIO`.
    """

    def __init__(
        self, openers: Iterable[Callable[[], BlockReader]], warnings: list[str], joint: str
    ) -> None:
        self._openers = iter(openers)
        self._warnings = warnings
        self._joint = joint
        self._reader: BlockReader | None = next(self._openers)()
        self._first = self._reader.info
        self._claimed = self._first.claimed_frames
        self._resampler: soxr.ResampleStream | None = None
        self._waiting: deque[NDArray[np.float32]] = deque()

    @property
    def info(self) -> AudioInfo:
        """What the first stream says; its length is that of all streams opened so far."""
        first = self._first
        return AudioInfo(first.container, first.codec, first.sr, first.n_channels, self._claimed)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was noticed so far."""
        return tuple(self._warnings)

    def read(self) -> NDArray[np.float32]:
        """Decode the next frames; see `BlockReader`."""
        while not self._waiting and self._reader is not None:
            frames = self._fit(self._reader.read())
            self._waiting.extend(
                frames[at : at + BLOCK_FRAMES] for at in range(0, len(frames), BLOCK_FRAMES)
            )
        if self._waiting:
            return self._waiting.popleft()
        return np.empty((0, self._first.n_channels), dtype=np.float32)

    def _fit(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """Bring frames of the stream at work to the form of the first; open the next at its end."""
        is_end = len(frames) == 0
        if frames.shape[1] != self._first.n_channels:
            mean = frames.mean(axis=1, keepdims=True, dtype=np.float32)
            frames = np.repeat(mean, self._first.n_channels, axis=1)
        if self._resampler is not None:
            frames = self._resampler.resample_chunk(frames, last=is_end)
        if is_end:
            self._open_next()
        return frames

    def _open_next(self) -> None:
        self.close()
        with reading():
            opener = next(self._openers, None)
        if opener is None:
            return
        self._reader = opener()
        if self._joint not in self._warnings:
            self._warnings.append(self._joint)
        info = self._reader.info
        ratio = self._first.sr / max(1, info.sr)
        if not 1 / MAX_RATE_RATIO <= ratio <= MAX_RATE_RATIO:
            raise DecodeError(
                "damaged",
                f"a stream of {info.sr} Hz is joined to one of {self._first.sr} Hz; the rates may "
                f"differ by a factor of {MAX_RATE_RATIO}",
            )
        self._resampler = None
        if info.sr != self._first.sr:
            self._resampler = soxr.ResampleStream(
                info.sr, self._first.sr, self._first.n_channels, dtype="float32", quality="HQ"
            )
        is_known = max(self._claimed, info.claimed_frames) < UNKNOWN_FRAMES
        in_first_frames = info.claimed_frames * self._first.sr // info.sr
        self._claimed = self._claimed + in_first_frames if is_known else UNKNOWN_FRAMES

    def close(self) -> None:
        """Free the decoder at work; safe to repeat."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None
