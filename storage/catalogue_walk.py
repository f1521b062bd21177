"""Finding names below a root, in the order of their bytes, without holding the whole tree.

What lies in a folder comes where its path with a ``/`` stands: a folder ``a`` after the file
``a-b`` and before ``a0``. Links are not followed below a root.

Public: `walk`, `Walked`, `AUDIO_SUFFIXES`.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import pyarrow as pa

from storage.source_files import BLOCK_ROWS, FoundName, found_table

_SUFFIXES = """
    .wav .wave .rf64 .w64 .flac .fla .ogg .oga .opus .mp3 .mp2 .mpga .aif .aiff .aifc .caf .au .snd
    .m4a .mp4 .m4b .aac .alac .wma .asf .webm .mka .mkv .ac3 .eac3 .wv .tta .ape .dsf .dff .mpc .spx
    .amr .3gp .ra .rm .mid .midi
"""
AUDIO_SUFFIXES = frozenset(_SUFFIXES.split())
"""Names that are looked into; content then decides. Other files (covers, texts) are passed by."""

COMPANION_PREFIX = b"._"
"""Begins the names of the resource forks that macOS writes beside files on foreign disks."""

_FOLDER, _FILE, _UNKNOWN = range(3)


class Walked(NamedTuple):
    """A part of what lies below a root.

    Attributes
    ----------
    found : pyarrow.Table
        Names that are looked into, and folders that cannot be listed; `storage.source_files.FOUND`.
    n_ignored : int
        Files that are not looked into.
    """

    found: pa.Table
    n_ignored: int


@dataclass(slots=True)
class _Folder:
    """A folder that was listed.

    Attributes
    ----------
    prefix : bytes
        What paths in it begin with.
    own_name : bytes
        Its name with a ``/``: where its content comes among the names beside it.
    left : list of (bytes, int)
        Names that come yet, the next one last, and what they are.
    listed : list of _Folder
        Folders in it whose content comes yet, the next one last. There are several only where each
        name begins with the one before, such as ``a``, ``a b`` and ``a b c``.
    """

    prefix: bytes
    own_name: bytes
    left: list[tuple[bytes, int]]
    listed: list["_Folder"] = field(default_factory=list)


def walk(root: str) -> Iterator[Walked]:
    """Find every file below a root that is looked into, and every folder that cannot be listed.

    In memory are the names in one folder, in the folders above it, and a few thousand that were
    found.

    Parameters
    ----------
    root : str
        As `storage.catalogue.check_roots` gives it.

    Yields
    ------
    Walked
        All parts together are sorted by ``path_raw``.
    """
    tree = _Tree(root)
    block: list[FoundName] = []
    for path_raw, status in tree.names():
        size, time = (None, None) if status is None else (status.st_size, status.st_mtime_ns)
        block.append((root, path_raw, size, time, ""))
        if len(block) == BLOCK_ROWS:
            yield Walked(found_table(block), tree.take_ignored())
            block = []
    yield Walked(found_table(block), tree.take_ignored())


class _Tree:
    """What lies below one root."""

    def __init__(self, root: str) -> None:
        self._base = os.path.join(os.fsencode(root), b"")  # noqa: PTH118 - bytes paths
        self._n_ignored = 0

    def take_ignored(self) -> int:
        """Give the number of files passed by since the last call."""
        n_ignored, self._n_ignored = self._n_ignored, 0
        return n_ignored

    def names(self) -> Iterator[tuple[bytes, os.stat_result | None]]:
        """Give paths in their order with what lstat says, or None where that cannot be had."""
        top = self._list(b"")
        if top is None:
            yield b"", None
            return
        line = [_Folder(b"", b"", top)]
        while line:
            folder = line[-1]
            if folder.listed and (
                not folder.left or folder.listed[-1].own_name < folder.left[-1][0]
            ):
                line.append(folder.listed.pop())
                continue
            if not folder.left:
                line.pop()
                continue
            name, kind = folder.left.pop()
            path_raw = folder.prefix + name
            if kind != _FOLDER:
                yield path_raw, self._status(path_raw) if kind == _FILE else None
                continue
            # Its own path comes here if it cannot be listed; its content, further on.
            left = self._list(path_raw)
            if left is None:
                yield path_raw, None
            else:
                folder.listed.append(_Folder(path_raw + b"/", name + b"/", left))

    def _list(self, folder: bytes) -> list[tuple[bytes, int]] | None:
        """Give the names in a folder backwards; None if it cannot be listed."""
        listed = []
        n_ignored = 0
        try:
            with os.scandir(self._base + folder) as entries:
                for entry in entries:
                    kind = _kind(entry)
                    if kind is None:
                        n_ignored += 1
                    else:
                        listed.append((entry.name, kind))
        except OSError:
            return None
        self._n_ignored += n_ignored
        listed.sort(reverse=True)
        return listed

    def _status(self, path_raw: bytes) -> os.stat_result | None:
        try:
            return os.lstat(self._base + path_raw)
        except OSError:  # it vanished, or its folder can be listed and not entered
            return None


def _kind(entry: "os.DirEntry[bytes]") -> int | None:
    """Tell what a name is; None for what is not looked into."""
    try:
        if entry.is_dir(follow_symlinks=False):
            return _FOLDER
        return _FILE if _is_candidate(entry) else None
    except OSError:
        return _UNKNOWN


def _is_candidate(entry: "os.DirEntry[bytes]") -> bool:
    """Tell what is looked into: audio by name, and links to folders, which are refused by name."""
    if entry.is_symlink() and entry.is_dir():
        return True
    suffix = os.path.splitext(entry.name)[1].lower().decode("latin-1")  # noqa: PTH122 - bytes
    return suffix in AUDIO_SUFFIXES and not entry.name.startswith(COMPANION_PREFIX)
