"""Finding the audio files of a catalogue, and the table of what the last scan found.

A file's identity is the hash of its bytes. A file whose size and modification time are as the last
scan saw them keeps its identity without being read. Links are not followed below a root.

Public: `check_roots`, `scan_catalogue`, `ScanResult`, `Catalogue`, `CatalogueRow`,
`write_catalogue`, `read_catalogue`.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from musichash_core.decode import open_beneath
from musichash_core.errors import DecodeError
from musichash_core.identity import track_id_of
from musichash_core.records import SourceFile, TrackFailure
from storage.atomic import place_file
from storage.errors import ArtefactMissingError, CatalogueError
from storage.failure_rows import failure_rows
from storage.layout import StoreLayout
from storage.schemas import CATALOGUE, FAILURES
from storage.tables import read_part, write_rows

AUDIO_SUFFIXES = frozenset(
    ".wav .wave .rf64 .w64 .flac .fla .ogg .oga .opus .mp3 .mp2 .mpga .aif .aiff .aifc .caf .au .snd "
    ".m4a .mp4 .m4b .aac .alac .wma .asf .webm .mka .mkv .ac3 .eac3 .wv .tta .ape .dsf .dff .mpc .spx "
    ".amr .3gp .ra .rm .mid .midi".split()
)
"""Names that are looked into; their content then decides. Other files (covers, texts) are passed by."""

HASH_THREADS = 4
READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class CatalogueRow:
    """One file of the catalogue with its label.

    Attributes
    ----------
    file : SourceFile
        The file.
    label, group : str or None
        Genre or class, and the unit that never straddles a split (an artist, as a rule).
    """

    file: SourceFile
    label: str | None = None
    group: str | None = None


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The files of a catalogue with their labels, and those that could not be read.

    Attributes
    ----------
    rows : tuple of CatalogueRow
        Sorted by root and path.
    failures : tuple of TrackFailure
        Files without an identity.
    """

    rows: tuple[CatalogueRow, ...]
    failures: tuple[TrackFailure, ...]

    def by_track(self) -> dict[str, list[CatalogueRow]]:
        """Group the rows by track: files with the same bytes are one track with several places."""
        grouped: dict[str, list[CatalogueRow]] = {}
        for row in self.rows:
            grouped.setdefault(row.file.track_id, []).append(row)
        return grouped


@dataclass(frozen=True, slots=True)
class ScanResult:
    """What a scan found.

    Attributes
    ----------
    files : tuple of SourceFile
        Sorted by root and path.
    failures : tuple of TrackFailure
        Files that could not be read for their identity.
    n_hashed : int
        Files that were read because they were new or changed.
    n_ignored : int
        Files without an audio suffix.
    """

    files: tuple[SourceFile, ...]
    failures: tuple[TrackFailure, ...]
    n_hashed: int
    n_ignored: int


def check_roots(roots: Sequence[str | Path]) -> tuple[str, ...]:
    """Make catalogue roots absolute, and refuse what is no readable folder.

    Raises
    ------
    CatalogueError
        If a root is missing, is no folder, cannot be listed, or lies inside another.
    """
    if not roots:
        raise CatalogueError("no catalogue is given; name one or more folders with --catalogue DIR")
    absolute = []
    for root in roots:
        path = Path(root).absolute()
        if not path.is_dir():
            state = "is not a folder" if path.exists() else "does not exist"
            raise CatalogueError(
                f"the catalogue {path} {state}; check the path, or mount the disk, and run again"
            )
        try:
            with os.scandir(path):
                pass
        except OSError as error:
            raise CatalogueError(
                f"the catalogue {path} cannot be listed: {error.strerror}; grant read permission"
            ) from error
        absolute.append(path)
    for path in absolute:
        for other in absolute:
            if other is not path and other.resolve().is_relative_to(path.resolve()):
                raise CatalogueError(f"the catalogue {other} lies inside {path}; name only one of them")
    return tuple(str(path) for path in absolute)


