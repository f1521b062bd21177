"""Snapshots: the manifest of all that is published together, and the pointer to the current one.

A manifest lists files with size and SHA-256, and carries a digest of itself. A listed
``receipt.json`` stands for its whole folder, whose files it lists in turn. Publishing creates the
next manifest exclusively and then replaces the pointer; readers follow the pointer and see one
snapshot, wholly. The pointer names the manifest's own SHA-256 too, so that a changed digit of it
leads nowhere; one that is a bare number, as earlier versions and people write it, is followed.

Public: `Snapshot`, `current_snapshot`, `read_snapshot`, `list_snapshots`, `publish_snapshot`,
`point_at`, `Pointer`, `read_pointer`, `pointer_bytes`, `pointer_from_bytes`, `snapshot_bytes`,
`snapshot_from_bytes`, `content_digest`.
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
    StoreError,
    other_format,
)
from storage.layout import StoreLayout

SNAPSHOT_FORMAT = 2
"""Of the manifest; in the first the digest of the content took in the index, which has no part in
it now, and an index was one file."""

READABLE_FORMATS = (1, SNAPSHOT_FORMAT)
_SEAL = "sha256_of_the_rest"
_POINTER = re.compile(rb"([1-9][0-9]*)(?: sha256:([0-9a-f]{64}))?\n")
_SHOWN_NUMBERS = 5


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
        Path of the FAISS file below the store root: the base of the index, which may have parts
        more.
    index_info : str
        Path of its description, which names all parts.
    counts : dict
        Rows per table and the numbers of the accounting identity.
    files : tuple of FileDigest
        Every file of the snapshot, by path.
    digest : str
        Of the content: equal for two stores that hold the same. The runs table has no part in it,
        and the index has none: it is a cache of the codes, and depends on how they came.
    format : int
        Of its manifest.
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
    format: int = SNAPSHOT_FORMAT

    def as_dict(self) -> dict[str, Any]:
        """Give the JSON form."""
        return {
            "format": self.format,
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
    """Hash what a reader of the snapshot gets: tables but the runs, and the model generation.

    An index answers from the codes table, so it adds nothing. Manifests of the first format name a
    digest that takes it in.
    """
    by_path = {entry.path: entry.sha256 for entry in snapshot.files}
    parts = [
        [name, [by_path[path] for path in paths]]
        for name, paths in sorted(snapshot.tables.items())
        if name != "runs"
    ]
    index = [by_path[snapshot.index]] if snapshot.format == 1 else []
    content = [parts, *index, snapshot.feature_fingerprint, snapshot.generation]
    return hashlib.sha256(to_json(content)).hexdigest()


def list_snapshots(layout: StoreLayout) -> list[int]:
    """List the numbers of the snapshots whose manifests exist, ascending."""
    if not layout.snapshots_root.is_dir():
        return []
    names = (path.name for path in layout.snapshots_root.iterdir())
    return sorted(int(name[:-5]) for name in names if re.fullmatch(r"\d{6,}\.json", name))


@dataclass(frozen=True, slots=True)
class Pointer:
    """What the pointer to the current snapshot says.

    Attributes
    ----------
    number : int
        The snapshot.
    manifest_sha256 : str or None
        Of its manifest; None where an earlier version, or a person, wrote the number alone.
    """

    number: int
    manifest_sha256: str | None = None


def pointer_bytes(number: int, manifest: bytes) -> bytes:
    """Give the pointer to a snapshot with that manifest."""
    return f"{number} sha256:{hashlib.sha256(manifest).hexdigest()}\n".encode()


def pointer_from_bytes(data: bytes) -> Pointer | None:
    """Read what `pointer_bytes` or an earlier version wrote; None when it is neither."""
    match = _POINTER.fullmatch(data)
    if match is None:
        return None
    number, sha256 = match.groups()
    return Pointer(int(number), None if sha256 is None else sha256.decode())


def read_pointer(layout: StoreLayout) -> Pointer | None:
    """Read which snapshot is current; None when nothing is published yet.

    Raises
    ------
    DamagedArtefactError, StoreError
        If the pointer is none, or cannot be read.
    """
    path = layout.current_path
    try:
        pointer = pointer_from_bytes(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}") from error
    if pointer is None:
        raise DamagedArtefactError(
            f"{path} does not hold a snapshot number; {_other_way(layout, None)}"
        )
    return pointer


def current_snapshot(layout: StoreLayout) -> Snapshot | None:
    """Read the published snapshot; None when nothing is published yet."""
    pointer = read_pointer(layout)
    if pointer is None:
        return None
    data = _manifest_bytes(layout, pointer.number)
    snapshot = _snapshot_of(layout, pointer.number, data)
    if pointer.manifest_sha256 not in {None, hashlib.sha256(data).hexdigest()}:
        raise DamagedArtefactError(
            f"{layout.current_path} names snapshot {pointer.number}, but not the manifest it was "
            f"written for; 'musichash reconcile --store {layout.root}' mends it, or "
            f"{_other_way(layout, None)}"
        )
    return snapshot


def read_snapshot(layout: StoreLayout, number: int) -> Snapshot:
    """Read one manifest.

    Raises
    ------
    ArtefactMissingError, DamagedArtefactError, FormatVersionError
        If it is missing, not a manifest, or of another version.
    """
    return _snapshot_of(layout, number, _manifest_bytes(layout, number))


def _manifest_bytes(layout: StoreLayout, number: int) -> bytes:
    path = layout.snapshot_path(number)
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise ArtefactMissingError(
            f"the manifest of snapshot {number} is missing ({path}); {_other_way(layout, number)}"
        ) from error
    except OSError as error:
        raise StoreError(
            f"{path} cannot be read: {error.strerror}; {_other_way(layout, number)}"
        ) from error


def _snapshot_of(layout: StoreLayout, number: int, data: bytes) -> Snapshot:
    source = str(layout.snapshot_path(number))
    try:
        return snapshot_from_bytes(data, number=number, source=source)
    except StoreError:  # only now is it worth looking for another
        other_way = _other_way(layout, number)
        return snapshot_from_bytes(data, number=number, source=source, other_way=other_way)


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
    found = content.get("format")
    if isinstance(found, bool) or found not in READABLE_FORMATS:
        raise other_format(source, found, SNAPSHOT_FORMAT, instead=other_way)
    is_as_written = data == to_json(content)
    stated = content.pop(_SEAL, None)
    if not is_as_written or stated != _seal(content) or content.get("number") != number:
        raise DamagedArtefactError(f"{source} was changed after it was published; {other_way}")
    try:
        files = tuple(FileDigest(**entry) for entry in content.pop("files"))
        return Snapshot(files=files, **content)
    except (KeyError, TypeError) as error:
        raise DamagedArtefactError(f"{source} is not a snapshot manifest ({error})") from error


def _other_way(layout: StoreLayout, number: int | None) -> str:
    """Say what to do without a snapshot, or without the pointer."""
    others = [other for other in reversed(list_snapshots(layout)) if other != number]
    whole = next((other for other in others if _is_readable(layout, other)), None)
    if whole is None:
        return f"there is no other snapshot: remove {layout.current_path} and run again"
    shown = ", ".join(map(str, others[:_SHOWN_NUMBERS]))
    dots = " ..." if len(others) > _SHOWN_NUMBERS else ""
    return (
        f"there are {'other ' if number else ''}snapshots ({shown}{dots}): 'musichash snapshots "
        f"rollback {whole} --store {layout.root}' makes {whole} the current one"
    )


def _is_readable(layout: StoreLayout, number: int) -> bool:
    path = layout.snapshot_path(number)
    try:
        snapshot_from_bytes(path.read_bytes(), number=number, source=str(path))
    except (OSError, StoreError):
        return False
    return True


def _seal(content: dict[str, Any]) -> str:
    return hashlib.sha256(to_json(content)).hexdigest()


def publish_snapshot(layout: StoreLayout, snapshot: Snapshot) -> int:
    """Make a snapshot the current one; give its number.

    Every file that it lists must be in place and fsynced. The manifest is created exclusively, so
    of two publishers one fails with `FileExistsError`; then the pointer is replaced.
    """
    number = max([*list_snapshots(layout), _pointed_number(layout)], default=0) + 1
    manifest = snapshot_bytes(replace(snapshot, number=number))
    create_file(layout.snapshot_path(number), manifest)
    write_file(layout.current_path, pointer_bytes(number, manifest))
    return number


def point_at(layout: StoreLayout, number: int) -> None:
    """Make a snapshot whose manifest is there the current one, in one step."""
    data = _manifest_bytes(layout, number)
    _snapshot_of(layout, number, data)
    write_file(layout.current_path, pointer_bytes(number, data))


def _pointed_number(layout: StoreLayout) -> int:
    """Give the number that the pointer names, which is not used again; 0 where it names none."""
    try:
        pointer = pointer_from_bytes(layout.current_path.read_bytes())
    except OSError:
        return 0
    return 0 if pointer is None else pointer.number
