"""A replica: published snapshots on an object store, in the layout of a store.

::

    PREFIX/musichash-store.json         the marker, as in a store
    PREFIX/CURRENT                      the pointer, changed only if it is still what was read
    PREFIX/snapshots/000017.json        manifests, created and never changed
    PREFIX/snapshots/000017.whole       there if the folders of its partitions are here too
    PREFIX/tables/ index/ models/ features/ encoded/    as in a store
    PREFIX/pending/<number>-<random>.json  manifests that somebody is about to make current
    PREFIX/pending/gc.json              there while objects are being deleted

Publishing and deleting exclude each other: each puts its own object below ``pending/`` first and
then looks for the other's. So either the publisher sees that somebody deletes, and stops, or
whoever deletes sees what is about to be published, and keeps it.

Public: `Replica`, `RemotePointer`, `open_replica`, `prepare_replica`, `manifest_path`,
`whole_path`.
"""

import hashlib
import json
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from storage.atomic import to_json
from storage.errors import (
    ArtefactMissingError,
    DamagedArtefactError,
    StoreError,
    other_format,
)
from storage.layout import STORE_FORMAT
from storage.remote.bucket import Bucket
from storage.remote.contents import checked_files
from storage.remote.errors import ReplicaAccessError, ReplicaError, ReplicaMovedError
from storage.snapshots import (
    Snapshot,
    pointer_bytes,
    pointer_from_bytes,
    snapshot_from_bytes,
)

MARKER = "musichash-store.json"
CURRENT = "CURRENT"
PENDING = "pending"
COLLECTING = f"{PENDING}/gc.json"
_MARKER_BYTES = to_json({"format": STORE_FORMAT})
_WRONG_TAG = '"00000000000000000000000000000000"'


@dataclass(frozen=True, slots=True)
class RemotePointer:
    """The pointer of a replica.

    Attributes
    ----------
    number : int
        The current snapshot; 0 where the object holds no number.
    manifest_sha256 : str or None
        Of its manifest, where the pointer says it.
    e_tag : str
        Of the object, for the condition of its replacement.
    """

    number: int
    manifest_sha256: str | None
    e_tag: str


@dataclass(frozen=True, slots=True)
class Replica:
    """An object store's copy of what a store has published.

    Attributes
    ----------
    bucket : Bucket
        Where it lies.
    """

    bucket: Bucket

    def pointer(self, *, accept_damaged: bool = False) -> RemotePointer | None:
        """Read the pointer; None before the first publish.

        Parameters
        ----------
        accept_damaged : bool
            Give number 0 where it holds none, so that it can be replaced.

        Raises
        ------
        DamagedArtefactError
            If it holds no number.
        """
        try:
            data, e_tag = self.bucket.read(CURRENT)
        except ArtefactMissingError:
            return None
        pointer = pointer_from_bytes(data)
        if pointer is not None:
            return RemotePointer(pointer.number, pointer.manifest_sha256, e_tag)
        if accept_damaged:
            return RemotePointer(0, None, e_tag)
        raise DamagedArtefactError(
            f"{self.bucket.address}/{CURRENT} does not hold a snapshot number; choose one of "
            f"{self.numbers()} with 'musichash replica rollback --snapshot N'"
        )

    def move_pointer(self, number: int, manifest: bytes, *, before: RemotePointer | None) -> None:
        """Make a snapshot the current one if the pointer is still what it was.

        Raises
        ------
        ReplicaMovedError
            If somebody else moved it meanwhile, to another snapshot.
        """
        data = pointer_bytes(number, manifest)
        if before is None:
            is_moved = self.bucket.create(CURRENT, data)
        else:
            is_moved = self.bucket.replace(CURRENT, data, e_tag=before.e_tag)
        # A request that was repeated after its answer was lost finds its own work there.
        if is_moved or self.bucket.read(CURRENT)[0] == data:
            return
        now = self.pointer(accept_damaged=True)
        raise ReplicaMovedError(
            f"somebody else moved {self.bucket.address} from {_named(before)} to {_named(now)} "
            f"meanwhile; it was not moved to snapshot {number}: look at 'musichash replica list' "
            "and run the same command again if it is still wanted"
        )

    def numbers(self) -> list[int]:
        """List the numbers of the snapshots whose manifests exist, ascending."""
        names = (path.rpartition("/")[2] for path in self.bucket.listing("snapshots"))
        return sorted(int(name[:-5]) for name in names if re.fullmatch(r"\d{6,}\.json", name))

    def snapshot(self, number: int) -> Snapshot:
        """Read a manifest, whose paths are checked.

        Raises
        ------
        ArtefactMissingError, DamagedArtefactError, FormatVersionError
            If it is missing, not a manifest, or of another version.
        """
        return self._snapshot_of(number, self.manifest(number))

    def manifest(self, number: int) -> bytes:
        """Read the bytes of a manifest."""
        try:
            return self.bucket.read(manifest_path(number))[0]
        except ArtefactMissingError as error:
            raise ArtefactMissingError(
                f"{self.bucket.address} has no snapshot {number}; it has {self.numbers()}"
            ) from error

    def _snapshot_of(self, number: int, manifest: bytes) -> Snapshot:
        source = f"{self.bucket.address}/{manifest_path(number)}"
        snapshot = snapshot_from_bytes(manifest, number=number, source=source)
        checked_files(snapshot.files, source=source)
        return snapshot

    def current(self) -> tuple[Snapshot, RemotePointer]:
        """Read the current snapshot.

        Raises
        ------
        ArtefactMissingError
            If nothing has been published yet.
        """
        pointer = self.pointer()
        if pointer is None:
            raise ArtefactMissingError(
                f"{self.bucket.address} holds no published snapshot yet; publish one with "
                f"'musichash replicate --store STORE --to {self.bucket.address}'"
            )
        manifest = self.manifest(pointer.number)
        if pointer.manifest_sha256 not in {None, hashlib.sha256(manifest).hexdigest()}:
            raise DamagedArtefactError(
                f"{self.bucket.address}/{CURRENT} names snapshot {pointer.number}, but not the "
                f"manifest that is there; choose one of {self.numbers()} with 'musichash replica "
                "rollback --snapshot N'"
            )
        return self._snapshot_of(pointer.number, manifest), pointer

    def is_whole(self, number: int) -> bool:
        """Tell whether the folders of a snapshot's partitions are here too."""
        return whole_path(number) in self.bucket.listing("snapshots")

    @contextmanager
    def pinned(self, number: int, manifest: bytes) -> Iterator[None]:
        """Keep every file of a snapshot from being deleted while it is about to become current.

        The pin that a killed publisher leaves is dropped by a later `gc`.

        Raises
        ------
        ReplicaMovedError
            If objects are being deleted now.
        """
        path = f"{PENDING}/{number:06d}-{secrets.token_hex(8)}.json"
        self.bucket.create(path, manifest)
        try:
            self._check_not_collecting()
            yield
        except BaseException:
            with suppress(StoreError):  # the failure itself is what to tell
                self.bucket.delete([path])
            raise
        self.bucket.delete([path])

    def _check_not_collecting(self) -> None:
        began = self.bucket.listing(PENDING).get(COLLECTING)
        if began is not None:
            raise ReplicaMovedError(
                f"objects of {self.bucket.address} are being deleted since "
                f"{began.modified:%Y-%m-%d %H:%M:%S} UTC; wait for it to end, or, if it was "
                "killed, finish it with 'musichash replica gc --take-over'"
            )


