"""Stage 1, scan: find the audio files of the catalogue, give each its identity and its label.

The files are all that lie below the roots, or those that a manifest names. Besides the roots that
a run is given, it scans the collections that the store has registered, each with its own labels
and manifest.

Public: `check_catalogues`, `look`, `look_in_collection`, `together`, `record`, `recorded`, `Found`.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from musichash_core.records import SourceFile
from storage.catalogue import (
    Catalogue,
    check_roots,
    read_catalogue,
    scan_catalogue,
    write_catalogue,
)
from storage.collected_rows import MemoryRows, RowBatches, RowCollector, in_order
from storage.collections import Collection, CollectionError, read_collections
from storage.errors import ArtefactMissingError, CatalogueError, ManifestError
from storage.file_identities import DEFAULT_MAX_FILE_MB
from storage.known_files import KnownFiles
from storage.labels import FileLabels, labels_from_folders
from storage.layout import StoreLayout
from storage.manifest import Manifest, read_manifest, scan_manifest
from storage.schemas import CATALOGUE
from storage.source_files import SourceFiles
from storage.store import check_apart, check_not_fetched, open_store

__all__ = [
    "Catalogue",
    "Collection",
    "Found",
    "check_catalogues",
    "look",
    "look_in_collection",
    "record",
    "recorded",
    "together",
]

OnProgress = Callable[[int, int], None]


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
        return {
            "files": self.catalogue.n_files,
            "tracks": self.catalogue.n_tracks,
            "hashed": self.n_hashed,
            "unreadable": len(self.catalogue.failures),
            "ignored": self.n_ignored,
            "labels": self.catalogue.n_labels,
        }


def look(
    store: str,
    roots: Sequence[str],
    *,
    labels: str | None = None,
    manifest: str | None = None,
    max_file_mb: int = DEFAULT_MAX_FILE_MB,
    on_progress: OnProgress | None = None,
) -> Found:
    """Find the audio files of some roots and of the store's collections; writes nothing.

    Parameters
    ----------
    store : str
        Store root; if it exists, its registered collections are scanned too, and files unchanged
        since its last scan are not read again.
    roots : sequence of str
        Catalogue roots; one that is registered as a collection is scanned as registered.
    labels : str, optional
        A labels file; without it, and without labels in a manifest, the first folder below a root
        is the label.
    manifest : str, optional
        The files to process; without it all that lie below the roots.
    max_file_mb : int
        Larger files are failures and are not read; megabytes.
    on_progress : callable, optional
        Called with the number of files identified and found, from 1 again for each collection.

    Raises
    ------
    CatalogueError, CollectionError, LabelsError, ManifestError, StoreError
    """
    check_not_fetched(StoreLayout(Path(store)))  # before hours of reading, not after
    registered = _registered(store)
    check_roots(roots)
    check_apart(store, roots)
    places = {Path(one.root).resolve(): one for one in registered}
    others = [root for root in roots if Path(root).resolve() not in places]
    for root in roots:
        if (one := places.get(Path(root).resolve())) is not None:
            _check_said_alike(one, labels, manifest)
    for one in registered:
        _check_is_there(one)
    if others:
        check_roots([*others, *(one.root for one in registered)])
    known = _known_files(store)
    parts = [
        _look_in_collection(one, known, max_file_mb=max_file_mb, on_progress=on_progress)
        for one in registered
    ]
    if others:
        parts.append(_look_below(known, others, labels, manifest, max_file_mb, on_progress))
    return _merged(parts)


def look_in_collection(
    store: str,
    collection: Collection,
    *,
    known: Iterable[SourceFile] = (),
    max_file_mb: int = DEFAULT_MAX_FILE_MB,
    on_progress: OnProgress | None = None,
) -> Found:
    """Find the audio files of one collection, registered or not; writes nothing.

    Parameters
    ----------
    known : iterable of SourceFile
        Files that are not read again while they are unchanged, besides those of the last scan.

    Raises
    ------
    CatalogueError, CollectionError, LabelsError, ManifestError, StoreError
    """
    check_roots([collection.root])
    files = _known_files(store, MemoryRows(SourceFiles.of(known).table))
    return _look_in_collection(collection, files, max_file_mb=max_file_mb, on_progress=on_progress)


def _merged(parts: Sequence[Found]) -> Found:
    """Bring together what was found in different roots, as if by one scan."""
    if len(parts) == 1:
        return parts[0]
    return Found(
        together([part.catalogue for part in parts]),
        n_hashed=sum(part.n_hashed for part in parts),
        n_ignored=sum(part.n_ignored for part in parts),
        passed_by=tuple(name for part in parts for name in part.passed_by),
    )


def together(catalogues: Sequence[Catalogue]) -> Catalogue:
    """Give one catalogue of several that have no root in common."""
    failures = [failure for catalogue in catalogues for failure in catalogue.failures]
    with RowCollector(CATALOGUE) as rows:
        for _, part in heapq.merge(*map(_by_root, catalogues), key=itemgetter(0)):
            rows.add(part)
        return Catalogue(rows.finish(), sorted(failures, key=lambda failure: failure.path))


def _by_root(catalogue: Catalogue) -> Iterator[tuple[str, pa.Table]]:
    """Give the rows of a catalogue in their order, each part with the root of all its rows."""
    for batch in in_order(catalogue).batches(CATALOGUE.names):
        table = pa.Table.from_batches([batch])
        for root in pc.unique(table["root"]).to_pylist():
            yield root, table.filter(pc.equal(table["root"], root))


def _registered(store: str) -> tuple[Collection, ...]:
    try:
        return read_collections(open_store(store))
    except ArtefactMissingError:
        return ()


def _check_said_alike(one: Collection, labels: str | None, manifest: str | None) -> None:
    """Refuse other labels or another manifest for a registered root, which would be passed by."""
    for option, said, registered in (
        ("--labels", labels, one.labels),
        ("--manifest", manifest, one.manifest),
    ):
        if said is not None and said != registered:
            raise CollectionError(
                f"{one.root} is registered as the collection {one.name!r} "
                f"({option} {registered or 'not given'}), and {option} {said} is given for it; "
                "leave it out of --catalogue, for every run scans it, or deregister it with "
                "'musichash collections remove NAME'"
            )


def _check_is_there(one: Collection) -> None:
    try:
        check_roots([one.root])
    except CatalogueError as error:
        raise CatalogueError(
            f"the registered collection {one.name!r}: {error}; if it is gone for good, deregister "
            "it with 'musichash collections remove NAME'"
        ) from error


def _look_in_collection(
    one: Collection,
    known: KnownFiles,
    *,
    max_file_mb: int,
    on_progress: OnProgress | None,
) -> Found:
    try:
        return _look_below(known, [one.root], one.labels, one.manifest, max_file_mb, on_progress)
    except CatalogueError as error:
        raise CatalogueError(f"the collection {one.name!r}: {error}") from error


def _look_below(
    known: KnownFiles,
    roots: Sequence[str],
    labels: str | None,
    manifest: str | None,
    max_file_mb: int,
    on_progress: OnProgress | None,
) -> Found:
    absolute = check_roots(roots)
    if manifest is not None:
        listed = read_manifest(Path(manifest), absolute, spellings=list(map(str, roots)))
        return _look_at(listed, known, labels, max_file_mb, on_progress)
    from_file = None if labels is None else FileLabels(Path(labels))
    result = scan_catalogue(
        absolute,
        known,
        labels=labels_from_folders if from_file is None else from_file.of,
        max_file_mb=max_file_mb,
        on_progress=on_progress,
    )
    if from_file is not None:
        from_file.check_all_met(result.failures)
    return Found(result.catalogue, result.n_hashed, result.n_ignored)


def _look_at(
    listed: Manifest,
    known: KnownFiles,
    labels: str | None,
    max_file_mb: int,
    on_progress: OnProgress | None,
) -> Found:
    """Find the files of a manifest; its labels count, or those of a file, or the folders."""
    if listed.has_labels and labels is not None:
        raise ManifestError(
            f"both the manifest {listed.path} and the labels file {labels} give labels; "
            "leave out --labels, or the columns 'label' and 'group' of the manifest"
        )
    instead = labels_from_folders if labels is None else FileLabels(Path(labels)).of
    result = scan_manifest(
        listed,
        known,
        labels=None if listed.has_labels else instead,
        max_file_mb=max_file_mb,
        on_progress=on_progress,
    )
    return Found(result.catalogue, result.n_hashed, 0, passed_by=listed.passed_by)


def _known_files(store: str, *others: RowBatches) -> KnownFiles:
    """Give the files of the last scan, and others."""
    try:
        return KnownFiles(read_catalogue(open_store(store)), *others)
    except ArtefactMissingError:
        return KnownFiles(*others)


def record(store: str, catalogue: Catalogue) -> None:
    """Write what was found into the store's work area, where the next stages read it."""
    write_catalogue(open_store(store), catalogue)


def recorded(store: str) -> Catalogue:
    """Read what the last recorded scan found."""
    return read_catalogue(open_store(store))


def check_catalogues(roots: Sequence[str]) -> None:
    """Refuse catalogue roots that are missing or unreadable, before anything is started."""
    check_roots(roots)
