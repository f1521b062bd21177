"""Feature partitions: one immutable Zarr store of stacked frames per partition, with its facts.

A partition folder holds ``features.zarr`` (array ``frames`` of shape ``(n_frames, 3, n_mels)``,
uint8, all tracks one after the other), ``tracks.parquet`` (which frames are whose, and the facts
of each track), ``failures.parquet`` and the receipt. One process writes a partition; frames are
spooled to a file first, so memory stays at one shard whatever the length of a track.

Public: `FeaturePartitionWriter`, `FeaturePartition`, `StoredTrack`, `StoredFrames`.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
import zarr
from numpy.typing import NDArray
from zarr.codecs import Crc32cCodec, ZstdCodec

from musichash_core.errors import ParameterError
from musichash_core.records import TrackFailure
from musichash_core.segments import FrameSource, TrackFrames
from storage.atomic import digest_file, staged_directory
from storage.errors import DamagedArtefactError
from storage.failure_rows import failure_rows
from storage.layout import RECEIPT_NAME
from storage.receipts import Receipt, read_receipt, write_receipt
from storage.schemas import FAILURES, TRACK_FACTS
from storage.tables import read_part, write_rows

CHUNK_FRAMES = 512
SHARD_FRAMES = 16_384
"""6.3 MB of bytes at 3 x 128; a writer holds a few times that in memory."""

ZSTD_LEVEL = 1
"""Level 3 takes 2.3 times the CPU time and saves one byte in a hundred."""
EAGER_FRAMES = 4096
"""Tracks up to this (95 s) are read whole: one read costs less than sixteen."""

N_PARTS = 3
"""Original, harmonic, percussive: the second axis of `frames`."""


@dataclass(frozen=True, slots=True)
class StoredTrack:
    """Facts of one extracted track: a row of `storage.schemas.TRACK_FACTS`."""

    track_id: str
    first_frame: int
    n_frames: int
    duration_s: float
    sr: int
    n_channels: int
    container: str
    codec: str
    peak: float
    rms_db: float
    warnings: list[str]
    tag_title: str | None = None
    tag_artist: str | None = None
    tag_album: str | None = None
    tag_genre: str | None = None
    tag_year: int | None = None


class FeaturePartitionWriter:
    """Write one partition; a context manager that publishes it when it ends without an error.

    Parameters
    ----------
    folder : Path
        Final place of the partition.
    fingerprint : str
        Of the feature configuration.
    n_mels : int
        Mel bands.
    """

    def __init__(self, folder: Path, *, fingerprint: str, n_mels: int) -> None:
        self._folder = folder
        self._fingerprint = fingerprint
        self._n_mels = n_mels
        self._frame_bytes = N_PARTS * n_mels
        self._tracks: list[StoredTrack] = []
        self._failures: list[TrackFailure] = []
        self._n_frames = 0
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._staged = self._stack.enter_context(staged_directory(self._folder, proof=RECEIPT_NAME))
        self._spool_path = self._staged / "spool.u8"
        self._spool = self._stack.enter_context(self._spool_path.open("w+b"))
        return self

    def append_frames(self, frames: NDArray[np.uint8]) -> None:
        """Add frames ``(n, 3, n_mels)`` uint8 to the track being written."""
        if frames.dtype != np.uint8 or frames.shape[1:] != (N_PARTS, self._n_mels):
            raise ParameterError(
                f"frames of shape {frames.shape}, {frames.dtype}; this partition holds "
                f"(n_frames, {N_PARTS}, {self._n_mels}) uint8"
            )
        self._spool.write(np.ascontiguousarray(frames).data)

    def finish_track(self, track: StoredTrack) -> None:
        """Keep the frames appended since the last track as this track's."""
        n_appended = self._spool.tell() // self._frame_bytes - self._n_frames
        if (track.first_frame, track.n_frames) != (self._n_frames, n_appended):
            raise ParameterError(
                f"track {track.track_id} says frames {track.first_frame} + {track.n_frames}, "
                f"appended were {self._n_frames} + {n_appended}"
            )
        self._tracks.append(track)
        self._n_frames += track.n_frames

    def fail_track(self, failure: TrackFailure) -> None:
        """Drop the frames appended since the last track and record why."""
        self.drop_unfinished()
        self._failures.append(failure)

    def drop_unfinished(self) -> None:
        """Drop the frames appended since the last track, for another attempt at this one."""
        self._spool.seek(self._n_frames * self._frame_bytes)
        self._spool.truncate()

    @property
    def n_frames(self) -> int:
        """Frames of the finished tracks: where the next track begins."""
        return self._n_frames

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            try:
                self._finish()
            except BaseException as error:
                self._stack.__exit__(type(error), error, error.__traceback__)
                raise
        self._stack.__exit__(kind, value, traceback)

    def _finish(self) -> None:
        self._spool.flush()
        if self._n_frames:
            self._write_zarr()
        self._spool_path.unlink()
        write_rows(
            self._staged / "tracks.parquet", [asdict(row) for row in self._tracks], TRACK_FACTS
        )
        write_rows(self._staged / "failures.parquet", failure_rows(self._failures), FAILURES)
        write_receipt(
            self._staged,
            kind="features",
            partition_id=self._folder.name,
            fingerprint=self._fingerprint,
            n_done=len(self._tracks),
            n_failed=len(self._failures),
        )

    def _write_zarr(self) -> None:
        shape = (self._n_frames, N_PARTS, self._n_mels)
        group = zarr.create_group(
            store=str(self._staged / "features.zarr"),
            attributes={
                "feature_fingerprint": self._fingerprint,
                "parts": ["original", "harmonic", "percussive"],
                "values": "mel power in dB, 0.5 dB steps from -80 dB (byte 0), before any gain",
            },
        )
        frames = group.create_array(
            "frames",
            shape=shape,
            dtype="uint8",
            chunks=(CHUNK_FRAMES, N_PARTS, self._n_mels),
            shards=(_shard_frames(self._n_frames), N_PARTS, self._n_mels),
            compressors=[ZstdCodec(level=ZSTD_LEVEL), Crc32cCodec()],
            dimension_names=("frame", "part", "mel"),
            fill_value=0,
            config={"write_empty_chunks": True},
        )
        step = _shard_frames(self._n_frames)
        for start in range(0, self._n_frames, step):
            # Read, not mapped: pages of a mapped spool count as the worker's memory.
            n_frames = min(step, self._n_frames - start)
            block = np.fromfile(
                self._spool_path,
                dtype=np.uint8,
                count=n_frames * self._frame_bytes,
                offset=start * self._frame_bytes,
            )
            frames[start : start + n_frames] = block.reshape(n_frames, N_PARTS, self._n_mels)


