"""Re-read everything a snapshot lists and compare it, byte for byte, with what was promised.

So are the descriptions that its model reads, which the receipts beside them promise. A folder that
was fetched from a replica has the partitions only if they were asked for: where they are not, they
are left out (`absent_partitions` names them).

Public: `verify_snapshot`, `verify_all`, `absent_partitions`, `check_sizes`, `check_folder`,
`check_entry`, `Finding`.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PurePosixPath
from stat import S_ISREG

from storage.atomic import LEFTOVER_PREFIX, FileDigest, digest_file, to_json
from storage.errors import StoreError
from storage.generations import read_model_card
from storage.layout import RECEIPT_NAME, STORE_FORMAT, StoreLayout
from storage.receipts import read_receipt
from storage.snapshots import (
    Snapshot,
    content_digest,
    current_snapshot,
    list_snapshots,
    read_snapshot,
)

_PARTITION_FOLDERS = ("features", "encoded")
_EXPECTED_NAME = rf"[0-9a-f]{{24}}\.(parquet|faiss|json)|{re.escape(LEFTOVER_PREFIX)}.*"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as promised.

    Attributes
    ----------
    path : str
        Below the store root.
    problem : str
        ``missing``, ``changed``, ``extra`` or what else is wrong.
    """

    path: str
    problem: str


