"""The tracks of an extracted partition, and where they lie, for those who must name one.

Public: `tracks_of`, `PartitionTrack`, `folder_of`.
"""

from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from storage.catalogue import read_catalogue
from storage.errors import StoreError
from storage.feature_store import FeaturePartition
from storage.store import open_store


class PartitionTrack(NamedTuple):
    """A track of a partition.

    Attributes
    ----------
    track_id : str
        Its identity.
    place : str
        Where the last scan found it.
    """

    track_id: str
    place: str


def folder_of(store: str, feature_fingerprint: str, partition_id: str) -> Path:
    """Give the folder of a feature partition."""
    return open_store(store).feature_partition_path(feature_fingerprint, partition_id)


def tracks_of(store: str, feature_fingerprint: str, partition_id: str) -> list[PartitionTrack]:
    """List the tracks of a feature partition in its order, with their places."""
    partition = FeaturePartition(folder_of(store, feature_fingerprint, partition_id))
    places = _places(store)
    return [
        PartitionTrack(track.track_id, places.get(track.track_id, "not in the last scan"))
        for track in partition.tracks()
    ]


def _places(store: str) -> dict[str, str]:
    try:
        table: pa.Table = read_catalogue(open_store(store)).table
    except StoreError:  # a name is all that is lost
        return {}
    places = pc.binary_join_element_wise(table["root"], table["path"], "/").to_pylist()
    return dict(zip(table["track_id"].to_pylist(), places, strict=True))
