"""Read every byte of a snapshot in a replica and compare it with what was promised.

Public: `verify_replicated_snapshot`, `verify_replica`, `snapshot_contents`, `ReplicaFinding`.
"""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from storage.atomic import FileDigest
from storage.errors import ArtefactMissingError, DamagedArtefactError
from storage.remote.contents import checked_files, folder_of, inner_files, is_expanded
from storage.remote.replica import Replica, manifest_path
from storage.remote.transfers import each
from storage.snapshots import Snapshot, content_digest


@dataclass(frozen=True, slots=True)
class ReplicaFinding:
    """One object that is not as promised: ``missing``, ``changed``, ``extra`` or what is wrong."""

    path: str
    problem: str


def snapshot_contents(
    replica: Replica, snapshot: Snapshot, *, with_features: bool
) -> tuple[list[FileDigest], list[ReplicaFinding]]:
    """List every object of a snapshot, by the receipts in the replica, and what is wrong with them.

    Parameters
    ----------
    with_features : bool
        Whether the folders of the partitions belong to it.
    """
    source = str(replica.bucket.address)
    expanded = [
        entry for entry in snapshot.files if is_expanded(entry, with_features=with_features)
    ]
    files = list(snapshot.files)
    findings: list[ReplicaFinding] = []

    def read(entry: FileDigest) -> list[FileDigest] | ReplicaFinding:
        try:
            data, _ = replica.bucket.read(entry.path)
            if hashlib.sha256(data).hexdigest() != entry.sha256:
                return ReplicaFinding(entry.path, "changed")
            return inner_files(entry, data, source=f"{source}/{entry.path}")
        except ArtefactMissingError:
            return ReplicaFinding(entry.path, "missing")
        except DamagedArtefactError as error:
            return ReplicaFinding(entry.path, str(error))

    def take(found: list[FileDigest] | ReplicaFinding) -> None:
        if isinstance(found, ReplicaFinding):
            findings.append(found)
        else:
            files.extend(found)

    each(read, expanded, take=take)
    return checked_files(files, source=source), findings


def verify_replica(
    replica: Replica,
    files: Iterable[FileDigest],
    *,
    on_progress: Callable[[int], None] | None = None,
) -> list[ReplicaFinding]:
    """Read objects to their ends; give those that are missing or have other bytes.

    Parameters
    ----------
    on_progress : callable
        Called with the size of each object once it is read.
    """
    findings: list[ReplicaFinding] = []

    def check(entry: FileDigest) -> tuple[FileDigest, str | None]:
        try:
            found = replica.bucket.download(entry)
        except ArtefactMissingError:
            return entry, "missing"
        return entry, None if found == entry else "changed"

    def take(checked: tuple[FileDigest, str | None]) -> None:
        entry, problem = checked
        if problem is not None:
            findings.append(ReplicaFinding(entry.path, problem))
        if on_progress is not None:
            on_progress(entry.size)

    each(check, files, take=take)
    return findings


def verify_replicated_snapshot(
    replica: Replica, snapshot: Snapshot, *, on_progress: Callable[[int, int], None] | None = None
) -> tuple[list[ReplicaFinding], int, int]:
    """Check everything that a replica promises of a snapshot.

    Returns
    -------
    findings : list of ReplicaFinding
        Empty when all is well.
    n_files, n_bytes : int
        What was to be read.
    """
    with_features = replica.is_whole(snapshot.number)
    files, findings = snapshot_contents(replica, snapshot, with_features=with_features)
    if content_digest(snapshot) != snapshot.digest:
        path = manifest_path(snapshot.number)
        findings.append(ReplicaFinding(path, "the manifest does not match its own digest"))
    total, done = sum(entry.size for entry in files), 0

    def advance(size: int) -> None:
        nonlocal done
        done += size
        if on_progress is not None:
            on_progress(done, total)

    findings += verify_replica(replica, files, on_progress=advance)
    findings += _extra(replica, files, findings, with_features=with_features)
    return sorted(set(findings), key=lambda finding: finding.path), len(files), total


def _extra(
    replica: Replica,
    files: list[FileDigest],
    findings: list[ReplicaFinding],
    *,
    with_features: bool,
) -> list[ReplicaFinding]:
    """Find objects in the snapshot's folders that its receipts do not list."""
    unknown = {finding.path for finding in findings}
    folders = {
        f"{folder_of(entry.path)}/"
        for entry in files
        if is_expanded(entry, with_features=with_features) and entry.path not in unknown
    }
    listed = {entry.path for entry in files}
    return [
        ReplicaFinding(path, "extra")
        for path in replica.bucket.listing()
        if path not in listed and _lies_in(path, folders)
    ]


def _lies_in(path: str, folders: set[str]) -> bool:
    return any(path[: end + 1] in folders for end, letter in enumerate(path) if letter == "/")
