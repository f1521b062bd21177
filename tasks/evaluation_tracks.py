"""Which tracks an evaluation is about, and on which side of the split each of them is.

Tracks are the labelled ones that have features. Copies of the same audio are put into one group,
groups are divided (METHOD 1), and the division is audited before anything is trained. All of it
follows from track ids, labels and groups: the order of the catalogue is nothing.

Public: `EvaluationTracks`, `labelled_tracks`, `divide_tracks`, `LabelledTracks`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from musichash_core.decibels import bytes_to_db
from musichash_core.errors import ParameterError, TrainingError
from musichash_core.evaluation.near_duplicates import (
    N_PARTS,
    mel_fingerprint,
    merge_near_duplicates,
)
from musichash_core.evaluation.relevance import JudgedTracks
from musichash_core.evaluation.split_audit import SplitAudit, audit_splits, inspect_sides
from musichash_core.identity import fingerprint_of
from musichash_core.segments import TrackFrames
from musichash_core.splits import (
    LEFT_OUT,
    DividedTracks,
    Split,
    divide_as_published,
    divide_by_group,
)
from storage.catalogue import read_catalogue
from storage.extracted import read_extracted
from storage.layout import StoreLayout

MIN_TRACKS_PER_GENRE = 2
"""Training and validation tracks together; what a genre needs to be learned."""


@dataclass(frozen=True, slots=True)
class LabelledTracks:
    """The labelled tracks of a store that have features, by partition.

    Attributes
    ----------
    labels, groups : dict of str to str
        By track id; a track of unknown group is its own.
    partitions : dict of str to list of str
        Partition id -> track ids.
    n_without_group : int
    paths : dict of str to list of str
        By track id, every place below its catalogue.
    """

    labels: dict[str, str]
    groups: dict[str, str]
    partitions: dict[str, list[str]]
    n_without_group: int
    paths: dict[str, list[str]]


@dataclass(frozen=True, slots=True)
class EvaluationTracks:
    """Tracks in the order of their ids, divided.

    Attributes
    ----------
    tracks : tuple of TrackFrames
    labels, groups : tuple of str
        One per track; groups as merged.
    divided : DividedTracks
    audit : SplitAudit
    n_merged_groups : int
        Groups that are gone because they share audio with another.
    left_out_genres : tuple of str
        Genres with too few groups or tracks to be learned, and not held out.
    tagger_tracks : tuple of TrackFrames
        The same tracks as the pretrained encoder sees them (`musichash_core.pretrained_encoder`);
        empty without it.
    """

    tracks: tuple[TrackFrames, ...]
    labels: tuple[str, ...]
    groups: tuple[str, ...]
    divided: DividedTracks
    audit: SplitAudit
    n_merged_groups: int
    left_out_genres: tuple[str, ...]
    tagger_tracks: tuple[TrackFrames, ...] = ()

    @property
    def fingerprint(self) -> str:
        """Identity of the tracks, their labels, groups and sides."""
        ids = [track.track_id for track in self.tracks]
        rows = zip(ids, self.labels, self.groups, self.divided.sides, strict=True)
        return fingerprint_of("evaluation-tracks", {"rows": [list(row) for row in rows]})

    @property
    def split(self) -> Split:
        """Positions to train and to validate on."""
        return Split(self.divided.positions("train"), self.divided.positions("val"))

    def judged(self, positions: NDArray[np.int64]) -> JudgedTracks:
        """Give some tracks as the scores want them."""
        return JudgedTracks(
            np.array([self.tracks[i].track_id for i in positions], dtype=np.str_),
            np.array([self.groups[i] for i in positions], dtype=np.str_),
            np.array([self.labels[i] for i in positions], dtype=np.str_),
        )

    @property
    def genres(self) -> tuple[str, ...]:
        """Genres that are trained on, sorted."""
        return tuple(sorted({self.labels[i] for i in self.divided.positions("train")}))


def labelled_tracks(layout: StoreLayout, feature_fingerprint: str) -> LabelledTracks:
    """Find the labelled tracks that have features.

    Raises
    ------
    TrainingError
        There are none.
    """
    facts = read_extracted(layout, feature_fingerprint).facts
    partition_of = dict(
        zip(facts["track_id"].to_pylist(), facts["partition_id"].to_pylist(), strict=True)
    )
    labels: dict[str, str] = {}
    groups: dict[str, str] = {}
    partitions: dict[str, list[str]] = {}
    n_without_group = 0
    paths: dict[str, list[str]] = {}
    for track_id, rows in sorted(read_catalogue(layout).by_track().items()):
        labelled = next((row for row in rows if row.label is not None), None)
        if labelled is None or labelled.label is None or track_id not in partition_of:
            continue
        labels[track_id] = labelled.label
        groups[track_id] = labelled.group or track_id
        n_without_group += labelled.group is None
        paths[track_id] = [row.file.path for row in rows]
        partitions.setdefault(partition_of[track_id], []).append(track_id)
    if not labels:
        raise TrainingError(
            "the store has no labelled track with features of this configuration; scan with "
            "--labels and extract first, with the same --config"
        )
    return LabelledTracks(labels, groups, partitions, n_without_group, paths)


def divide_tracks(
    tracks: Sequence[TrackFrames],
    found: LabelledTracks,
    *,
    unseen_genres: Sequence[str] = (),
    published: Mapping[str, str] | None = None,
    seed: int = 0,
) -> EvaluationTracks:
    """Put tracks in order, merge groups that share audio, divide, and audit the division.

    Parameters
    ----------
    tracks : sequence of TrackFrames
        In any order.
    unseen_genres : sequence of str
        Held out whole.
    published : mapping, optional
        Path -> side of a data set's own split, which is then used as it is: groups are not merged,
        and what is on two sides is reported, not refused. Tracks it does not name are left out.
    seed : >= 0
        Of the division; the same for every method and every training seed.

    Raises
    ------
    ParameterError
        An unseen genre does not occur.
    TrainingError
        Too little is left to train on or to ask, or the audit found a leak.
    """
    ordered = sorted(tracks, key=lambda track: track.track_id)
    labels = [found.labels[track.track_id] for track in ordered]
    named = [found.groups[track.track_id] for track in ordered]
    fingerprints = np.stack([_audio_fingerprint(track) for track in ordered])
    groups = merge_near_duplicates(named, fingerprints)
    known = set(labels)
    if set(unseen_genres) - known:
        raise ParameterError(
            f"unseen genres {sorted(set(unseen_genres) - known)} have no tracks; the store has "
            f"{sorted(known)}"
        )
    ids = [track.track_id for track in ordered]
    if published is None:
        divided = divide_by_group(labels, groups, unseen_genres=unseen_genres, seed=seed)
        divided, left_out = _without_unlearnable(divided, labels)
        audit = audit_splits(divided, groups, fingerprints, track_ids=ids)
    else:
        sides = [_published_side(published, found.paths[track_id]) for track_id in ids]
        groups = tuple(named)
        divided = divide_as_published(sides, labels, groups, seed=seed)
        divided, left_out = _without_unlearnable(divided, labels)
        audit = inspect_sides(divided, groups, fingerprints)
    divided_tracks = EvaluationTracks(
        tracks=tuple(ordered),
        labels=tuple(labels),
        groups=groups,
        divided=divided,
        audit=audit,
        n_merged_groups=len(set(named)) - len(set(groups)),
        left_out_genres=left_out,
    )
    _check_sides(divided_tracks)
    return divided_tracks


def _published_side(published: Mapping[str, str], paths: Sequence[str]) -> str:
    """Give the side of the first of a track's places that the split names; none is no side."""
    return next((published[path] for path in paths if path in published), "")


