"""Labelled tracks made ready for training: checked, put in one order, divided.

Public: `TrainingData`, `prepare_training_data`.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from musichash_core.errors import ParameterError, TrainingError
from musichash_core.model_config import TrainingConfig
from musichash_core.segments import TrackFrames
from musichash_core.splits import Split, split_by_group

MIN_TRACKS_PER_GENRE = 2


@dataclass(frozen=True, slots=True)
class TrainingData:
    """Tracks in the order of their ids, with labels and the split.

    Attributes
    ----------
    tracks : tuple of TrackFrames
        Frames are read piece by piece; memory maps stay on disk.
    labels : (n_tracks,) int64
        Positions in `genres`.
    groups : (n_tracks,) str
    genres : tuple of str
        Sorted.
    split : Split
        Positions in `tracks`.
    """

    tracks: tuple[TrackFrames, ...]
    labels: NDArray[np.int64]
    groups: NDArray[np.str_]
    genres: tuple[str, ...]
    split: Split

    @property
    def frame_shape(self) -> tuple[int, int]:
        """Channels and mel bands of every track's frames."""
        n_channels, n_mels = self.tracks[0].frames.shape[1:]
        return int(n_channels), int(n_mels)


def prepare_training_data(
    tracks: Sequence[TrackFrames],
    genres: Sequence[str],
    groups: Sequence[str],
    config: TrainingConfig,
) -> TrainingData:
    """Check labelled tracks, sort them by id and divide them by group.

    Raises
    ------
    ParameterError
        Lengths differ, an id occurs twice, or frames have different or impossible shapes.
    TrainingError
        There are no tracks, fewer than two genres, or a genre with a single track.
    """
    if not len(tracks) == len(genres) == len(groups):
        raise ParameterError(
            f"{len(tracks)} tracks, {len(genres)} genres, {len(groups)} groups: "
            "give one genre and one group per track"
        )
    if not tracks:
        raise TrainingError("there are no labelled tracks to train on")
    _check_tracks(tracks)
    _check_genres(genres)
    order = sorted(range(len(tracks)), key=lambda position: tracks[position].track_id)
    sorted_genres = [genres[position] for position in order]
    sorted_groups = [groups[position] for position in order]
    names = tuple(sorted(set(genres)))
    return TrainingData(
        tracks=tuple(tracks[position] for position in order),
        labels=np.array([names.index(genre) for genre in sorted_genres], dtype=np.int64),
        groups=np.array(sorted_groups, dtype=np.str_),
        genres=names,
        split=split_by_group(
            sorted_genres,
            sorted_groups,
            validation_share=config.validation_share,
            seed=config.seed,
        ),
    )


def _check_tracks(tracks: Sequence[TrackFrames]) -> None:
    """Refuse repeated ids and frames that cannot stand in one batch."""
    track_id, times = Counter(track.track_id for track in tracks).most_common(1)[0]
    if times > 1:
        raise ParameterError(f"track {track_id} is given {times} times; give each track once")
    shape = tracks[0].frames.shape[1:]
    for track in tracks:
        if track.frames.ndim != 3 or track.frames.shape[1:] != shape or not len(track.frames):
            raise ParameterError(
                f"frames of shape {track.frames.shape} for track {track.track_id}: want "
                f"(n_frames, {', '.join(map(str, shape))}) with n_frames >= 1"
            )


def _check_genres(genres: Sequence[str]) -> None:
    """Refuse label sets that cannot be learned."""
    counts = Counter(genres)
    if len(counts) < 2:
        raise TrainingError(
            f"all {len(genres)} tracks have the genre {genres[0]!r}; a genre model needs at least "
            "two: label more tracks"
        )
    lonely = sorted(genre for genre, count in counts.items() if count < MIN_TRACKS_PER_GENRE)
    if lonely:
        raise TrainingError(
            f"genre(s) {lonely} have a single track; each genre needs at least "
            f"{MIN_TRACKS_PER_GENRE}: add tracks or leave the genre out"
        )
