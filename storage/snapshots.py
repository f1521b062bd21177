"""Snapshots: the manifest of all that is published together, and the pointer to the current one.

A manifest lists files with size and SHA-256, and carries a digest of itself. A listed
``receipt.json`` stands for its whole folder, whose files it lists in turn. Publishing creates the
next manifest exclusively and then replaces the pointer; readers follow the pointer and see one
snapshot, wholly.

Public: `Snapshot`, `current_snapshot`, `read_snapshot`, `list_snapshots`, `publish_snapshot`,
`snapshot_bytes`, `snapshot_from_bytes`, `content_digest`.
"""

import hashlib
import json
import re
from dataclasses import dataclass, field, replace
from typing import Any

from storage.atomic import FileDigest, create_file, to_json, write_file
from storage.errors import (
    ArtefactMissingError,
    DamagedArtefactError,
    FormatVersionError,
    StoreError,
)
from storage.layout import StoreLayout

SNAPSHOT_FORMAT = 1
_SEAL = "sha256_of_the_rest"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that one publish put before readers.

    Attributes
    ----------
    number : int
        Counts up; 0 before publishing.
    feature_fingerprint, generation : str
        Feature settings and model generation of all rows.
    tables : dict
        Table name -> paths of its parts below the store root, in row order.
    index : str
        Path of the FAISS file below the store root; row i of it is row i of the codes table.
    index_info : str
        Path of its description.
    counts : dict
        Rows per table and the numbers of the accounting identity.
    files : tuple of FileDigest
        Every file of the snapshot, by path.
    digest : str
        Of the content: equal for two stores that hold the same. The runs table has no part in it.
    """

    number: int
    feature_fingerprint: str
    generation: str
    tables: dict[str, list[str]]
    index: str
    index_info: str
    counts: dict[str, int]
    files: tuple[FileDigest, ...]
    digest: str = field(default="")

    def as_dict(self) -> dict[str, Any]:
        """Give the JSON form."""
        return {
            "format": SNAPSHOT_FORMAT,
            "number": self.number,
            "feature_fingerprint": self.feature_fingerprint,
            "generation": self.generation,
            "tables": self.tables,
            "index": self.index,
            "index_info": self.index_info,
            "counts": self.counts,
            "files": [entry.as_dict() for entry in self.files],
            "digest": self.digest,
        }


def content_digest(snapshot: Snapshot) -> str:
    """Hash what a reader of the snapshot gets: tables but the runs, index, model generation."""
    by_path = {entry.path: entry.sha256 for entry in snapshot.files}
    parts = [
        [name, [by_path[path] for path in paths]]
        for name, paths in sorted(snapshot.tables.items())
        if name != "runs"
    ]
    content = [parts, by_path[snapshot.index], snapshot.feature_fingerprint, snapshot.generation]
    return hashlib.sha256(to_json(content)).hexdigest()


def list_snapshots(layout: StoreLayout) -> list[int]:
    """List the numbers of the snapshots whose manifests exist, ascending."""
    if not layout.snapshots_root.is_dir():
        return []
    names = (path.name for path in layout.snapshots_root.iterdir())
    return sorted(int(name[:-5]) for name in names if re.fullmatch(r"\d{6,}\.json", name))


def current_snapshot(layout: StoreLayout) -> Snapshot | None:
    """Read the published snapshot; None when nothing is published yet."""
    try:
        text = layout.current_path.read_text(encoding="ascii")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        text = ""
    if not re.fullmatch(r"\d+\n", text):
        raise DamagedArtefactError(
            f"{layout.current_path} does not hold a snapshot number; "
            f"write one of {list_snapshots(layout)} into it, as one line"
        )
    return read_snapshot(layout, int(text))


def read_snapshot(layout: StoreLayout, number: int) -> Snapshot:
    """Read one manifest.

    Raises
    ------
    ArtefactMissingError, DamagedArtefactError, FormatVersionError
        If it is missing, not a manifest, or of another version.
    """
    path = layout.snapshot_path(number)
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise ArtefactMissingError(
            f"the manifest of snapshot {number} is missing ({path}); {_other_way(layout, number)}"
        ) from error
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}") from error
    return snapshot_from_bytes(
        data, number=number, source=str(path), other_way=_other_way(layout, number)
    )


def snapshot_bytes(snapshot: Snapshot) -> bytes:
    """Give the manifest's bytes, with the digest of the rest of it."""
    content = snapshot.as_dict()
    return to_json(content | {_SEAL: _seal(content)})


def snapshot_from_bytes(
    data: bytes, *, number: int, source: str, other_way: str = "take another snapshot"
) -> Snapshot:
    """Read a manifest that `snapshot_bytes` wrote.

    Parameters
    ----------
    number : int
        The snapshot that it must be of.
    source : str
        Where it comes from, for messages.
    other_way : str
        What to do without it, for messages.

    Raises
    ------
    DamagedArtefactError, FormatVersionError
        If it is no manifest, was changed, or is of another version.
    """
    try:
        content = json.loads(data)
    except ValueError as error:
        raise DamagedArtefactError(f"{source} is not valid JSON: {error}; {other_way}") from error
    if not isinstance(content, dict):
        raise DamagedArtefactError(f"{source} does not hold a JSON object; {other_way}")
    if content.get("format") != SNAPSHOT_FORMAT:
        raise FormatVersionError(
            f"{source} has format {content.get('format')}, this version reads {SNAPSHOT_FORMAT}"
        )
    is_as_written = data == to_json(content)
    stated = content.pop(_SEAL, None)
    if not is_as_written or stated != _seal(content) or content.get("number") != number:
        raise DamagedArtefactError(f"{source} was changed after it was published; {other_way}")
    try:
        files = tuple(FileDigest(**entry) for entry in content.pop("files"))
        del content["format"]
        return Snapshot(files=files, **content)
    except (KeyError, TypeError) as error:
        raise DamagedArtefactError(f"{source} is not a snapshot manifest ({error})") from error


def _other_way(layout: StoreLayout, number: int) -> str:
    others = [other for other in list_snapshots(layout) if other != number]
    if not others:
        return f"there is no other: remove {layout.current_path} and run again"
    return f"others are {others}: write one of these numbers into {layout.current_path}"


def _seal(content: dict[str, Any]) -> str:
    return hashlib.sha256(to_json(content)).hexdigest()


def publish_snapshot(layout: StoreLayout, snapshot: Snapshot) -> int:
    """Make a snapshot the current one; give its number.

    Every file that it lists must be in place and fsynced. The manifest is created exclusively, so
    of two publishers one fails with `FileExistsError`; then the pointer is replaced.
    """
    number = max(list_snapshots(layout), default=0) + 1
    create_file(layout.snapshot_path(number), snapshot_bytes(replace(snapshot, number=number)))
    write_file(layout.current_path, f"{number}\n".encode())
    return number
