"""Make a folder of a snapshot in a replica that readers use as a store.

Every file is checked before it gets its name, so an interrupted fetch goes on where it stopped.
The folder carries a note of where it came from; only such folders are fetched into again.

Public: `fetch_snapshot`, `Fetched`.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from storage.atomic import (
    LEFTOVER_PREFIX,
    FileDigest,
    digest_file,
    make_folder,
    place_file,
    read_json,
    write_file,
    write_json,
)
from storage.errors import ArtefactMissingError, DamagedArtefactError, StoreError
from storage.layout import RECEIPT_NAME, STORE_FORMAT, StoreLayout
from storage.remote.contents import is_expanded
from storage.remote.errors import ReplicaError
from storage.remote.replica import Replica
from storage.remote.transfers import each
from storage.remote.verifying import snapshot_contents
from storage.snapshots import Snapshot, point_at, snapshot_bytes
from storage.store import open_store, writing

ORIGIN_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a fetch brought.

    Attributes
    ----------
    snapshot : Snapshot
        Which is current in the folder now.
    n_files, n_bytes : int
        Files of the snapshot in the folder.
    n_received, n_received_bytes : int
        Those of them that were not there yet.
    """

    snapshot: Snapshot
    n_files: int
    n_bytes: int
    n_received: int
    n_received_bytes: int


def fetch_snapshot(
    replica: Replica,
    folder: Path,
    *,
    number: int | None = None,
    with_features: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> Fetched:
    """Fetch a snapshot into a folder, and make it the current one there.

    Parameters
    ----------
    folder : Path
        New, empty, or filled by an earlier fetch of the same replica.
    number : int, optional
        The snapshot; the replica's current one by default.
    with_features : bool
        Fetch the folders of the partitions too.
    on_progress : callable
        Called with bytes that are there and bytes of the snapshot.

    Raises
    ------
    ReplicaError
        If the folder holds anything else, above all a store that somebody works with, or the
        replica does not hold the partitions.
    DamagedArtefactError
        If an object is not what the manifest says; the folder's current snapshot stays.
    """
    snapshot = replica.current()[0] if number is None else replica.snapshot(number)
    if with_features and not replica.is_whole(snapshot.number):
        raise ReplicaError(
            f"snapshot {snapshot.number} of {replica.bucket.address} was published without its "
            "features; leave --with-features out, or publish it with 'musichash replicate "
            "--with-features'"
        )
    files, findings = snapshot_contents(replica, snapshot, with_features=with_features)
    if findings:
        raise _damaged(replica, findings[0].path, findings[0].problem)
    files = [entry for entry in files if _is_wanted(entry, with_features=with_features)]
    layout = _prepare(folder.resolve(), replica)
    with writing(layout):
        received = _receive(layout, replica, files, on_progress)
        write_file(layout.snapshot_path(snapshot.number), snapshot_bytes(snapshot))
        point_at(layout, snapshot.number)
    return Fetched(
        snapshot,
        n_files=len(files),
        n_bytes=sum(entry.size for entry in files),
        n_received=len(received),
        n_received_bytes=sum(entry.size for entry in received),
    )


def _is_wanted(entry: FileDigest, *, with_features: bool) -> bool:
    """Tell whether a file belongs in the folder: a receipt without its folder would be a lie."""
    is_receipt = entry.path.endswith(f"/{RECEIPT_NAME}")
    return not is_receipt or is_expanded(entry, with_features=with_features)


def _prepare(root: Path, replica: Replica) -> StoreLayout:
    """Make or recognise a folder that fetches may fill."""
    layout = StoreLayout(root)
    origin = {"format": ORIGIN_FORMAT, "from": str(replica.bucket.address)}
    try:
        found = read_json(layout.origin_path).get("from")
    except ArtefactMissingError:
        found = None
    if found is None:
        _check_empty(root)
        make_folder(root)
        write_json(layout.origin_path, origin)
    elif found != origin["from"]:
        raise ReplicaError(
            f"{root} was fetched from {found}, not from {origin['from']}; name another folder "
            "with --to"
        )
    if not layout.marker_path.exists():
        write_json(layout.marker_path, {"format": STORE_FORMAT})
    return open_store(root)


def _check_empty(root: Path) -> None:
    try:
        names = sorted(path.name for path in root.iterdir()) if root.is_dir() else []
        is_file = root.exists() and not root.is_dir()
    except OSError as error:
        raise StoreError(f"{root} cannot be read: {error.strerror}") from error
    others = [name for name in names if not name.startswith(LEFTOVER_PREFIX)]
    if StoreLayout(root).marker_path.name in others:
        problem = "is a store that was not fetched, somebody works with it"
    elif others:
        problem = f"is not empty (it holds {others[0]!r})"
    elif is_file:
        problem = "is a file"
    else:
        return
    raise ReplicaError(f"{root} {problem}; name a new or empty folder with --to")


def _receive(
    layout: StoreLayout,
    replica: Replica,
    files: list[FileDigest],
    on_progress: Callable[[int, int], None] | None,
) -> list[FileDigest]:
    """Bring every file that is not there as it should be; receipts last, as proof of the rest."""
    total, done = sum(entry.size for entry in files), 0
    received: list[FileDigest] = []

    def bring(entry: FileDigest) -> tuple[FileDigest, bool]:
        path = layout.root / entry.path
        if path.is_file() and digest_file(path, layout.root) == entry:
            return entry, False
        _download(replica, entry, path)
        return entry, True

    def advance(brought: tuple[FileDigest, bool]) -> None:
        nonlocal done
        entry, is_new = brought
        done += entry.size
        if is_new:
            received.append(entry)
        if on_progress is not None:
            on_progress(done, total)

    receipts = [entry for entry in files if entry.path.endswith(f"/{RECEIPT_NAME}")]
    others = [entry for entry in files if not entry.path.endswith(f"/{RECEIPT_NAME}")]
    each(bring, others, take=advance)
    each(bring, receipts, take=advance)
    return received


def _download(replica: Replica, entry: FileDigest, path: Path) -> None:
    temporary = path.with_name(f"{LEFTOVER_PREFIX}{path.name}-{secrets.token_hex(4)}")
    try:
        make_folder(path.parent)
        try:
            with temporary.open("xb") as file:
                found = replica.bucket.download(entry, file.write)
            if found != entry:
                raise _damaged(replica, entry.path, "changed")
            place_file(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except StoreError:
        raise
    except OSError as error:
        raise StoreError(
            f"{path} cannot be written: {error.strerror}; what was fetched stays, the same command "
            "goes on from there"
        ) from error


def _damaged(replica: Replica, path: str, problem: str) -> DamagedArtefactError:
    return DamagedArtefactError(
        f"{replica.bucket.address}/{path}: {problem}; send it again with 'musichash replicate "
        f"--mend', or fetch another snapshot of {replica.numbers()} with --snapshot"
    )
