"""The tracks of an extracted partition, and where they lie, for those who must name one.

Public: `tracks_of`, `PartitionTrack`, `folder_of`.
"""

from collections.abc import Sequence
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
    track_ids = [track.track_id for track in partition.tracks()]
    places = _places(store, track_ids)
    return [
        PartitionTrack(track_id, places.get(track_id, "not in the last scan"))
        for track_id in track_ids
    ]


def _places(store: str, track_ids: Sequence[str]) -> dict[str, str]:
    wanted = pa.array(track_ids, pa.string())
    places: dict[str, str] = {}
    try:
        for batch in read_catalogue(open_store(store)).batches(["track_id", "root", "path"]):
            rows = batch.filter(pc.is_in(batch["track_id"], value_set=wanted))
            joined = pc.binary_join_element_wise(rows["root"], rows["path"], "/").to_pylist()
            places |= zip(rows["track_id"].to_pylist(), joined, strict=True)
    except StoreError:  # a name is all that is lost
        return {}
    return places
