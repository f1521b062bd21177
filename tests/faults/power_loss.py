"""A disk as it may stand after the power was lost, rebuilt from a record of file operations.

What `shim.c` records is replayed on a model of a file system that keeps, beside what processes see,
what is safe: a file's bytes are safe once the file was fsynced, a folder's entries once the folder
was. Everything younger may or may not have reached the disk. Entries of one folder reach it in
their order (as with every journal); folders and the bytes of files come in any order, so a new name
may be there before the bytes that it stands for.

Public: `read_log`, `Operation`, `Disk`, `LOSSES`.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

LOSSES = ("nothing", "names", "zeros", "data", "mixed")
"""What of the unsafe reached the disk: nothing; all names, no bytes; all names, and zeros in place
of bytes; all bytes, no names; for each folder and file something else, drawn."""

_HEAD = struct.Struct("<IIIIQQQ")


@dataclass(frozen=True)
class Operation:
    """One operation: C created, W written, T truncated to `offset`, F fsynced, R renamed, L linked,
    U unlinked, M made folder, D removed folder, N nothing changed."""

    kind: str
    path: str
    other: str = ""
    inode: int = 0
    offset: int = 0
    data: bytes = b""


def read_log(path: Path) -> Iterator[Operation]:
    """Give the operations that the shim recorded."""
    log = path.read_bytes()
    at = 0
    while at < len(log):
        kind, n_path, n_other, _, inode, offset, n_data = _HEAD.unpack_from(log, at)
        at += _HEAD.size
        parts = []
        for length in (n_path, n_other, n_data if chr(kind) == "W" else 0):
            parts.append(log[at : at + length])
            at += length
        yield Operation(chr(kind), parts[0].decode(), parts[1].decode(), inode, offset, parts[2])


@dataclass(eq=False)
class _File:
    safe: bytes
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)  # None: truncated there

    def content(self, loss: str, random: Random) -> bytes:
        if loss == "mixed":
            loss = random.choice(("nothing", "zeros", "data", "torn"))
        if loss == "names":
            loss = "nothing"
        if loss == "nothing" or not self.pending:
            return self.safe
        done = self.pending
        if loss == "torn":
            done = self.pending[: random.randint(1, len(self.pending))]
            offset, data = done[-1]
            if data is not None:
                done = [*done[:-1], (offset, data[: len(data) // 2])]
        content = bytearray(self.safe)
        for offset, data in done:
            if data is None:
                content = content[:offset] + bytes(max(0, offset - len(content)))
                continue
            content += bytes(max(0, offset + len(data) - len(content)))
            content[offset : offset + len(data)] = bytes(len(data)) if loss == "zeros" else data
        return bytes(content)

    def fsync(self) -> None:
        self.safe, self.pending = self.content("data", Random(0)), []


@dataclass(eq=False)
class _Folder:
    safe: dict[str, "_File | _Folder"] = field(default_factory=dict)
    seen: dict[str, "_File | _Folder"] = field(default_factory=dict)
    pending: list[dict[str, "_File | _Folder | None"]] = field(default_factory=list)  # None: gone

    def change(self, changes: "dict[str, _File | _Folder | None]") -> None:
        """Change entries as one step; None removes."""
        self.pending.append(changes)
        _change(self.seen, changes)

    def entries(self, loss: str, random: Random) -> "dict[str, _File | _Folder]":
        n_done = {
            "nothing": 0,
            "data": 0,
            "mixed": random.randint(0, len(self.pending)),
        }.get(loss, len(self.pending))
        entries = dict(self.safe)
        for changes in self.pending[:n_done]:
            _change(entries, changes)
        return entries

    def fsync(self) -> None:
        self.safe, self.pending = dict(self.seen), []


def _change(entries: dict, changes: dict) -> None:
    for name, node in changes.items():
        if node is None:
            entries.pop(name, None)
        else:
            entries[name] = node


class Disk:
    """A folder whose present content is safe, and what happens to it from now on."""

    def __init__(self, root: Path) -> None:
        self._by_inode: dict[int, _File | _Folder] = {}
        self._prefix = str(root.resolve())
        self._root = self._load(root)

    def _load(self, path: Path) -> _Folder:
        folder = self._by_inode[path.stat().st_ino] = _Folder()
        for child in path.iterdir():
            if child.is_dir():
                node: _File | _Folder = self._load(child)
            else:
                node = self._by_inode[child.stat().st_ino] = _File(child.read_bytes())
            folder.safe[child.name] = folder.seen[child.name] = node
        return folder

    def apply(self, operation: Operation) -> None:
        """Let one operation happen."""
        match operation.kind:
            case "C" | "M":
                node = _File(b"") if operation.kind == "C" else _Folder()
                self._by_inode[operation.inode] = node
                folder, name = self._place(operation.path)
                folder.change({name: node})
            case "W":
                self._file(operation).pending.append((operation.offset, operation.data))
            case "T":
                self._file(operation).pending.append((operation.offset, None))
            case "F":
                self._by_inode[operation.inode].fsync()
            case "R":
                self._rename(operation)
            case "L":
                folder, name = self._place(operation.path)
                to, new = self._place(operation.other)
                to.change({new: folder.seen[name]})
            case "U" | "D":
                folder, name = self._place(operation.path)
                folder.change({name: None})
            case "N":
                pass
            case other:
                raise ValueError(f"operation {other!r}")

    def _file(self, operation: Operation) -> _File:
        node = self._by_inode[operation.inode]
        assert isinstance(node, _File)
        return node

    def _rename(self, operation: Operation) -> None:
        folder, name = self._place(operation.path)
        to, new = self._place(operation.other)
        node = folder.seen[name]
        if folder is to:
            folder.change({name: None, new: node})
        else:  # nothing of ours does this
            to.change({new: node})
            folder.change({name: None})

    def _place(self, path: str) -> tuple[_Folder, str]:
        assert path.startswith(self._prefix + "/"), path
        *folders, name = path[len(self._prefix) + 1 :].split("/")
        folder = self._root
        for part in folders:
            inner = folder.seen[part]
            assert isinstance(inner, _Folder)
            folder = inner
        return folder, name

    def seen(self) -> dict[str, bytes]:
        """Give the bytes of every file as processes see them, by its path below the folder."""
        return dict(_seen(self._root, ""))

    def write(self, target: Path, loss: str, seed: int = 0) -> None:
        """Write the folder as the disk has it if the power is lost now."""
        _write(self._root, target, loss, Random(seed))


def _seen(folder: _Folder, prefix: str) -> Iterator[tuple[str, bytes]]:
    for name, node in sorted(folder.seen.items()):
        if isinstance(node, _Folder):
            yield from _seen(node, f"{prefix}{name}/")
        else:
            yield f"{prefix}{name}", node.content("data", Random(0))


def _write(folder: _Folder, target: Path, loss: str, random: Random) -> None:
    target.mkdir()
    for name, node in sorted(folder.entries(loss, random).items()):
        if isinstance(node, _Folder):
            _write(node, target / name, loss, random)
        else:
            (target / name).write_bytes(node.content(loss, random))
