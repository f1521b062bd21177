"""Which files a snapshot means: those that it lists, and those that its listed receipts list.

Knows no place: local and remote copies of a snapshot have the same contents. What comes from a
replica is not ours until it is checked, so paths that lead elsewhere are refused.

Public: `PUBLISHED_FOLDERS`, `is_expanded`, `inner_files`, `checked_files`, `folder_of`.
"""

import re
from collections.abc import Iterable

from storage.atomic import FileDigest
from storage.errors import DamagedArtefactError
from storage.layout import RECEIPT_NAME
from storage.receipts import receipt_from_bytes

MODELS = "models"
PARTITION_FOLDERS = ("features", "encoded")
PUBLISHED_FOLDERS = ("tables", "index", MODELS, *PARTITION_FOLDERS)

_PATH = r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)+"


def folder_of(path: str) -> str:
    """Give the folder that a receipt stands for, or a file's own folder, as a path."""
    return path.rpartition("/")[0]


def is_expanded(entry: FileDigest, *, with_features: bool) -> bool:
    """Tell whether a listed file is a receipt whose whole folder is replicated.

    Models always are, because readers load them; partitions only where features are wanted.
    """
    top, _, _ = entry.path.partition("/")
    if not entry.path.endswith(f"/{RECEIPT_NAME}"):
        return False
    return top == MODELS or (with_features and top in PARTITION_FOLDERS)


def inner_files(entry: FileDigest, data: bytes, *, source: str) -> list[FileDigest]:
    """List the files of the folder that a receipt stands for, by their paths below the store.

    Parameters
    ----------
    entry : FileDigest
        The receipt, as the manifest lists it.
    data : bytes
        Its bytes, which have the listed digest.
    source : str
        Where it comes from, for messages.

    Raises
    ------
    DamagedArtefactError, FormatVersionError
        If it is no receipt, or one of another version.
    """
    return receipt_from_bytes(data, source=source).files_below(folder_of(entry.path))


def checked_files(files: Iterable[FileDigest], *, source: str) -> list[FileDigest]:
    """Give the files by path, each once, after a look at where each of them would lie.

    Raises
    ------
    DamagedArtefactError
        If a path leads out of the folders that are published.
    """
    by_path = {}
    for entry in files:
        is_ours = re.fullmatch(_PATH, entry.path) and entry.path.startswith(
            tuple(f"{folder}/" for folder in PUBLISHED_FOLDERS)
        )
        if not is_ours or type(entry.size) is not int or entry.size < 0:
            raise DamagedArtefactError(
                f"{source} lists {entry.path!r}, which is no place of a published file; nothing "
                "of it is used"
            )
        by_path[entry.path] = entry
    return [by_path[path] for path in sorted(by_path)]
