"""The catalogue: what a scan found below some roots, as the stages after it read it.

Public: `check_roots`, `scan_catalogue`, `give_identities`, `ScanResult`, `Labels`, `Catalogue`,
`CatalogueRow`, `CatalogueRows`, `places_by_track`, `Places`, `write_catalogue`, `read_catalogue`.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from musichash_core.records import SourceFile, TrackFailure
from storage.atomic import make_folder, place_file
from storage.catalogue_roots import check_roots
from storage.catalogue_walk import walk
from storage.collected_rows import MemoryRows, RowCollector, Rows, open_rows
from storage.distinct_texts import count_distinct
from storage.errors import ArtefactMissingError, CatalogueError
from storage.failure_rows import failure_rows
from storage.file_identities import DEFAULT_MAX_FILE_MB, identify_files
from storage.known_files import KnownFiles
from storage.layout import StoreLayout
from storage.schemas import CATALOGUE, FAILURES
from storage.source_files import FOUND, CatalogueRow, CatalogueRows, SourceFiles
from storage.tables import read_part, table_of

__all__ = [
    "Catalogue",
    "CatalogueRow",
    "CatalogueRows",
    "Labels",
    "Places",
    "ScanResult",
    "check_roots",
    "give_identities",
    "places_by_track",
    "read_catalogue",
    "scan_catalogue",
    "write_catalogue",
]

NAMES_SETTINGS = {"compression": "lz4", "write_page_checksum": True, "use_dictionary": ["root"]}
"""How names are kept until they have their identities: read once, so that time counts."""

Labels = Callable[[SourceFiles], CatalogueRows]
"""Says what is known of some files."""


class Catalogue:
    """The files of a catalogue with their labels, and those that could not be read.

    Parameters
    ----------
    rows : iterable of CatalogueRow, or Rows
        Sorted by root and path; `CatalogueRows` or `storage.collected_rows.Rows` of
        `storage.schemas.CATALOGUE` where there are many.
    failures : iterable of TrackFailure
        Files without an identity.
    """

    __slots__ = ("_rows", "failures")
    __hash__ = None  # type: ignore[assignment] # compared by content

    def __init__(
        self, rows: Iterable[CatalogueRow] | Rows, failures: Iterable[TrackFailure]
    ) -> None:
        if not isinstance(rows, Rows):
            rows = MemoryRows(CatalogueRows.of(rows).table)
        self._rows: Rows = rows
        self.failures: tuple[TrackFailure, ...] = tuple(failures)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Catalogue):
            return NotImplemented
        return self.failures == other.failures and bool(self.table.equals(other.table))

    @property
    def n_files(self) -> int:
        """How many files have an identity."""
        return len(self._rows)

    def batches(self, columns: Sequence[str], *, first_root: str = "") -> Iterator[pa.RecordBatch]:
        """Give some columns of the rows in their order, a few thousand rows at a time.

        Parameters
        ----------
        first_root : str
            Rows of roots before this one may be left out.

        Raises
        ------
        DamagedArtefactError
            If the rows are in a file of the store, and a page of it is damaged.
        """
        return self._rows.batches(columns, first_root=first_root)

    @property
    def table(self) -> pa.Table:
        """All rows in memory, as a table of `storage.schemas.CATALOGUE`; raises like `batches`."""
        return self._rows.table

    @property
    def rows(self) -> CatalogueRows:
        """All rows in memory; raises like `batches`."""
        return CatalogueRows(self.table)

    def with_failures(self, failures: Iterable[TrackFailure]) -> "Catalogue":
        """Give the same files with other failures."""
        return Catalogue(self._rows, failures)

    def write(self, path: Path) -> None:
        """Write the rows to a new Parquet file; the bytes depend on the rows alone."""
        self._rows.write(path)

    @property
    def n_tracks(self) -> int:
        """How many tracks there are: files with the same bytes are one."""
        return self._count_different("track_id")

    @property
    def n_labels(self) -> int:
        """How many different labels there are."""
        return self._count_different("label")

    def _count_different(self, column: str) -> int:
        return count_distinct((batch[column] for batch in self.batches([column])), self.n_files)

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
    catalogue : Catalogue
        Files sorted by root and path, and those that could not be read for their identity.
    n_hashed : int
        Files that were read because they were new or changed.
    n_ignored : int
        Files without an audio suffix.
    """

    catalogue: Catalogue
    n_hashed: int
    n_ignored: int

    @property
    def files(self) -> SourceFiles:
        """The files, all in memory."""
        return self.catalogue.rows.files

    @property
    def failures(self) -> tuple[TrackFailure, ...]:
        """Files that could not be read for their identity."""
        return self.catalogue.failures


