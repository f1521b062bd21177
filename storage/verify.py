"""Re-read everything a snapshot lists and compare it, byte for byte, with what was promised.

So are the descriptions that its model reads, which the receipts beside them promise.

Public: `verify_snapshot`, `Finding`.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from storage.atomic import LEFTOVER_PREFIX, FileDigest, digest_file
from storage.errors import StoreError
from storage.generations import read_model_card
from storage.layout import RECEIPT_NAME, StoreLayout
from storage.receipts import read_receipt
from storage.snapshots import Snapshot, content_digest

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
    """Check every file of a snapshot.

    Returns
    -------
    findings : list of Finding
        Empty when all is well.
    n_files, n_bytes : int
        What was read.
    """
    findings = _unnamed_files(layout, snapshot)
    found, n_files, n_bytes = _check_descriptions(layout, snapshot)
    findings += found
    if content_digest(snapshot) != snapshot.digest:
        path = layout.relative(layout.snapshot_path(snapshot.number))
        findings.append(Finding(path, "the manifest does not match its own digest"))
    for count, entry in enumerate(snapshot.files, start=1):
        found, files, size = _check_entry(layout, entry)
        findings += found
        n_files += files
        n_bytes += size
        if on_progress is not None:
            on_progress(count, len(snapshot.files))
    return findings, n_files, n_bytes


def _unnamed_files(layout: StoreLayout, snapshot: Snapshot) -> list[Finding]:
    """Find files beside tables and indexes whose names are not those of content.

    Files named by their content may belong to other snapshots, or to none any more; temporary ones
    to a run that is under way.
    """
    listed = {layout.root / entry.path for entry in snapshot.files}
    folders = {path.parent for path in listed if path.name != RECEIPT_NAME}
    extra = [
        path
        for folder in sorted(folders)
        if folder.is_dir()
        for path in sorted(folder.iterdir())
        if path not in listed and not re.fullmatch(_EXPECTED_NAME, path.name)
    ]
    return [Finding(layout.relative(path), "extra") for path in extra]


def _check_descriptions(layout: StoreLayout, snapshot: Snapshot) -> tuple[list[Finding], int, int]:
    """Check the descriptions of a snapshot's feature partitions, if its model reads any.

    The manifest does not list them: what it lists was made from them, and they can be made anew.
    """
    try:
        description = read_model_card(layout, snapshot.generation).get("description_fingerprint")
    except StoreError:  # which is a finding of its own
        return [], 0, 0
    if description is None:
        return [], 0, 0
    findings, n_files, n_bytes = [], 0, 0
    features_root = layout.features_root(snapshot.feature_fingerprint)
    for entry in snapshot.files:
        folder = (layout.root / entry.path).parent
        if folder.parent != features_root:
            continue
        path = (
            layout.description_partition_path(
                snapshot.feature_fingerprint, description, folder.name
            )
            / RECEIPT_NAME
        )
        found, files, size = _check_description(layout, path, folder)
        findings += found
        n_files += files
        n_bytes += size
    return findings, n_files, n_bytes


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
    return _check_entry(layout, entry)


def _check_entry(layout: StoreLayout, entry: FileDigest) -> tuple[list[Finding], int, int]:
    findings = _check_file(layout.root, entry, entry.path)
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
    for inner in receipt.files:
        findings += _check_file(folder, inner, f"{prefix}/{inner.path}")
        n_bytes += inner.size
    listed = {inner.path for inner in receipt.files} | {RECEIPT_NAME}
    present = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
    findings += [Finding(f"{prefix}/{name}", "extra") for name in sorted(present - listed)]
    return findings, 1 + len(receipt.files), n_bytes


def _check_file(below: Path, entry: FileDigest, shown: str) -> list[Finding]:
    path = below / entry.path
    try:
        found = digest_file(path, below)
    except FileNotFoundError:
        return [Finding(shown, "missing")]
    except OSError as error:
        return [Finding(shown, f"cannot be read: {error.strerror}")]
    if (found.size, found.sha256) != (entry.size, entry.sha256):
        return [Finding(shown, "changed")]
    return []
