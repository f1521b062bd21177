"""GTZAN: ten genres of a hundred excerpts of 30 s.

The collection has repeated, mislabelled and distorted excerpts (B. L. Sturm, "The state of the art
ten years after a state of the art", JNMR 43(2), 2014). A split without them, and without artists
in two parts, was published with C. Kereliuk, B. L. Sturm and J. Larsen, "Deep learning and music
adversaries", IEEE TMM 17(11), 2015: ``train_filtered.txt``, ``valid_filtered.txt`` and
``test_filtered.txt``. Where these lists lie in the folder, the tracks in none of them are left out.

Public: `load_gtzan`, `GTZAN`.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from storage.datasets.collecting import (
    Taken,
    check_root,
    collect_dataset,
    first_that,
    note_of,
    present_tracks,
    refuse_layout,
)
from storage.datasets.metadata_rows import read_listed_names
from storage.datasets.records import AboutDataset, Dataset, DatasetError, DatasetTrack, Split
from storage.row_columns import Column, RowFile
from storage.row_files import read_rows

GENRES = (
    "blues",
    "classical",
    "country",
    "disco",
    "hiphop",
    "jazz",
    "metal",
    "pop",
    "reggae",
    "rock",
)
TRACKS_PER_GENRE = 100

CORRUPT_ID = "jazz.00054"
"""Cannot be decoded in the copy that most people have. Left out of every copy, so that figures are
about the same tracks."""

SPLIT_LISTS: dict[str, Split] = {
    "train_filtered.txt": "train",
    "valid_filtered.txt": "validation",
    "test_filtered.txt": "test",
}

GTZAN = AboutDataset(
    name="gtzan",
    title="GTZAN",
    citation='G. Tzanetakis and P. Cook, "Musical genre classification of audio signals", IEEE '
    "Transactions on Speech and Audio Processing 10(5), 2002",
    homepage="http://marsyas.info/downloads/datasets.html",
    licence="none is stated; the excerpts are of commercial recordings, for research",
    layout="genres/<genre>/<genre>.NNNNN.wav or .au (or genres_original, or the genres' folders "
    "themselves), with train_filtered.txt, valid_filtered.txt and test_filtered.txt for the "
    "published split and artists.csv (columns id, artist) for groups",
)

_ARTISTS_FILE = RowFile(
    kind="list of artists",
    option="its place",
    error=DatasetError,
    columns=(Column(("id", "track_id"), is_required=True), Column(("artist",), is_required=True)),
)

_GENRE_FOLDERS = ("", "genres", "genres_original", "Data/genres_original")
_SUFFIXES = (".wav", ".au")
_TRACK = re.compile(rf"({'|'.join(GENRES)})\.000\d\d")


def load_gtzan(root: Path, *, artists: Path | None = None) -> Dataset:
    """Load GTZAN.

    Parameters
    ----------
    root : Path
        The folder that holds the genres' folders, or the folder ``genres`` with them.
    artists : Path, optional
        A CSV, Parquet or JSON lines file with the columns ``id`` and ``artist``; ``artists.csv``
        in the root if that exists. Artists are the groups.

    Raises
    ------
    DatasetError
        If the folder is not laid out like GTZAN, or a list in it is damaged.
    """
    check_root(root, GTZAN)
    base = first_that(_has_a_track, [root / name for name in _GENRE_FOLDERS])
    if base is None:
        refuse_layout(root, GTZAN, "file such as 'genres/blues/blues.00000.wav'")
    splits = _read_split(root, base)
    if artists is None and (root / "artists.csv").is_file():
        artists = root / "artists.csv"
    groups = {} if artists is None else _read_artists(artists)

    every_id = [f"{genre}.{number:05}" for genre in GENRES for number in range(TRACKS_PER_GENRE)]
    faulty = [name for name in every_id if splits and name not in splits and name != CORRUPT_ID]
    left_out = {CORRUPT_ID, *faulty}
    tracks, missing = present_tracks(
        root,
        GTZAN,
        [
            DatasetTrack(
                path=_path_of(base, track_id).relative_to(root).as_posix(),
                track_id=track_id,
                genre=track_id.partition(".")[0],
                group=groups.get(track_id),
                split=splits.get(track_id),
            )
            for track_id in every_id
            if track_id not in left_out
        ],
    )
    corrupt = [CORRUPT_ID] if _path_of(base, CORRUPT_ID).exists() else []
    notes = (
        *missing,
        *note_of("corrupt", "it cannot be decoded in the common copy", corrupt),
        *note_of("faulty", "the fault-filtered split lists them nowhere", faulty),
    )
    return collect_dataset(GTZAN, tracks, notes)


def _has_a_track(folder: Path) -> bool:
    return any(
        _TRACK.fullmatch(path.stem) and path.suffix in _SUFFIXES
        for genre in GENRES
        if (folder / genre).is_dir()
        for path in (folder / genre).iterdir()
    )


def _path_of(base: Path, track_id: str) -> Path:
    stem = base / track_id.partition(".")[0] / track_id
    paths = [stem.with_name(stem.name + suffix) for suffix in _SUFFIXES]
    return first_that(Path.exists, paths) or paths[0]


# --- lists beside the audio ----------------------------------------------------------------------


def _read_split(root: Path, base: Path) -> dict[str, Split]:
    """Read the three lists; empty if there are none."""
    folder = first_that(
        lambda place: any((place / name).is_file() for name in SPLIT_LISTS), (root, base)
    )
    if folder is None:
        return {}
    lacking = [name for name in SPLIT_LISTS if not (folder / name).is_file()]
    if lacking:
        raise DatasetError(
            f"{folder} has only a part of the published split: {' and '.join(lacking)} "
            "not there; add it, or take the others away"
        )
    splits: dict[str, Split] = {}
    taken = Taken()
    for name, split in SPLIT_LISTS.items():
        for place, line in read_listed_names(folder / name):
            track_id = _listed_track(line, place)
            taken.take(track_id, place)
            splits[track_id] = split
    return splits


def _listed_track(line: str, place: str) -> str:
    """Give the track that a line names, by path or by its place among all thousand.

    The lists were published in both forms; in the older one tracks count from 1, the genres in
    alphabetical order.
    """
    if line.isascii() and line.isdigit() and 1 <= int(line) <= len(GENRES) * TRACKS_PER_GENRE:
        genre, number = divmod(int(line) - 1, TRACKS_PER_GENRE)
        return f"{GENRES[genre]}.{number:05}"
    return _track_id(line, place)


def _track_id(name: str, place: str) -> str:
    track_id = name.replace("\\", "/").rpartition("/")[2]
    for suffix in _SUFFIXES:
        track_id = track_id.removesuffix(suffix)
    if not _TRACK.fullmatch(track_id):
        raise DatasetError(f"{place}: {name!r} names no track; wanted is 'blues/blues.00000.wav'")
    return track_id


def _read_artists(path: Path) -> dict[str, str]:
    groups: dict[str, str] = {}
    taken = Taken()
    rows: Sequence[tuple[str, tuple[str | None, ...]]] = read_rows(path, _ARTISTS_FILE).rows
    for row_place, (name, artist) in rows:
        place = f"{row_place} of {path.name}"
        track_id = _track_id(name or "", place)
        taken.take(track_id, place)
        if artist:
            groups[track_id] = artist
    return groups
