"""Which tracks lose their features when partitions are removed, and whether their files are there.

Public: `lost_tracks`, `LostTracks`.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from storage.catalogue import read_catalogue
from storage.errors import ArtefactMissingError, StoreError
from storage.layout import StoreLayout
from storage.schemas import CATALOGUE
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
    try:
        table = read_catalogue(layout).table if ids else CATALOGUE.empty_table()
    except ArtefactMissingError:
        table = CATALOGUE.empty_table()
    known = table.filter(pc.is_in(table["track_id"], value_set=pa.array(sorted(ids), pa.string())))
    there: set[str] = set()
    shown: dict[str, str] = {}
    for row in known.to_pylist():
        if Path(row["root"], os.fsdecode(row["path_raw"])).is_file():
            there.add(row["track_id"])
        shown.setdefault(row["track_id"], f"{row['root']}/{row['path']}")
    return LostTracks(
        n_again=len(there),
        gone=tuple(sorted(shown[track_id] for track_id in shown.keys() - there)),
        n_elsewhere=len(ids - shown.keys()),
        n_unreadable=n_unreadable,
    )
