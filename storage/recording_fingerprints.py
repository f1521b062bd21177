"""Fingerprints and landmarks of the tracks of a feature partition: a cache, one file per partition.

``work/duplicates/fingerprints-<feature fingerprint>-<format>/<partition>.parquet`` is about a
hundredth of the frames that it is made of. A partition never changes, so neither does its file;
it can be removed at any time. Files of partitions that the current snapshot does not list, and of
other features, are removed by `remove_other_fingerprints`.

Public: `FingerprintedTrack`, `write_fingerprints`, `read_fingerprints`, `read_landmark_keys`,
`has_fingerprints`, `remove_other_fingerprints`.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from musichash_core.recording_match import FINGERPRINT_FORMAT, Landmarks, RecordingFingerprint
from storage.atomic import remove_folder
from storage.errors import ArtefactMissingError
from storage.kept_work import keep_table
from storage.layout import StoreLayout
from storage.tables import read_part, table_of

_SUFFIX = ".parquet"


def _field(name: str, kind: pa.DataType, meaning: str) -> pa.Field:
    return pa.field(name, kind, nullable=False, metadata={"description": meaning})


_SCHEMA = pa.schema(
    [
        _field("track_id", pa.string(), "identity of the track"),
        _field("words", pa.binary(), "fingerprint words, little-endian uint32, every 0.09 s"),
        _field("is_audible", pa.binary(), "one bit per word, the first in the lowest place"),
        _field("landmark_keys", pa.binary(), "little-endian uint64, ascending"),
        _field("landmark_frames", pa.binary(), "little-endian int32: where each is first met"),
    ]
)


@dataclass(frozen=True, slots=True, eq=False)
class FingerprintedTrack:
    """What comparing a track with others needs.

    Attributes
    ----------
    track_id : str
    fingerprint : RecordingFingerprint
        Thinned.
    landmarks : Landmarks
    """

    track_id: str
    fingerprint: RecordingFingerprint
    landmarks: Landmarks


def _folder(layout: StoreLayout, feature_fingerprint: str) -> Path:
    name = f"fingerprints-{feature_fingerprint}-{FINGERPRINT_FORMAT}"
    return layout.work_root / "duplicates" / name


def _path(layout: StoreLayout, feature_fingerprint: str, partition_id: str) -> Path:
    return _folder(layout, feature_fingerprint) / f"{partition_id}{_SUFFIX}"


def has_fingerprints(layout: StoreLayout, feature_fingerprint: str, partition_id: str) -> bool:
    """Tell whether the fingerprints of a partition are there."""
    return _path(layout, feature_fingerprint, partition_id).is_file()


def write_fingerprints(
    layout: StoreLayout,
    feature_fingerprint: str,
    partition_id: str,
    tracks: Sequence[FingerprintedTrack],
) -> None:
    """Keep the fingerprints of a partition, durably.

    Raises
    ------
    StoreError
        If the store cannot be written.
    """
    path = _path(layout, feature_fingerprint, partition_id)
    rows = [
        {
            "track_id": track.track_id,
            "words": track.fingerprint.words.astype("<u4").tobytes(),
            "is_audible": np.packbits(track.fingerprint.is_audible, bitorder="little").tobytes(),
            "landmark_keys": track.landmarks.keys.astype("<u8").tobytes(),
            "landmark_frames": track.landmarks.frames.astype("<i4").tobytes(),
        }
        for track in tracks
    ]
    keep_table(path, table_of(rows, _SCHEMA), "the fingerprints")


def read_fingerprints(
    layout: StoreLayout, feature_fingerprint: str, partition_id: str
) -> dict[str, FingerprintedTrack]:
    """Read the fingerprints of a partition, by track.

    Raises
    ------
    ArtefactMissingError
        If they were not made yet.
    DamagedArtefactError, FormatVersionError
        If the file is damaged; removing it is all that mending takes.
    """
    table = read_part(_path(layout, feature_fingerprint, partition_id), _SCHEMA)
    return {row["track_id"]: _track_of(row) for row in table.to_pylist()}


def _track_of(row: dict[str, bytes]) -> FingerprintedTrack:
    words = np.frombuffer(row["words"], "<u4").astype(np.uint32)
    bits = np.frombuffer(row["is_audible"], np.uint8)
    is_audible = np.unpackbits(bits, count=len(words), bitorder="little").astype(np.bool_)
    return FingerprintedTrack(
        str(row["track_id"]),
        RecordingFingerprint(words, is_audible),
        Landmarks(
            np.frombuffer(row["landmark_keys"], "<u8").astype(np.uint64),
            np.frombuffer(row["landmark_frames"], "<i4").astype(np.int32),
        ),
    )


def read_landmark_keys(
    layout: StoreLayout, feature_fingerprint: str, partition_id: str
) -> list[tuple[str, NDArray[np.uint64]]]:
    """Read the landmarks' keys alone, track by track; raises like `read_fingerprints`."""
    path = _path(layout, feature_fingerprint, partition_id)
    table = read_part(path, columns=["track_id", "landmark_keys"])
    keys = (np.frombuffer(data, "<u8") for data in table["landmark_keys"].to_pylist())
    ids = table["track_id"].to_pylist()
    return [(name, some.astype(np.uint64)) for name, some in zip(ids, keys, strict=True)]


def remove_other_fingerprints(
    layout: StoreLayout, feature_fingerprint: str, kept: Collection[str]
) -> int:
    """Remove the fingerprints of all partitions but some, and those of other features.

    Returns
    -------
    int
        Partitions of these features whose fingerprints were removed.
    """
    folder = _folder(layout, feature_fingerprint)
    n_removed = 0
    try:
        paths = sorted(folder.iterdir())
    except FileNotFoundError as error:
        raise ArtefactMissingError(f"{folder} does not exist") from error
    for path in paths:
        if path.suffix == _SUFFIX and path.stem not in kept and not path.name.startswith("."):
            path.unlink(missing_ok=True)
            n_removed += 1
    for other in folder.parent.glob("fingerprints-*"):
        if other != folder:
            remove_folder(other)
    return n_removed