def verify_snapshot(
    layout: StoreLayout,
    snapshot: Snapshot,
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[list[Finding], int, int]:
    """Check every file of a snapshot, but what a fetched folder was made without.

    Returns
    -------
    findings : list of Finding
        Empty when all is well.
    n_files, n_bytes : int
        What was read.
    """
    findings, n_files, n_bytes = _check_files(layout, [snapshot], on_progress)
    return _check_marker(layout) + findings, n_files, n_bytes


def verify_all(
    layout: StoreLayout, *, on_progress: Callable[[int, int], None] | None = None
) -> tuple[list[Finding], int, int]:
    """Check the pointer, every manifest, and every file of every snapshot once.

    What cannot be followed is a finding too, and the rest is checked nevertheless.

    Returns
    -------
    findings : list of Finding
        Empty when all is well.
    n_files, n_bytes : int
        What was read.
    """
    snapshots, findings = [], _check_marker(layout)
    try:
        current_snapshot(layout)
    except StoreError as error:
        findings.append(Finding(layout.relative(layout.current_path), str(error)))
    for number in list_snapshots(layout):
        try:
            snapshots.append(read_snapshot(layout, number))
        except StoreError as error:
            path = layout.relative(layout.snapshot_path(number))
            findings.append(Finding(path, str(error)))
    found, n_files, n_bytes = _check_files(layout, snapshots, on_progress)
    return findings + found, n_files, n_bytes


def _check_files(
    layout: StoreLayout,
    snapshots: Sequence[Snapshot],
    on_progress: Callable[[int, int], None] | None,
) -> tuple[list[Finding], int, int]:
    """Check every file of some snapshots, each once."""
    findings = _unnamed_files(layout, snapshots)
    for snapshot in snapshots:
        findings += _check_content_digest(layout, snapshot)
    n_files = n_bytes = 0
    checks = (
        _check_descriptions(layout, snapshots),
        _check_entries(layout, snapshots, on_progress),
    )
    for found, files, size in chain(*checks):
        findings += found
        n_files += files
        n_bytes += size
    return list(dict.fromkeys(findings)), n_files, n_bytes


def _check_entries(
    layout: StoreLayout,
    snapshots: Sequence[Snapshot],
    on_progress: Callable[[int, int], None] | None,
) -> Iterator[tuple[list[Finding], int, int]]:
    entries = _entries(layout, snapshots)
    for count, entry in enumerate(entries, start=1):
        yield check_entry(layout, entry)
        if on_progress is not None:
            on_progress(count, len(entries))


def absent_partitions(layout: StoreLayout, snapshots: Sequence[Snapshot]) -> list[str]:
    """Name the partitions that a fetched folder was made without, below the root and sorted."""
    if not layout.origin_path.exists():
        return []
    receipts = [
        PurePosixPath(entry.path)
        for snapshot in snapshots
        for entry in snapshot.files
        if entry.path.endswith(f"/{RECEIPT_NAME}")
    ]
    folders = {path.parent for path in receipts if path.parts[0] in _PARTITION_FOLDERS}
    return sorted(str(folder) for folder in folders if not (layout.root / folder).exists())


def _entries(layout: StoreLayout, snapshots: Sequence[Snapshot]) -> list[FileDigest]:
    """Give what snapshots list, each once, but what a fetched folder was made without."""
    absent = {f"{folder}/{RECEIPT_NAME}" for folder in absent_partitions(layout, snapshots)}
    listed = dict.fromkeys(entry for snapshot in snapshots for entry in snapshot.files)
    return [entry for entry in listed if entry.path not in absent]


def check_sizes(layout: StoreLayout, snapshot: Snapshot) -> list[Finding]:
    """Check that every file of a snapshot is there and has its size; only receipts are read."""
    findings = []
    for entry in _entries(layout, [snapshot]):
        if not entry.path.endswith(f"/{RECEIPT_NAME}"):
            findings += _check_size(layout.root, entry)
            continue
        found = _check_file(layout.root, entry)
        if not found:
            folder = (layout.root / entry.path).parent
            for inner in read_receipt(folder).files_below(layout.relative(folder)):
                found += _check_size(layout.root, inner)
        findings += found
    return findings


def check_folder(
    layout: StoreLayout, folder: Path, entry: FileDigest | None = None
) -> tuple[list[Finding], int, int]:
    """Check a folder of finished work against its receipt, and that against its entry, if given.

    Returns
    -------
    findings : list of Finding
        Empty when all is well.
    n_files, n_bytes : int
        What was read.
    """
    path = folder / RECEIPT_NAME
    if entry is None:
        try:
            entry = digest_file(path, layout.root)
        except FileNotFoundError:
            return [Finding(layout.relative(path), "missing")], 0, 0
        except OSError as error:
            return [Finding(layout.relative(path), f"cannot be read: {error.strerror}")], 0, 0
    return check_entry(layout, entry)


def _check_marker(layout: StoreLayout) -> list[Finding]:
    """Check the file that makes a folder a store, down to its blanks."""
    data = to_json({"format": STORE_FORMAT})
    if layout.marker_path.read_bytes() == data:
        return []
    return [Finding(layout.relative(layout.marker_path), "changed")]


def _check_content_digest(layout: StoreLayout, snapshot: Snapshot) -> list[Finding]:
    if content_digest(snapshot) == snapshot.digest:
        return []
    path = layout.relative(layout.snapshot_path(snapshot.number))
    return [Finding(path, "the manifest does not match its own digest")]


def _unnamed_files(layout: StoreLayout, snapshots: Sequence[Snapshot]) -> list[Finding]:
    """Find files beside tables and indexes whose names are not those of content.

    Files named by their content may belong to other snapshots, or to none any more; temporary ones
    to a run that is under way.
    """
    listed = {layout.root / entry.path for snapshot in snapshots for entry in snapshot.files}
    folders = {path.parent for path in listed if path.name != RECEIPT_NAME}
    extra = [
        path
        for folder in sorted(folders)
        if folder.is_dir()
        for path in sorted(folder.iterdir())
        if path not in listed and not re.fullmatch(_EXPECTED_NAME, path.name)
    ]
    return [Finding(layout.relative(path), "extra") for path in extra]


def _check_descriptions(
    layout: StoreLayout, snapshots: Sequence[Snapshot]
) -> Iterator[tuple[list[Finding], int, int]]:
    """Check the descriptions of feature partitions that a model reads, each once.

    No manifest lists them: what it lists was made from them, and they can be made anew.
    """
    folders = dict.fromkeys(
        pair for snapshot in snapshots for pair in _described_partitions(layout, snapshot)
    )
    is_fetched = layout.origin_path.exists()  # descriptions never are
    for described, features in folders:
        if described.exists() or not is_fetched:
            yield _check_description(layout, described / RECEIPT_NAME, features)


def _described_partitions(layout: StoreLayout, snapshot: Snapshot) -> Iterator[tuple[Path, Path]]:
    """Give the folders of the descriptions, and of the features, that a snapshot's model reads."""
    try:
        description = read_model_card(layout, snapshot.generation).get("description_fingerprint")
    except StoreError:  # which is a finding of its own
        return
    if description is None:
        return
    fingerprint = snapshot.feature_fingerprint
    for entry in snapshot.files:
        features = (layout.root / entry.path).parent
        if features.parent == layout.features_root(fingerprint):
            name = features.name
            yield layout.description_partition_path(fingerprint, description, name), features


def _check_description(
    layout: StoreLayout, path: Path, features: Path
) -> tuple[list[Finding], int, int]:
    """Check a receipt of descriptions against its place and its features, then what it lists."""
    shown = layout.relative(path)
    try:
        entry = digest_file(path, layout.root)
        receipt = read_receipt(path.parent)
        n_tracks = read_receipt(features).n_done
    except FileNotFoundError:
        return [Finding(shown, "missing")], 0, 0
    except (OSError, StoreError) as error:
        return [Finding(shown, str(error))], 1, 0
    place = ("descriptions", path.parent.name, path.parent.parent.name, n_tracks, 0)
    said = (receipt.kind, receipt.partition_id, receipt.fingerprint, receipt.n_done)
    if (*said, receipt.n_failed) != place:
        return [Finding(shown, "changed")], 1, entry.size
    return check_entry(layout, entry)


def check_entry(layout: StoreLayout, entry: FileDigest) -> tuple[list[Finding], int, int]:
    """Check one listed file; of a receipt its whole folder. It returns what `check_folder` does."""
    findings = _check_file(layout.root, entry)
    path = layout.root / entry.path
    if findings or path.name != RECEIPT_NAME:
        return findings, 1, entry.size
    folder = path.parent
    try:
        receipt = read_receipt(folder)
    except StoreError as error:
        return [Finding(entry.path, str(error))], 1, entry.size
    prefix = layout.relative(folder)
    n_bytes = entry.size
    for inner in receipt.files_below(prefix):
        findings += _check_file(layout.root, inner)
        n_bytes += inner.size
    listed = {inner.path for inner in receipt.files} | {RECEIPT_NAME}
    present = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
    findings += [Finding(f"{prefix}/{name}", "extra") for name in sorted(present - listed)]
    return findings, 1 + len(receipt.files), n_bytes


def _check_size(root: Path, entry: FileDigest) -> list[Finding]:
    try:
        status = (root / entry.path).stat()
    except OSError as error:
        problem = "missing" if isinstance(error, FileNotFoundError) else str(error.strerror)
        return [Finding(entry.path, problem)]
    is_whole = S_ISREG(status.st_mode) and status.st_size == entry.size
    return [] if is_whole else [Finding(entry.path, "changed")]


def _check_file(root: Path, entry: FileDigest) -> list[Finding]:
    path = root / entry.path
    try:
        found = digest_file(path, root)
    except FileNotFoundError:
        return [Finding(entry.path, "missing")]
    except OSError as error:
        return [Finding(entry.path, f"cannot be read: {error.strerror}")]
    if (found.size, found.sha256) != (entry.size, entry.sha256):
        return [Finding(entry.path, "changed")]
    return []
