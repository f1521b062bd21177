"""Ballroom: 698 excerpts of 30 s in eight dances, from the tempo contest of ISMIR 2004.

Its thirteen replicas are left out: four exact ones and nine of the same recording, found by B. L.
Sturm and listed with F. Krebs, S. Böck and G. Widmer's beat annotations (ISMIR 2013). No artists
are published; a file's name tells its album, which is the group.

Public: `load_ballroom`, `BALLROOM`.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from storage.datasets.collecting import (
    Taken,
    check_path,
    check_root,
    collect_dataset,
    first_that,
    note_of,
    present_tracks,
    refuse_layout,
)
from storage.datasets.metadata_rows import read_listed_names
from storage.datasets.records import AboutDataset, Dataset, DatasetTrack

BALLROOM = AboutDataset(
    name="ballroom",
    title="Ballroom",
    citation="F. Gouyon, A. Klapuri, S. Dixon, M. Alonso, G. Tzanetakis, C. Uhle and P. Cano, "
    '"An experimental comparison of audio tempo induction algorithms", IEEE Transactions on '
    "Audio, Speech and Language Processing 14(5), 2006",
    homepage="http://mtg.upf.edu/ismir2004/contest/tempoContest/node5.html",
    licence="none is stated; the excerpts are of commercial recordings, for research",
    layout="BallroomData/<dance>/<name>.wav (or the dances' folders themselves), with the list "
    "allBallroomFiles if it is there",
)

DANCES = {
    "chachacha": "ChaChaCha",
    "jive": "Jive",
    "quickstep": "Quickstep",
    "rumba": "Rumba",
    "rumba-american": "Rumba",
    "rumba-international": "Rumba",
    "rumba-misc": "Rumba",
    "samba": "Samba",
    "tango": "Tango",
    "viennesewaltz": "VienneseWaltz",
    "waltz": "Waltz",
}
"""Dance by the name of its folder, in lower case: copies differ in it."""

REPLICAS = {
    "Albums-Chrisanne2-12": "Albums-AnaBelen_Veneo-11",
    "Albums-Fire-09": "Albums-Fire-08",
    "Albums-Latin_Jam2-13": "Albums-Latin_Jam2-05",
    "Media-104705": "Albums-Secret_Garden-01",
    "Albums-AnaBelen_Veneo-15": "Albums-AnaBelen_Veneo-03",
    "Albums-Ballroom_Magic-18": "Albums-Ballroom_Magic-03",
    "Albums-Latin_Jam-13": "Albums-Latin_Jam-04",
    "Albums-Latin_Jam-14": "Albums-Latin_Jam-08",
    "Albums-Latin_Jam-15": "Albums-Latin_Jam-06",
    "Albums-Latin_Jam2-14": "Albums-Latin_Jam2-02",
    "Albums-Latin_Jam2-15": "Albums-Latin_Jam2-07",
    "Media-103414": "Albums-Latin_Jam3-02",
    "Media-103415": "Media-103402",
}
"""The track that is left out -> the one that it repeats."""

LIST_NAME = "allBallroomFiles"

_ALBUM = re.compile(r"Albums-(.+)-\d+")
_MEDIA = re.compile(r"(Media-\d{4})\d{2}")
"""Numbers of the shop that the excerpts are from: four digits of the album, two of the track."""


def load_ballroom(root: Path) -> Dataset:
    """Load Ballroom: dances as genres (the three rumbas as one), albums as groups.

    Parameters
    ----------
    root : Path
        The folder that holds the dances' folders, or ``BallroomData`` with them.

    Raises
    ------
    DatasetError
        If the folder is not laid out like Ballroom, or a track stands in two dances.
    """
    check_root(root, BALLROOM)
    base = first_that(_has_a_track, (root, root / "BallroomData"))
    if base is None:
        refuse_layout(root, BALLROOM, "folder of a dance such as 'ChaChaCha' with .wav files")
    taken = Taken()
    tracks = []
    for path, place in dict(_named_files(base)).items():
        folder, _, name = path.rpartition("/")
        track_id = name.removesuffix(".wav")
        taken.take(track_id, place)
        tracks.append(
            DatasetTrack(
                path=(base / path).relative_to(root).as_posix(),
                track_id=track_id,
                genre=DANCES[folder.lower()],
                group=_group_of(track_id),
            )
        )
    present, notes = present_tracks(root, BALLROOM, tracks)
    there = {track.track_id for track in present}
    replicas = [track for track in present if REPLICAS.get(track.track_id) in there]
    notes += note_of(
        "duplicate",
        "they repeat other tracks of the set",
        [f"{track.track_id} = {REPLICAS[track.track_id]}" for track in replicas],
    )
    return collect_dataset(BALLROOM, [track for track in present if track not in replicas], notes)


def _has_a_track(folder: Path) -> bool:
    return next(_found_files(folder), None) is not None


def _found_files(base: Path) -> Iterator[tuple[str, str]]:
    if not base.is_dir():
        return
    for folder in sorted(base.iterdir()):
        if folder.name.lower() in DANCES and folder.is_dir():
            for file in sorted(folder.iterdir()):
                if file.suffix == ".wav" and not file.name.startswith("._"):
                    yield f"{folder.name}/{file.name}", f"the folder {folder.name}"


def _named_files(base: Path) -> Iterator[tuple[str, str]]:
    """Yield the files that lie there and those that only the list names, with their places."""
    yield from _found_files(base)
    found = {path for path, _ in _found_files(base)}
    if (base / LIST_NAME).is_file():
        for place, line in read_listed_names(base / LIST_NAME):
            path = line.removeprefix("./")
            if path.endswith(".wav") and path not in found:
                check_path(path, place)
                if path.rpartition("/")[0].lower() in DANCES:
                    yield path, place


def _group_of(track_id: str) -> str | None:
    album = _ALBUM.fullmatch(track_id) or _MEDIA.fullmatch(track_id)
    return None if album is None else album[1]
