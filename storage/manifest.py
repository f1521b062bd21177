r"""A manifest: the owner's list of the files to process, with what the owner knows about each.

A CSV, Parquet or JSON lines file with the column ``path`` (below a catalogue root, with ``/``, as
the scan writes it: bytes that are not UTF-8 as ``\xNN``), and optionally ``id`` (the owner's own
identifier), ``label``, ``group``, and ``root`` where there are several catalogue roots.

What stands in a row is data. A row that does not name a file below its root is a failure like any
other file that cannot be read; no row is opened, listed or expanded as anything else.

Public: `Manifest`, `ManifestRow`, `read_manifest`, `scan_manifest`.
"""

import errno
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from musichash_core.records import SourceFile, TrackFailure
from storage.catalogue import Labels, ScanResult, give_identities
from storage.collected_rows import MemoryRows
from storage.errors import ManifestError
from storage.file_identities import DEFAULT_MAX_FILE_MB, SCAN_STAGE
from storage.known_files import KnownFiles
from storage.row_columns import Column, RowFile
from storage.row_files import TextRow, read_rows
from storage.source_files import CatalogueRows, FoundFiles, SourceFiles

MANIFEST_FILE = RowFile(
    kind="manifest",
    option="--manifest",
    error=ManifestError,
    columns=(
        Column(("path", "track path"), is_required=True),
        Column(("root",)),
        Column(("id",)),
        Column(("label",)),
        Column(("group",)),
    ),
)

MAX_SHOWN_CHARACTERS = 500
"""Of a path in a failure; a row may hold a million."""

_URL = re.compile(r"file:/|[A-Za-z][A-Za-z0-9+.-]*://")
_ESCAPED_BYTE = re.compile(rb"\\x([89a-f][0-9a-f])")


class ManifestRow(NamedTuple):
    """What a manifest says of one file.

    Attributes
    ----------
    root : str
        The catalogue root that it lies below.
    path : str
        As the manifest spells it.
    place : str
        Where the row stands, for messages: ``line 7 of tracks.csv``.
    external_id, label, group : str or None
        What the owner knows about it.
    """

    root: str
    path: str
    place: str
    external_id: str | None = None
    label: str | None = None
    group: str | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """The rows of a manifest that can name a file, and the failures that the others are.

    Attributes
    ----------
    path : Path
        The manifest.
    rows : tuple of ManifestRow
        In the order of the file.
    failures : tuple of TrackFailure
        Rows that name no file below a root.
    has_labels : bool
        Whether it has a column ``label`` or ``group``.
    passed_by : tuple of str
        Columns that mean nothing here.
    """

    path: Path
    rows: tuple[ManifestRow, ...]
    failures: tuple[TrackFailure, ...]
    has_labels: bool
    passed_by: tuple[str, ...]


def read_manifest(path: Path, roots: Sequence[str], *, spellings: Sequence[str] = ()) -> Manifest:
    """Read a manifest.

    Parameters
    ----------
    roots : sequence of str
        Catalogue roots, as `storage.catalogue.check_roots` gives them.
    spellings : sequence of str
        The same roots as the operator named them, which the column ``root`` may use too.

    Raises
    ------
    ManifestError
        If the file cannot be read as a whole, names no file, names one twice, or does not say
        which of several roots a file lies below.
    """
    rows, (_, has_root, _, has_label, has_group), passed_by = read_rows(path, MANIFEST_FILE)
    if not rows:
        raise ManifestError(f"the manifest {path} names no file; give it one row for each")
    if len(roots) > 1 and not has_root:
        raise ManifestError(
            f"the manifest {path} has no column 'root', and there are {len(roots)} catalogues; "
            "add it, with the catalogue of each file"
        )
    known_roots = dict(zip(spellings, roots, strict=False)) | {root: root for root in roots}
    if len(roots) == 1:
        known_roots[""] = roots[0]
    taken: dict[tuple[str, str], ManifestRow] = {}
    failures: list[TrackFailure] = []
    for row in rows:
        _check_text(path, row)
        name, root_name, *owned = row.values
        place = f"{row.place} of {path.name}"
        root = known_roots.get(root_name or "") or known_roots.get((root_name or "").rstrip("/"))
        reason = _why_not_below(name or "", root, root_name, roots)
        if root is None or reason is not None:
            shown_root = root or (root_name or "")[:MAX_SHOWN_CHARACTERS]
            failures.append(_failure(shown_root, name or "", f"{place}: {reason}"))
            continue
        entry = ManifestRow(root, name or "", place, *(text or None for text in owned))
        before = taken.setdefault((root, entry.path), entry)
        if before is not entry:
            raise ManifestError(
                f"{path}, {row.place}: {entry.path!r} stands in "
                f"{before.place.removesuffix(f' of {path.name}')} already; keep one of them"
            )
    return Manifest(path, tuple(taken.values()), tuple(failures), has_label or has_group, passed_by)


def _check_text(path: Path, row: TextRow) -> None:
    """Refuse NUL in what becomes a column; in a path it is a failure of that row."""
    if any(text is not None and "\0" in text for text in row.values[1:]):
        raise ManifestError(f"{path}, {row.place}: it holds NUL bytes; write the file anew")


def _why_not_below(
    name: str, root: str | None, root_name: str | None, roots: Sequence[str]
) -> str | None:
    """Say why a row cannot name a file below a root; None if it can."""
    shown = repr(name[:MAX_SHOWN_CHARACTERS])
    if root is None:
        met = repr((root_name or "")[:MAX_SHOWN_CHARACTERS])
        return f"the root {met} is none of the catalogues {', '.join(roots)}"
    if not name:
        return "the path is empty"
    if "\0" in name:
        return f"the path {shown} holds a NUL byte"
    if name.startswith("/"):
        return f"the path {shown} is absolute; wanted is one below {root}"
    if _URL.match(name):
        return f"the path {shown} is a URL; wanted is a path below {root}"
    odd = {"", ".", ".."}.intersection(name.split("/"))
    if odd:
        return (
            f"the path {shown} has the component {min(odd)!r}; wanted is a plain path below "
            f"{root}, such as 'folder/file.flac'"
        )
    return None


