"""Delete from a replica what no kept snapshot needs; and choose another of its snapshots.

Public: `collect_replica`, `roll_back_replica`, `Collected`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from storage.atomic import to_json
from storage.errors import ArtefactMissingError
from storage.layout import RECEIPT_NAME
from storage.remote.bucket import RemoteObject
from storage.remote.contents import PUBLISHED_FOLDERS, folder_of
from storage.remote.errors import ReplicaError, ReplicaMovedError
from storage.remote.replica import COLLECTING, PENDING, Replica, manifest_path, whole_path
from storage.remote.verifying import snapshot_contents
from storage.snapshots import Snapshot, snapshot_bytes, snapshot_from_bytes

DELETED_AT_ONCE = 500

PIN_LIFETIME = timedelta(days=7)
"""Longer than any upload: an older pin was left by a publisher that was killed."""


@dataclass(frozen=True, slots=True)
class Collected:
    """What was deleted, or would be.

    Attributes
    ----------
    kept, removed : list of int
        Snapshots.
    n_objects, n_bytes : int
        Objects that no kept snapshot needs, manifests not counted.
    """

    kept: list[int]
    removed: list[int]
    n_objects: int
    n_bytes: int


def collect_replica(
    replica: Replica, *, keep: int, dry_run: bool = False, take_over: bool = False
) -> Collected:
    """Keep the latest snapshots, the current one, and what is about to become current.

    Manifests go first, so that nobody finds a snapshot whose files are going; killed anywhere, the
    same call goes on.

    Parameters
    ----------
    keep : int
        How many of the latest snapshots to keep; at least 1.
    take_over : bool
        Go on where another one was killed.

    Raises
    ------
    ReplicaMovedError
        If another one runs.
    """
    if dry_run:
        return _removable(replica, keep)[0]
    began = to_json({"what": "objects are being deleted"})
    if not replica.bucket.create(COLLECTING, began) and not take_over:
        raise ReplicaMovedError(
            f"another 'replica gc' of {replica.bucket.address} has begun and not ended; wait for "
            "it, or, if it was killed, go on with --take-over"
        )
    try:
        collected, paths = _removable(replica, keep)
        _delete(replica, paths)
    finally:
        _delete(replica, [COLLECTING])
    return collected


def _removable(replica: Replica, keep: int) -> tuple[Collected, list[str]]:
    """Say what nobody needs: paths of manifests first.

    Pins are read before the manifests and the pointer: what is published in between is found there.
    """
    objects = replica.bucket.listing()
    snapshots, old_pins = _pins(replica, objects)
    current, pointer = replica.current()
    numbers = replica.numbers()
    kept = sorted({*numbers[-keep:], pointer.number})
    snapshots.append(current)
    snapshots += [replica.snapshot(number) for number in kept if number != pointer.number]
    needed = {entry.path for snapshot in snapshots for entry in snapshot.files}
    folders = {folder_of(path) for path in needed if path.endswith(f"/{RECEIPT_NAME}")}
    unneeded = sorted(
        path
        for path in objects
        if path.partition("/")[0] in PUBLISHED_FOLDERS
        and path not in needed
        and not _lies_below(path, folders)
    )
    removed = [number for number in numbers if number not in kept]
    manifests = [path(number) for number in removed for path in (manifest_path, whole_path)]
    n_bytes = sum(objects[path].size for path in unneeded)
    collected = Collected(kept, removed, len(unneeded), n_bytes)
    return collected, [*(path for path in manifests if path in objects), *old_pins, *unneeded]


def _pins(replica: Replica, objects: dict[str, RemoteObject]) -> tuple[list[Snapshot], list[str]]:
    """Read the snapshots that are about to become current; list what killed publishers left.

    Times are the server's own, so no clock of ours matters.
    """
    paths = [path for path in objects if folder_of(path) == PENDING and path != COLLECTING]
    latest = max((found.modified for found in objects.values()), default=None)
    living, old = [], []
    for path in paths:
        if latest is not None and latest - objects[path].modified > PIN_LIFETIME:
            old.append(path)
            continue
        try:
            data, _ = replica.bucket.read(path)
        except ArtefactMissingError:  # published meanwhile: its manifest is listed, or was refused
            continue
        number = int(path.rpartition("/")[2].partition("-")[0])
        living.append(snapshot_from_bytes(data, number=number, source=path))
    return living, old


def _lies_below(path: str, folders: set[str]) -> bool:
    folder = folder_of(path)
    while folder:
        if folder in folders:
            return True
        folder = folder_of(folder)
    return False


def _delete(replica: Replica, paths: Sequence[str]) -> None:
    for start in range(0, len(paths), DELETED_AT_ONCE):
        replica.bucket.delete(paths[start : start + DELETED_AT_ONCE])


def roll_back_replica(replica: Replica, number: int | None) -> tuple[int, int]:
    """Make another snapshot of a replica the current one; give the numbers before and after.

    Parameters
    ----------
    number : int, optional
        The snapshot; None is the one before the current one.

    Raises
    ------
    ReplicaError
        If objects of the snapshot are missing.
    ArtefactMissingError
        If there is no such snapshot.
    ReplicaMovedError
        If somebody else moved the pointer meanwhile, or objects are being deleted.
    """
    if number is None:
        now = replica.pointer()
        number = _number_before(replica, None if now is None else now.number)
    snapshot = replica.snapshot(number)
    manifest = snapshot_bytes(snapshot)
    with replica.pinned(number, manifest):
        _check_present(replica, snapshot)
        before = replica.pointer(accept_damaged=True)
        replica.move_pointer(number, manifest, before=before)
    return (0 if before is None else before.number), number


def _number_before(replica: Replica, current: int | None) -> int:
    numbers = replica.numbers()
    earlier = [number for number in numbers if current is not None and number < current]
    if not earlier:
        raise ReplicaError(
            f"{replica.bucket.address} has no snapshot before {current}; name one of {numbers} "
            "with --snapshot"
        )
    return earlier[-1]


def _check_present(replica: Replica, snapshot: Snapshot) -> None:
    files, findings = snapshot_contents(
        replica, snapshot, with_features=replica.is_whole(snapshot.number)
    )
    objects = replica.bucket.listing()
    lost = [finding.path for finding in findings]
    lost += [
        entry.path
        for entry in files
        if entry.path not in objects or objects[entry.path].size != entry.size
    ]
    if lost:
        raise ReplicaError(
            f"snapshot {snapshot.number} of {replica.bucket.address} is not complete "
            f"({len(lost)} object(s) missing or changed, such as {lost[0]}); choose another"
        )