def scan_catalogue(
    roots: Sequence[str],
    known: Iterable[SourceFile] | KnownFiles = (),
    *,
    labels: Labels = CatalogueRows.labelled,
    max_file_mb: int = DEFAULT_MAX_FILE_MB,
    on_progress: Callable[[int, int], None] | None = None,
) -> ScanResult:
    """Find every audio file below some roots and give each its identity.

    Parameters
    ----------
    roots : sequence of str
        As `check_roots` gives them.
    known : KnownFiles, or iterable of SourceFile
        Files of earlier scans; unchanged ones are not read again.
    labels : callable
        Says what is known of some files.
    max_file_mb : int
        Larger files are failures and are not read; megabytes.
    on_progress : callable, optional
        Called with the number of files identified and found.

    Raises
    ------
    CatalogueError
        If no audio file is found in any root.
    TemporarySpaceError
        If there are many files, and the folder for temporary files is full.
    """
    n_ignored = 0
    with RowCollector(FOUND, NAMES_SETTINGS) as names:
        for root in sorted(roots):
            for part in walk(root):
                names.add(part.found)
                n_ignored += part.n_ignored
        found = names.finish()
    if not len(found):
        raise CatalogueError(
            f"no audio file lies below {', '.join(roots)} ({n_ignored} other files do); "
            "check the path, or that the disk is mounted"
        )
    result = give_identities(
        found, known, labels=labels, max_file_mb=max_file_mb, on_progress=on_progress
    )
    return replace(result, n_ignored=n_ignored)


def give_identities(
    found: Rows,
    known: Iterable[SourceFile] | KnownFiles,
    *,
    labels: Labels,
    max_file_mb: int,
    on_progress: Callable[[int, int], None] | None,
) -> ScanResult:
    """Give names that were found their identities, and put what is known of the files beside them.

    Parameters
    ----------
    found : Rows
        Names, with the columns `storage.source_files.FOUND`, sorted by root and path.
    known, labels, max_file_mb, on_progress
        As for `scan_catalogue`.
    """
    if not isinstance(known, KnownFiles):
        known = KnownFiles(MemoryRows(SourceFiles.of(known).table))
    failures: list[TrackFailure] = []
    n_hashed = 0
    with RowCollector(CATALOGUE) as rows:
        for part in identify_files(found, known, max_file_mb=max_file_mb, on_progress=on_progress):
            rows.add(labels(part.files).table)
            failures += part.failures
            n_hashed += part.n_read
        catalogue = Catalogue(rows.finish(), failures)
    return ScanResult(catalogue, n_hashed, n_ignored=0)


def write_catalogue(layout: StoreLayout, catalogue: Catalogue) -> None:
    """Store what a scan found, for the stages after it."""
    make_folder(layout.work_root)
    failures = MemoryRows(table_of(failure_rows(catalogue.failures), FAILURES))
    for path, rows in (
        (layout.scan_failures_path, failures),
        (layout.catalogue_path, catalogue),
    ):
        temporary = path.with_name(f".tmp-{path.name}")
        rows.write(temporary)
        place_file(temporary, path)


def read_catalogue(layout: StoreLayout) -> Catalogue:
    """Open what the last scan found; raises ArtefactMissingError when there was none.

    A later scan does not change what was opened.
    """
    try:
        rows = open_rows(layout.catalogue_path, CATALOGUE)
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
    return Catalogue(rows, failures)
