"""Re-read everything a snapshot lists and compare it, byte for byte, with what was promised.

Public: `verify_snapshot`, `Finding`.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from storage.atomic import LEFTOVER_PREFIX, FileDigest, digest_file
from storage.errors import StoreError
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
    if content_digest(snapshot) != snapshot.digest:
        path = layout.relative(layout.snapshot_path(snapshot.number))
        findings.append(Finding(path, "the manifest does not match its own digest"))
    n_files = n_bytes = 0
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
