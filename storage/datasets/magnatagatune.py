"""MagnaTagATune: 25,863 clips of 29 s with the tags that players of a game gave them.

``annotations_final.csv`` (tab-separated) has a column of 0 and 1 for each of 188 tags between
``clip_id`` and ``mp3_path``; ``clip_info_final.csv`` names the artists. The usual split is by the
first folder: 0 to b train, c validation, d to f test. It parts songs, not artists, which a note
says. A few of the files are empty; that is left to whoever decodes them.

Public: `load_magnatagatune`, `MAGNATAGATUNE`, `SYNONYMS`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

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
from storage.datasets.metadata_rows import check_length, column_places, read_fields
from storage.datasets.records import AboutDataset, Dataset, DatasetError, DatasetTrack, Split

MAGNATAGATUNE = AboutDataset(
    name="magnatagatune",
    title="MagnaTagATune",
    citation='E. Law, K. West, M. Mandel, M. Bay and J. S. Downie, "Evaluation of algorithms using '
    'games: the case of music tagging", ISMIR 2009',
    homepage="https://mirg.city.ac.uk/codeapps/the-magnatagatune-dataset",
    licence="annotations CC BY-NC-SA 3.0; the clips are Magnatune's, for research",
    layout="annotations_final.csv and clip_info_final.csv, with 0/ to f/ of .mp3 files beside "
    "them or in mp3/",
)

N_TAGS = 50
"""Of 188; the most frequent ones, which is what most publications use."""

_SPLIT_FOLDERS: dict[Split, str] = {
    "train": "0123456789ab",
    "validation": "c",
    "test": "def",
}
_FOLDER_SPLITS = {name: split for split, names in _SPLIT_FOLDERS.items() for name in names}

SYNONYMS = {
    name: kept
    for kept, names in {
        "beat": ("beats",),
        "choir": ("choral",),
        "classical": ("clasical", "classic"),
        "drums": ("drum",),
        "electronic": ("electronica", "electro"),
        "fast": ("fast beat", "quick"),
        "female vocal": (
            *("female", "female singer", "female singing", "female vocals", "female voice"),
            *("woman", "woman singing", "women"),
        ),
        "flute": ("flutes",),
        "guitar": ("guitars",),
        "harpsichord": ("harpsicord",),
        "horn": ("horns",),
        "indian": ("india",),
        "jazz": ("jazzy",),
        "male vocal": (
            *("male", "male singer", "male vocals", "male voice", "man", "man singing", "men"),
        ),
        "no vocal": ("no singer", "no singing", "no vocals", "no voice", "no voices"),
        "opera": ("operatic",),
        "orchestra": ("orchestral",),
        "strange": ("weird",),
        "strings": ("string",),
        "synth": ("synthesizer",),
        "violin": ("violins",),
        "vocal": ("singer", "singing", "vocals", "voice", "voices"),
    }.items()
    for name in names
}
"""Tag -> the tag that means the same: other spellings, plurals, and words for the same voice."""

_AUDIO_FOLDERS = ("", "mp3", "mp3s", "audio")


class _Clip(NamedTuple):
    clip_id: str
    path: str
    tags: tuple[str, ...]


def load_magnatagatune(
    root: Path, *, n_tags: int = N_TAGS, merge_synonyms: bool = False
) -> Dataset:
    """Load MagnaTagATune: the most frequent tags, artists as groups, the usual split by folder.

    Parameters
    ----------
    n_tags : int
        How many tags, by the number of clips that have them; of equals, by name.
    merge_synonyms : bool
        Take tags that mean the same for one (`SYNONYMS`), before they are counted.

    Raises
    ------
    ParameterError
        If `n_tags` is not positive.
    DatasetError
        If the folder is not laid out like MagnaTagATune, or a file of it is damaged.
    """
    check_root(root, MAGNATAGATUNE)
    if n_tags < 1:
        raise ParameterError(f"n_tags={n_tags}; at least 1 is needed")
    annotations = root / "annotations_final.csv"
    if not annotations.is_file():
        refuse_layout(root, MAGNATAGATUNE, f"file {annotations.name!r}")
    clips = _read_clips(annotations, SYNONYMS if merge_synonyms else {})
    artists = _read_artists(root / "clip_info_final.csv")
    counts = Counter(tag for clip in clips for tag in clip.tags)
    kept = sorted(counts, key=lambda tag: (-counts[tag], tag))[:n_tags]
    folder = first_that(
        lambda place: any((place / name).is_dir() for name in _FOLDER_SPLITS),
        [root / name for name in _AUDIO_FOLDERS],
    )
    below = "" if folder is None else folder.relative_to(root).as_posix().removeprefix(".")
    tracks = [
        DatasetTrack(
            path=f"{below}/{clip.path}" if below else clip.path,
            track_id=clip.clip_id,
            tags=tuple(tag for tag in clip.tags if tag in kept),
            group=artists.get(clip.clip_id) or None,
            split=_FOLDER_SPLITS[clip.path[0]],
        )
        for clip in clips
    ]
    return collect_dataset(MAGNATAGATUNE, *present_tracks(root, MAGNATAGATUNE, tracks))


def _read_clips(path: Path, synonyms: Mapping[str, str]) -> list[_Clip]:
    rows = read_fields(path, delimiter="\t", is_strict=False)
    _, header = next(rows, ("", []))
    columns = column_places(path, header, ("clip_id", "mp3_path"))
    tag_columns = [
        (at, synonyms.get(name, name)) for at, name in enumerate(header) if name not in columns
    ]
    taken = Taken()
    clips = []
    for place, fields in rows:
        check_length(place, fields, len(header))
        clip_id, name = fields[columns["clip_id"]], fields[columns["mp3_path"]]
        taken.take(clip_id, place)
        if name.partition("/")[0] not in _FOLDER_SPLITS:
            raise DatasetError(f"{place}: the path {name!r} does not begin with a folder 0/ to f/")
        clips.append(_Clip(clip_id, check_path(name, place), _tags_of(place, fields, tag_columns)))
    return clips


def _tags_of(
    place: str, fields: Sequence[str], tag_columns: Sequence[tuple[int, str]]
) -> tuple[str, ...]:
    tags: dict[str, None] = {}
    for at, tag in tag_columns:
        if fields[at] == "1":
            tags[tag] = None
        elif fields[at] != "0":
            raise DatasetError(f"{place}: the tag {tag!r} is {fields[at]!r}; wanted is 0 or 1")
    return tuple(tags)


def _read_artists(path: Path) -> dict[str, str]:
    """Read artists by clip; without the file there are none."""
    if not path.is_file():
        return {}
    rows = read_fields(path, delimiter="\t", is_strict=False)
    _, header = next(rows, ("", []))
    columns = column_places(path, header, ("clip_id", "artist"))
    artists = {}
    for place, fields in rows:
        check_length(place, fields, len(header))
        artists[fields[columns["clip_id"]]] = fields[columns["artist"]]
    return artists
