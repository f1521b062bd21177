"""Finding the audio files of a catalogue, and the table of what the last scan found.

Links are not followed below a root.

Public: `check_roots`, `scan_catalogue`, `ScanResult`, `Catalogue`, `CatalogueRow`, `CatalogueRows`,
`places_by_track`, `Places`, `write_catalogue`, `read_catalogue`.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from musichash_core.records import SourceFile, TrackFailure
from storage.atomic import make_folder, place_file
from storage.errors import ArtefactMissingError, CatalogueError
from storage.failure_rows import failure_rows
from storage.file_identities import DEFAULT_MAX_FILE_MB, identify_files
from storage.layout import StoreLayout
from storage.schemas import CATALOGUE, FAILURES
from storage.source_files import CatalogueRow, CatalogueRows, FoundFiles, SourceFiles
from storage.tables import read_part, table_of, write_table

__all__ = [
    "Catalogue",
    "CatalogueRow",
    "CatalogueRows",
    "Places",
    "ScanResult",
    "check_roots",
    "places_by_track",
    "read_catalogue",
    "scan_catalogue",
    "write_catalogue",
]

_SUFFIXES = """
    .wav .wave .rf64 .w64 .flac .fla .ogg .oga .opus .mp3 .mp2 .mpga .aif .aiff .aifc .caf .au .snd
    .m4a .mp4 .m4b .aac .alac .wma .asf .webm .mka .mkv .ac3 .eac3 .wv .tta .ape .dsf .dff .mpc .spx
    .amr .3gp .ra .rm .mid .midi
"""
AUDIO_SUFFIXES = frozenset(_SUFFIXES.split())
"""Names that are looked into; content then decides. Other files (covers, texts) are passed by."""

COMPANION_PREFIX = b"._"
"""Begins the names of the resource forks that macOS writes beside files on foreign disks."""


@dataclass(frozen=True, slots=True, init=False)
class Catalogue:
    """The files of a catalogue with their labels, and those that could not be read.

    Parameters
    ----------
    rows : iterable of CatalogueRow
        Sorted by root and path; `CatalogueRows` where there are many.
    failures : iterable of TrackFailure
        Files without an identity.
    """

    rows: CatalogueRows
    failures: tuple[TrackFailure, ...]

    def __init__(self, rows: Iterable[CatalogueRow], failures: Iterable[TrackFailure]) -> None:
        object.__setattr__(self, "rows", CatalogueRows.of(rows))
        object.__setattr__(self, "failures", tuple(failures))

    @property
    def table(self) -> pa.Table:
        """The rows as a table of `storage.schemas.CATALOGUE`."""
        return self.rows.table

    @property
    def n_tracks(self) -> int:
        """How many tracks there are: files with the same bytes are one."""
        return int(pc.count_distinct(self.table["track_id"]).as_py())

    @property
    def n_labels(self) -> int:
        """How many different labels there are."""
        return int(pc.count_distinct(self.table["label"], mode="only_valid").as_py())

    def first_places(self) -> pa.Table:
        """Give the first row of each track, sorted by track_id."""
        return self.table.take(pa.array(places_by_track(self.table).first))

    def by_track(self) -> dict[str, list[CatalogueRow]]:
        """Group the rows by track: files with the same bytes are one track with several places.

        For small catalogues, or where every row is looked at anyway.
        """
        grouped: dict[str, list[CatalogueRow]] = {}
        for row in self.rows:
            grouped.setdefault(row.file.track_id, []).append(row)
        return grouped


class Places(NamedTuple):
    """The rows of a catalogue's table, grouped by track.

    Attributes
    ----------
    order : (n_rows,) int64
        All rows: by track_id, and those of one track as they stand in the table.
    starts : (n_tracks,) int64
        Where in `order` each track begins.
    """

    order: NDArray[np.int64]
    starts: NDArray[np.int64]

    @property
    def first(self) -> NDArray[np.int64]:
        """The first row of each track."""
        return self.order[self.starts]


def places_by_track(table: pa.Table) -> Places:
    """Group the rows of a catalogue's table by track, sorted by track_id."""
    ids = table["track_id"].combine_chunks()
    keys = pa.table({"track_id": ids, "row": np.arange(len(ids))})
    order = pc.sort_indices(keys, [("track_id", "ascending"), ("row", "ascending")])
    in_order = ids.take(order)
    is_first = np.ones(len(ids), bool)
    is_first[1:] = pc.not_equal(in_order[1:], in_order[:-1]).to_numpy(zero_copy_only=False)
    return Places(np.asarray(order, np.int64), np.flatnonzero(is_first))


@dataclass(frozen=True, slots=True)
class ScanResult:
    """What a scan found.

    Attributes
    ----------
    files : SourceFiles
        Sorted by root and path.
    failures : tuple of TrackFailure
        Files that could not be read for their identity.
    n_hashed : int
        Files that were read because they were new or changed.
    n_ignored : int
        Files without an audio suffix.
    """

    files: SourceFiles
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
    names = FoundFiles()
    n_found, n_ignored = map(sum, zip(*(_walk(root, names) for root in roots), strict=True))
    if not n_found:
        raise CatalogueError(
            f"no audio file lies below {', '.join(roots)} ({n_ignored} other files do); "
            "check the path, or that the disk is mounted"
        )
    identified = identify_files(
        names.table(), SourceFiles.of(known), max_file_mb=max_file_mb, on_progress=on_progress
    )
    return ScanResult(identified.files, identified.failures, identified.n_read, n_ignored)


def _walk(root: str, names: FoundFiles) -> tuple[int, int]:
    """Add every file below a root that is looked into, and every folder that cannot be listed.

    Returns
    -------
    n_found, n_ignored : int
        Names that were added, and files that are not looked into.
    """
    pending = [b""]
    base = os.fsencode(root)
    n_found = n_ignored = 0
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(os.path.join(base, folder)) as entries:  # noqa: PTH118 - bytes paths
                listed = list(entries)
        except OSError:
            names.add(root, folder, None)
            n_found += 1
            continue
        prefix = folder + b"/" if folder else b""
        for entry in listed:
            path_raw = prefix + entry.name
            try:
                if entry.is_dir(follow_symlinks=False):
                    pending.append(path_raw)
                    continue
                if not _is_candidate(entry):
                    n_ignored += 1
                    continue
                status = entry.stat(follow_symlinks=False)
            except OSError:  # it vanished, or its folder can be listed and not entered
                status = None
            names.add(root, path_raw, status)
            n_found += 1
    return n_found, n_ignored


def _is_candidate(entry: "os.DirEntry[bytes]") -> bool:
    """Tell what is looked into: audio by name, and links to folders, which are refused by name."""
    if entry.is_symlink() and entry.is_dir():
        return True
    suffix = os.path.splitext(entry.name)[1].lower().decode("latin-1")  # noqa: PTH122 - bytes
    return suffix in AUDIO_SUFFIXES and not entry.name.startswith(COMPANION_PREFIX)


def write_catalogue(layout: StoreLayout, catalogue: Catalogue) -> None:
    """Store what a scan found, for the stages after it."""
    make_folder(layout.work_root)
    for path, table in (
        (layout.scan_failures_path, table_of(failure_rows(catalogue.failures), FAILURES)),
        (layout.catalogue_path, catalogue.table.combine_chunks()),
    ):
        temporary = path.with_name(f".tmp-{path.name}")
        write_table(temporary, table)
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
    failures = []
    for row in failed.to_pylist():
        del row["retryable"]
        failures.append(TrackFailure(**row))
    return Catalogue(CatalogueRows(table), failures)
