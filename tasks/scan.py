"""Stage 1, scan: find the audio files of the catalogue, give each its identity and its label.

The files are all that lie below the roots, or those that a manifest names.

Public: `check_catalogues`, `look`, `record`, `recorded`, `Found`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from musichash_core.records import SourceFile
from storage.catalogue import (
    Catalogue,
    check_roots,
    read_catalogue,
    scan_catalogue,
    write_catalogue,
)
from storage.errors import ArtefactMissingError, ManifestError
from storage.file_identities import DEFAULT_MAX_FILE_MB
from storage.labels import labels_from_file, labels_from_folders
from storage.manifest import Manifest, read_manifest, scan_manifest
from storage.store import open_store

__all__ = ["Catalogue", "Found", "check_catalogues", "look", "record", "recorded"]


@dataclass(frozen=True, slots=True)
class Found:
    """What a scan found.

    Attributes
    ----------
    catalogue : Catalogue
        Files with identities and labels.
    n_hashed : int
        Files read because they were new or changed.
    n_ignored : int
        Files of other kinds.
    passed_by : tuple of str
        Columns of the manifest that mean nothing here.
    """

    catalogue: Catalogue
    n_hashed: int
    n_ignored: int
    passed_by: tuple[str, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """Numbers for people and for JSON."""
        rows = self.catalogue.rows
        return {
            "files": len(rows),
            "tracks": len({row.file.track_id for row in rows}),
            "hashed": self.n_hashed,
            "unreadable": len(self.catalogue.failures),
            "ignored": self.n_ignored,
            "labels": len({row.label for row in rows} - {None}),
        }


def look(
    store: str,
    roots: Sequence[str],
    *,
    labels: str | None = None,
    manifest: str | None = None,
    max_file_mb: int = DEFAULT_MAX_FILE_MB,
    on_progress: Callable[[int, int], None] | None = None,
) -> Found:
    """Find every audio file below some roots, or those that a manifest names; writes nothing.

    Parameters
    ----------
    store : str
        Store root; if it exists, files unchanged since its last scan are not read again.
    roots : sequence of str
        Catalogue roots.
    labels : str, optional
        A labels file; without it, and without labels in a manifest, the first folder below a root
        is the label.
    manifest : str, optional
        The files to process; without it all that lie below the roots.
    max_file_mb : int
        Larger files are failures and are not read; megabytes.
    on_progress : callable, optional
        Called with the number of files identified and found.

    Raises
    ------
    CatalogueError, LabelsError, ManifestError, StoreError
    """
    absolute = check_roots(roots)
    if manifest is not None:
        listed = read_manifest(Path(manifest), absolute, spellings=list(map(str, roots)))
        return _look_at(listed, store, labels, max_file_mb, on_progress)
    result = scan_catalogue(
        absolute, _known_files(store), max_file_mb=max_file_mb, on_progress=on_progress
    )
    rows = (
        labels_from_folders(result.files)
        if labels is None
        else labels_from_file(Path(labels), result.files, result.failures)
    )
    return Found(Catalogue(tuple(rows), result.failures), result.n_hashed, result.n_ignored)


def _look_at(
    listed: Manifest,
    store: str,
    labels: str | None,
    max_file_mb: int,
    on_progress: Callable[[int, int], None] | None,
) -> Found:
    """Find the files of a manifest; its labels count, or those of a file, or the folders."""
    if listed.has_labels and labels is not None:
        raise ManifestError(
            f"both the manifest {listed.path} and the labels file {labels} give labels; "
            "leave out --labels, or the columns 'label' and 'group' of the manifest"
        )
    result, rows = scan_manifest(
        listed, _known_files(store), max_file_mb=max_file_mb, on_progress=on_progress
    )
    if not listed.has_labels:
        labelled = (
            labels_from_folders(result.files)
            if labels is None
            else labels_from_file(Path(labels), result.files, is_part=True)
        )
        rows = [
            replace(row, label=other.label, group=other.group)
            for row, other in zip(rows, labelled, strict=True)
        ]
    return Found(
        Catalogue(tuple(rows), result.failures), result.n_hashed, 0, passed_by=listed.passed_by
    )


def _known_files(store: str) -> list[SourceFile]:
    try:
        return [row.file for row in read_catalogue(open_store(store)).rows]
    except ArtefactMissingError:
        return []


def record(store: str, catalogue: Catalogue) -> None:
    """Write what was found into the store's work area, where the next stages read it."""
    write_catalogue(open_store(store), catalogue)


def recorded(store: str) -> Catalogue:
    """Read what the last recorded scan found."""
    return read_catalogue(open_store(store))


def check_catalogues(roots: Sequence[str]) -> None:
    """Refuse catalogue roots that are missing or unreadable, before anything is started."""
    check_roots(roots)
