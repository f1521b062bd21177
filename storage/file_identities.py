"""Giving files of a catalogue their identity: the hash of their bytes.

A file whose size and modification time are as the last scan saw them keeps its identity without
being read. Files that cannot be read, or are larger than is allowed, become failures.

Public: `identify_files`, `Identified`, `FoundFile`, `path_for_people`, `DEFAULT_MAX_FILE_MB`.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from musichash_core.decode import DecodeConfig, open_beneath
from musichash_core.errors import DecodeError
from musichash_core.identity import track_id_of
from musichash_core.records import SourceFile, TrackFailure
from storage.source_files import FILES, SourceFiles

DEFAULT_MAX_FILE_MB: int = DecodeConfig().max_file_mb
"""Largest file that is read, unless the configuration says otherwise; megabytes."""

HASH_THREADS = 4
HASH_BATCH = 1024
"""Files handed to the threads at once; bounds the memory of a first scan of millions."""

READ_BYTES = 1 << 20

SCAN_STAGE = "scan"


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A name below a root, by walking or from a manifest.

    Attributes
    ----------
    root : str
        The catalogue root.
    path_raw : bytes
        Path below it.
    place : str
        Where the manifest names it (``line 7 of tracks.csv``), for messages; "" when it was found
        by walking.
    """

    root: str
    path_raw: bytes
    place: str = ""


@dataclass(frozen=True, slots=True)
class Identified:
    """What became of the names that were found.

    Attributes
    ----------
    files : SourceFiles
        Those with an identity, in the order of the names.
    failures : tuple of TrackFailure
        The reasons of the others, in that order.
    n_read : int
        Names that were opened for it.
    """

    files: SourceFiles
    failures: tuple[TrackFailure, ...]
    n_read: int


def identify_files(
    found: pa.Table,
    known: SourceFiles,
    *,
    max_file_mb: int = DEFAULT_MAX_FILE_MB,
    on_progress: Callable[[int, int], None] | None = None,
) -> Identified:
    """Give each file its identity or the reason why it has none.

    Parameters
    ----------
    found : pyarrow.Table
        Names, with the columns `storage.source_files.FOUND`.
    known : SourceFiles
        Files of the last scan; unchanged ones are not read again.
    max_file_mb : int
        Larger files are failures with the code over-limit and are not read; megabytes.
    on_progress : callable, optional
        Called with the number of files identified and found, for each file.
    """
    kept = _places_of_unchanged(found, known.table, max_file_mb)
    is_read = kept < 0
    progress = _Progress(len(found), on_progress)
    read_places: list[int] = []
    batches: list[pa.RecordBatch] = []
    failures: list[TrackFailure] = []
    with ThreadPoolExecutor(HASH_THREADS) as pool:
        places = np.flatnonzero(is_read)
        for start in range(0, len(places), HASH_BATCH):
            batch = places[start : start + HASH_BATCH]
            named = []
            outcomes = pool.map(lambda file: _identify(file, max_file_mb), _named(found, batch))
            for place, outcome in zip(batch.tolist(), outcomes, strict=True):
                progress.reach(place + 1)
                if isinstance(outcome, TrackFailure):
                    failures.append(outcome)
                else:
                    named.append(outcome)
                    read_places.append(place)
            batches += SourceFiles.of(named).table.to_batches()
    progress.reach(len(found))
    unchanged = known.table.take(pa.array(kept[~is_read]))
    read = pa.Table.from_batches(batches, schema=FILES)
    files = pa.concat_tables([unchanged, read])
    places_of_files = np.concatenate([np.flatnonzero(~is_read), np.array(read_places, np.int64)])
    if (np.diff(places_of_files) < 0).any():  # else a copy of a million rows would be for nothing
        files = files.take(pa.array(np.argsort(places_of_files)))
    return Identified(SourceFiles(files), tuple(failures), int(is_read.sum()))


class _Progress:
    """Tells of each file once, in order."""

    def __init__(self, total: int, tell: Callable[[int, int], None] | None) -> None:
        self._total, self._tell, self._n_done = total, tell, 0

    def reach(self, n_done: int) -> None:
        """Tell of every file up to this one."""
        if self._tell is not None:
            for number in range(self._n_done + 1, n_done + 1):
                self._tell(number, self._total)
        self._n_done = max(self._n_done, n_done)


def _places_of_unchanged(found: pa.Table, known: pa.Table, max_file_mb: int) -> NDArray[np.int64]:
    """Give for each name the row of `known` that still holds and is allowed, or -1."""
    kept = np.full(len(found), -1, np.int64)
    for root in pc.unique(found["root"]).to_pylist():
        of_root = _rows_where(found["root"], root)
        known_of_root = _rows_where(known["root"], root)
        rows = pc.index_in(
            found["path_raw"].take(of_root),
            value_set=known["path_raw"].take(known_of_root).combine_chunks(),
        )
        before = pc.take(known_of_root, rows)
        kept[of_root.to_numpy()] = pc.fill_null(before, -1).to_numpy()
    candidates = pa.array(kept, mask=kept < 0)
    is_same = pc.and_(
        pc.and_(
            pc.equal(found["n_bytes"], known["n_bytes"].take(candidates)),
            pc.equal(found["mtime_ns"], known["mtime_ns"].take(candidates)),
        ),
        pc.less_equal(found["n_bytes"], max_file_mb * 1_000_000),
    )
    kept[~pc.fill_null(is_same, False).to_numpy()] = -1
    return kept


def _rows_where(column: pa.ChunkedArray, value: str) -> pa.Array:
    return pa.array(np.flatnonzero(pc.equal(column, value).to_numpy()))


def _named(found: pa.Table, places: NDArray[np.int64]) -> list[FoundFile]:
    rows = found.select(["root", "path_raw", "place"]).take(pa.array(places))
    return [FoundFile(**row) for row in rows.to_pylist()]


def _identify(found: FoundFile, max_file_mb: int) -> SourceFile | TrackFailure:
    """Open a file for its identity."""
    try:
        return _read_identity(found, max_file_mb)
    except DecodeError as error:
        code, message = error.code, str(error)
    except OSError as error:
        code, message = "read-error", f"reading failed: {error.strerror}"
    if found.place:
        message = f"{found.place}: {message}"
    path = f"{found.root}/{path_for_people(found.path_raw)}"
    return TrackFailure("", path, SCAN_STAGE, code, message)


def _read_identity(found: FoundFile, max_file_mb: int) -> SourceFile:
    descriptor = open_beneath(found.root, found.path_raw)
    try:
        before = os.fstat(descriptor)
        if before.st_size > max_file_mb * 1_000_000:
            raise DecodeError(
                "over-limit",
                f"the file has {before.st_size / 1e6:,.1f} MB, more than the "
                f"{max_file_mb:,} MB that decode.max_file_mb allows",
            )
        track_id = track_id_of(iter(lambda: os.read(descriptor, READ_BYTES), b""))
        after = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise DecodeError("changed-while-reading", "it changed while the scan read it")
    return SourceFile(
        track_id=track_id,
        root=found.root,
        path=path_for_people(found.path_raw),
        path_raw=found.path_raw,
        n_bytes=after.st_size,
        mtime_ns=after.st_mtime_ns,
    )


def path_for_people(path_raw: bytes) -> str:
    r"""Write a path as text; bytes that are not UTF-8 become ``\xNN``."""
    return path_raw.decode("utf-8", "backslashreplace")