def _failure(root: str, name: str, message: str, code: str = "outside-root") -> TrackFailure:
    path = f"{root}/{name[:MAX_SHOWN_CHARACTERS]}"
    return TrackFailure("", path, SCAN_STAGE, code, message)


def scan_manifest(
    manifest: Manifest,
    known: Iterable[SourceFile] | KnownFiles = (),
    *,
    labels: Labels | None = None,
    max_file_mb: int = DEFAULT_MAX_FILE_MB,
    on_progress: Callable[[int, int], None] | None = None,
) -> ScanResult:
    """Give each file that a manifest names its identity, and what the manifest says of it.

    Parameters
    ----------
    known, max_file_mb, on_progress
        As for `storage.catalogue.scan_catalogue`.
    labels : callable, optional
        Gives labels and groups in place of the manifest.

    Returns
    -------
    ScanResult
        With the rows that name no file among the failures.

    Raises
    ------
    ManifestError
        If not one of the files is there, or two rows name the same one.
    """
    names = FoundFiles()
    failures = list(manifest.failures)
    said: dict[tuple[str, bytes], ManifestRow] = {}
    with _Folders() as folders:
        for row in sorted(manifest.rows, key=_by_folder):
            try:
                path_raw, status = folders.find(row)
            except FileNotFoundError as error:
                failures.append(_failure(row.root, row.path, f"{row.place}: {error}", "vanished"))
                continue
            other = said.setdefault((row.root, path_raw), row)
            if other is not row:
                raise ManifestError(
                    f"{row.place} names the same file as {other.place} ({row.path!r}); "
                    "keep one of them"
                )
            names.add(row.root, path_raw, status, row.place)
    if not said:
        raise ManifestError(
            f"not one of the {len(manifest.rows) + len(manifest.failures)} files that "
            f"{manifest.path} names is there ({failures[0].message}); check its paths, or that "
            "the disk is mounted"
        )
    said_of = partial(_with_what_is_said, said, labels)
    result = give_identities(
        MemoryRows(names.table()),
        known,
        labels=said_of,
        max_file_mb=max_file_mb,
        on_progress=on_progress,
    )
    every_failure = sorted((*failures, *result.failures), key=lambda failure: failure.path)
    return replace(result, catalogue=result.catalogue.with_failures(every_failure))


def _by_folder(row: ManifestRow) -> tuple[str, str, str]:
    return row.root, row.path.rpartition("/")[0], row.path


def _with_what_is_said(
    said: Mapping[tuple[str, bytes], ManifestRow], labels: Labels | None, files: SourceFiles
) -> CatalogueRows:
    """Put what the manifest says of each file beside it."""
    places = (files.table[name].to_pylist() for name in ("root", "path_raw"))
    rows = [said[place] for place in zip(*places, strict=True)]
    listed = CatalogueRows.labelled(
        files,
        label=pa.array([row.label for row in rows], pa.string()),
        group=pa.array([row.group for row in rows], pa.string()),
        external_id=pa.array([row.external_id for row in rows], pa.string()),
    )
    return listed if labels is None else listed.with_labels_of(labels(files))


class _Folders:
    """Looks names up below the roots, following no link; keeps the last folder open.

    Rows come sorted, so that a folder is opened once for all its files.
    """

    def __init__(self) -> None:
        self._at: tuple[str, tuple[bytes, ...]] | None = None
        self._descriptor: int | None = None

    def __enter__(self) -> "_Folders":
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._at = self._descriptor = None

    def find(self, row: ManifestRow) -> tuple[bytes, os.stat_result | None]:
        r"""Find the file that a row names; give its path, and its lstat where that can be had.

        Raises
        ------
        FileNotFoundError
            If there is none, neither by the name as it stands nor with each ``\xNN`` as a byte.
        """
        written = row.path.encode()
        for path_raw in dict.fromkeys((written, _ESCAPED_BYTE.sub(_byte, written))):
            try:
                status = self._lstat(row.root, path_raw)
            except OSError as error:
                if error.errno in {errno.ENOENT, errno.ENAMETOOLONG, errno.EINVAL}:
                    continue
                status = None  # opening it will tell what is wrong
            return path_raw, status
        hint = "; folders are separated by /" if b"\\" in written and b"/" not in written else ""
        raise FileNotFoundError(
            f"no file {row.path[:MAX_SHOWN_CHARACTERS]!r} lies below {row.root}{hint}"
        )

    def _lstat(self, root: str, path_raw: bytes) -> os.stat_result:
        *folders, name = path_raw.split(b"/")
        at = (root, tuple(folders))
        if self._at != at:
            self._close()
            self._descriptor = _open_folder(root, folders)
            self._at = at
        return os.stat(name, dir_fd=self._descriptor, follow_symlinks=False)


def _byte(escaped: re.Match[bytes]) -> bytes:
    return bytes.fromhex(escaped[1].decode())


def _open_folder(root: str, folders: Sequence[bytes]) -> int:
    flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
    descriptor = os.open(root, flags)
    for folder in folders:
        try:
            child = os.open(folder, flags | os.O_NOFOLLOW, dir_fd=descriptor)
        finally:
            os.close(descriptor)
        descriptor = child
    return descriptor
