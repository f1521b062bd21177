"""Giving files of a catalogue their identity: the hash of their bytes.

A file whose size and modification time are as the last scan saw them keeps its identity without
being read. Files that cannot be read, or are larger than is allowed, become failures.

Public: `identify_files`, `Identified`, `FoundFile`, `path_for_people`, `DEFAULT_MAX_FILE_MB`.
"""

import os
from collections.abc import Callable, Iterator
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
from storage.collected_rows import Rows
from storage.known_files import KnownFiles, KnownMatches
from storage.source_files import FOUND, SourceFiles

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
    """What became of some of the names that were found.

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
    found: Rows,
    known: KnownFiles,
    *,
    max_file_mb: int = DEFAULT_MAX_FILE_MB,
    on_progress: Callable[[int, int], None] | None = None,
) -> Iterator[Identified]:
    """Give each file its identity or the reason why it has none.

    Parameters
    ----------
    found : Rows
        Names, with the columns `storage.source_files.FOUND`, sorted by root and path.
    known : KnownFiles
        Files of earlier scans; unchanged ones are not read again.
    max_file_mb : int
        Larger files are failures with the code over-limit and are not read; megabytes.
    on_progress : callable, optional
        Called with the number of files identified and found, for each file.

    Yields
    ------
    Identified
        A few thousand names at a time, in their order.
    """
    progress = _Progress(len(found), on_progress)
    matcher = known.matcher()
    with ThreadPoolExecutor(HASH_THREADS) as pool:
        for batch in found.batches(FOUND.names):
            names = pa.Table.from_batches([batch])
            yield _identified(names, matcher.match(names), pool, progress, max_file_mb)


def _identified(
    found: pa.Table,
    known: KnownMatches,
    pool: ThreadPoolExecutor,
    progress: "_Progress",
    max_file_mb: int,
) -> Identified:
    kept = _rows_of_unchanged(found, known, max_file_mb)
    is_read = kept < 0
    named: list[SourceFile] = []
    read_places: list[int] = []
    failures: list[TrackFailure] = []
    places = np.flatnonzero(is_read)
    for start in range(0, len(places), HASH_BATCH):
        batch = places[start : start + HASH_BATCH]
        outcomes = pool.map(lambda file: _identify(file, max_file_mb), _named(found, batch))
        for place, outcome in zip(batch.tolist(), outcomes, strict=True):
            progress.reach(place + 1)
            if isinstance(outcome, TrackFailure):
                failures.append(outcome)
            else:
                named.append(outcome)
                read_places.append(place)
    progress.end_part(len(found))
    unchanged = known.files.take(pa.array(kept[~is_read]))
    files = pa.concat_tables([unchanged, SourceFiles.of(named).table])
    places_of_files = np.concatenate([np.flatnonzero(~is_read), np.array(read_places, np.int64)])
    if (np.diff(places_of_files) < 0).any():
        files = files.take(pa.array(np.argsort(places_of_files)))
    return Identified(SourceFiles(files), tuple(failures), int(is_read.sum()))


class _Progress:
    """Tells of each file once, in order."""

    def __init__(self, total: int, tell: Callable[[int, int], None] | None) -> None:
        self._total, self._tell = total, tell
        self._n_before = self._n_done = 0

    def reach(self, n_done: int) -> None:
        """Tell of every file up to this one of the part."""
        if self._tell is not None:
            for number in range(self._n_done + 1, n_done + 1):
                self._tell(self._n_before + number, self._total)
        self._n_done = max(self._n_done, n_done)

    def end_part(self, n_names: int) -> None:
        """Tell of what is left of a part of so many names."""
        self.reach(n_names)
        self._n_before, self._n_done = self._n_before + n_names, 0


def _rows_of_unchanged(found: pa.Table, known: KnownMatches, max_file_mb: int) -> NDArray[np.int64]:
    """Give for each name the row of the known file that still holds and is allowed, or -1."""
    rows = pa.array(known.rows, mask=known.rows < 0)
    is_same = pc.and_(
        pc.and_(
            pc.equal(found["n_bytes"], known.files["n_bytes"].take(rows)),
            pc.equal(found["mtime_ns"], known.files["mtime_ns"].take(rows)),
        ),
        pc.less_equal(found["n_bytes"], max_file_mb * 1_000_000),
    )
    return np.where(pc.fill_null(is_same, False).to_numpy(), known.rows, -1)


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
