"""Publish the current snapshot of a store to a replica: files, manifest, pointer, in this order.

Names are content, so what is there is never sent again, and a killed upload leaves objects that
the next one finds. Readers see the snapshot when the pointer moves, wholly.

Public: `publish_replica`, `plan_replica`, `ReplicaPlan`.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from storage.atomic import FileDigest, read_json, write_json
from storage.errors import ArtefactMissingError, DamagedArtefactError, StoreError
from storage.layout import StoreLayout
from storage.published import require_snapshot
from storage.remote.bucket import Bucket
from storage.remote.contents import checked_files, inner_files, is_expanded
from storage.remote.errors import ReplicaError, ReplicaMovedError
from storage.remote.replica import (
    CURRENT,
    RemotePointer,
    Replica,
    manifest_path,
    open_replica,
    prepare_replica,
    whole_path,
)
from storage.remote.transfers import each
from storage.remote.verifying import verify_replica
from storage.snapshots import Snapshot, snapshot_bytes, snapshot_from_bytes

MEMORY_FORMAT = 1
REMEMBERED = 10
"""Manifests that a store remembers to have published to a replica."""


@dataclass(frozen=True, slots=True)
class ReplicaPlan:
    """What a publish has to do, or did.

    Attributes
    ----------
    snapshot : Snapshot
        The store's current one.
    before : int, optional
        The replica's snapshot until then.
    files : tuple of FileDigest
        Everything that the snapshot needs in the replica.
    missing : tuple of FileDigest
        Those of them that are not there, or not as they should be.
    """

    snapshot: Snapshot
    before: int | None
    files: tuple[FileDigest, ...]
    missing: tuple[FileDigest, ...]

    @property
    def is_current(self) -> bool:
        """Whether the replica shows the snapshot already, and nothing is missing."""
        return self.before == self.snapshot.number and not self.missing


def plan_replica(layout: StoreLayout, bucket: Bucket, *, with_features: bool) -> ReplicaPlan:
    """Say what a publish would send; writes nothing."""
    snapshot = require_snapshot(layout)
    files = _local_files(layout, snapshot, with_features=with_features)
    if bucket.any_path() is None:
        return ReplicaPlan(snapshot, None, tuple(files), tuple(files))
    pointer = open_replica(bucket).pointer()
    before = None if pointer is None else pointer.number
    return ReplicaPlan(snapshot, before, tuple(files), _missing(bucket, files))


def publish_replica(  # noqa: PLR0913 - the options of the command
    layout: StoreLayout,
    bucket: Bucket,
    *,
    with_features: bool = False,
    allow_rollback: bool = False,
    adopt: bool = False,
    mend: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> ReplicaPlan:
    """Make the current snapshot of a store the current one of a replica.

    Parameters
    ----------
    with_features : bool
        Send the folders of the partitions too, from which a store can go on.
    allow_rollback : bool
        Publish although the replica shows a later snapshot.
    adopt : bool
        Publish although another store made what the replica shows.
    mend : bool
        Read every object that is there, and send again what is not as it should be.
    on_progress : callable
        Called with bytes sent and bytes to send.

    Raises
    ------
    ReplicaError, ReplicaMovedError, ReplicaAccessError
        If the replica is of another store or further on, somebody else publishes at the same
        time, or the object store does not answer.
    DamagedArtefactError
        If a file of the store is not what its manifest says.
    """
    snapshot = require_snapshot(layout)
    manifest = snapshot_bytes(snapshot)
    files = _local_files(layout, snapshot, with_features=with_features)
    replica = prepare_replica(bucket)
    with replica.pinned(snapshot.number, manifest):
        pointer = replica.pointer()
        _check_direction(replica, snapshot, pointer, allow_rollback=allow_rollback)
        _check_origin(layout, replica, pointer, manifest, adopt=adopt)
        _check_manifest(replica, snapshot, manifest, mend=mend)
        missing = _missing(bucket, files)
        if mend:
            wrong = {finding.path for finding in verify_replica(replica, files)}
            missing = tuple(entry for entry in files if entry.path in wrong)
        _upload(layout, bucket, missing, is_overwriting=mend, on_progress=on_progress)
        left = _missing(bucket, files)
        if left:
            raise ReplicaMovedError(
                f"{len(left)} object(s) of {bucket.address} disappeared or changed while it was "
                f"written, such as {left[0].path}; run the same command again"
            )
        if with_features:
            bucket.create(whole_path(snapshot.number), b"")
        _remember(layout, replica, manifest)
        _create_manifest(replica, snapshot, manifest)
        replica.move_pointer(snapshot.number, manifest, before=pointer)
    before = None if pointer is None else pointer.number
    return ReplicaPlan(snapshot, before, tuple(files), missing)


def _local_files(
    layout: StoreLayout, snapshot: Snapshot, *, with_features: bool
) -> list[FileDigest]:
    """List every file that the snapshot needs in a replica."""
    files = list(snapshot.files)
    for entry in snapshot.files:
        if is_expanded(entry, with_features=with_features):
            path = layout.root / entry.path
            try:
                data = path.read_bytes()
            except OSError as error:
                raise _unreadable(layout, entry, error) from error
            if hashlib.sha256(data).hexdigest() != entry.sha256:
                raise DamagedArtefactError(f"{path} was changed; run 'musichash verify'")
            files += inner_files(entry, data, source=str(path))
    return checked_files(files, source=f"snapshot {snapshot.number} of {layout.root}")


def _missing(bucket: Bucket, files: list[FileDigest]) -> tuple[FileDigest, ...]:
    found = bucket.listing()
    return tuple(
        entry for entry in files if entry.path not in found or found[entry.path].size != entry.size
    )


def _upload(
    layout: StoreLayout,
    bucket: Bucket,
    missing: tuple[FileDigest, ...],
    *,
    is_overwriting: bool,
    on_progress: Callable[[int, int], None] | None,
) -> None:
    """Send files, many at a time; what is there under a name with another size is replaced."""
    there = bucket.listing() if missing else {}
    total, done = sum(entry.size for entry in missing), 0

    def send(entry: FileDigest) -> int:
        try:
            is_other = is_overwriting or entry.path in there
            bucket.upload(layout.root / entry.path, entry, is_overwriting=is_other)
        except StoreError:
            raise
        except OSError as error:
            raise _unreadable(layout, entry, error) from error
        return entry.size

    def advance(size: int) -> None:
        nonlocal done
        done += size
        if on_progress is not None:
            on_progress(done, total)

    each(send, missing, take=advance)


def _unreadable(layout: StoreLayout, entry: FileDigest, error: OSError) -> StoreError:
    if isinstance(error, FileNotFoundError):
        return ArtefactMissingError(
            f"{layout.root / entry.path} is missing; if a 'gc' ran meanwhile, run the same command "
            "again, otherwise run 'musichash verify'"
        )
    return StoreError(f"{layout.root / entry.path} cannot be read: {error.strerror}")


# --- what must not be overwritten ---


def _check_direction(
    replica: Replica, snapshot: Snapshot, pointer: RemotePointer | None, *, allow_rollback: bool
) -> None:
    if pointer is None or pointer.number <= snapshot.number or allow_rollback:
        return
    raise ReplicaMovedError(
        f"{replica.bucket.address} shows snapshot {pointer.number}, which is later than this "
        f"store's {snapshot.number}; publish again here first, or go back on purpose with "
        "--allow-rollback"
    )


def _check_origin(
    layout: StoreLayout,
    replica: Replica,
    pointer: RemotePointer | None,
    manifest: bytes,
    *,
    adopt: bool,
) -> None:
    """Refuse to follow upon a snapshot that another store published."""
    if pointer is None or adopt:
        return
    try:
        theirs, _ = replica.bucket.read(manifest_path(pointer.number))
    except ArtefactMissingError:
        theirs = b""
    local = layout.snapshot_path(pointer.number)
    is_ours = (
        theirs == manifest
        or (local.is_file() and local.read_bytes() == theirs)
        or hashlib.sha256(theirs).hexdigest() in _remembered(layout, replica)
    )
    if not is_ours:
        raise ReplicaError(
            f"{replica.bucket.address}/{CURRENT} shows a snapshot {pointer.number} that this store "
            f"({layout.root}) did not publish; name another prefix, or let this store take the "
            "replica over with --adopt"
        )


def _check_manifest(replica: Replica, snapshot: Snapshot, manifest: bytes, *, mend: bool) -> None:
    """Refuse, before anything is sent, if the snapshot's number is taken by another one."""
    path = manifest_path(snapshot.number)
    try:
        theirs, e_tag = replica.bucket.read(path)
    except ArtefactMissingError:
        return
    if theirs == manifest:
        return
    source = f"{replica.bucket.address}/{path}"
    try:
        snapshot_from_bytes(theirs, number=snapshot.number, source=source)
    except DamagedArtefactError:
        if mend and replica.bucket.replace(path, manifest, e_tag=e_tag):
            return
        raise
    raise _other_snapshot(replica, snapshot)


