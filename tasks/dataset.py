"""Data sets: a folder in a published layout becomes a manifest that a run reads.

Public: `write_manifest`, `list_datasets`.
"""

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from musichash_core.errors import ParameterError
from storage.datasets import (
    DATASETS,
    SPLITS,
    Dataset,
    DatasetTrack,
    load_dataset,
    write_manifest_rows,
)

MANIFEST_SUFFIX = ".csv"


def list_datasets() -> list[dict[str, str]]:
    """Give what is known of each data set: name, title, citation, homepage, licence, layout."""
    return [asdict(known.about) for known in DATASETS.values()]


def write_manifest(
    name: str, root: str, output: str, *, split: str | None = None, split_number: int = 0
) -> dict[str, Any]:
    """Read a data set and write its tracks as a manifest; give what they are.

    Parameters
    ----------
    name : str
        One of those that `list_datasets` gives.
    root : str
        The folder that holds it; the catalogue of the run that reads the manifest.
    output : str
        A ``.csv`` file; replaced if it exists.
    split : {"train", "validation", "test"}, optional
        Write only this part of the published split.
    split_number : int
        Which published split, where there are several.

    Returns
    -------
    dict
        Source and licence of the data set, ``manifest``, counts of ``tracks``, ``groups`` and
        tracks by genre, tag and split, and ``notes`` about the whole data set.

    Raises
    ------
    ParameterError
        If there is no such data set or split, or `output` is no ``.csv`` file.
    DatasetError
        If the folder does not hold the data set.
    StoreError
        If the manifest cannot be written.
    """
    path = Path(output)
    if path.suffix.lower() != MANIFEST_SUFFIX:
        raise ParameterError(f"the manifest {output} is not called {MANIFEST_SUFFIX}")
    if split is not None and split not in SPLITS:
        raise ParameterError(f"there is no split {split!r} (there are {', '.join(SPLITS)})")
    dataset = load_dataset(name, Path(root), split_number=split_number)
    tracks = [track for track in dataset.tracks if split is None or track.split == split]
    if not tracks:
        raise ParameterError(
            f"no track of {dataset.about.title} in {root} is in the split {split!r}; the published "
            f"split comes with {dataset.about.layout}"
        )
    write_manifest_rows(path, tracks)
    return _summary(dataset, tracks) | {"manifest": output}


def _summary(dataset: Dataset, tracks: list[DatasetTrack]) -> dict[str, Any]:
    genres = Counter(track.genre for track in tracks if track.genre is not None)
    tags = Counter(tag for track in tracks for tag in track.tags)
    splits = Counter(track.split for track in tracks if track.split is not None)
    return {
        **asdict(dataset.about),
        "tracks": len(tracks),
        "groups": len({track.group for track in tracks} - {None}),
        "genres": dict(sorted(genres.items())),
        "tags": dict(sorted(tags.items())),
        "splits": {split: splits[split] for split in SPLITS if splits[split]},
        "notes": [asdict(note) for note in dataset.notes],
    }
