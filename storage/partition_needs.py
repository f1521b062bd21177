"""Which feature partitions the tracks of the recorded catalogue need, given those that stay anyway.

Public: `needed_partitions`.
"""

from pathlib import Path
from typing import NamedTuple

import pyarrow.compute as pc

from storage.errors import ArtefactMissingError, StoreError
from storage.feature_store import FeaturePartition
from storage.layout import RECEIPT_NAME, StoreLayout
from storage.schemas import CATALOGUE
from storage.tables import read_part


def needed_partitions(layout: StoreLayout, feature_fingerprint: str, kept: set[str]) -> set[str]:
    """Give the partitions of a feature configuration that must stay, those kept anyway included.

    To them come the first partition that has each other track of the catalogue, and, for tracks
    that have failed in all of them, the one that knows of the most attempts. Which one is first
    does not depend on what lies beside it, so a second look finds the same.

    Parameters
    ----------
    kept : set of str
        Partitions that stay whatever they hold.

    Raises
    ------
    DamagedArtefactError
        If the recorded catalogue is damaged.
    """
    root = layout.features_root(feature_fingerprint)
    folders = sorted(path for path in root.iterdir() if path.is_dir() and path.name[0] != ".")
    wanted = _catalogue_ids(layout)
    if wanted is None:
        return {folder.name for folder in folders}
    needed = set(kept)
    contents: dict[str, _Content] = {}
    for folder in folders:
        if not (folder / RECEIPT_NAME).is_file():
            continue  # removed by halves
        try:
            contents[folder.name] = _content(folder)
        except StoreError:
            needed.add(folder.name)  # what it holds is not known
    kept_tracks = [contents[name].track_ids for name in needed if name in contents]
    open_ids = wanted.difference(*kept_tracks)
    for name, content in contents.items():
        if not open_ids.isdisjoint(content.track_ids):
            needed.add(name)
            open_ids.difference_update(content.track_ids)
    return needed | _with_most_attempts(contents, open_ids)


class _Content(NamedTuple):
    """Tracks of a partition, and its failed ones with their attempts."""

    track_ids: list[str]
    attempts: dict[str, int]


def _with_most_attempts(contents: dict[str, _Content], failed_ids: set[str]) -> set[str]:
    """Give, for each failed track, the first partition that knows of the most attempts."""
    most: dict[str, tuple[int, str]] = {}
    for name, content in contents.items():
        for track_id in failed_ids & content.attempts.keys():
            if content.attempts[track_id] > most.get(track_id, (0, ""))[0]:
                most[track_id] = (content.attempts[track_id], name)
    return {name for _, name in most.values()}


def _catalogue_ids(layout: StoreLayout) -> set[str] | None:
    """Give the tracks that the last scan found; None when there was no scan."""
    try:
        table = read_part(layout.catalogue_path, CATALOGUE)
    except ArtefactMissingError:
        return None
    return set(pc.unique(table["track_id"]).to_pylist())


def _content(folder: Path) -> _Content:
    partition = FeaturePartition(folder)
    track_ids = partition.facts()["track_id"].to_pylist() if partition.receipt.n_done else []
    attempts: dict[str, int] = {}
    if partition.receipt.n_failed:
        table = partition.failures()
        ids, counts = (table[name].to_pylist() for name in ("track_id", "attempts"))
        attempts = dict(zip(ids, counts, strict=True))
    return _Content(track_ids, attempts)
