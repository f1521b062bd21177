"""The collections of a store, for people and for JSON.

Public: `list_collections`, `deregister`.
"""

from dataclasses import asdict
from typing import Any

from storage.collections import read_collections, remove_collection
from storage.store import open_store
from tasks.ledger import holding


def list_collections(store: str) -> list[dict[str, Any]]:
    """List the registered collections by name."""
    return [asdict(one) for one in read_collections(open_store(store))]


def deregister(store: str, name: str) -> dict[str, Any]:
    """Take a collection out of the register and give it.

    Raises
    ------
    CollectionError
        If there is none of that name.
    StoreLockedError
        If a run is writing to the store.
    """
    with holding(store, kind="collections remove"):
        return asdict(remove_collection(open_store(store), name))
