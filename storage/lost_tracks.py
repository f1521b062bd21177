"""Which tracks lose their features when partitions are removed, and whether their files are there.

Public: `lost_tracks`, `LostTracks`.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from storage.catalogue import Catalogue, read_catalogue
from storage.errors import ArtefactMissingError, StoreError
from storage.layout import StoreLayout
from storage.tables import read_part


@dataclass(frozen=True, slots=True)
class LostTracks:
    """Tracks without features.

    Attributes
    ----------
    n_again : int
        Those whose file is where the recorded catalogue says: the next run extracts them again.
    gone : tuple of str
        Files of the recorded catalogue that are not there any more, as root/path.
    n_elsewhere : int
        Tracks that the recorded catalogue does not have: they were removed before.
    n_unreadable : int
        Partitions whose tracks are not known, because that file of theirs is damaged.
    """

    n_again: int = 0
    gone: tuple[str, ...] = ()
    n_elsewhere: int = 0
    n_unreadable: int = 0


def lost_tracks(layout: StoreLayout, partitions: Sequence[Path]) -> LostTracks:
    """Look up the tracks of some feature partitions in the recorded catalogue and on disk."""
    ids: set[str] = set()
    n_unreadable = 0
    for folder in partitions:
        try:
            ids.update(read_part(folder / "tracks.parquet")["track_id"].to_pylist())
        except (StoreError, KeyError):
            n_unreadable += 1
    there: set[str] = set()
    shown: dict[str, str] = {}
    for row in _rows_of(layout, ids):
        if Path(row["root"], os.fsdecode(row["path_raw"])).is_file():
            there.add(row["track_id"])
        shown.setdefault(row["track_id"], f"{row['root']}/{row['path']}")
    return LostTracks(
        n_again=len(there),
        gone=tuple(sorted(shown[track_id] for track_id in shown.keys() - there)),
        n_elsewhere=len(ids - shown.keys()),
        n_unreadable=n_unreadable,
    )


def _rows_of(layout: StoreLayout, track_ids: set[str]) -> Iterator[dict[str, Any]]:
    """Give the rows of some tracks in the recorded catalogue, if there is one."""
    try:
        catalogue = read_catalogue(layout) if track_ids else Catalogue((), ())
    except ArtefactMissingError:
        return
    for batch in catalogue.batches(["track_id", "root", "path", "path_raw"]):
        is_wanted = [track_id in track_ids for track_id in batch["track_id"].to_pylist()]
        yield from batch.filter(pa.array(is_wanted, pa.bool_())).to_pylist()