def manifest_path(number: int) -> str:
    """Give the path of a snapshot's manifest."""
    return f"snapshots/{number:06d}.json"


def whole_path(number: int) -> str:
    """Give the path of the object that promises the folders of a snapshot's partitions."""
    return f"snapshots/{number:06d}.whole"


def open_replica(bucket: Bucket) -> Replica:
    """Recognise an existing replica.

    Raises
    ------
    ReplicaError
        If nothing, or something else, is there.
    FormatVersionError
        If another version of musichash wrote it.
    """
    if not _has_marker(bucket):
        raise ReplicaError(
            f"{bucket.address} is no replica of a store{_holding(bucket.any_path())}; check the "
            "prefix, or publish one with 'musichash replicate'"
        )
    return Replica(bucket)


def prepare_replica(bucket: Bucket) -> Replica:
    """Recognise a replica, or begin one where nothing is; prove that the server keeps conditions.

    Some servers ignore the conditions of a write. That is tried on the marker, where nothing is
    lost: it is written again as it is, under conditions that cannot hold.

    Raises
    ------
    ReplicaError
        If something else is there.
    FormatVersionError
        If another version of musichash wrote it.
    ReplicaAccessError
        If the server does not keep the conditions of a write.
    """
    if not _has_marker(bucket):
        other = bucket.any_path()
        if other is not None and other != MARKER:
            raise ReplicaError(
                f"{bucket.address} is no replica of a store{_holding(other)}; name an empty prefix"
            )
        bucket.create(MARKER, _MARKER_BYTES)
    is_ignoring = bucket.create(MARKER, _MARKER_BYTES)
    if is_ignoring or bucket.replace(MARKER, _MARKER_BYTES, e_tag=_WRONG_TAG):
        raise ReplicaAccessError(
            f"the object store at {bucket.address.endpoint or 'Amazon S3'} ignores the conditions "
            "of writes (If-None-Match, If-Match), so two publishers could overwrite each other; "
            "nothing was published: use a store that keeps them"
        )
    return Replica(bucket)


def _has_marker(bucket: Bucket) -> bool:
    try:
        data, _ = bucket.read(MARKER)
    except ArtefactMissingError:
        return False
    try:
        found = json.loads(data)["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedArtefactError(
            f"{bucket.address}/{MARKER} is not the marker of a replica; name another prefix"
        ) from error
    if found != STORE_FORMAT:
        instead = "or name another prefix"
        raise other_format(f"the replica {bucket.address}", found, STORE_FORMAT, instead=instead)
    return True


def _holding(path: str | None) -> str:
    return "" if path is None else f" (it holds {path!r})"


def _named(pointer: RemotePointer | None) -> str:
    return "nothing" if pointer is None else f"snapshot {pointer.number}"
