"""The one track whose spectrogram the report shows: chosen, read from the feature store, in dB.

Public: `shown_track`, `ShownTrack`.
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from musichash_core.config import PipelineConfig
from musichash_core.decibels import FLOOR_DB, bytes_to_db
from musichash_core.segments import FrameSource
from storage.errors import StoreError
from storage.feature_store import FeaturePartition
from storage.layout import StoreLayout
from storage.snapshots import Snapshot

MAX_TRACKS_LOOKED_AT = 12
SHOWN_FRAMES = 600
"""14 s at the default settings: time enough to see beats and notes."""

LOUD_RANGE_DB = 60.0
"""Cells of the spectrogram that much below the loudest have no part in the choice."""


@dataclass(frozen=True, slots=True)
class ShownTrack:
    """An excerpt of a track as its features have it.

    Attributes
    ----------
    track_id : str
    parts_db : (3, n_mels, n_frames) float32
        Mel power of original, harmonic and percussive, dB re 1.
    start_frame : int
        Where the excerpt begins in the track.
    frame_s : float or None
        Seconds per frame; None when the store was made with other settings than the given.
    band_hz : (n_mels,) float64, or None
        Centre of each mel band.
    n_looked_at : int
        Tracks that it was chosen from.
    """

    track_id: str
    parts_db: NDArray[np.float32]
    start_frame: int
    frame_s: float | None
    band_hz: NDArray[np.float64] | None
    n_looked_at: int


def shown_track(
    layout: StoreLayout,
    snapshot: Snapshot,
    config: PipelineConfig,
    published_among: Callable[[Collection[str]], set[str]],
) -> ShownTrack | None:
    """Choose the track whose two parts differ most clearly, and read an excerpt of it.

    Parameters
    ----------
    published_among : callable
        Gives those of some tracks that the snapshot has; a partition may hold others too.

    Returns
    -------
    ShownTrack or None
        None when the snapshot has no features to read (removed to save space, or damaged).
    """
    looked_at = list(islice(_excerpts(layout, snapshot), MAX_TRACKS_LOOKED_AT))
    published = published_among({excerpt.track_id for excerpt in looked_at})
    excerpts = [excerpt for excerpt in looked_at if excerpt.track_id in published]
    if not excerpts:
        return None
    best = max(excerpts, key=_clearness)
    matches = config.feature_fingerprint == snapshot.feature_fingerprint
    return ShownTrack(
        best.track_id,
        best.parts_db,
        start_frame=best.start_frame,
        frame_s=1.0 / config.features.frame_rate_hz if matches else None,
        band_hz=_band_centres_hz(config) if matches else None,
        n_looked_at=len(excerpts),
    )


@dataclass(frozen=True, slots=True)
class _Excerpt:
    track_id: str
    start_frame: int
    parts_db: NDArray[np.float32]


def _excerpts(layout: StoreLayout, snapshot: Snapshot) -> Iterator[_Excerpt]:
    """Read the middle of the tracks of a snapshot; partitions that cannot be read are passed by."""
    for partition_id in _partition_ids(snapshot):
        folder = layout.feature_partition_path(snapshot.feature_fingerprint, partition_id)
        try:
            for stored, track in FeaturePartition(folder).track_frames():
                yield _excerpt(stored.track_id, track.frames)
        except (StoreError, OSError, ValueError):  # zarr has no exception of its own for bad bytes
            continue


def _partition_ids(snapshot: Snapshot) -> list[str]:
    """Name the feature partitions of a snapshot, by the receipts that it lists."""
    paths = (entry.path.split("/") for entry in snapshot.files)
    return [path[2] for path in paths if len(path) == 4 and path[0] == "features"]


def _excerpt(track_id: str, frames: FrameSource) -> _Excerpt:
    """Give the decibels, part by band by frame, of the middle of a track."""
    start = max(0, (len(frames) - SHOWN_FRAMES) // 2)
    middle_db = bytes_to_db(frames[start : start + SHOWN_FRAMES])
    return _Excerpt(track_id, start, middle_db.transpose(1, 2, 0))


def _clearness(excerpt: _Excerpt) -> tuple[bool, float]:
    """Order excerpts: full ones last, then by how far the parts are apart and both are there.

    That is the mean difference of harmonic and percussive in dB, over the loud cells, times
    ``4 p (1 - p)``, where ``p`` is the share of these cells that are mainly harmonic.
    """
    original, harmonic, percussive = excerpt.parts_db
    is_loud = (original > FLOOR_DB) & (original > original.max() - LOUD_RANGE_DB)
    difference_db = (harmonic - percussive)[is_loud]
    is_full = original.shape[1] == SHOWN_FRAMES
    if not difference_db.size:
        return is_full, 0.0
    p = float((difference_db > 0).mean())
    return is_full, float(np.abs(difference_db).mean()) * 4.0 * p * (1.0 - p)


def _band_centres_hz(config: PipelineConfig) -> NDArray[np.float64]:
    bank = config.features.mel_filter_bank().astype(np.float64)
    bins_hz = np.arange(bank.shape[1]) * (config.features.sr / config.features.n_fft)
    return np.asarray(bank @ bins_hz / bank.sum(axis=1), dtype=np.float64)
