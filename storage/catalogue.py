"""Finding the audio files of a catalogue, and the table of what the last scan found.

Links are not followed below a root.

Public: `check_roots`, `scan_catalogue`, `result_of`, `ScanResult`, `Catalogue`, `CatalogueRow`,
`write_catalogue`, `read_catalogue`.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from musichash_core.records import SourceFile, TrackFailure
from storage.atomic import make_folder, place_file
from storage.errors import ArtefactMissingError, CatalogueError
from storage.failure_rows import failure_rows
from storage.file_identities import DEFAULT_MAX_FILE_MB, FoundFile, identify_files
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


@dataclass(frozen=True, slots=True)
class CatalogueRow:
    """One file of the catalogue with its label.

    Attributes
    ----------
    file : SourceFile
        The file.
    label, group : str or None
        Genre or class, and the unit that never straddles a split (an artist, as a rule).
    external_id : str or None
        What its owner calls it, from a manifest.
    """

    file: SourceFile
    label: str | None = None
    group: str | None = None
    external_id: str | None = None


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
    max_file_mb: int = DEFAULT_MAX_FILE_MB,
    on_progress: Callable[[int, int], None] | None = None,
) -> ScanResult:
    """Find every audio file below some roots and give each its identity.

    Parameters
    ----------
    roots : sequence of str
        As `check_roots` gives them.
    known : iterable of SourceFile
        Files of the last scan; unchanged ones are not read again.
    max_file_mb : int
        Larger files are failures and are not read; megabytes.
    on_progress : callable, optional
        Called with the number of files identified and found.

    Raises
    ------
    CatalogueError
        If no audio file is found in any root.
    """
    found: list[FoundFile] = []
    n_ignored = 0
    for root in roots:
        for file, is_candidate in _walk(root):
            if is_candidate:
                found.append(file)
            else:
                n_ignored += 1
    if not found:
        raise CatalogueError(
            f"no audio file lies below {', '.join(roots)} ({n_ignored} other files do); "
            "check the path, or that the disk is mounted"
        )
    found.sort(key=lambda file: (file.root, file.path_raw))
    return result_of(
        identify_files(found, known, max_file_mb=max_file_mb, on_progress=on_progress),
        n_ignored=n_ignored,
    )


def result_of(
    outcomes: Iterable[tuple[SourceFile | TrackFailure, bool]], *, n_ignored: int = 0
) -> ScanResult:
    """Sort what `identify_files` gives into files and failures."""
    files: list[SourceFile] = []
    failures: list[TrackFailure] = []
    n_hashed = 0
    for outcome, was_read in outcomes:
        n_hashed += was_read
        if isinstance(outcome, SourceFile):
            files.append(outcome)
        else:
            failures.append(outcome)
    return ScanResult(tuple(files), tuple(failures), n_hashed, n_ignored)


def _walk(root: str) -> Iterator[tuple[FoundFile, bool]]:
    """Yield every file below a root, and every folder that cannot be listed.

    With each comes whether it is looked into.
    """
    pending = [b""]
    base = os.fsencode(root)
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(os.path.join(base, folder)) as entries:  # noqa: PTH118 - bytes paths
                listed = list(entries)
        except OSError:
            yield FoundFile(root, folder, None), True
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
                yield FoundFile(root, path_raw, None), True
            else:
                yield FoundFile(root, path_raw, status), is_candidate


def _is_candidate(entry: "os.DirEntry[bytes]") -> bool:
    """Tell what is looked into: audio by name, and links to folders, which are refused by name."""
    if entry.is_symlink() and entry.is_dir():
        return True
    suffix = os.path.splitext(entry.name)[1].lower().decode("latin-1")  # noqa: PTH122 - bytes
    return suffix in AUDIO_SUFFIXES and not entry.name.startswith(COMPANION_PREFIX)


def write_catalogue(layout: StoreLayout, catalogue: Catalogue) -> None:
    """Store what a scan found, for the stages after it."""
    make_folder(layout.work_root)
    plain = [
        asdict(row.file) | {"label": row.label, "group": row.group, "external_id": row.external_id}
        for row in catalogue.rows
    ]
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
        owned = {name: row.pop(name) for name in ("label", "group", "external_id")}
        rows.append(CatalogueRow(SourceFile(**row), **owned))
    failures = []
    for row in failed.to_pylist():
        del row["retryable"]
        failures.append(TrackFailure(**row))
    return Catalogue(tuple(rows), tuple(failures))
