"""Receipts: the proof that a folder of work is complete, with the digest of every file in it.

A folder under its final name always has a receipt, because the receipt is written before the
rename.

Public: `Receipt`, `write_receipt`, `read_receipt`, `receipt_from_bytes`, `finished_partitions`,
`partition_receipts`.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storage.atomic import FileDigest, digest_file, digest_tree, read_json, to_json, write_new_file
from storage.errors import DamagedArtefactError, other_format
from storage.layout import RECEIPT_NAME, StoreLayout

RECEIPT_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a finished partition says of itself.

    Attributes
    ----------
    kind : str
        ``features``, ``descriptions``, ``encoded`` or ``model``.
    partition_id : str
        The partition.
    fingerprint : str
        Of the settings, or the generation, that made it.
    n_done, n_failed : int
        Tracks in it, and tracks that became failure rows.
    files : tuple of FileDigest
        Every file of the partition but the receipt.
    """

    kind: str
    partition_id: str
    fingerprint: str
    n_done: int
    n_failed: int
    files: tuple[FileDigest, ...]

    def files_below(self, folder: str) -> list[FileDigest]:
        """Give the files by their paths below the store, where the receipt's folder is `folder`."""
        return [FileDigest(f"{folder}/{file.path}", file.size, file.sha256) for file in self.files]


def write_receipt(
    folder: Path, *, kind: str, partition_id: str, fingerprint: str, n_done: int, n_failed: int
) -> Receipt:
    """Digest everything in a staged folder and write its receipt."""
    files = tuple(digest_tree(folder))
    content: dict[str, Any] = {
        "format": RECEIPT_FORMAT,
        "kind": kind,
        "partition_id": partition_id,
        "fingerprint": fingerprint,
        "n_done": n_done,
        "n_failed": n_failed,
        "files": [entry.as_dict() for entry in files],
    }
    # A sweep may have taken the folder away under a worker whose run was killed: the receipt must
    # not make it anew.
    write_new_file(folder / RECEIPT_NAME, to_json(content))
    return Receipt(kind, partition_id, fingerprint, n_done, n_failed, files)


def read_receipt(folder: Path) -> Receipt:
    """Read a partition's receipt.

    Raises
    ------
    ArtefactMissingError, DamagedArtefactError, FormatVersionError
        If there is none, it is not one, or one of another version.
    """
    path = folder / RECEIPT_NAME
    return _receipt_of(read_json(path), str(path))


def receipt_from_bytes(data: bytes, *, source: str) -> Receipt:
    """Read a receipt that lies elsewhere than in its folder; `source` names it in messages.

    Raises
    ------
    DamagedArtefactError, FormatVersionError
        If it is no receipt, or one of another version.
    """
    try:
        content = json.loads(data)
    except ValueError as error:
        raise DamagedArtefactError(f"{source} is not a receipt ({error})") from error
    if not isinstance(content, dict):
        raise DamagedArtefactError(f"{source} is not a receipt (no JSON object)")
    return _receipt_of(content, source)


def _receipt_of(content: dict[str, Any], source: str) -> Receipt:
    if content.get("format") != RECEIPT_FORMAT:
        raise other_format(source, content.get("format"), RECEIPT_FORMAT)
    try:
        return Receipt(
            kind=content["kind"],
            partition_id=content["partition_id"],
            fingerprint=content["fingerprint"],
            n_done=content["n_done"],
            n_failed=content["n_failed"],
            files=tuple(FileDigest(**entry) for entry in content["files"]),
        )
    except (KeyError, TypeError) as error:
        raise DamagedArtefactError(
            f"{source} is not a receipt ({error}); run 'musichash verify'"
        ) from error


def finished_partitions(root: Path) -> list[str]:
    """List the finished partitions below a folder, sorted."""
    if not root.is_dir():
        return []
    return sorted(
        path.name
        for path in root.iterdir()
        if not path.name.startswith(".") and (path / RECEIPT_NAME).is_file()
    )


def partition_receipts(
    layout: StoreLayout, feature_fingerprint: str, generation: str, partition_ids: Sequence[str]
) -> list[FileDigest]:
    """Digest the receipts of the features and of the codes of some partitions."""
    folders = [
        folder
        for partition_id in partition_ids
        for folder in (
            layout.feature_partition_path(feature_fingerprint, partition_id),
            layout.encoded_partition_path(generation, partition_id),
        )
    ]
    return [digest_file(folder / RECEIPT_NAME, layout.root) for folder in folders]
