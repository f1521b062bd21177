"""MTG-Jamendo: 55,000 tracks under Creative Commons licences, with tags of genre, instrument, mood.

TSV files with the columns TRACK_ID, ARTIST_ID, ALBUM_ID, PATH, DURATION and TAGS; from TAGS on each
field is a tag such as ``genre---rock``. The published splits (``data/splits/split-0`` to
``split-4``) name fewer tags than the base files, the same in each part; they are taken whole. Audio
is ``<PATH>`` or, in the smaller copy of low quality, the same with ``.low.mp3``.

Public: `load_mtg_jamendo`, `about_mtg_jamendo`, `JamendoPart`, `JAMENDO_PARTS`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

from musichash_core.errors import ParameterError
from storage.datasets.collecting import (
    Taken,
    check_path,
    check_root,
    collect_dataset,
    first_that,
    present_tracks,
    refuse_layout,
)
from storage.datasets.metadata_rows import read_fields
from storage.datasets.records import (
    SPLITS,
    AboutDataset,
    Dataset,
    DatasetError,
    DatasetTrack,
    Split,
)

JamendoPart = Literal["all", "genre", "instrument", "moodtheme", "top50tags"]
JAMENDO_PARTS: tuple[JamendoPart, ...] = get_args(JamendoPart)

N_SPLITS = 5
HEADER = ["TRACK_ID", "ARTIST_ID", "ALBUM_ID", "PATH", "DURATION", "TAGS"]
GENRE_PREFIX = "genre---"
LOW_SUFFIX = ".low.mp3"

_AUDIO_FOLDERS = (
    "",
    "audio",
    "audio-low",
    "raw_30s/audio",
    "raw_30s/audio-low",
    "autotagging_moodtheme/audio",
    "autotagging_moodtheme/audio-low",
    "audios",
)


def about_mtg_jamendo(part: JamendoPart) -> AboutDataset:
    """Describe MTG-Jamendo with all its tags, or those of one kind."""
    stem = _file_stem(part)
    return AboutDataset(
        name="mtg-jamendo" if part == "all" else f"mtg-jamendo-{part}",
        title="MTG-Jamendo" if part == "all" else f"MTG-Jamendo ({part})",
        citation="D. Bogdanov, M. Won, P. Tovstogan, A. Porter and X. Serra, "
        '"The MTG-Jamendo dataset for automatic music tagging", ML4MD workshop, ICML 2019',
        homepage="https://github.com/MTG/mtg-jamendo-dataset",
        licence="metadata CC BY-NC-SA 4.0; each track under the Creative Commons licence its "
        "artist chose",
        layout=f"data/{stem}.tsv and data/splits/split-N/{stem}-train.tsv, -validation, -test, "
        "with NN/N.mp3 or NN/N.low.mp3 in the same folder, in audio, or in raw_30s/audio",
    )


def load_mtg_jamendo(root: Path, part: JamendoPart = "all", *, split_number: int = 0) -> Dataset:
    """Load MTG-Jamendo: tags with their kind in front, artists as groups.

    A track's genre is its one genre tag; most have several, and then it has none.

    Parameters
    ----------
    part : {"all", "genre", "instrument", "moodtheme", "top50tags"}
        Which file of tags and which splits.
    split_number : int
        0 to 4; the published splits. Without their folder, the base file is read.

    Raises
    ------
    ParameterError
        If there is no such split.
    DatasetError
        If the folder is not laid out like MTG-Jamendo, or a file of it is damaged.
    """
    about = about_mtg_jamendo(part)
    check_root(root, about)
    if split_number not in range(N_SPLITS):
        raise ParameterError(
            f"split_number={split_number}; {about.title} has the splits 0 to {N_SPLITS - 1}"
        )
    taken = Taken()
    tracks = []
    for path, split in _files_of(root, about, part, split_number):
        for place, fields in _read_rows(path):
            taken.take(fields[0], place)
            tracks.append(_track_of(place, fields, split))
    located = _locate(root, tracks)
    return collect_dataset(about, *present_tracks(root, about, located))


def _file_stem(part: JamendoPart) -> str:
    return "autotagging" if part == "all" else f"autotagging_{part}"


def _files_of(
    root: Path, about: AboutDataset, part: JamendoPart, split_number: int
) -> list[tuple[Path, Split | None]]:
    """Give the three files of a split; the base file if there is no folder of splits."""
    stem = _file_stem(part)
    data = first_that(
        lambda place: (place / "splits").is_dir() or (place / f"{stem}.tsv").is_file(),
        (root / "data", root),
    )
    if data is None:
        refuse_layout(root, about, f"file 'data/{stem}.tsv'")
    if not (data / "splits").is_dir():
        return [(data / f"{stem}.tsv", None)]
    folder = data / "splits" / f"split-{split_number}"
    return [(folder / f"{stem}-{split}.tsv", split) for split in SPLITS]


def _read_rows(path: Path) -> Iterator[tuple[str, list[str]]]:
    rows = read_fields(path, delimiter="\t")
    place, header = next(rows, (f"line 1 of {path.name}", []))
    if header != HEADER:
        raise DatasetError(f"{place}: the header is {header}; wanted is {HEADER}")
    for place, fields in rows:
        if len(fields) < len(HEADER):
            raise DatasetError(
                f"{place}: {len(fields)} fields; wanted are five and at least one tag, with tabs "
                "between them"
            )
        yield place, fields


def _track_of(place: str, fields: Sequence[str], split: Split | None) -> DatasetTrack:
    track_id, artist, _, path, duration, *tags = fields
    if any("---" not in tag for tag in tags):
        raise DatasetError(f"{place}: the tags {tags} are not all of the form 'genre---rock'")
    genres = [tag.removeprefix(GENRE_PREFIX) for tag in tags if tag.startswith(GENRE_PREFIX)]
    try:
        duration_s = float(duration)
    except ValueError as error:
        raise DatasetError(f"{place}: the duration {duration!r} is no number of seconds") from error
    return DatasetTrack(
        path=check_path(path, place),
        track_id=track_id,
        genre=genres[0] if len(genres) == 1 else None,
        tags=tuple(tags),
        group=artist or None,
        split=split,
        duration_s=duration_s,
    )


def _locate(root: Path, tracks: Sequence[DatasetTrack]) -> list[DatasetTrack]:
    """Say where below the root the audio lies: the first folder and quality with any of it."""
    for folder in _AUDIO_FOLDERS:
        for suffix in (".mp3", LOW_SUFFIX):
            paths = [_path_in(folder, track.path, suffix) for track in tracks]
            if (root / folder).is_dir() and any((root / path).is_file() for path in paths):
                return [
                    replace(track, path=path) for track, path in zip(tracks, paths, strict=True)
                ]
    return list(tracks)  # none is there: the caller says so


def _path_in(folder: str, path: str, suffix: str) -> str:
    return f"{folder}/".removeprefix("/") + path.removesuffix(".mp3") + suffix
