"""Fingerprints of the published tracks: made of the stored frames once, kept, read where needed.

Public: `plan_of`, `listed_partitions`, `make_fingerprints`, `FingerprintShelf`, `LandmarkKeys`,
`MadeFingerprints`.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from musichash_core.config import PipelineConfig
from musichash_core.recording_match import (
    FingerprintPlan,
    find_landmarks,
    fingerprint_frames,
    plan_fingerprint,
)
from storage.errors import (
    ArtefactMissingError,
    DamagedArtefactError,
    FingerprintMismatchError,
    FormatVersionError,
)
from storage.feature_store import FeaturePartition
from storage.layout import StoreLayout
from storage.recording_fingerprints import (
    FingerprintedTrack,
    has_fingerprints,
    read_fingerprints,
    read_landmark_keys,
    remove_other_fingerprints,
    write_fingerprints,
)
from storage.snapshots import Snapshot

SHELVED_PARTITIONS = 48
"""Partitions whose fingerprints are held at once: about 1.3 MB each for 128 tracks of 4 minutes."""

OnProgress = Callable[[int, int], None]


def plan_of(snapshot: Snapshot, config: PipelineConfig) -> FingerprintPlan:
    """Lay out fingerprints for the features of a snapshot.

    Raises
    ------
    FingerprintMismatchError
        If the settings are not those that the snapshot's features were made with.
    ParameterError
        If the features are too coarse for fingerprints.
    """
    if config.feature_fingerprint != snapshot.feature_fingerprint:
        raise FingerprintMismatchError(
            f"the features of snapshot {snapshot.number} were made with settings "
            f"{snapshot.feature_fingerprint}, the settings given are {config.feature_fingerprint}; "
            "name the file of the run with --config"
        )
    features = config.features
    bank = features.mel_filter_bank().astype(np.float64)
    bins_hz = np.arange(bank.shape[1]) * (features.sr / features.n_fft)
    return plan_fingerprint(bank @ bins_hz / bank.sum(axis=1), features.frame_rate_hz)


def listed_partitions(snapshot: Snapshot) -> list[str]:
    """Name the feature partitions of a snapshot, by the receipts that it lists."""
    paths = (entry.path.split("/") for entry in snapshot.files)
    return sorted(path[2] for path in paths if len(path) == 4 and path[0] == "features")


@dataclass(frozen=True, slots=True)
class MadeFingerprints:
    """Which partitions have fingerprints.

    Attributes
    ----------
    partition_ids : list of str
        Those that have, sorted.
    n_made : int
        Of these, made just now.
    unreadable : dict
        Why others have none: partition -> what was wrong.
    """

    partition_ids: list[str] = field(default_factory=list)
    n_made: int = 0
    unreadable: dict[str, str] = field(default_factory=dict)


def make_fingerprints(
    layout: StoreLayout,
    snapshot: Snapshot,
    plan: FingerprintPlan,
    *,
    on_progress: OnProgress | None = None,
) -> MadeFingerprints:
    """Make the fingerprints of those partitions of a snapshot that have none yet.

    A partition whose frames are gone or damaged is named and passed by.

    Raises
    ------
    StoreError
        If the store cannot be written.
    """
    fingerprint = snapshot.feature_fingerprint
    wanted = listed_partitions(snapshot)
    done, n_made, unreadable = [], 0, {}
    for number, partition_id in enumerate(wanted, 1):
        try:
            if not has_fingerprints(layout, fingerprint, partition_id):
                _fingerprint_partition(layout, fingerprint, partition_id, plan)
                n_made += 1
            done.append(partition_id)
        except (ArtefactMissingError, DamagedArtefactError) as error:
            unreadable[partition_id] = str(error)
        if on_progress is not None:
            on_progress(number, len(wanted))
    if done:
        remove_other_fingerprints(layout, fingerprint, set(wanted))
    return MadeFingerprints(done, n_made, unreadable)


def _fingerprint_partition(
    layout: StoreLayout, feature_fingerprint: str, partition_id: str, plan: FingerprintPlan
) -> None:
    partition = FeaturePartition(layout.feature_partition_path(feature_fingerprint, partition_id))
    made = []
    for stored, track in partition.track_frames():
        fingerprint = fingerprint_frames(track.frames, plan)
        landmarks = find_landmarks(fingerprint, plan)
        thinned = fingerprint.thinned(plan.step_frames)
        made.append(FingerprintedTrack(stored.track_id, thinned, landmarks))
    write_fingerprints(layout, feature_fingerprint, partition_id, made)


class LandmarkKeys(NamedTuple):
    """Landmarks of many tracks.

    Attributes
    ----------
    keys : (n,) uint64
    owners : (n,) int64
        Row of the track that each is of.
    """

    keys: NDArray[np.uint64]
    owners: NDArray[np.int64]


class FingerprintShelf:
    """Fingerprints of a snapshot's tracks, read partition by partition and held for a while.

    Parameters
    ----------
    partition_ids : sequence of str
        Partitions that have fingerprints. Of several that have a track the first counts.
    rows : mapping
        Row of each track that is asked about, by its id.
    """

    def __init__(
        self,
        layout: StoreLayout,
        feature_fingerprint: str,
        partition_ids: Sequence[str],
        rows: Mapping[str, int],
    ) -> None:
        self._layout = layout
        self._fingerprint = feature_fingerprint
        self._names = list(partition_ids)
        self._rows = rows
        self._held: OrderedDict[int, dict[str, FingerprintedTrack]] = OrderedDict()
        self.partition_of_row = np.full(len(rows), -1, np.int64)
        """Position of the partition of each row; -1 where no partition has it."""
        for position, name in enumerate(self._names):
            for track_id, _ in self._keys_of(name):
                row = rows.get(track_id)
                if row is not None and self.partition_of_row[row] < 0:
                    self.partition_of_row[row] = position

    def _keys_of(self, name: str) -> list[tuple[str, NDArray[np.uint64]]]:
        try:
            return read_landmark_keys(self._layout, self._fingerprint, name)
        except (DamagedArtefactError, FormatVersionError, ArtefactMissingError) as error:
            raise DamagedArtefactError(
                f"{error}; it is a cache: remove the folder {self._layout.work_root}/duplicates "
                "and ask again"
            ) from error

    def landmark_keys(self) -> Iterator[LandmarkKeys]:
        """Give the landmarks of all tracks, partition by partition; each track once."""
        for position, name in enumerate(self._names):
            keys: list[NDArray[np.uint64]] = [np.empty(0, np.uint64)]
            owners: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
            for track_id, some in self._keys_of(name):
                row = self._rows.get(track_id, -1)
                if row >= 0 and self.partition_of_row[row] == position:
                    keys.append(some)
                    owners.append(np.full(len(some), row, np.int64))
            yield LandmarkKeys(np.concatenate(keys), np.concatenate(owners))

    def partition_of(self, row: int) -> str | None:
        """Name the partition of a track; None where none has it."""
        position = int(self.partition_of_row[row])
        return None if position < 0 else self._names[position]

    def track(self, row: int, track_id: str) -> FingerprintedTrack | None:
        """Give the fingerprint of a track; None where no partition has it."""
        position = int(self.partition_of_row[row])
        if position < 0:
            return None
        if position in self._held:
            self._held.move_to_end(position)
        else:
            self._held[position] = read_fingerprints(
                self._layout, self._fingerprint, self._names[position]
            )
            if len(self._held) > SHELVED_PARTITIONS:
                self._held.popitem(last=False)
        return self._held[position][track_id]
