"""Write beside the target, fsync, rename; so that a final name always means complete content.

Folders are made durable too: a file is not safe while the entry of its new folder is not.

Public: `write_file`, `write_new_file`, `create_file`, `place_file`, `make_folder`,
`staged_directory`, `remove_folder`, `sweep_leftovers`, `sync_folders`, `fsync_path`, `FileDigest`,
`digest_file`, `digest_tree`, `to_json`, `write_json`, `read_json`.
"""

import errno
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storage.errors import ArtefactMissingError, DamagedArtefactError, StoreError

LEFTOVER_PREFIX = ".tmp-"
PROOF_NAME = "receipt.json"
"""The file that stands for the completeness of a folder of work."""

READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class FileDigest:
    """Size and SHA-256 of one file, by its path below some folder."""

    path: str
    size: int
    sha256: str

    def as_dict(self) -> dict[str, Any]:
        """Give the JSON form."""
        return {"path": self.path, "size": self.size, "sha256": self.sha256}


def _temporary_beside(path: Path) -> Path:
    return path.with_name(f"{LEFTOVER_PREFIX}{path.name}-{secrets.token_hex(4)}")


def fsync_path(path: Path) -> None:
    """Make a file's content durable, or the names in a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(path: Path) -> None:
    """Make a folder and its parents where they are missing, durably."""
    if path.is_dir():
        return
    make_folder(path.parent)
    path.mkdir(exist_ok=True)
    fsync_path(path.parent)


def write_new_file(path: Path, data: bytes) -> None:
    """Write a file that nobody else can see yet, into a folder that exists, durably."""
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def write_file(path: Path, data: bytes) -> None:
    """Write a small file so that readers see the old content or the new, never a mixture."""
    make_folder(path.parent)
    temporary = _temporary_beside(path)
    try:
        write_new_file(temporary, data)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync_path(path.parent)


def create_file(path: Path, data: bytes) -> None:
    """Create a file that must not exist yet.

    Raises
    ------
    FileExistsError
        If somebody else created it first; it is left as it is.
    """
    make_folder(path.parent)
    temporary = _temporary_beside(path)
    try:
        write_new_file(temporary, data)
        os.link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    fsync_path(path.parent)


def place_file(temporary: Path, final: Path) -> None:
    """Make a finished temporary file final, durably; an existing final file is replaced.

    Files named by their content are replaced by themselves, or mended if they were damaged.
    """
    fsync_path(temporary)
    make_folder(final.parent)
    temporary.replace(final)
    fsync_path(final.parent)


@contextmanager
def staged_directory(final: Path, *, proof: str) -> Iterator[Path]:
    """Give a folder to fill; it becomes `final` at the end, durably, or disappears on an error.

    If `final` exists by then, another worker finished the same work first: its result stays and
    ours, which has the same content by construction, is dropped. What lies there without its proof
    is the rest of something removed by halves, and is replaced.

    Parameters
    ----------
    final : Path
        Name of the folder once it is complete.
    proof : str
        The file in it that stands for completeness.
    """
    make_folder(final.parent)
    staged = _temporary_beside(final)
    staged.mkdir()
    try:
        yield staged
        _fsync_tree(staged)
        if final.exists() and not (final / proof).exists():
            remove_folder(final)
        try:
            staged.rename(final)
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                raise
        fsync_path(final.parent)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def remove_folder(path: Path) -> None:
    """Remove a folder, if it is there: its name disappears at once, its content after that.

    Whoever still writes into it fails from then on, instead of finishing with half of its files.
    The name is gone durably before the first file goes, so that a power loss does not bring back
    a name with half of its files either.
    """
    doomed = _temporary_beside(path)
    try:
        path.rename(doomed)
    except FileNotFoundError:
        return
    fsync_path(path.parent)
    shutil.rmtree(doomed, ignore_errors=True)


def _fsync_tree(root: Path) -> None:
    for folder, _, names in os.walk(root):
        for name in names:
            fsync_path(Path(folder, name))
        fsync_path(Path(folder))


def sweep_leftovers(root: Path, *, proof: str = PROOF_NAME) -> int:
    """Remove what killed runs left beside their targets; give the number of names removed.

    Only safe while the store's lock is held: a living writer's work looks the same. What killed
    runs finished becomes durable first (`sync_folders`).

    Parameters
    ----------
    proof : str
        The file that makes a folder complete: nothing is staged inside such a folder any more, so
        that a sweep costs one look per folder of work, whatever is in it.
    """
    count = 0
    for folder in _open_folders(root, proof):
        _sync_folder(folder)
        with os.scandir(folder) as entries:
            doomed = [entry for entry in entries if entry.name.startswith(LEFTOVER_PREFIX)]
        for entry in doomed:
            if entry.is_dir(follow_symlinks=False):
                remove_folder(Path(entry.path))
            else:
                with suppress(FileNotFoundError):
                    Path(entry.path).unlink()
            count += 1
    return count


def sync_folders(root: Path, *, proof: str = PROOF_NAME) -> None:
    """Make the names in the folders of a store durable: those that hold work, not the work itself.

    A run that is killed between a rename and the fsync after it leaves a name that everybody sees
    and that a power loss takes away. Whoever builds upon it (a snapshot that lists it) calls this
    first.
    """
    for folder in _open_folders(root, proof):
        _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    try:
        fsync_path(folder)
    except FileNotFoundError:  # somebody who writes beside us removed it
        return
    except OSError as error:
        raise StoreError(
            f"the store's folder {folder} cannot be written: {error.strerror}; check the disk and "
            "its free space, then run the same command again"
        ) from error


def _open_folders(root: Path, proof: str) -> Iterator[Path]:
    """Give a folder and those below it, but no complete ones and no left-overs."""
    pending = [root]
    while pending:
        folder = pending.pop()
        yield folder
        inner = []
        with suppress(FileNotFoundError), os.scandir(folder) as entries:
            inner = [
                Path(entry.path)
                for entry in entries
                if not entry.name.startswith(LEFTOVER_PREFIX)
                and entry.is_dir(follow_symlinks=False)
            ]
        pending += [path for path in inner if not (path / proof).exists()]


def digest_file(path: Path, below: Path) -> FileDigest:
    """Read a file to its end and give its size and SHA-256."""
    digest = hashlib.sha256()
    size = 0
    with path.open("rb") as file:
        while block := file.read(READ_BYTES):
            digest.update(block)
            size += len(block)
    return FileDigest(path.relative_to(below).as_posix(), size, digest.hexdigest())


def digest_tree(root: Path) -> list[FileDigest]:
    """Digest every file below a folder, sorted by path."""
    digests = [digest_file(path, root) for path in root.rglob("*") if path.is_file()]
    return sorted(digests, key=lambda entry: entry.path)


def to_json(content: Any) -> bytes:  # noqa: ANN401 - any JSON value
    """Write JSON in the form of all our files: sorted keys, indented, ending in a newline."""
    return (json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def write_json(path: Path, content: Any) -> None:  # noqa: ANN401 - any JSON value
    """Write a JSON file atomically."""
    write_file(path, to_json(content))


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises
    ------
    ArtefactMissingError
        If the file does not exist.
    StoreError
        If it cannot be read.
    DamagedArtefactError
        If it is not a JSON object.
    """
    try:
        content = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ArtefactMissingError(f"{path} does not exist") from error
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise DamagedArtefactError(
            f"{path} is not valid JSON: {error}; run 'musichash verify'"
        ) from error
    if not isinstance(content, dict):
        raise DamagedArtefactError(f"{path} does not hold a JSON object; run 'musichash verify'")
    return content
