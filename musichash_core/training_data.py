"""Labelled tracks made ready for training: checked, put in one order, divided.

Public: `TrainingData`, `prepare_training_data`, `prepare_tagged_data`.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from musichash_core.errors import ParameterError, TrainingError
from musichash_core.model_config import LabelKind
from musichash_core.segments import TrackFrames
from musichash_core.splits import Split, split_by_group
from musichash_core.training_config import TrainingConfig

MIN_TRACKS_PER_GENRE = 2


@dataclass(frozen=True, slots=True)
class TrainingData:
    """Tracks in the order of their ids, with labels and the split.

    Attributes
    ----------
    tracks : tuple of TrackFrames
        Frames are read piece by piece; memory maps stay on disk.
    targets : (n_tracks, n_genres) bool
        The genre, or the tags, of each track.
    groups : (n_tracks,) str
    genres : tuple of str
        Genres or tags, sorted.
    split : Split
        Positions in `tracks`.
    label_kind : "genre" or "tags"
        Whether each track has exactly one label.
    """

    tracks: tuple[TrackFrames, ...]
    targets: NDArray[np.bool_]
    groups: NDArray[np.str_]
    genres: tuple[str, ...]
    split: Split
    label_kind: LabelKind = "genre"

    @property
    def frame_shape(self) -> tuple[int, int]:
        """Channels and mel bands of every track's frames."""
        n_channels, n_mels = self.tracks[0].frames.shape[1:]
        return int(n_channels), int(n_mels)

    @property
    def labels(self) -> NDArray[np.int64]:
        """Position in `genres` of each track's genre; of tags the first."""
        labels: NDArray[np.int64] = self.targets.argmax(axis=1)
        return labels


def prepare_training_data(
    tracks: Sequence[TrackFrames],
    genres: Sequence[str],
    groups: Sequence[str],
    config: TrainingConfig,
    *,
    split: Split | None = None,
) -> TrainingData:
    """Check labelled tracks, sort them by id and divide them by group.

    Parameters
    ----------
    tracks : sequence of TrackFrames
    genres, groups : sequence of str
        One entry per track.
    split : Split, optional
        Positions in `tracks` to train and to validate on, instead of dividing here. Tracks on
        neither side are left out before anything is looked at, their genres included, so that an
        evaluation's database and queries cannot leak into training.

    Raises
    ------
    ParameterError
        Lengths differ, an id occurs twice, frames have different or impossible shapes, or a given
        split has a position that is wrong or occurs twice.
    TrainingError
        There are no tracks, fewer than two genres, a genre with a single track, or a genre without
        a training track; a given split has a group on both sides.
    """
    labels = [(genre,) for genre in genres]
    return _prepare(_Labelled(tracks, labels, groups, "genre"), config, split)


def prepare_tagged_data(
    tracks: Sequence[TrackFrames],
    tags: Sequence[Collection[str]],
    groups: Sequence[str],
    config: TrainingConfig,
    *,
    split: Split | None = None,
) -> TrainingData:
    """Check tracks with any number of tags, sort them by id and divide them by group.

    The tracks are divided tag by tag, each track counting for the rarest of its tags.

    Parameters
    ----------
    tags : sequence of collections of str
        At least one per track.
    split : Split, optional
        As in `prepare_training_data`.

    Raises
    ------
    ParameterError, TrainingError
        As in `prepare_training_data`; also for a track without tags.
    """
    labels = [tuple(sorted(set(one))) for one in tags]
    return _prepare(_Labelled(tracks, labels, groups, "tags"), config, split)


@dataclass(frozen=True, slots=True)
class _Labelled:
    """Parallel sequences: tracks, their labels, their groups; and what the labels are."""

    tracks: Sequence[TrackFrames]
    labels: Sequence[tuple[str, ...]]
    groups: Sequence[str]
    kind: LabelKind

    def at(self, positions: Sequence[int]) -> "_Labelled":
        """Pick some tracks."""
        return _Labelled(
            [self.tracks[position] for position in positions],
            [self.labels[position] for position in positions],
            [self.groups[position] for position in positions],
            self.kind,
        )


