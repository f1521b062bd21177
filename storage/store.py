"""A store as a whole: creating it, recognising it, and the rights to write to it.

One process writes; it holds the lock (`writing`). One backfill may fill new partitions beside it
(`working_beside`).

Public: `open_store`, `create_store`, `check_apart`, `check_not_fetched`, `writing`,
`working_beside`, `holding_off_backfills`, `lock_owner`, `beside_owner`, `check_still_writing`.
"""

import errno
import secrets
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from storage.atomic import (
    LEFTOVER_PREFIX,
    make_folder,
    read_json,
    sweep_leftovers,
    sync_folders,
    write_json,
)
from storage.errors import (
    ArtefactMissingError,
    DamagedArtefactError,
    LockLostError,
    NoStoreError,
    StoreError,
    StoreLockedError,
    StorePlaceError,
    other_format,
)
from storage.layout import STORE_FORMAT, StoreLayout
from storage.lock_records import LockOwner
from storage.owned_locks import (
    STALE_AFTER_S,
    HeldLock,
    OccupiedError,
    owner_of,
    share_lock,
    take_lock,
)

_DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO}


def open_store(root: str | Path) -> StoreLayout:
    """Recognise an existing store.

    Raises
    ------
    NoStoreError
        If the folder is not a store: an ArtefactMissingError that is wrong input.
    FormatVersionError
        If another version of musichash wrote it.
    """
    layout = StoreLayout(Path(root).resolve())
    try:
        found = read_json(layout.marker_path).get("format")
    except ArtefactMissingError as error:
        raise NoStoreError(
            f"{layout.root} is not a musichash store; create one with "
            f"'musichash run --catalogue DIR --store {root}'"
        ) from error
    if found != STORE_FORMAT:
        raise other_format(f"the store {layout.root}", found, STORE_FORMAT)
    return layout


def create_store(root: str | Path) -> StoreLayout:
    """Recognise a store, or make one where there is nothing yet.

    Raises
    ------
    StorePlaceError
        If the place holds other files, or lies in another store.
    StoreError
        If the place is a file, or cannot be written.
    FormatVersionError
        If another version of musichash wrote the store.
    """
    layout = StoreLayout(Path(root).resolve())
    try:
        if layout.marker_path.exists():
            layout = open_store(root)
            _check_writable(layout.root)
            return layout
        _check_no_store_around(layout.root)
        make_folder(layout.root)
        others = sorted(
            path.name for path in layout.root.iterdir() if not _is_no_content(path.name)
        )
    except OSError as error:
        raise StoreError(_cannot_write(layout.root, error)) from error
    if layout.marker_path.exists():  # another process made the store meanwhile
        return open_store(root)
    if others:
        raise StorePlaceError(
            f"{layout.root} is not a musichash store and is not empty (it holds {others[0]!r}); "
            "name an empty or new folder with --store"
        )
    _check_writable(layout.root)
    try:
        write_json(layout.marker_path, {"format": STORE_FORMAT})
    except OSError as error:
        if not layout.marker_path.exists():  # else the other one swept what we wrote it with
            raise StoreError(_cannot_write(layout.root, error)) from error
    return layout


def check_apart(layout_root: str | Path, roots: Sequence[str | Path]) -> None:
    """Refuse a store and catalogues that lie in one another, before anything is read or written.

    A scan would take the store's files for the catalogue's, and who removes one removes both.

    Parameters
    ----------
    layout_root : str or Path
        Where the store is, or will be.
    roots : sequence of str or Path
        The catalogue's folders.

    Raises
    ------
    StorePlaceError
    """
    store = Path(layout_root).resolve()
    for root in roots:
        folder = Path(root).resolve()
        if folder == store:
            wrong = f"{folder} is named as the catalogue and as the store"
        elif store.is_relative_to(folder):
            wrong = f"the store {store} lies inside the catalogue {folder}"
        elif folder.is_relative_to(store):
            wrong = f"the catalogue {folder} lies inside the store {store}"
        else:
            continue
        raise StorePlaceError(
            f"{wrong}; they must lie apart: name a folder outside of the catalogue with --store"
        )


def check_not_fetched(layout: StoreLayout) -> None:
    """Refuse to work in a folder that was fetched from a replica: it is for reading.

    Raises
    ------
    StorePlaceError
    """
    try:
        origin = read_json(layout.origin_path).get("from")
    except ArtefactMissingError:
        return
    except DamagedArtefactError:
        origin = None
    raise StorePlaceError(
        f"{layout.root} was fetched from a replica{f' ({origin})' if origin else ''} and is only "
        "for reading: it lacks what a run needs, and the next fetch would replace what one "
        "publishes; work in the store that is replicated, or name another folder with --store"
    )


def _check_no_store_around(root: Path) -> None:
    for folder in root.parents:
        if StoreLayout(folder).marker_path.exists():
            raise StorePlaceError(
                f"{root} lies inside the store {folder}; a store must not hold another: name a "
                "folder outside of it with --store"
            )


def _is_no_content(name: str) -> bool:
    """Whether a name is what an interrupted `create_store` or a fresh file system leaves."""
    return name.startswith(LEFTOVER_PREFIX) or name == "lost+found"


