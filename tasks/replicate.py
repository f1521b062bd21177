"""Replicas of a store on an object store: publish, list, verify, roll back, clear, fetch.

Public: `replicate_store`, `plan_replication`, `list_replica`, `verify_replica`,
`roll_back_replica`, `clear_replica`, `fetch_store`.
"""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from musichash_core.errors import ParameterError
from storage.errors import StoreError
from storage.remote import (
    Bucket,
    Replica,
    ReplicaPlan,
    collect_replica,
    fetch_snapshot,
    open_bucket,
    open_replica,
    plan_replica,
    publish_replica,
    replica_address,
    verify_replicated_snapshot,
)
from storage.remote import roll_back_replica as move_back
from storage.store import open_store

OnProgress = Callable[[int, int], None]
"""Called with bytes done and bytes to do."""


def _bucket(url: str, endpoint: str | None) -> Bucket:
    return open_bucket(replica_address(url, endpoint=endpoint))


def _replica(url: str, endpoint: str | None) -> Replica:
    return open_replica(_bucket(url, endpoint))


def plan_replication(
    store: str, url: str, *, endpoint: str | None = None, with_features: bool = False
) -> dict[str, Any]:
    """Say what `replicate_store` would send; changes nothing."""
    layout = open_store(store)
    plan = plan_replica(layout, _bucket(url, endpoint), with_features=with_features)
    return _described(plan, url, dry_run=True)


def replicate_store(  # noqa: PLR0913 - the options of the command
    store: str,
    url: str,
    *,
    endpoint: str | None = None,
    with_features: bool = False,
    allow_rollback: bool = False,
    adopt: bool = False,
    mend: bool = False,
    on_progress: OnProgress | None = None,
) -> dict[str, Any]:
    """Publish a store's current snapshot to a replica.

    Parameters
    ----------
    url : str
        ``s3://BUCKET/PREFIX``.
    endpoint : str, optional
        Address of the service; else the environment's, else Amazon's.
    with_features, allow_rollback, adopt, mend
        As for `storage.remote.publish_replica`.

    Returns
    -------
    dict
        ``replica``, ``snapshot``, ``digest``, ``before``, and ``files``, ``bytes``, ``sent`` and
        ``sent_bytes``.

    Raises
    ------
    StoreError
        If the store or the replica cannot be used, or somebody else publishes at the same time.
    """
    layout = open_store(store)
    plan = publish_replica(
        layout,
        _bucket(url, endpoint),
        with_features=with_features,
        allow_rollback=allow_rollback,
        adopt=adopt,
        mend=mend,
        on_progress=on_progress,
    )
    return _described(plan, url, dry_run=False)


def _described(plan: ReplicaPlan, url: str, *, dry_run: bool) -> dict[str, Any]:
    return {
        "replica": url,
        "snapshot": plan.snapshot.number,
        "digest": plan.snapshot.digest,
        "before": plan.before,
        "files": len(plan.files),
        "bytes": sum(entry.size for entry in plan.files),
        "sent": len(plan.missing),
        "sent_bytes": sum(entry.size for entry in plan.missing),
        "unchanged": plan.is_current,
        "dry_run": dry_run,
    }


def list_replica(url: str, *, endpoint: str | None = None) -> dict[str, Any]:
    """List the snapshots of a replica, oldest first, each with its content digest."""
    replica = _replica(url, endpoint)
    pointer = replica.pointer(accept_damaged=True)
    rows = []
    for number in replica.numbers():
        row: dict[str, Any] = {
            "snapshot": number,
            "is_current": pointer is not None and pointer.number == number,
            "with_features": replica.is_whole(number),
        }
        try:
            snapshot = replica.snapshot(number)
        except StoreError as error:
            row["problem"] = str(error)
        else:
            row |= {
                "digest": snapshot.digest,
                "generation": snapshot.generation,
                "feature_fingerprint": snapshot.feature_fingerprint,
                "counts": snapshot.counts,
            }
        rows.append(row)
    return {
        "replica": url,
        "current": pointer.number if pointer is not None else None,
        "snapshots": rows,
    }


def verify_replica(
    url: str,
    *,
    endpoint: str | None = None,
    number: int | None = None,
    on_progress: OnProgress | None = None,
) -> dict[str, Any]:
    """Read every byte of a snapshot of a replica and compare it with the manifest.

    Returns
    -------
    dict
        ``snapshot``, ``files``, ``bytes`` and ``findings`` (empty when all is well).
    """
    replica = _replica(url, endpoint)
    snapshot = replica.current()[0] if number is None else replica.snapshot(number)
    findings, n_files, n_bytes = verify_replicated_snapshot(
        replica, snapshot, on_progress=on_progress
    )
    return {
        "replica": url,
        "snapshot": snapshot.number,
        "files": n_files,
        "bytes": n_bytes,
        "findings": [asdict(finding) for finding in findings],
    }


def roll_back_replica(
    url: str, *, endpoint: str | None = None, number: int | None = None
) -> dict[str, Any]:
    """Make another snapshot of a replica the current one; by default the one before."""
    before, after = move_back(_replica(url, endpoint), number)
    return {"replica": url, "before": before, "snapshot": after}


def clear_replica(
    url: str,
    *,
    keep: int,
    endpoint: str | None = None,
    dry_run: bool = False,
    take_over: bool = False,
) -> dict[str, Any]:
    """Delete from a replica what its latest snapshots and its current one do not need.

    Raises
    ------
    ParameterError
        If no snapshot is to be kept.
    """
    if keep < 1:
        raise ParameterError(f"keep={keep} snapshots; keep at least 1")
    replica = _replica(url, endpoint)
    collected = collect_replica(replica, keep=keep, dry_run=dry_run, take_over=take_over)
    return {"replica": url, "dry_run": dry_run} | asdict(collected)


def fetch_store(
    url: str,
    folder: str,
    *,
    endpoint: str | None = None,
    number: int | None = None,
    with_features: bool = False,
    on_progress: OnProgress | None = None,
) -> dict[str, Any]:
    """Fetch a snapshot of a replica into a folder that readers use as a store.

    Returns
    -------
    dict
        ``store``, ``snapshot``, ``digest``, and ``files``, ``bytes``, ``received`` and
        ``received_bytes``.
    """
    fetched = fetch_snapshot(
        _replica(url, endpoint),
        Path(folder),
        number=number,
        with_features=with_features,
        on_progress=on_progress,
    )
    return {
        "replica": url,
        "store": str(Path(folder).resolve()),
        "snapshot": fetched.snapshot.number,
        "digest": fetched.snapshot.digest,
        "files": fetched.n_files,
        "bytes": fetched.n_bytes,
        "received": fetched.n_received,
        "received_bytes": fetched.n_received_bytes,
    }
