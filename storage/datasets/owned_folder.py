"""Music that is no published data set: a plain folder, or a folder with a manifest in it.

In a plain folder the first folder below the root is the genre. A manifest is a CSV, Parquet or JSON
lines file with the column ``path`` and optionally ``id``, ``label``, ``group``, ``split``, ``tags``
(with ``;`` between them) and ``duration_s``.

Public: `load_folder`, `load_manifest`, `FOLDER`, `MANIFEST`.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from storage.catalogue_walk import AUDIO_SUFFIXES
from storage.datasets.collecting import (
    Taken,
    check_path,
    check_root,
    collect_dataset,
    first_that,
    present_tracks,
    refuse_layout,
)
from storage.datasets.records import (
    SPLITS,
    AboutDataset,
    Dataset,
    DatasetError,
    DatasetTrack,
    Split,
)
from storage.file_identities import path_for_people
from storage.row_columns import Column, RowFile
from storage.row_files import TextRow, read_rows

FOLDER = AboutDataset(
    name="folder",
    title="a plain folder of music",
    citation="none",
    homepage="README.md of this program",
    licence="whatever its owner allows",
    layout="<genre>/.../<file> with audio files of any kind",
)

MANIFEST = AboutDataset(
    name="manifest",
    title="a folder with a manifest",
    citation="none",
    homepage="README.md of this program",
    licence="whatever its owner allows",
    layout="manifest.csv (or .parquet, .jsonl, .ndjson) with the column 'path' and optionally "
    "'id', 'label', 'group', 'split', 'tags', 'duration_s'",
)

MANIFEST_NAMES = ("manifest.csv", "manifest.parquet", "manifest.jsonl", "manifest.ndjson")

_MANIFEST_FILE = RowFile(
    kind="manifest",
    option="its place",
    error=DatasetError,
    columns=(
        Column(("path", "track path"), is_required=True),
        Column(("id", "track_id")),
        Column(("label", "genre")),
        Column(("group", "group_id")),
        Column(("split",)),
        Column(("tags",)),
        Column(("duration_s", "duration")),
    ),
)

_SPLIT_NAMES: dict[str, Split] = {split: split for split in SPLITS} | {
    "training": "train",
    "valid": "validation",
    "val": "validation",
}

_COMPANION_PREFIX = b"._"


def load_folder(root: Path) -> Dataset:
    """Load every audio file below a folder, its first folder as genre; no link is followed.

    Raises
    ------
    DatasetError
        If the folder cannot be listed, or holds no audio file.
    """
    check_root(root, FOLDER)
    tracks = [
        DatasetTrack(
            path=path, track_id=path, genre=path.partition("/")[0] if "/" in path else None
        )
        for path in _audio_files(root)
    ]
    if not tracks:
        refuse_layout(root, FOLDER, "audio file")
    return collect_dataset(FOLDER, sorted(tracks, key=lambda track: track.path), ())


def _audio_files(root: Path) -> Iterator[str]:
    top = os.fsencode(root)
    for folder, names, files in os.walk(top):
        names.sort()
        for name in sorted(files):
            suffix = os.path.splitext(name)[1].lower().decode("latin-1")  # noqa: PTH122 - bytes
            if suffix in AUDIO_SUFFIXES and not name.startswith(_COMPANION_PREFIX):
                place = os.path.join(folder, name)  # noqa: PTH118 - bytes
                yield path_for_people(os.path.relpath(place, top))


def load_manifest(root: Path, manifest: Path | None = None) -> Dataset:
    """Load the tracks that a manifest names.

    Parameters
    ----------
    root : Path
        The folder that paths are below.
    manifest : Path, optional
        ``manifest.csv``, ``.parquet``, ``.jsonl`` or ``.ndjson`` in the root if it is not given.

    Raises
    ------
    DatasetError
        If there is no manifest, it cannot be read, or a row of it is damaged.
    """
    check_root(root, MANIFEST)
    if manifest is None:
        manifest = first_that(Path.is_file, [root / name for name in MANIFEST_NAMES])
    if manifest is None:
        refuse_layout(root, MANIFEST, f"file {MANIFEST_NAMES[0]!r}")
    paths, ids = Taken(), Taken()
    tracks = []
    for row in read_rows(manifest, _MANIFEST_FILE).rows:
        place = f"{row.place} of {manifest.name}"
        track = _track_of(row, place)
        paths.take(track.path, place)
        ids.take(track.track_id, place)
        tracks.append(track)
    return collect_dataset(MANIFEST, *present_tracks(root, MANIFEST, tracks))


def _track_of(row: TextRow, place: str) -> DatasetTrack:
    path, track_id, genre, group, split, tags, duration = (text or "" for text in row.values)
    if split and split not in _SPLIT_NAMES:
        raise DatasetError(f"{place}: the split {split!r} is none of {', '.join(SPLITS)}")
    try:
        duration_s = float(duration) if duration else None
    except ValueError as error:
        raise DatasetError(f"{place}: the duration {duration!r} is no number of seconds") from error
    return DatasetTrack(
        path=check_path(path, place),
        track_id=track_id or path,
        genre=genre or None,
        tags=tuple(tag.strip() for tag in tags.split(";") if tag.strip()),
        group=group or None,
        split=_SPLIT_NAMES.get(split),
        duration_s=duration_s,
    )