def scan_catalogue(
    roots: Sequence[str],
    known: Iterable[SourceFile] = (),
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> ScanResult:
    """Find every audio file below some roots and give each its identity.

    Parameters
    ----------
    roots : sequence of str
        As `check_roots` gives them.
    known : iterable of SourceFile
        Files of the last scan; unchanged ones are not read again.
    on_progress : callable, optional
        Called with the number of files identified and found.

    Raises
    ------
    CatalogueError
        If no audio file is found in any root.
    """
    identified = {(file.root, file.path_raw): file for file in known}
    found: list[tuple[str, bytes, os.stat_result | None]] = []
    n_ignored = 0
    for root in sorted(roots):
        for path_raw, status in _walk(root):
            if status is _IGNORED:
                n_ignored += 1
            else:
                found.append((root, path_raw, status))
    if not found:
        raise CatalogueError(
            f"no audio file lies below {', '.join(roots)} ({n_ignored} other files do); "
            "check the path, or that the disk is mounted"
        )
    files: list[SourceFile] = []
    failures: list[TrackFailure] = []
    n_hashed = 0
    with ThreadPoolExecutor(HASH_THREADS) as pool:
        outcomes = pool.map(lambda entry: _identify(*entry, identified), found)
        for count, (outcome, was_read) in enumerate(outcomes, start=1):
            if isinstance(outcome, SourceFile):
                files.append(outcome)
            else:
                failures.append(outcome)
            n_hashed += was_read
            if on_progress is not None:
                on_progress(count, len(found))
    return ScanResult(tuple(files), tuple(failures), n_hashed, n_ignored)


_IGNORED = object()


def _walk(root: str) -> Iterator[tuple[bytes, object]]:
    """Yield path and lstat of every candidate below a root, in a fixed order."""
    pending = [b""]
    base = os.fsencode(root)
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(os.path.join(base, folder)) as entries:  # noqa: PTH118 - bytes paths
                listed = sorted(entries, key=lambda entry: entry.name)
        except OSError:
            yield folder, None
            continue
        for entry in listed:
            path_raw = os.path.join(folder, entry.name)  # noqa: PTH118 - bytes paths
            if entry.is_dir(follow_symlinks=False):
                pending.append(path_raw)
            elif os.path.splitext(entry.name)[1].lower().decode("latin-1") not in AUDIO_SUFFIXES:  # noqa: PTH122
                yield path_raw, _IGNORED
            else:
                yield path_raw, entry.stat(follow_symlinks=False)


def _identify(
    root: str,
    path_raw: bytes,
    status: os.stat_result | None,
    known: dict[tuple[str, bytes], SourceFile],
) -> tuple[SourceFile | TrackFailure, bool]:
    before = known.get((root, path_raw))
    if (
        before is not None
        and status is not None
        and (before.n_bytes, before.mtime_ns) == (status.st_size, status.st_mtime_ns)
    ):
        return before, False
    path = path_for_people(path_raw)
    try:
        descriptor = open_beneath(root, path_raw)
        try:
            read = os.fstat(descriptor)
            track_id = track_id_of(iter(lambda: os.read(descriptor, READ_BYTES), b""))
            after = os.fstat(descriptor)
        finally:
            os.close(descriptor)
        if (read.st_size, read.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise DecodeError("changed-while-reading", "it changed while the scan read it")
    except DecodeError as error:
        return TrackFailure("", f"{root}/{path}", "scan", error.code, str(error)), True
    except OSError as error:
        message = f"reading failed: {error.strerror}"
        return TrackFailure("", f"{root}/{path}", "scan", "read-error", message), True
    return SourceFile(track_id, root, path, path_raw, after.st_size, after.st_mtime_ns), True


def path_for_people(path_raw: bytes) -> str:
    r"""Write a path as text; bytes that are not UTF-8 become ``\xNN``."""
    return path_raw.decode("utf-8", "backslashreplace")


def write_catalogue(layout: StoreLayout, catalogue: Catalogue) -> None:
    """Store what a scan found, for the stages after it."""
    layout.work_root.mkdir(parents=True, exist_ok=True)
    plain = [asdict(row.file) | {"label": row.label, "group": row.group} for row in catalogue.rows]
    for path, content, schema in (
        (layout.scan_failures_path, failure_rows(catalogue.failures), FAILURES),
        (layout.catalogue_path, plain, CATALOGUE),
    ):
        temporary = path.with_name(f".tmp-{path.name}")
        write_rows(temporary, content, schema)
        place_file(temporary, path)


def read_catalogue(layout: StoreLayout) -> Catalogue:
    """Read what the last scan found; raises ArtefactMissingError when there was none."""
    try:
        table = read_part(layout.catalogue_path, CATALOGUE)
        failed = read_part(layout.scan_failures_path, FAILURES)
    except ArtefactMissingError as error:
        raise ArtefactMissingError(
            f"the store {layout.root} has no catalogue yet; "
            f"run 'musichash scan --catalogue DIR --store {layout.root}' first"
        ) from error
    rows = []
    for row in table.to_pylist():
        label, group = row.pop("label"), row.pop("group")
        rows.append(CatalogueRow(SourceFile(**row), label, group))
    failures = []
    for row in failed.to_pylist():
        del row["retryable"]
        failures.append(TrackFailure(**row))
    return Catalogue(tuple(rows), tuple(failures))
