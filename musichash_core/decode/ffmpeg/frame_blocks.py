"""Collect the frames of a decoder, of any sample format and length, into blocks of one length.

Public: `FrameBlocks`.
"""

from typing import Any, cast

import av
import numpy as np
from av.audio.plane import AudioPlane
from numpy.typing import NDArray

from musichash_core.decode.reader import BLOCK_FRAMES
from musichash_core.errors import DecodeError

_SAMPLE_TYPES: dict[str, tuple[type[np.generic], float, float]] = {
    "u8": (np.uint8, -128.0, 1 / 128),
    "s16": (np.int16, 0.0, 1 / 32_768),
    "s32": (np.int32, 0.0, 1 / 2_147_483_648),
    "flt": (np.float32, 0.0, 1.0),
    "dbl": (np.float64, 0.0, 1.0),
}
"""FFmpeg's packed sample formats: type, what to add, what to multiply with for full scale 1."""

SAFE_PLANES = 7
"""PyAV looks for the end of a frame's planes behind the eighth and reads what is not there, so
frames of more channels in planes are packed first."""


class FrameBlocks:
    """Samples on their way from frames of any length to blocks of `BLOCK_FRAMES`.

    Parameters
    ----------
    n_channels : int
        Channels of every frame.
    """

    def __init__(self, n_channels: int) -> None:
        self._n_channels = n_channels
        self._waiting: list[NDArray[np.float32]] = []
        self._packer: av.AudioResampler | None = None
        self.n_waiting = 0

    def add(self, frame: av.AudioFrame) -> None:
        """Append a decoded frame.

        Raises
        ------
        DecodeError
            With code unsupported-format, for sample formats that no listed decoder has.
        """
        frames = self._samples(frame)
        if len(frames):
            self._waiting.append(frames)
            self.n_waiting += len(frames)

    def cut(self, n_frames: int) -> None:
        """Drop the last frames of those that wait."""
        while n_frames > 0 and self._waiting:
            last = self._waiting.pop()
            self.n_waiting -= len(last)
            if len(last) > n_frames:
                self._waiting.append(last[:-n_frames])
                self.n_waiting += len(last) - n_frames
            n_frames -= len(last)

    def take(self) -> NDArray[np.float32]:
        """Give the next block, (n, n_channels) float32; shorter when less is waiting."""
        block = np.empty((min(BLOCK_FRAMES, self.n_waiting), self._n_channels), dtype=np.float32)
        at = 0
        while at < len(block):
            frames = self._waiting.pop(0)
            n_taken = min(len(frames), len(block) - at)
            block[at : at + n_taken] = frames[:n_taken]
            if n_taken < len(frames):
                self._waiting.insert(0, frames[n_taken:])
            at += n_taken
        self.n_waiting -= len(block)
        return block

    def _samples(self, frame: av.AudioFrame) -> NDArray[np.float32]:
        """Give a frame's samples, (n, n_channels) float32 of full scale 1."""
        if frame.format.is_planar and self._n_channels > SAFE_PLANES:
            frame = self._pack(frame)
        name = frame.format.packed.name
        if name not in _SAMPLE_TYPES:
            raise DecodeError("unsupported-format", f"samples of the format {name} are not read")
        kind, offset, scale = _SAMPLE_TYPES[name]
        if frame.format.is_planar:
            samples = np.empty((frame.samples, self._n_channels), dtype=np.float32)
            for channel, plane in enumerate(frame.planes[: self._n_channels]):
                samples[:, channel] = _values(plane, kind, frame.samples)
        else:
            n_values = frame.samples * self._n_channels
            packed = _values(frame.planes[0], kind, n_values)
            samples = packed.reshape(-1, self._n_channels).astype(np.float32)
        if offset:
            samples += np.float32(offset)
        if scale != 1.0:
            samples *= np.float32(scale)
        return samples

    def _pack(self, frame: av.AudioFrame) -> av.AudioFrame:
        if self._packer is None:
            self._packer = av.AudioResampler(format=frame.format.packed.name)
        (packed,) = self._packer.resample(frame)
        return packed


def _values(plane: AudioPlane, kind: type[np.generic], n_values: int) -> NDArray[Any]:
    """Look at the values in a plane, without a copy."""
    return np.frombuffer(cast("memoryview[int]", plane), dtype=kind, count=n_values)
