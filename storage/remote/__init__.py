"""Replicas: what a store has published, on an S3-compatible object store, in the same layout.

The store that runs work with stays on a local disk, where locks and many small files are cheap.
What it publishes is sent as objects named by their content; the manifest is created if it is
absent, and the pointer replaced if it is still the one that was read. `open_bucket` opens the place
that `replica_address` names; the rest works on a `Bucket` or a `Replica`.
"""

from storage.remote.address import ReplicaAddress, replica_address
from storage.remote.bucket import Bucket, open_bucket
from storage.remote.collecting import Collected, collect_replica, roll_back_replica
from storage.remote.errors import (
    ReplicaAccessError,
    ReplicaAddressError,
    ReplicaError,
    ReplicaMovedError,
)
from storage.remote.fetching import Fetched, fetch_snapshot
from storage.remote.publishing import ReplicaPlan, plan_replica, publish_replica
from storage.remote.replica import Replica, open_replica
from storage.remote.verifying import ReplicaFinding, verify_replicated_snapshot

__all__ = [
    "Bucket",
    "Collected",
    "Fetched",
    "Replica",
    "ReplicaAccessError",
    "ReplicaAddress",
    "ReplicaAddressError",
    "ReplicaError",
    "ReplicaFinding",
    "ReplicaMovedError",
    "ReplicaPlan",
    "collect_replica",
    "fetch_snapshot",
    "open_bucket",
    "open_replica",
    "plan_replica",
    "publish_replica",
    "replica_address",
    "roll_back_replica",
    "verify_replicated_snapshot",
]
