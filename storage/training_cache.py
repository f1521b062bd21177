"""Frames of the labelled tracks in one raw file, so that training reads them by memory map.

Random reads from Zarr give some hundred segments a second, a memory map some ten thousand. The
file lives as long as the training. Public: `training_tracks`.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np

from musichash_core.segments import TrackFrames
from storage.atomic import make_folder
from storage.feature_store import FeaturePartition
from storage.layout import StoreLayout

MAX_TRACK_FRAMES = 8192
"""Longer tracks (over 190 s) are represented by their middle: 3 MB of file per track at most."""


@contextmanager
def training_tracks(
    layout: StoreLayout, feature_fingerprint: str, wanted: Mapping[str, Sequence[str]]
) -> Iterator[list[TrackFrames]]:
    """Give the frames of some tracks as memory maps, sorted by track id.

    Parameters
    ----------
    wanted : mapping
        Partition id -> the ids of its tracks to give.
    """
    path = layout.training_cache_path
    make_folder(path.parent)
    places: list[tuple[str, float, int, tuple[int, ...]]] = []
    offset = 0
    try:
        with path.open("wb") as file:
            for partition_id in sorted(wanted):
                folder = layout.feature_partition_path(feature_fingerprint, partition_id)
                ids = set(wanted[partition_id])
                for stored, track in FeaturePartition(folder).track_frames():
                    if stored.track_id not in ids:
                        continue
                    start = max(0, (stored.n_frames - MAX_TRACK_FRAMES) // 2)
                    frames = np.ascontiguousarray(track.frames[start : start + MAX_TRACK_FRAMES])
                    file.write(frames.data)
                    places.append((stored.track_id, stored.peak, offset, frames.shape))
                    offset += frames.nbytes
        # One map for all tracks: a process may have 65,530 maps, and a collection more tracks.
        everything = np.memmap(path, dtype=np.uint8, mode="r") if offset else np.empty(0, np.uint8)
        yield [
            TrackFrames(track_id, everything[at : at + math.prod(shape)].reshape(shape), peak)
            for track_id, peak, at, shape in sorted(places)
        ]
    finally:
        path.unlink(missing_ok=True)
