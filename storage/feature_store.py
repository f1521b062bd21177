"""Feature partitions: one immutable Zarr store of stacked frames per partition, with its facts.

A partition folder holds ``features.zarr`` (array ``frames`` of shape ``(n_frames, 3, n_mels)``,
uint8, all tracks one after the other; where the configuration asks for them, also array
``tagger_frames``, ``(n_frames, 96)``, at the tagging networks' own rate), ``tracks.parquet``
(which frames are whose, and the facts of each track), ``failures.parquet`` and the receipt. One
process writes a partition; frames are spooled to a file first, so memory stays at one shard
whatever the length of a track.

Public: `FeaturePartitionWriter`, `FeaturePartition`, `StoredTrack`.
"""

from collections.abc import Collection, Iterator
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
from musichash_core.musicnn.log_mel import N_MELS as TAGGER_MELS
from musichash_core.records import TrackFailure
from musichash_core.segments import FrameSource, TrackFrames
from storage.atomic import digest_file, staged_directory
from storage.errors import ArtefactMissingError, DamagedArtefactError
from storage.failure_rows import failure_rows
from storage.frame_arrays import FrameSpool, frame_sources
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

TAGGER_FRAMES_FACTOR = 4
"""A tagger frame is a quarter of a default one, so chunks, shards and what is read whole have four
times as many: the same bytes."""

N_PARTS = 3
"""Original, harmonic, percussive: the second axis of `frames`."""

TAGGER_COLUMNS = ("first_tagger_frame", "n_tagger_frames")
FACTS_WITHOUT_TAGGER = pa.schema([f for f in TRACK_FACTS if f.name not in TAGGER_COLUMNS])
"""Facts of a partition without tagger frames: to the byte those of versions that knew none."""


@dataclass(frozen=True, slots=True)
class StoredTrack:
    """Facts of one extracted track: a row of `storage.schemas.TRACK_FACTS`.

    The last two are None in a partition without tagger frames.
    """

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
    first_tagger_frame: int | None = None
    n_tagger_frames: int | None = None


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
    with_tagger_mel : bool
        Whether each track has tagger frames too.
    """

    def __init__(
        self, folder: Path, *, fingerprint: str, n_mels: int, with_tagger_mel: bool = False
    ) -> None:
        self._folder = folder
        self._fingerprint = fingerprint
        self._n_mels = n_mels
        self._with_tagger_mel = with_tagger_mel
        self._tracks: list[StoredTrack] = []
        self._failures: list[TrackFailure] = []
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._staged = self._stack.enter_context(staged_directory(self._folder, proof=RECEIPT_NAME))
        self._spool = self._new_spool("spool.u8", (N_PARTS, self._n_mels))
        self._tagger_spool = (
            self._new_spool("tagger-spool.u8", (TAGGER_MELS,)) if self._with_tagger_mel else None
        )
        return self

    def _new_spool(self, name: str, frame_shape: tuple[int, ...]) -> FrameSpool:
        spool = FrameSpool(self._staged / name, frame_shape)
        self._stack.callback(spool.close)
        return spool

    @property
    def _spools(self) -> list[FrameSpool]:
        return [self._spool, *([self._tagger_spool] if self._tagger_spool else [])]

    def append_frames(self, frames: NDArray[np.uint8]) -> None:
        """Add frames ``(n, 3, n_mels)`` uint8 to the track being written."""
        self._spool.append(frames)

    def append_tagger_frames(self, frames: NDArray[np.uint8]) -> None:
        """Add tagger frames ``(n, 96)`` uint8 to the track being written."""
        if self._tagger_spool is None:
            raise ParameterError("this partition holds no tagger frames; see with_tagger_mel")
        self._tagger_spool.append(frames)

    def finish_track(self, track: StoredTrack) -> None:
        """Keep the frames appended since the last track as this track's."""
        said = (track.first_frame, track.n_frames)
        said_of_tagger = (track.first_tagger_frame, track.n_tagger_frames)
        extent = self._spool.extent
        tagger_extent = self._tagger_spool.extent if self._tagger_spool else (None, None)
        if (said, said_of_tagger) != (extent, tagger_extent):
            raise ParameterError(
                f"track {track.track_id} says frames {_plus(said)} and tagger frames "
                f"{_plus(said_of_tagger)}, appended were {_plus(extent)} and "
                f"{_plus(tagger_extent)}"
            )
        for spool in self._spools:
            spool.keep()
        self._tracks.append(track)

    def fail_track(self, failure: TrackFailure) -> None:
        """Drop the frames appended since the last track and record why."""
        self.drop_unfinished()
        self._failures.append(failure)

    def drop_unfinished(self) -> None:
        """Drop the frames appended since the last track, for another attempt at this one."""
        for spool in self._spools:
            spool.drop()

    @property
    def n_frames(self) -> int:
        """Frames of the finished tracks: where the next track begins."""
        return self._spool.n_frames

    @property
    def n_tagger_frames(self) -> int | None:
        """Tagger frames of the finished tracks; None in a partition without any."""
        return None if self._tagger_spool is None else self._tagger_spool.n_frames

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
        if self.n_frames:
            self._write_zarr()
        for spool in self._spools:
            spool.remove()
        schema = TRACK_FACTS if self._with_tagger_mel else FACTS_WITHOUT_TAGGER
        write_rows(self._staged / "tracks.parquet", [asdict(row) for row in self._tracks], schema)
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
        group = zarr.create_group(
            store=str(self._staged / "features.zarr"),
            attributes={
                "feature_fingerprint": self._fingerprint,
                "parts": ["original", "harmonic", "percussive"],
                "values": "mel power in dB, 0.5 dB steps from -80 dB (byte 0), before any gain",
            },
        )
        _write_array(group, "frames", ("frame", "part", "mel"), self._spool, 1)
        if self._tagger_spool is not None:
            _write_array(
                group,
                "tagger_frames",
                ("frame", "mel"),
                self._tagger_spool,
                TAGGER_FRAMES_FACTOR,
            )


