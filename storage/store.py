"""A store as a whole: creating it, recognising it, and the right to write to it.

Public: `open_store`, `create_store`, `writing`.
"""

import fcntl
import json
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from storage.atomic import LEFTOVER_PREFIX, make_folder, read_json, sweep_leftovers, write_json
from storage.errors import (
    ArtefactMissingError,
    FormatVersionError,
    StoreError,
    StoreLockedError,
)
from storage.layout import STORE_FORMAT, StoreLayout


def open_store(root: str | Path) -> StoreLayout:
    """Recognise an existing store.

    Raises
    ------
    ArtefactMissingError
        If the folder is not a store.
    FormatVersionError
        If another version of musichash wrote it.
    """
    layout = StoreLayout(Path(root).resolve())
    try:
        found = read_json(layout.marker_path).get("format")
    except ArtefactMissingError as error:
        raise ArtefactMissingError(
            f"{layout.root} is not a musichash store; create one with "
            f"'musichash run --catalogue DIR --store {root}'"
        ) from error
    if found != STORE_FORMAT:
        raise FormatVersionError(
            f"the store {layout.root} has format {found}, this version reads format "
            f"{STORE_FORMAT}; use the musichash version that wrote it, or build a new store in "
            "another folder"
        )
    return layout


def create_store(root: str | Path) -> StoreLayout:
    """Recognise a store, or make one where there is nothing yet.

    Raises
    ------
    StoreError
        If the place is a file, holds other files, or cannot be written.
    FormatVersionError
        If another version of musichash wrote the store.
    """
    layout = StoreLayout(Path(root).resolve())
    try:
        if layout.marker_path.exists():
            layout = open_store(root)
            _check_writable(layout.root)
            return layout
        make_folder(layout.root)
        others = sorted(
            path.name for path in layout.root.iterdir() if not _is_no_content(path.name)
        )
    except OSError as error:
        raise StoreError(_cannot_write(layout.root, error)) from error
    if others:
        raise StoreError(
            f"{layout.root} is not a musichash store and is not empty (it holds {others[0]!r}); "
            "name an empty or new folder with --store"
        )
    _check_writable(layout.root)
    write_json(layout.marker_path, {"format": STORE_FORMAT})
    return layout


def _is_no_content(name: str) -> bool:
    """Whether a name is what an interrupted `create_store` or a fresh file system leaves."""
    return name.startswith(LEFTOVER_PREFIX) or name == "lost+found"


def _check_writable(root: Path) -> None:
    probe = root / f"{LEFTOVER_PREFIX}probe-{secrets.token_hex(4)}"
    try:
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise StoreError(_cannot_write(root, error)) from error


def _cannot_write(root: Path, error: OSError) -> str:
    return (
        f"the store {root} cannot be written: {error.strerror}; "
        "check its owner, permissions and free space, or name another folder with --store"
    )


@contextmanager
def writing(layout: StoreLayout) -> Iterator[None]:
    """Hold the right to write to a store; left-overs of killed runs are swept first.

    The lock belongs to the process: it ends with it, however it ends.

    Raises
    ------
    StoreLockedError
        If another process holds it; the message names that process.
    StoreError
        If the store cannot be written, or its file system has no locks.
    """
    try:
        descriptor = os.open(layout.lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StoreError(_cannot_write(layout.root, error)) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = os.pread(descriptor, 200, 0).decode(errors="replace").strip() or "unknown"
            raise StoreLockedError(
                f"another run is writing to {layout.root} ({owner}); wait for it to end, or stop it"
            ) from error
        except OSError as error:
            raise StoreError(
                f"the store {layout.root} cannot be locked: {error.strerror}; put it on a file "
                "system that has locks"
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(_owner()).encode(), 0)
        sweep_leftovers(layout.root)
        yield
    finally:
        os.close(descriptor)


def _owner() -> dict[str, str | int]:
    return {"host": socket.gethostname(), "pid": os.getpid()}