def _audio_fingerprint(track: TrackFrames) -> NDArray[np.float32]:
    """Fingerprint the original's mel power; a track too short for one is like no other."""
    n_frames, _, n_mels = track.frames.shape
    if n_frames < N_PARTS:
        return np.zeros(N_PARTS * n_mels, dtype=np.float32)
    return mel_fingerprint(bytes_to_db(track.frames[0:n_frames][:, 0]))


def _without_unlearnable(
    divided: DividedTracks, labels: Sequence[str]
) -> tuple[DividedTracks, tuple[str, ...]]:
    """Leave out the genres that training could not learn; say which."""
    places = list(zip(divided.sides, labels, strict=True))
    trained = Counter(label for side, label in places if side == "train")
    learned = trained + Counter(label for side, label in places if side == "val")
    seen = {label for side, label in places if side in {"train", "val", "db", "query"}}
    bad = {label for label in seen if not trained[label] or learned[label] < MIN_TRACKS_PER_GENRE}
    sides = tuple(
        LEFT_OUT if label in bad and side in {"train", "val", "db", "query"} else side
        for side, label in places
    )
    return replace(divided, sides=sides), tuple(sorted(bad))


def _check_sides(found: EvaluationTracks) -> None:
    """Refuse an evaluation that could ask nothing."""
    if len(found.genres) < 2:
        raise TrainingError(
            f"{len(found.genres)} genre(s) have enough tracks in enough groups to train on "
            f"(left out: {list(found.left_out_genres)}); label more tracks, or hold fewer out"
        )
    for side in ("db", "query"):
        if not len(found.divided.positions(side)):
            raise TrainingError(
                f"no track is left for the side {side!r}: every genre needs four groups (artists) "
                "or more to be on all sides"
            )
