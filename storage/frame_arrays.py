"""Frames of many tracks, one after the other: spooled while they are made, read where they lie.

A track may fail after some of its frames were written, and Zarr writes whole shards only; so
frames go to a plain file first, which forgets the frames of a failed track.

Public: `FrameSpool`, `StoredFrames`, `frame_sources`.
"""

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musichash_core.errors import ParameterError
from musichash_core.segments import FrameSource, FrameStretch
from storage.errors import DamagedArtefactError


class FrameSpool:
    """Frames of finished tracks, and behind them those of one that may still fail, in a file.

    Parameters
    ----------
    path : Path
        A new file.
    frame_shape : tuple of int
        Shape of one frame.

    Attributes
    ----------
    n_frames : int
        Frames of the finished tracks.
    """

    def __init__(self, path: Path, frame_shape: tuple[int, ...]) -> None:
        self.frame_shape = frame_shape
        self.n_frames = 0
        self._frame_bytes = math.prod(frame_shape)
        self._path = path
        self._file = path.open("w+b")

    def append(self, frames: NDArray[np.uint8]) -> None:
        """Add frames ``(n, *frame_shape)`` uint8 to the track being written."""
        if frames.dtype != np.uint8 or frames.shape[1:] != self.frame_shape:
            wanted = ", ".join(map(str, ("n_frames", *self.frame_shape)))
            raise ParameterError(
                f"frames of shape {frames.shape}, {frames.dtype}; this partition holds "
                f"({wanted}) uint8"
            )
        self._file.write(np.ascontiguousarray(frames).data)

    @property
    def extent(self) -> tuple[int, int]:
        """Of the track being written: its first frame, and the number of its frames so far."""
        return self.n_frames, self._file.tell() // self._frame_bytes - self.n_frames

    def keep(self) -> None:
        """Count the frames appended since the last finished track as those of a finished one."""
        self.n_frames += self.extent[1]

    def drop(self) -> None:
        """Forget the frames appended since the last finished track."""
        self._file.seek(self.n_frames * self._frame_bytes)
        self._file.truncate()

    def blocks(self, n_block: int) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Give all frames in blocks, each ``(at most n_block, *frame_shape)``, with its start."""
        self._file.flush()
        for start in range(0, self.n_frames, n_block):
            # Read, not mapped: pages of a mapped spool count as the worker's memory.
            block = np.fromfile(
                self._path,
                dtype=np.uint8,
                count=min(n_block, self.n_frames - start) * self._frame_bytes,
                offset=start * self._frame_bytes,
            )
            yield start, block.reshape(-1, *self.frame_shape)

    def remove(self) -> None:
        """Close the file and delete it."""
        self.close()
        self._path.unlink()

    def close(self) -> None:
        """Close the file; safe to repeat."""
        self._file.close()


class StoredFrames(FrameStretch):
    """Frames of one track inside a partition's array, read on demand; damage is named.

    Parameters
    ----------
    frames : zarr.Array
        Frames of the partition.
    first, stop : int
        Where the track lies in it.
    """

    def __init__(
        self,
        frames: Any,  # noqa: ANN401 - zarr's array type is a union of sync and group types
        first: int,
        stop: int,
    ) -> None:
        super().__init__(frames, first, stop)
        self._place = frames.store_path

    def _read(self, start: int, stop: int) -> NDArray[np.uint8]:
        try:
            read = super()._read(start, stop)
        except (OSError, ValueError, RuntimeError) as error:  # a checksum, or what follows from it
            raise DamagedArtefactError(
                f"frames {start} to {stop} cannot be read from {self._place}: {error}; "
                "run 'musichash verify', remove the partition's folder and run again"
            ) from error
        return np.asarray(read)


def frame_sources(
    array: Any,  # noqa: ANN401 - zarr's array type is a union of sync and group types
    extents: Iterable[tuple[int, int]],
    *,
    n_eager: int,
) -> Iterator[FrameSource]:
    """Give the frames of one track after the other.

    Parameters
    ----------
    array : zarr.Array
        Frames of the partition.
    extents : (int, int) each
        First frame of a track and the number of its frames.
    n_eager : int
        Tracks up to this length are read whole.
    """
    for first, n_frames in extents:
        source: FrameSource = StoredFrames(array, first, first + n_frames)
        yield source[0:n_frames] if n_frames <= n_eager else source