def _plus(extent: tuple[int | None, int | None]) -> str:
    """Spell where frames lie: the first, and how many there are."""
    return f"{extent[0]} + {extent[1]}"


def _write_array(
    group: zarr.Group, name: str, axes: tuple[str, ...], spool: FrameSpool, factor: int
) -> None:
    """Write the spooled frames as an array of a Zarr group, in chunks `factor` times as long."""
    shard_frames = _shard_frames(spool.n_frames, factor)
    array = group.create_array(
        name,
        shape=(spool.n_frames, *spool.frame_shape),
        dtype="uint8",
        chunks=(factor * CHUNK_FRAMES, *spool.frame_shape),
        shards=(shard_frames, *spool.frame_shape),
        compressors=[ZstdCodec(level=ZSTD_LEVEL), Crc32cCodec()],
        dimension_names=axes,
        fill_value=0,
        config={"write_empty_chunks": True},
    )
    for start, block in spool.blocks(shard_frames):
        array[start : start + len(block)] = block


def _shard_frames(n_frames: int, factor: int = 1) -> int:
    """Give the shard length: the whole partition in chunks, but no more than `SHARD_FRAMES`."""
    chunk_frames = factor * CHUNK_FRAMES
    return min(factor * SHARD_FRAMES, -(-n_frames // chunk_frames) * chunk_frames)


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
        table = read_part(self.folder / "tracks.parquet", TRACK_FACTS, FACTS_WITHOUT_TAGGER)
        if len(table.columns) == len(TRACK_FACTS):
            return table
        for name in TAGGER_COLUMNS:
            field = TRACK_FACTS.field(name)
            table = table.append_column(field, pa.nulls(len(table), field.type))
        return table

    def failures(self) -> pa.Table:
        """Give the failure rows of the partition."""
        return read_part(self.folder / "failures.parquet", FAILURES)

    def _array(self, name: str) -> Any:  # noqa: ANN401 - zarr's array type is a union of sync and group types
        for entry in self.receipt.files:
            if (
                entry.path.endswith("zarr.json")
                and digest_file(self.folder / entry.path, self.folder) != entry
            ):
                raise DamagedArtefactError(_differs(self.folder / entry.path))
        return zarr.open_group(str(self.folder / "features.zarr"), mode="r")[name]

    def track_frames(
        self, track_ids: Collection[str] | None = None
    ) -> Iterator[tuple[StoredTrack, TrackFrames]]:
        """Give each track with its frames; frames of long tracks are read only where asked for.

        Parameters
        ----------
        track_ids : collection of str, optional
            Give only these of the partition's tracks.
        """
        tracks = [
            track for track in self.tracks() if track_ids is None or track.track_id in track_ids
        ]
        extents = [(track.first_frame, track.n_frames) for track in tracks]
        if not tracks:
            return
        sources = frame_sources(self._array("frames"), extents, n_eager=EAGER_FRAMES)
        for track, source in zip(tracks, sources, strict=True):
            yield track, TrackFrames(track.track_id, source, track.peak)

    def tagger_frames(self) -> Iterator[tuple[StoredTrack, FrameSource]]:
        """Give each track with its tagger frames ``(n, 96)`` uint8, in the order of `track_frames`.

        They are what `musichash_core.musicnn.log_mel.power_to_bytes` gave; those of long tracks are
        read only where asked for.

        Raises
        ------
        ArtefactMissingError
            If the partition was made without them.
        """
        tracks = self.tracks()
        extents = []
        for track in tracks:
            if track.first_tagger_frame is None or track.n_tagger_frames is None:
                raise ArtefactMissingError(
                    f"{self.folder} holds no tagger frames: it was extracted with "
                    "features.tagger_mel = false; set it to true and run again"
                )
            extents.append((track.first_tagger_frame, track.n_tagger_frames))
        if not tracks:
            return
        n_eager = TAGGER_FRAMES_FACTOR * EAGER_FRAMES
        sources = frame_sources(self._array("tagger_frames"), extents, n_eager=n_eager)
        yield from zip(tracks, sources, strict=True)


def _differs(path: Path) -> str:
    return (
        f"{path} is missing or differs from the partition's receipt; run 'musichash verify', "
        "remove the partition's folder and run again"
    )
