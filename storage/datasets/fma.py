"""FMA, the Free Music Archive in four sizes; here small, medium and large: clips of up to 30 s.

``fma_metadata/tracks.csv`` has three rows of header: the kind of thing a column is about (album,
artist, set, track), its name, and ``track_id``. Small is a part of medium, and medium of large. A
few of the clips cannot be decoded; that is left to whoever decodes them.

Public: `load_fma`, `FMA_SMALL`, `FMA_MEDIUM`, `FMA_LARGE`.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from storage.datasets.collecting import (
    Taken,
    check_root,
    collect_dataset,
    first_that,
    present_tracks,
    refuse_layout,
)
from storage.datasets.metadata_rows import check_length, column_places, read_fields
from storage.datasets.records import AboutDataset, Dataset, DatasetError, DatasetTrack, Split

FmaSize = Literal["small", "medium", "large"]

CLIP_S = 30.0
"""Clips are cut from the middle of tracks; shorter tracks are whole."""


def _about(size: FmaSize) -> AboutDataset:
    return AboutDataset(
        name=f"fma-{size}",
        title=f"FMA ({size})",
        citation='M. Defferrard, K. Benzi, P. Vandergheynst and X. Bresson, "FMA: A dataset for '
        'music analysis", ISMIR 2017',
        homepage="https://github.com/mdeff/fma",
        licence="metadata CC BY 4.0; each track under the Creative Commons licence its "
        "artist chose",
        layout=f"fma_{size}/NNN/NNNNNN.mp3 and fma_metadata/tracks.csv (and genres.csv)",
    )


FMA_SMALL, FMA_MEDIUM, FMA_LARGE = _about("small"), _about("medium"), _about("large")

_SUBSETS: dict[FmaSize, tuple[AboutDataset, frozenset[str]]] = {
    "small": (FMA_SMALL, frozenset({"small"})),
    "medium": (FMA_MEDIUM, frozenset({"small", "medium"})),
    "large": (FMA_LARGE, frozenset({"small", "medium", "large"})),
}
_SPLITS: dict[str, Split] = {"training": "train", "validation": "validation", "test": "test"}

_ARTIST = ("artist", "id")
_SPLIT = ("set", "split")
_SUBSET = ("set", "subset")
_DURATION = ("track", "duration")
_GENRE = ("track", "genre_top")
_ALL_GENRES = ("track", "genres_all")
_WANTED = (_ARTIST, _SPLIT, _SUBSET, _DURATION, _GENRE, _ALL_GENRES)

_GENRE_LIST = re.compile(r"\[\s*(\d+(?:\s*,\s*\d+)*)?\s*\]")


def load_fma(root: Path, size: FmaSize) -> Dataset:
    """Load FMA small, medium or large: root genres, all genres as tags, artists as groups.

    Parameters
    ----------
    root : Path
        The folder that holds ``fma_<size>`` and ``fma_metadata``, or ``fma_<size>`` itself with
        ``fma_metadata`` in or beside it.

    Raises
    ------
    DatasetError
        If the folder is not laid out like FMA, or its metadata are damaged.
    """
    about, subsets = _SUBSETS[size]
    check_root(root, about)
    places = (root / "fma_metadata", root, root.absolute().parent / "fma_metadata")
    metadata = first_that(lambda place: (place / "tracks.csv").is_file(), places)
    if metadata is None:
        refuse_layout(root, about, "file 'fma_metadata/tracks.csv'")
    folder = f"fma_{size}/"
    if not (root / folder).is_dir():
        if not any(_is_clip_folder(place) for place in root.iterdir()):
            refuse_layout(root, about, f"folder '{folder}' (nor one such as '000' with clips)")
        folder = ""
    titles = _read_genre_titles(metadata / "genres.csv")
    rows = _read_tracks(metadata / "tracks.csv", subsets)
    tracks, notes = present_tracks(
        root, about, [_track_of(place, row, folder, titles) for place, row in rows]
    )
    return collect_dataset(about, tracks, notes)


def _is_clip_folder(place: Path) -> bool:
    return re.fullmatch(r"\d{3}", place.name) is not None and place.is_dir()


def _read_tracks(
    path: Path, subsets: frozenset[str]
) -> Iterator[tuple[str, Mapping[tuple[str, str], str]]]:
    """Yield where a track of these subsets stands, and its fields; its identifier under no name."""
    rows = read_fields(path)
    headers = [fields for _, fields in (next(rows, ("", [])) for _ in range(3))]
    if not headers[2] or headers[2][0] != "track_id" or len({len(row) for row in headers}) > 1:
        raise DatasetError(
            f"{path} does not begin with FMA's three rows of header, the third with 'track_id'; "
            "is it the tracks.csv of fma_metadata.zip?"
        )
    columns = column_places(path, list(zip(headers[0], headers[1], strict=True)), _WANTED)
    taken = Taken()
    for place, fields in rows:
        check_length(place, fields, len(headers[0]))
        taken.take(fields[0], place)
        if fields[columns[_SUBSET]] in subsets:
            yield place, {("", ""): fields[0]} | {name: fields[at] for name, at in columns.items()}


def _track_of(
    place: str, row: Mapping[tuple[str, str], str], folder: str, titles: Mapping[str, str]
) -> DatasetTrack:
    track_id = row["", ""]
    if not (track_id.isascii() and track_id.isdigit()):
        raise DatasetError(f"{place}: the track id {track_id!r} is no whole number")
    if row[_SPLIT] not in _SPLITS:
        raise DatasetError(
            f"{place}: the split {row[_SPLIT]!r} is none of {', '.join(map(repr, _SPLITS))}"
        )
    listed = _GENRE_LIST.fullmatch(row[_ALL_GENRES])
    if listed is None:
        raise DatasetError(
            f"{place}: the genres {row[_ALL_GENRES]!r} are no list of numbers such as '[21, 10]'"
        )
    numbers = re.findall(r"\d+", row[_ALL_GENRES])
    name = f"{int(track_id):06}"
    return DatasetTrack(
        path=f"{folder}{name[:3]}/{name}.mp3",
        track_id=track_id,
        genre=row[_GENRE] or None,
        tags=tuple(titles.get(number, number) for number in numbers),
        group=row[_ARTIST] or None,
        split=_SPLITS[row[_SPLIT]],
        duration_s=_clip_duration(row[_DURATION], place),
    )


def _clip_duration(text: str, place: str) -> float | None:
    """Give the length of the clip; what is written is the length of the whole track, seconds."""
    if not text:
        return None
    try:
        return min(float(text), CLIP_S)
    except ValueError as error:
        raise DatasetError(f"{place}: the duration {text!r} is no number of seconds") from error


def _read_genre_titles(path: Path) -> dict[str, str]:
    """Read the titles of genres by number; without the file tags stay numbers."""
    if not path.is_file():
        return {}
    rows = read_fields(path)
    _, header = next(rows, ("", []))
    columns = column_places(path, header, ("genre_id", "title"))
    titles = {}
    for place, fields in rows:
        check_length(place, fields, len(header))
        titles[fields[columns["genre_id"]]] = fields[columns["title"]]
    return titles
