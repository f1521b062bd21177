"""Fixed-length windows over the frames of a track: which are read, how short tracks fill one.

A track's frames are ``(n_frames, n_channels, n_mels)`` uint8 (see `musichash_core.decibels`).
Public: `SegmentConfig`, `WindowConfig`, `FrameSource`, `FrameStretch`, `TrackFrames`,
`segment_starts`, `window_starts`, `cut_segments`.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from musichash_core.decibels import bytes_to_model_input
from musichash_core.errors import ParameterError


class SegmentConfig(BaseModel):
    """Length of a segment and how many of them describe a track."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_frames: int = Field(
        default=128, ge=32, le=1024, description="frames per segment; 128 are 2.97 s"
    )
    hop_frames: int = Field(
        default=64, ge=1, description="smallest distance between two segments, frames"
    )
    max_per_track: int = Field(
        default=16, ge=1, le=1024, description="evenly spaced segments read per track when encoding"
    )


class WindowConfig(BaseModel):
    """The windows of a track that get codes of their own, by which an excerpt finds it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    basis: Literal["spectra-1"] = Field(
        default="spectra-1", description="what the codes are made of; changes when their bytes do"
    )
    n_frames: int = Field(
        default=431, ge=32, le=8192, description="frames per window; 431 are 10 s"
    )
    hop_frames: int = Field(
        default=215, ge=1, description="greatest distance between two windows, frames; 215 are 5 s"
    )
    max_per_track: int = Field(
        default=64,
        ge=0,
        le=4096,
        description="windows of a track; where more would be needed they lie farther apart, and an "
        "excerpt between two of them is not found; 0 = none",
    )


class FrameSource(Protocol):
    """Frames ``(n_frames, n_channels, n_mels)`` uint8: an array, a memory map, or a lazy reader."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of frames, channels and mel bands."""

    @property
    def ndim(self) -> int:
        """Number of axes: 3."""

    def __len__(self) -> int:
        """Give the number of frames."""

    def __getitem__(self, frames: slice, /) -> NDArray[np.uint8]:
        """Read consecutive frames."""


class FrameStretch:
    """Consecutive frames of a source, read when they are asked for.

    Parameters
    ----------
    source : FrameSource
    first, stop : int
        Where the stretch lies in it.
    """

    def __init__(self, source: FrameSource, first: int, stop: int) -> None:
        self._source = source
        self._first = first
        self._n_frames = stop - first

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of frames, and the shape of one."""
        return (self._n_frames, *self._source.shape[1:])

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self._source.shape)

    def __len__(self) -> int:
        return self._n_frames

    def __getitem__(self, frames: slice, /) -> NDArray[np.uint8]:
        start, stop, step = frames.indices(self._n_frames)
        if step != 1:
            raise ParameterError(f"frames are read one after the other, not in steps of {step}")
        return self._read(start, max(start, stop))

    def _read(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Read frames `start` to `stop` of the stretch."""
        return self._source[self._first + start : self._first + stop]


@dataclass(frozen=True, slots=True)
class TrackFrames:
    """Stored frames of one track, and what reading them needs.

    Attributes
    ----------
    track_id : str
        Identity of the track.
    frames : (n_frames, n_channels, n_mels) uint8
        Mel power of O, H, P in half-decibel steps; read only where segments lie.
    peak : float
        Largest absolute sample of the track.
    """

    track_id: str
    frames: FrameSource
    peak: float


def segment_starts(n_frames: int, config: SegmentConfig) -> NDArray[np.int64]:
    """Give the first frames of a track's segments: evenly spaced from its start to its end.

    There are as many as fit at `SegmentConfig.hop_frames`, at most `max_per_track`, at least one
    (a track shorter than a segment is filled up by `cut_segments`).

    Parameters
    ----------
    n_frames : >= 1
        Frames of the track.

    Returns
    -------
    (n_segments,) int64
    """
    if n_frames < 1:
        raise ParameterError(f"n_frames={n_frames}: a track needs at least one frame")
    room = max(0, n_frames - config.n_frames)
    count = min(config.max_per_track, 1 + room // config.hop_frames)
    return np.rint(np.linspace(0, room, count)).astype(np.int64)


def window_starts(n_frames: int, config: WindowConfig) -> NDArray[np.int64]:
    """Give the first frames of a track's windows: evenly spaced from its start to its end.

    There are as few as leave no two farther apart than `WindowConfig.hop_frames`, at most
    `max_per_track`; of a track shorter than a window there is one, the track.

    Parameters
    ----------
    n_frames : >= 1
        Frames of the track.

    Returns
    -------
    (n_windows,) int64
    """
    if n_frames < 1:
        raise ParameterError(f"n_frames={n_frames}: a track needs at least one frame")
    room = max(0, n_frames - config.n_frames)
    count = min(config.max_per_track, 1 + -(-room // config.hop_frames))
    return np.rint(np.linspace(0, room, count)).astype(np.int64)


def cut_segments(
    track: TrackFrames, starts: NDArray[np.int64], config: SegmentConfig
) -> NDArray[np.float32]:
    """Cut segments out of a track and compress them for a model.

    A track shorter than a segment is repeated until it fills one.

    Parameters
    ----------
    starts : (n_segments,) int64
        First frame of each segment.

    Returns
    -------
    (n_segments, n_channels, n_mels, config.n_frames) float32
    """
    if len(track.frames) < config.n_frames:
        whole = track.frames[0 : len(track.frames)]
        repeats = -(-config.n_frames // len(whole))
        filled = np.concatenate([whole] * repeats)[: config.n_frames]
        return bytes_to_model_input(np.stack([filled] * len(starts)), track.peak)
    windows = np.stack([track.frames[start : start + config.n_frames] for start in starts])
    return bytes_to_model_input(windows, track.peak)