def _create_manifest(replica: Replica, snapshot: Snapshot, manifest: bytes) -> None:
    path = manifest_path(snapshot.number)
    if not replica.bucket.create(path, manifest) and replica.bucket.read(path)[0] != manifest:
        raise _other_snapshot(replica, snapshot)


def _other_snapshot(replica: Replica, snapshot: Snapshot) -> ReplicaMovedError:
    return ReplicaMovedError(
        f"{replica.bucket.address} has another snapshot {snapshot.number} than this store: two "
        "stores publish there, or this store was made anew; name another prefix"
    )


def _remembered(layout: StoreLayout, replica: Replica) -> list[str]:
    """Give the digests of the manifests that this store published to a replica, oldest first."""
    try:
        return [str(digest) for digest in _memory(layout).get(str(replica.bucket.address), [])]
    except TypeError:
        return []


def _memory(layout: StoreLayout) -> dict[str, Any]:
    """Read the note of all replicas; of one that is damaged nothing is known."""
    try:
        replicas = read_json(layout.replicas_path).get("replicas")
    except (ArtefactMissingError, DamagedArtefactError):
        return {}
    return replicas if isinstance(replicas, dict) else {}


def _remember(layout: StoreLayout, replica: Replica, manifest: bytes) -> None:
    """Note that this store publishes a manifest, before it does: snapshots here may be deleted."""
    digest = hashlib.sha256(manifest).hexdigest()
    known = _remembered(layout, replica)
    if known[-1:] == [digest]:
        return
    latest = [entry for entry in known if entry != digest] + [digest]
    content = _memory(layout) | {str(replica.bucket.address): latest[-REMEMBERED:]}
    write_json(layout.replicas_path, {"format": MEMORY_FORMAT, "replicas": content})
