"""Requests to an object store: each bounded in time and memory, each failure one sentence.

Writing is conditional wherever content could be lost: an object is created if it is absent, or
replaced if it is still the one that was read (its entity tag).

Public: `Bucket`, `RemoteObject`, `open_bucket`.
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)
from obstore.store import S3Store

from storage.atomic import READ_BYTES, FileDigest
from storage.errors import ArtefactMissingError, DamagedArtefactError, StoreError
from storage.remote.address import ReplicaAddress
from storage.remote.errors import ReplicaAccessError

if TYPE_CHECKING:
    from obstore.store import S3Config  # not there when the program runs

PIECE_BYTES = 8 << 20
"""Largest part of an object in memory at once; larger files travel in pieces of this size."""

PIECES_AT_ONCE = 2
CONNECT_TIMEOUT = "5s"
REQUEST_TIMEOUT = "60s"
MAX_RETRIES = 4
RETRY_TIMEOUT = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class RemoteObject:
    """What a listing says of an object: its size, and when the server received it."""

    size: int
    modified: datetime


class Bucket:
    """The objects below the prefix of a replica; paths are relative to it.

    Every method raises `ReplicaAccessError` when the store does not answer or refuses.

    Parameters
    ----------
    address : ReplicaAddress
        Where the objects lie.
    """

    def __init__(self, address: ReplicaAddress) -> None:
        self.address = address
        settings: S3Config = {"region": address.region}
        if address.endpoint is not None:
            settings["endpoint"] = address.endpoint
        with self._explained():
            self._store = S3Store(
                address.bucket,
                prefix=address.prefix or None,
                config=settings,
                client_options={
                    "allow_http": (address.endpoint or "").startswith("http://"),
                    "connect_timeout": CONNECT_TIMEOUT,
                    "timeout": REQUEST_TIMEOUT,
                },
                retry_config={"max_retries": MAX_RETRIES, "retry_timeout": RETRY_TIMEOUT},
            )

    def read(self, path: str) -> tuple[bytes, str]:
        """Read a small object; give its bytes and its entity tag.

        Raises
        ------
        ArtefactMissingError
            If there is none.
        """
        with self._explained(path):
            found = obstore.get(self._store, path)
            return bytes(found.bytes()), str(found.meta["e_tag"])

    def create(self, path: str, data: bytes) -> bool:
        """Create an object unless there is one; tell whether it was created."""
        try:
            with self._explained(path):
                obstore.put(self._store, path, data, mode="create", use_multipart=False)
        except AlreadyExistsError:
            return False
        return True

    def replace(self, path: str, data: bytes, *, e_tag: str) -> bool:
        """Replace an object if it is still the one with the entity tag; tell whether it was."""
        try:
            with self._explained(path):
                obstore.put(self._store, path, data, mode={"e_tag": e_tag}, use_multipart=False)
        except PreconditionError:
            return False
        return True

    def overwrite(self, path: str, data: bytes) -> None:
        """Write an object whatever is there."""
        with self._explained(path):
            obstore.put(self._store, path, data, mode="overwrite", use_multipart=False)

    def upload(self, file: Path, entry: FileDigest, *, is_overwriting: bool) -> None:
        """Upload a file whose size and digest are known; wrong content never becomes an object.

        Raises
        ------
        DamagedArtefactError
            If the file is not what its entry says.
        """
        with file.open("rb") as opened:
            pieces = _checked_pieces(opened, file, entry)
            if entry.size > PIECE_BYTES:
                with self._explained(entry.path):
                    obstore.put(
                        *(self._store, entry.path, pieces),
                        chunk_size=PIECE_BYTES,
                        max_concurrency=PIECES_AT_ONCE,
                    )
                return
            data = b"".join(pieces)
        if is_overwriting:
            self.overwrite(entry.path, data)
        else:
            self.create(entry.path, data)

    def download(
        self, entry: FileDigest, take: Callable[[bytes], object] | None = None
    ) -> FileDigest:
        """Read an object to its end, a piece at a time; give its true size and digest.

        Parameters
        ----------
        take : callable, optional
            Called with each piece.

        Raises
        ------
        ArtefactMissingError
            If there is none.
        """
        digest = hashlib.sha256()
        with self._explained(entry.path):
            size = obstore.head(self._store, entry.path)["size"]
            for start in range(0, size, PIECE_BYTES):
                end = min(start + PIECE_BYTES, size)
                piece = obstore.get_range(self._store, entry.path, start=start, end=end)
                digest.update(piece)
                if take is not None:
                    take(bytes(piece))
        return FileDigest(entry.path, size, digest.hexdigest())

    def listing(self, below: str | None = None) -> dict[str, RemoteObject]:
        """List the objects, or those below a folder, by path."""
        with self._explained():
            return {
                found["path"]: RemoteObject(found["size"], found["last_modified"])
                for page in obstore.list(self._store, below)
                for found in page
            }

    def any_path(self) -> str | None:
        """Give the path of one object; None when there is none."""
        with self._explained():
            for page in obstore.list(self._store, chunk_size=1):
                for found in page:
                    return found["path"]
        return None

    def delete(self, paths: Sequence[str]) -> None:
        """Delete objects; what is not there is no error."""
        with self._explained():
            if paths:
                obstore.delete(self._store, list(paths))

    @contextmanager
    def _explained(self, path: str | None = None) -> Iterator[None]:
        """Turn a failure of a request into a sentence; lost conditions stay what they are."""
        try:
            yield
        except (AlreadyExistsError, PreconditionError, StoreError):
            raise
        except (FileNotFoundError, BaseError, OSError, NotImplementedError) as error:
            text = str(error)
            if isinstance(error, FileNotFoundError) and "NoSuchBucket" not in text:
                raise ArtefactMissingError(
                    f"{self.address}/{path} does not exist; check the replica with "
                    f"'musichash replica verify --from {self.address}'"
                ) from error
            raise ReplicaAccessError(_sentence(self.address, error)) from error


def open_bucket(address: ReplicaAddress) -> Bucket:
    """Open the place of a replica; asks nothing of the object store yet."""
    return Bucket(address)


def _checked_pieces(opened: BinaryIO, file: Path, entry: FileDigest) -> Iterator[bytes]:
    """Give a file piece by piece; fail after the last one if it is not what it should be.

    An upload whose pieces fail is dropped, so the object never appears.
    """
    digest, size = hashlib.sha256(), 0
    while piece := opened.read(READ_BYTES):
        digest.update(piece)
        size += len(piece)
        yield piece
    if (size, digest.hexdigest()) != (entry.size, entry.sha256):
        raise DamagedArtefactError(
            f"{file} is not what the manifest says ({size} bytes, {entry.size} wanted); it was not "
            "uploaded: run 'musichash verify'"
        )


def _sentence(address: ReplicaAddress, error: Exception) -> str:
    """Say what a failed request means and what to do next."""
    text = str(error)
    where = address.endpoint or "Amazon S3"
    if "NoSuchBucket" in text:
        return f"there is no bucket {address.bucket!r} at {where}; make it, or check the name"
    if "status code: 501" in text or "<Code>NotImplemented" in text:
        return (
            f"{where} does not support conditional writes, without which two publishers could "
            "overwrite each other; use a store that does (Amazon S3, MinIO, Ceph, R2 ...)"
        )
    is_refused = isinstance(error, PermissionDeniedError | UnauthenticatedError | PermissionError)
    if is_refused or re.search(r"status code: 40[13]\b", text):
        return (
            f"{where} refuses access to {address}{_code(text)}; check AWS_ACCESS_KEY_ID, "
            "AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, the region and the rights of the key "
            "(list, read, write, delete)"
        )
    if "HTTP error" in text or "timed out" in text:
        return (
            f"{where} cannot be reached, or stopped answering, for {address}; check --endpoint or "
            "AWS_ENDPOINT_URL and the network, and run the same command again"
        )
    return f"a request to {where} for {address} failed{_code(text)}: {_first_line(text)}"


def _code(text: str) -> str:
    """Give the service's own word for what went wrong."""
    found = re.search(r"<Code>([^<]*)</Code>", text)
    return f" ({found[1]})" if found else ""


def _first_line(text: str) -> str:
    return re.sub(r"\s*<\?xml.*", "", text.splitlines()[0] if text else "no reason given")
