"""Finding the audio files of a catalogue, and the table of what the last scan found.

A file's identity is the hash of its bytes. A file whose size and modification time are as the last
scan saw them keeps its identity without being read. Links are not followed below a root.

Public: `check_roots`, `scan_catalogue`, `ScanResult`, `Catalogue`, `CatalogueRow`,
`write_catalogue`, `read_catalogue`.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from musichash_core.decode import open_beneath
from musichash_core.errors import DecodeError
from musichash_core.identity import track_id_of
from musichash_core.records import SourceFile, TrackFailure
from storage.atomic import make_folder, place_file
from storage.errors import ArtefactMissingError, CatalogueError
from storage.failure_rows import failure_rows
from storage.layout import StoreLayout
from storage.schemas import CATALOGUE, FAILURES
from storage.tables import read_part, write_rows

_SUFFIXES = """
    .wav .wave .rf64 .w64 .flac .fla .ogg .oga .opus .mp3 .mp2 .mpga .aif .aiff .aifc .caf .au .snd
    .m4a .mp4 .m4b .aac .alac .wma .asf .webm .mka .mkv .ac3 .eac3 .wv .tta .ape .dsf .dff .mpc .spx
    .amr .3gp .ra .rm .mid .midi
"""
AUDIO_SUFFIXES = frozenset(_SUFFIXES.split())
"""Names that are looked into; content then decides. Other files (covers, texts) are passed by."""

COMPANION_PREFIX = b"._"
"""Begins the names of the resource forks that macOS writes beside files on foreign disks."""

HASH_THREADS = 4
HASH_BATCH = 1024
"""Files handed to the threads at once; bounds the memory of a first scan of millions."""

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
        If a root is missing, is no folder, cannot be listed, has a name that is not UTF-8, or is
        or lies inside another.
    """
    if not roots:
        raise CatalogueError("no catalogue is given; name one or more folders with --catalogue DIR")
    absolute = [_check_root(root) for root in roots]
    for place, path in enumerate(absolute):
        for other in absolute[:place] + absolute[place + 1 :]:
            if other.resolve() == path.resolve():
                raise CatalogueError(f"the catalogue {path} is named twice; name it once")
            if other.resolve().is_relative_to(path.resolve()):
                raise CatalogueError(
                    f"the catalogue {other} lies inside {path}; name only one of them"
                )
    return tuple(str(path) for path in absolute)


def _check_root(root: str | Path) -> Path:
    if not str(root):
        raise CatalogueError("a catalogue has an empty name; name a folder with --catalogue DIR")
    path = Path(root).absolute()
    if ".." in path.parts:
        path = path.resolve()  # one folder, one spelling: unchanged files are known by their path
    try:
        str(path).encode()
        with os.scandir(path):
            pass
    except UnicodeEncodeError as error:
        raise CatalogueError(
            f"the name of the catalogue {os.fsencode(path)!r} is not UTF-8; rename the folder, or "
            "name a link to it"
        ) from error
    except FileNotFoundError as error:
        raise CatalogueError(
            f"the catalogue {path} does not exist; check the path, or mount the disk, and run again"
        ) from error
    except NotADirectoryError as error:
        raise CatalogueError(
            f"the catalogue {path} is not a folder; name the folder that holds the music"
        ) from error
    except OSError as error:
        raise CatalogueError(
            f"the catalogue {path} cannot be listed: {error.strerror}; grant read permission"
        ) from error
    return path


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
    found: list[_Entry] = []
    n_ignored = 0
    for root in roots:
        for entry in _walk(root):
            if entry.is_candidate:
                found.append(entry)
            else:
                n_ignored += 1
    if not found:
        raise CatalogueError(
            f"no audio file lies below {', '.join(roots)} ({n_ignored} other files do); "
            "check the path, or that the disk is mounted"
        )
    found.sort(key=lambda entry: (entry.root, entry.path_raw))
    outcomes: list[SourceFile | TrackFailure] = []
    n_hashed = 0
    with ThreadPoolExecutor(HASH_THREADS) as pool:
        for start in range(0, len(found), HASH_BATCH):
            batch = found[start : start + HASH_BATCH]
            for outcome, was_read in pool.map(lambda entry: _identify(entry, identified), batch):
                outcomes.append(outcome)
                n_hashed += was_read
                if on_progress is not None:
                    on_progress(len(outcomes), len(found))
    return ScanResult(
        files=tuple(outcome for outcome in outcomes if isinstance(outcome, SourceFile)),
        failures=tuple(outcome for outcome in outcomes if isinstance(outcome, TrackFailure)),
        n_hashed=n_hashed,
        n_ignored=n_ignored,
    )


