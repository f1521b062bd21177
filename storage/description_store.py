"""Descriptions of the tracks of one partition: a Parquet file and a receipt, immutable.

A track has `PARTS` descriptions: of the whole of it and of its two halves, which training compares.
They are a thousandth of its frames in size, so that training and encoding read nothing else.

Public: `PARTS`, `write_descriptions`, `read_descriptions`, `StoredDescriptions`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from musichash_core.descriptors import TrackDescription
from musichash_core.errors import ParameterError
from storage.atomic import staged_directory
from storage.errors import ArtefactMissingError, DamagedArtefactError
from storage.layout import RECEIPT_NAME
from storage.receipts import write_receipt
from storage.schemas import descriptions_schema
from storage.tables import read_part, write_rows

FILE_NAME = "descriptions.parquet"

PARTS = 3
"""The whole track, its first half, its second half."""


@dataclass(frozen=True, slots=True, eq=False)
class StoredDescriptions:
    """The descriptions of a partition, in its order.

    Attributes
    ----------
    track_ids : tuple of str
        One per track.
    vectors : (n_tracks, 3, n_descriptors) float32
        Of the whole track and of its halves.
    tag_probabilities : (n_tracks, 3, n_tags) float32
        Likewise.
    n_patches : (n_tracks, 3) int32
        Likewise.
    """

    track_ids: tuple[str, ...]
    vectors: NDArray[np.float32]
    tag_probabilities: NDArray[np.float32]
    n_patches: NDArray[np.int32]


def write_descriptions(
    folder: Path,
    described: Sequence[tuple[str, Sequence[TrackDescription]]],
    *,
    fingerprint: str,
    n_descriptors: int,
    n_tags: int,
) -> None:
    """Store the descriptions of the tracks of a partition.

    Parameters
    ----------
    folder : Path
        Final place.
    described : sequence of (track_id, descriptions)
        In the partition's order; `PARTS` descriptions each.
    fingerprint : str
        Of the features, and of how they are described: the name of the folder above.
    n_descriptors, n_tags : int
        Lengths of a vector and of its tag probabilities.

    Raises
    ------
    ParameterError
        If a track has more or fewer descriptions, or one has another length.
    """
    rows = []
    for track_id, parts in described:
        shapes = {(part.vector.shape, part.tag_probabilities.shape) for part in parts}
        if len(parts) != PARTS or shapes != {((n_descriptors,), (n_tags,))}:
            raise ParameterError(
                f"track {track_id} has {len(parts)} descriptions of shapes {sorted(shapes)}; want "
                f"{PARTS} of {n_descriptors} numbers and {n_tags} tags"
            )
        rows += [
            {
                "track_id": track_id,
                "part": number,
                "vector": part.vector,
                "tag_probabilities": part.tag_probabilities,
                "n_patches": part.n_patches,
            }
            for number, part in enumerate(parts)
        ]
    with staged_directory(folder, proof=RECEIPT_NAME) as staged:
        write_rows(staged / FILE_NAME, rows, descriptions_schema(n_descriptors, n_tags))
        write_receipt(
            staged,
            kind="descriptions",
            partition_id=folder.name,
            fingerprint=fingerprint,
            n_done=len(described),
            n_failed=0,
        )


def read_descriptions(folder: Path, *, n_descriptors: int, n_tags: int) -> StoredDescriptions:
    """Read the descriptions of a partition.

    Raises
    ------
    ArtefactMissingError
        If the partition is not described yet.
    DamagedArtefactError
        If the file is damaged, or its rows are not `PARTS` per track.
    FormatVersionError
        If its vectors have another length.
    """
    if not (folder / RECEIPT_NAME).is_file():
        raise ArtefactMissingError(
            f"{folder} is missing: the partition is not described yet; run 'musichash describe' "
            "first"
        )
    table = read_part(folder / FILE_NAME, descriptions_schema(n_descriptors, n_tags))
    track_ids = table["track_id"].to_pylist()
    parts = table["part"].to_pylist()
    first_of_track = track_ids[::PARTS]
    in_order = [track_id for track_id in first_of_track for _ in range(PARTS)]
    if track_ids != in_order or parts != [*range(PARTS)] * len(first_of_track):
        raise DamagedArtefactError(
            f"{folder / FILE_NAME} does not hold {PARTS} rows per track; remove its folder and run "
            "'musichash describe'"
        )
    return StoredDescriptions(
        tuple(first_of_track),
        _rows_of_numbers(table, "vector").reshape(-1, PARTS, n_descriptors),
        _rows_of_numbers(table, "tag_probabilities").reshape(-1, PARTS, n_tags),
        table["n_patches"].combine_chunks().to_numpy(zero_copy_only=False).reshape(-1, PARTS),
    )


def _rows_of_numbers(table: pa.Table, name: str) -> NDArray[np.float32]:
    values = table[name].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return np.array(values, dtype=np.float32)  # Arrow's own memory is not writable: torch warns