def _shard_frames(n_frames: int) -> int:
    """Give the shard length: the whole partition in chunks, but no more than `SHARD_FRAMES`."""
    return min(SHARD_FRAMES, -(-n_frames // CHUNK_FRAMES) * CHUNK_FRAMES)


class FeaturePartition:
    """Read a finished partition.

    Parameters
    ----------
    folder : Path
        The partition.

    Raises
    ------
    DamagedArtefactError
        If a file that the receipt names is missing or has another size. (Zarr reads a missing
        chunk as zeros without a word, so this is checked here.)
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.receipt: Receipt = read_receipt(folder)
        for entry in self.receipt.files:
            path = folder / entry.path
            if not path.is_file() or path.stat().st_size != entry.size:
                raise DamagedArtefactError(_differs(path))

    def tracks(self) -> list[StoredTrack]:
        """List the tracks in the order of their frames."""
        rows: list[dict[str, Any]] = self.facts().to_pylist()
        return [StoredTrack(**row) for row in rows]

    def facts(self) -> pa.Table:
        """Give the tracks as a table of `storage.schemas.TRACK_FACTS`."""
        return read_part(self.folder / "tracks.parquet", TRACK_FACTS)

    def failures(self) -> pa.Table:
        """Give the failure rows of the partition."""
        return read_part(self.folder / "failures.parquet", FAILURES)

    def _frames(self) -> Any:  # noqa: ANN401 - zarr's array type is a union of sync and group types
        for entry in self.receipt.files:
            if (
                entry.path.endswith("zarr.json")
                and digest_file(self.folder / entry.path, self.folder) != entry
            ):
                raise DamagedArtefactError(_differs(self.folder / entry.path))
        return zarr.open_group(str(self.folder / "features.zarr"), mode="r")["frames"]

    def track_frames(self) -> Iterator[tuple[StoredTrack, TrackFrames]]:
        """Give each track with its frames; frames of long tracks are read only where asked for."""
        tracks = self.tracks()
        if not tracks:
            return
        frames = self._frames()
        for track in tracks:
            stop = track.first_frame + track.n_frames
            source: FrameSource = StoredFrames(frames, track.first_frame, stop)
            if track.n_frames <= EAGER_FRAMES:
                source = source[0 : track.n_frames]
            yield track, TrackFrames(track.track_id, source, track.peak)


def _differs(path: Path) -> str:
    return (
        f"{path} is missing or differs from the partition's receipt; run 'musichash verify', "
        "remove the partition's folder and run again"
    )


class StoredFrames:
    """Frames of one track inside a partition's array, read on demand.

    Parameters
    ----------
    frames : zarr.Array
        Frames of the partition.
    first, stop : int
        Where the track lies in it.
    """

    def __init__(self, frames: Any, first: int, stop: int) -> None:  # noqa: ANN401 - see `_frames`
        self._frames = frames
        self._first = first
        self._n_frames = stop - first

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of frames, parts and mel bands."""
        return (self._n_frames, *self._frames.shape[1:])

    @property
    def ndim(self) -> int:
        """Number of axes: 3."""
        return 3

    def __len__(self) -> int:
        return self._n_frames

    def __getitem__(self, frames: slice, /) -> NDArray[np.uint8]:
        start, stop, step = frames.indices(self._n_frames)
        if step != 1:
            raise ParameterError(f"frames are read one after the other, not in steps of {step}")
        try:
            read = self._frames[self._first + start : self._first + max(start, stop)]
        except (OSError, ValueError, RuntimeError) as error:  # a checksum, or what follows from it
            raise DamagedArtefactError(
                f"frames {start} to {stop} cannot be read from {self._frames.store_path}: {error}; "
                "run 'musichash verify', remove the partition's folder and run again"
            ) from error
        return np.asarray(read)