def _prepare(given: _Labelled, config: TrainingConfig, split: Split | None) -> TrainingData:
    """Do what both public functions promise."""
    _check_lengths(given)
    if split is not None:
        _check_split(split, given.groups)
        positions = np.concatenate([split.train, split.validation]).tolist()
    else:
        positions = list(range(len(given.tracks)))
    order = sorted(positions, key=lambda position: given.tracks[position].track_id)
    if not order:
        raise TrainingError("there are no labelled tracks to train on")
    kept = given.at(order)
    _check_tracks(kept.tracks)
    _check_labels(kept)
    names = tuple(sorted({name for labels in kept.labels for name in labels}))
    targets = np.array([[name in labels for name in names] for labels in kept.labels], dtype=bool)
    own = _split_in_order(split, order) if split is not None else _divide(kept, config)
    _check_learnable(targets[own.train], names)
    groups = np.array(kept.groups, dtype=np.str_)
    return TrainingData(tuple(kept.tracks), targets, groups, names, own, given.kind)


def _divide(given: _Labelled, config: TrainingConfig) -> Split:
    """Divide tracks by group, label by label."""
    counts = Counter(name for labels in given.labels for name in labels)
    rarest = [min(labels, key=lambda name: (counts[name], name)) for labels in given.labels]
    return split_by_group(
        rarest, given.groups, validation_share=config.validation_share, seed=config.seed
    )


def _check_lengths(given: _Labelled) -> None:
    """Refuse sequences that are not parallel."""
    lengths = len(given.tracks), len(given.labels), len(given.groups)
    if len(set(lengths)) > 1:
        noun = "genres" if given.kind == "genre" else "sets of tags"
        raise ParameterError(
            f"{lengths[0]} tracks, {lengths[1]} {noun}, {lengths[2]} groups: give one of each per "
            "track"
        )


def _check_split(split: Split, groups: Sequence[str]) -> None:
    """Refuse a given split with wrong or repeated positions, or with a group on both sides."""
    positions = np.concatenate([split.train, split.validation])
    if len(np.unique(positions)) != len(positions):
        raise ParameterError("the split has a position twice; each track is on one side at most")
    if len(positions) and not 0 <= positions.min() <= positions.max() < len(groups):
        raise ParameterError(
            f"the split has positions {positions.min()} to {positions.max()}: want 0 to "
            f"{len(groups) - 1}"
        )
    sides = [{groups[position] for position in side} for side in (split.train, split.validation)]
    if straddling := sorted(sides[0] & sides[1]):
        raise TrainingError(
            f"group(s) {straddling[:3]} are on both sides of the split; a group that is trained on "
            "flatters validation: keep its tracks on one side"
        )


def _split_in_order(split: Split, order: list[int]) -> Split:
    """Say where the tracks of a given split stand once they are sorted."""
    is_train = np.isin(order, split.train)
    return Split(np.flatnonzero(is_train), np.flatnonzero(~is_train))


def _check_learnable(train_targets: NDArray[np.bool_], names: tuple[str, ...]) -> None:
    """Refuse a split that leaves a label nothing to be learned from."""
    counts = train_targets.sum(axis=0)
    if not counts.all():
        missing = [name for name, count in zip(names, counts, strict=True) if not count]
        raise TrainingError(
            f"label(s) {missing[:5]} have no training track in the split; train on some of their "
            "tracks or leave the label out"
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


def _check_labels(given: _Labelled) -> None:
    """Refuse label sets that cannot be learned."""
    counts = Counter(name for labels in given.labels for name in labels)
    bare = [one.track_id for one, own in zip(given.tracks, given.labels, strict=True) if not own]
    if bare:
        raise TrainingError(
            f"{len(bare)} track(s) have no tags, such as {bare[0]}; leave them out or tag them"
        )
    noun = "genre" if given.kind == "genre" else "tag"
    if len(counts) < 2:
        raise TrainingError(
            f"all {len(given.labels)} tracks have the {noun} {given.labels[0][0]!r}; a {noun} "
            "model needs at least two: label more tracks"
        )
    lonely = sorted(name for name, count in counts.items() if count < MIN_TRACKS_PER_GENRE)
    if lonely:
        raise TrainingError(
            f"{noun}(s) {lonely} have a single track; each {noun} needs at least "
            f"{MIN_TRACKS_PER_GENRE}: add tracks or leave the {noun} out"
        )