@dataclass(frozen=True, slots=True)
class _Entry:
    """A name below a root: `status` is its lstat, or None where that cannot be had."""

    root: str
    path_raw: bytes
    status: os.stat_result | None
    is_candidate: bool = True


def _walk(root: str) -> Iterator[_Entry]:
    """Yield every file below a root, and every folder that cannot be listed."""
    pending = [b""]
    base = os.fsencode(root)
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(os.path.join(base, folder)) as entries:  # noqa: PTH118 - bytes paths
                listed = list(entries)
        except OSError:
            yield _Entry(root, folder, None)
            continue
        for entry in listed:
            path_raw = os.path.join(folder, entry.name)  # noqa: PTH118 - bytes paths
            try:
                if entry.is_dir(follow_symlinks=False):
                    pending.append(path_raw)
                    continue
                is_candidate = _is_candidate(entry)
                status = entry.stat(follow_symlinks=False) if is_candidate else None
            except OSError:  # it vanished, or its folder can be listed and not entered
                yield _Entry(root, path_raw, None)
            else:
                yield _Entry(root, path_raw, status, is_candidate)


def _is_candidate(entry: "os.DirEntry[bytes]") -> bool:
    """Tell what is looked into: audio by name, and links to folders, which are refused by name."""
    if entry.is_symlink() and entry.is_dir():
        return True
    suffix = os.path.splitext(entry.name)[1].lower().decode("latin-1")  # noqa: PTH122 - bytes
    return suffix in AUDIO_SUFFIXES and not entry.name.startswith(COMPANION_PREFIX)


def _identify(
    entry: _Entry, known: Mapping[tuple[str, bytes], SourceFile]
) -> tuple[SourceFile | TrackFailure, bool]:
    """Give a file its identity, and tell whether it was read for it."""
    before, status = known.get((entry.root, entry.path_raw)), entry.status
    if (
        before is not None
        and status is not None
        and (before.n_bytes, before.mtime_ns) == (status.st_size, status.st_mtime_ns)
    ):
        return before, False
    try:
        return _read_identity(entry), True
    except DecodeError as error:
        code, message = error.code, str(error)
    except OSError as error:
        code, message = "read-error", f"reading failed: {error.strerror}"
    path = f"{entry.root}/{path_for_people(entry.path_raw)}"
    return TrackFailure("", path, "scan", code, message), True


def _read_identity(entry: _Entry) -> SourceFile:
    descriptor = open_beneath(entry.root, entry.path_raw)
    try:
        before = os.fstat(descriptor)
        track_id = track_id_of(iter(lambda: os.read(descriptor, READ_BYTES), b""))
        after = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise DecodeError("changed-while-reading", "it changed while the scan read it")
    return SourceFile(
        track_id=track_id,
        root=entry.root,
        path=path_for_people(entry.path_raw),
        path_raw=entry.path_raw,
        n_bytes=after.st_size,
        mtime_ns=after.st_mtime_ns,
    )


def path_for_people(path_raw: bytes) -> str:
    r"""Write a path as text; bytes that are not UTF-8 become ``\xNN``."""
    return path_raw.decode("utf-8", "backslashreplace")


def write_catalogue(layout: StoreLayout, catalogue: Catalogue) -> None:
    """Store what a scan found, for the stages after it."""
    make_folder(layout.work_root)
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