def _check_writable(root: Path) -> None:
    probe = root / f"{LEFTOVER_PREFIX}probe-{secrets.token_hex(4)}"
    try:
        probe.write_bytes(b"")
        probe.unlink(missing_ok=True)  # a run that begins at the same time sweeps it
    except OSError as error:
        raise StoreError(_cannot_write(root, error)) from error


def _cannot_write(root: Path, error: OSError) -> str:
    return (
        f"the store {root} cannot be written: {error.strerror}; "
        "check its owner, permissions and free space, or name another folder with --store"
    )


@contextmanager
def writing(layout: StoreLayout, *, what: str = "a command") -> Iterator[HeldLock]:
    """Hold the right to write to a store; left-overs of killed runs and workers are swept.

    The lock belongs to the process: it ends with it, however it ends. Left-overs stay while a
    backfill works, because its unfinished folders look the same; what killed runs finished becomes
    durable all the same. A disk that cannot be written any more (full, read-only, broken) while the
    block works becomes a `StoreError`.

    Parameters
    ----------
    what : str
        What is done, for whoever is refused meanwhile.

    Raises
    ------
    StoreLockedError
        If another process holds it; the message names that process.
    StoreError
        If the store cannot be written, or its file system has no locks.
    """
    refusal = f"another run is writing to {layout.root}"
    with _holding(layout, layout.lock_path, what, refusal) as held:
        try:
            with holding_off_backfills(layout) as is_alone:
                if is_alone:
                    sweep_leftovers(layout.root)
                else:
                    sync_folders(layout.root)
            yield held
            with holding_off_backfills(layout) as is_alone:
                # What workers left that died meanwhile; of a lost lock it is the new owner's.
                if is_alone and not held.is_lost():
                    sweep_leftovers(layout.root)
        except OSError as error:
            if error.errno not in _DISK_ERRORS:
                raise
            where = f" ({error.filename})" if error.filename else ""
            raise StoreError(
                f"the store {layout.root} cannot be written any more: {error.strerror}{where}; "
                "what was published stays as it was: check the disk and its free space, then run "
                "the same command again"
            ) from error


@contextmanager
def working_beside(layout: StoreLayout, *, what: str = "backfill") -> Iterator[HeldLock]:
    """Hold the right of one backfill to fill partitions beside the writer.

    Meanwhile nobody removes unfinished folders: no sweep, no gc. One that is under way is waited
    for. Only new partitions may be written, never what readers or the writer see.

    Parameters
    ----------
    what : str
        What is done, for whoever is refused meanwhile.

    Raises
    ------
    StoreLockedError
        If another backfill is at work; the message names its process.
    StorePlaceError
        If the store was fetched from a replica.
    StoreError
        If the store cannot be written, or its file system has no locks.
    """
    check_not_fetched(layout)
    refusal = f"another backfill is at work in {layout.root}"
    with _holding(layout, layout.beside_lock_path, what, refusal) as held:
        yield held


@contextmanager
def holding_off_backfills(layout: StoreLayout) -> Iterator[bool]:
    """Give whether no backfill is at work; if so, one that begins waits until the block ends.

    For the writer, around everything that removes unfinished or unreferenced folders.
    """
    with ExitStack() as stack:
        try:
            is_alone = stack.enter_context(share_lock(layout.beside_lock_path))
        except OSError as error:
            raise _cannot_lock(layout, error) from error
        yield is_alone


def lock_owner(layout: StoreLayout) -> LockOwner | None:
    """Say who writes to a store; None when nobody does. Works on a read-only store.

    A writer on another machine is named until its record has been seen without a sign of life for
    `storage.owned_locks.STALE_AFTER_S` seconds by this process.
    """
    return owner_of(layout.lock_path)


def beside_owner(layout: StoreLayout) -> LockOwner | None:
    """Say who backfills beside the writer; None when nobody does. Works like `lock_owner`."""
    return owner_of(layout.beside_lock_path)


@contextmanager
def _holding(layout: StoreLayout, path: Path, what: str, refusal: str) -> Iterator[HeldLock]:
    with ExitStack() as stack:
        try:
            held = stack.enter_context(take_lock(path, what))
        except OccupiedError as error:
            raise StoreLockedError(
                f"{refusal} ({error.owner}); wait for it to end, or stop it"
            ) from error
        except OSError as error:
            raise _cannot_lock(layout, error) from error
        yield held


def _cannot_lock(layout: StoreLayout, error: OSError) -> StoreError:
    if error.errno in {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}:
        return StoreError(
            f"the store {layout.root} cannot be locked: {error.strerror}; put it on a file "
            "system that has locks"
        )
    return StoreError(_cannot_write(layout.root, error))


def check_still_writing(layout: StoreLayout, held: HeldLock) -> None:
    """Refuse to go on after another machine took the store over; for just before publishing.

    Raises
    ------
    LockLostError
    """
    if held.is_lost():
        owner = lock_owner(layout)
        raise LockLostError(
            f"the right to write to {layout.root} was lost to {owner or 'another process'}, "
            f"because this one gave no sign of life for {STALE_AFTER_S:.0f} seconds or "
            f"{layout.lock_path} was removed; nothing is published: run the same command again"
        )
