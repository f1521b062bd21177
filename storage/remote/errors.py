"""What can be wrong with a replica on an object store.

Public: `ReplicaError`, `ReplicaAddressError`, `ReplicaAccessError`, `ReplicaMovedError`.
"""

from storage.errors import StoreError


class ReplicaError(StoreError):
    """A replica cannot be used as it stands."""


class ReplicaAddressError(ReplicaError, ValueError):
    """An address, an endpoint or the environment names no usable place for a replica."""

    is_wrong_input = True


class ReplicaAccessError(ReplicaError):
    """The object store does not answer, or refuses."""


class ReplicaMovedError(ReplicaError):
    """Somebody else changed the replica at the same time, or has the right to."""
