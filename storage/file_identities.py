"""Giving files of a catalogue their identity: the hash of their bytes.

A file whose size and modification time are as the last scan saw them keeps its identity without
being read. Files that cannot be read, or are larger than is allowed, become failures.

Public: `FoundFile`, `identify_files`, `path_for_people`, `DEFAULT_MAX_FILE_MB`.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from musichash_core.decode import DecodeConfig, open_beneath
from musichash_core.errors import DecodeError
from musichash_core.identity import track_id_of
from musichash_core.records import SourceFile, TrackFailure

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
    status : os.stat_result or None
        What its lstat gave, or None where that cannot be had.
    place : str
        Where the manifest names it (``line 7 of tracks.csv``), for messages; "" when it was found
        by walking.
    """

    root: str
    path_raw: bytes
    status: os.stat_result | None
    place: str = ""


def identify_files(
    found: Sequence[FoundFile],
    known: Iterable[SourceFile] = (),
    *,
    max_file_mb: int = DEFAULT_MAX_FILE_MB,
    on_progress: Callable[[int, int], None] | None = None,
) -> Iterator[tuple[SourceFile | TrackFailure, bool]]:
    """Give each file its identity or the reason why it has none, in order.

    Parameters
    ----------
    known : iterable of SourceFile
        Files of the last scan; unchanged ones are not read again.
    max_file_mb : int
        Larger files are failures with the code over-limit and are not read; megabytes.
    on_progress : callable, optional
        Called with the number of files identified and found.

    Yields
    ------
    SourceFile or TrackFailure
        What became of the file.
    bool
        Whether it was opened for it.
    """
    identified = {(file.root, file.path_raw): file for file in known}
    n_done = 0
    with ThreadPoolExecutor(HASH_THREADS) as pool:
        for start in range(0, len(found), HASH_BATCH):
            batch = found[start : start + HASH_BATCH]
            unchanged = [_if_unchanged(file, identified, max_file_mb) for file in batch]
            changed = [file for file, kept in zip(batch, unchanged, strict=True) if kept is None]
            read = pool.map(lambda file: _identify(file, max_file_mb), changed)
            for kept in unchanged:
                yield (next(read), True) if kept is None else (kept, False)
                n_done += 1
                if on_progress is not None:
                    on_progress(n_done, len(found))


def _if_unchanged(
    found: FoundFile, known: Mapping[tuple[str, bytes], SourceFile], max_file_mb: int
) -> SourceFile | None:
    """Give what the last scan found, if the file is still so and allowed."""
    before, status = known.get((found.root, found.path_raw)), found.status
    if before is None or status is None or status.st_size > max_file_mb * 1_000_000:
        return None
    is_same = (before.n_bytes, before.mtime_ns) == (status.st_size, status.st_mtime_ns)
    return before if is_same else None


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
