"""The one track whose spectrogram the report shows: chosen, read from the feature store, in dB.

Public: `shown_track`, `ShownTrack`.
"""

from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from musichash_core.config import PipelineConfig
from musichash_core.decibels import bytes_to_db
from musichash_core.segments import FrameSource
from storage.errors import StoreError
from storage.feature_store import FeaturePartition
from storage.layout import StoreLayout
from storage.snapshots import Snapshot

MAX_TRACKS_LOOKED_AT = 24
SHOWN_FRAMES = 600
"""14 s at the default settings: time enough to see beats and notes."""

QUIET_DB = -30.0
"""An excerpt that never gets louder shows nothing."""


@dataclass(frozen=True, slots=True)
class ShownTrack:
    """An excerpt of a track as its features have it.

    Attributes
    ----------
    track_id : str
    parts_db : (3, n_mels, n_frames) float32
        Mel power of original, harmonic and percussive, dB re 1.
    start_frame, n_track_frames : int
        Where the excerpt begins, and the length of the track.
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
    n_track_frames: int
    frame_s: float | None
    band_hz: NDArray[np.float64] | None
    n_looked_at: int


def shown_track(
    layout: StoreLayout, snapshot: Snapshot, config: PipelineConfig, track_ids: set[str]
) -> ShownTrack | None:
    """Choose the track whose two parts are most nearly equally strong, and read an excerpt of it.

    Parameters
    ----------
    track_ids : set of str
        Tracks of the snapshot; a partition may hold others too.

    Returns
    -------
    ShownTrack or None
        None when the snapshot has no features to read (removed to save space, or damaged).
    """
    for partition_id in _partition_ids(snapshot):
        folder = layout.feature_partition_path(snapshot.feature_fingerprint, partition_id)
        try:
            excerpts = [
                (stored.track_id, len(track.frames), *_excerpt(track.frames))
                for stored, track in islice(
                    FeaturePartition(folder).track_frames(), MAX_TRACKS_LOOKED_AT
                )
                if stored.track_id in track_ids
            ]
        except (StoreError, OSError, ValueError):  # zarr has no exception of its own for bad bytes
            continue
        if excerpts:
            break
    else:
        return None
    track_id, n_frames, start, parts_db = min(excerpts, key=lambda excerpt: _imbalance(excerpt[3]))
    matches = config.feature_fingerprint == snapshot.feature_fingerprint
    return ShownTrack(
        track_id,
        parts_db,
        start_frame=start,
        n_track_frames=n_frames,
        frame_s=1.0 / config.features.frame_rate_hz if matches else None,
        band_hz=_band_centres_hz(config) if matches else None,
        n_looked_at=len(excerpts),
    )


def _partition_ids(snapshot: Snapshot) -> list[str]:
    """Name the feature partitions of a snapshot, by the receipts that it lists."""
    paths = (entry.path.split("/") for entry in snapshot.files)
    return [path[2] for path in paths if len(path) == 4 and path[0] == "features"]


def _excerpt(frames: FrameSource) -> tuple[int, NDArray[np.float32]]:
    """Give the start and the decibels, part by band by frame, of the middle of a track."""
    start = max(0, (len(frames) - SHOWN_FRAMES) // 2)
    return start, bytes_to_db(frames[start : start + SHOWN_FRAMES]).transpose(1, 2, 0)


def _imbalance(parts_db: NDArray[np.float32]) -> tuple[bool, bool, float]:
    """Order excerpts: loud and full ones first, then by how far the parts' levels are apart, dB."""
    harmonic, percussive = (float(np.mean(part)) for part in parts_db[1:])
    is_quiet = float(parts_db.max()) < QUIET_DB
    return is_quiet, parts_db.shape[2] < SHOWN_FRAMES, abs(harmonic - percussive)


def _band_centres_hz(config: PipelineConfig) -> NDArray[np.float64]:
    bank = config.features.mel_filter_bank().astype(np.float64)
    bins_hz = np.arange(bank.shape[1]) * (config.features.sr / config.features.n_fft)
    return np.asarray(bank @ bins_hz / bank.sum(axis=1), dtype=np.float64)
