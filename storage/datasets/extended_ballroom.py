"""Extended Ballroom: 4,180 excerpts of 30 s in thirteen dances.

``extendedballroom_v1.1.xml`` has an element for each dance, in it a ``song`` for each track (album,
artist, bpm, id, title, hash), and in that the tracks that it repeats: ``exact`` (the same
recording), ``time`` (the same at another tempo), ``karaoke`` (with and without the voice) and
``version`` (the same piece played by others).

Public: `load_extended_ballroom`, `EXTENDED_BALLROOM`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from xml.parsers import expat

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
from storage.datasets.records import AboutDataset, Dataset, DatasetError, DatasetTrack

EXTENDED_BALLROOM = AboutDataset(
    name="extended-ballroom",
    title="Extended Ballroom",
    citation='U. Marchand and G. Peeters, "The Extended Ballroom dataset", ISMIR 2016 '
    "late-breaking session",
    homepage="http://anasynth.ircam.fr/home/media/ExtendedBallroom",
    licence="none is stated; the excerpts are of commercial recordings, for research",
    layout="extendedballroom_v1.1.xml beside <dance>/<dance>.NNNNNN.mp3 or <dance>/NNNNNN.mp3",
)

XML_NAMES = ("extendedballroom_v1.1.xml", "extendedballroom_v1.xml")
SAME_RECORDING = frozenset({"exact", "time", "karaoke"})
RELATIONS = SAME_RECORDING | {"version"}

NO_ARTIST = frozenset({"", "various", "various artists"})
"""These stand for no artist; the album is the group then."""

_SONG_DEPTH = 2
"""Of elements below the root and a dance."""


@dataclass(slots=True)
class _Song:
    dance: str
    track_id: str
    place: str
    attributes: Mapping[str, str]
    links: list[tuple[str, str]] = field(default_factory=list)


def load_extended_ballroom(root: Path) -> Dataset:
    """Load Extended Ballroom: dances as genres, artists as groups.

    Of tracks with exactly the same recording the first is kept. Tracks with the same recording at
    another tempo or without the voice are in one group, with all of their artists' tracks.
    Versions by other artists are not bound together: chains of covers would leave few groups.

    Raises
    ------
    DatasetError
        If the folder is not laid out like Extended Ballroom, or its XML is damaged.
    """
    check_root(root, EXTENDED_BALLROOM)
    folders = (root, root / "extendedballroom_v1.1")
    path = first_that(Path.is_file, [folder / name for folder in folders for name in XML_NAMES])
    if path is None:
        refuse_layout(root, EXTENDED_BALLROOM, f"file {XML_NAMES[0]!r}")
    songs = _SongReader(path).read()
    tracks, notes = present_tracks(
        root,
        EXTENDED_BALLROOM,
        [
            DatasetTrack(
                path=_audio_path(path.parent, song).relative_to(root).as_posix(),
                track_id=song.track_id,
                genre=song.dance,
            )
            for song in songs
        ],
    )
    there = {track.track_id for track in tracks}
    kept_for = _merge((song.track_id, other) for song in songs for other in _linked(song, "exact"))
    first: dict[str, str] = {}
    for song in songs:
        if song.track_id in there:
            first.setdefault(kept_for.get(song.track_id, song.track_id), song.track_id)
    kept = set(first.values())
    repeats = [
        f"{track.track_id} = {first[kept_for[track.track_id]]}"
        for track in tracks
        if track.track_id not in kept
    ]
    groups = _groups_of(songs)
    return collect_dataset(
        EXTENDED_BALLROOM,
        [
            replace(track, group=groups[track.track_id])
            for track in tracks
            if track.track_id in kept
        ],
        (*notes, *note_of("duplicate", "they are exact copies of other tracks", repeats)),
    )


def _audio_path(folder: Path, song: _Song) -> Path:
    check_path(song.dance, song.place)
    check_path(f"{song.track_id}.mp3", song.place)
    with_dance = folder / song.dance / f"{song.dance}.{song.track_id}.mp3"
    plain = folder / song.dance / f"{song.track_id}.mp3"
    return plain if plain.exists() else with_dance


def _linked(song: _Song, *relations: str) -> list[str]:
    return [track_id for relation, track_id in song.links if relation in relations]


def _groups_of(songs: Iterable[_Song]) -> dict[str, str]:
    """Give the group of each track: one of the artists that its recording binds together."""
    artists = {}
    for song in songs:
        artist = song.attributes.get("artist", "").strip()
        is_unknown = artist.lower() in NO_ARTIST
        album = song.attributes.get("album", "").strip() or song.track_id
        artists[song.track_id] = f"album {album}" if is_unknown else artist
    merged = _merge(
        (artists[song.track_id], artists[other])
        for song in songs
        for other in _linked(song, *SAME_RECORDING)
        if other in artists
    )
    return {track_id: merged.get(artist, artist) for track_id, artist in artists.items()}


def _merge(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Join what pairs bind together, directly or by others; give each name the least of its set."""
    above: dict[str, str] = {}

    def top(name: str) -> str:
        while above.setdefault(name, name) != name:
            above[name] = above[above[name]]
            name = above[name]
        return name

    for one, other in pairs:
        low, high = sorted((top(one), top(other)))
        above[high] = low
    return {name: top(name) for name in list(above)}


# --- the XML -------------------------------------------------------------------------------------


class _SongReader:
    """Takes the songs out of the XML, with the line of each."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._songs: list[_Song] = []
        self._taken = Taken()
        self._open: list[str] = []
        self._parser = expat.ParserCreate()
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.StartDoctypeDeclHandler = self._refuse_doctype

    def read(self) -> list[_Song]:
        try:
            with self._path.open("rb") as file:
                self._parser.ParseFile(file)
        except (OSError, expat.ExpatError) as error:
            raise DatasetError(f"{self._path} cannot be read as XML: {error}") from error
        return self._songs

    def _place(self) -> str:
        return f"line {self._parser.CurrentLineNumber} of {self._path.name}"

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        depth = len(self._open)
        if depth == _SONG_DEPTH:
            if name != "song" or "id" not in attributes:
                raise DatasetError(f"{self._place()}: wanted is a 'song' with an id, not {name!r}")
            self._taken.take(attributes["id"], self._place())
            self._songs.append(_Song(self._open[1], attributes["id"], self._place(), attributes))
        elif depth == _SONG_DEPTH + 1 and name in RELATIONS and "id" in attributes:
            self._songs[-1].links.append((name, attributes["id"]))
        self._open.append(name)

    def _end(self, _: str) -> None:
        self._open.pop()

    def _refuse_doctype(self, *_: object) -> None:
        raise DatasetError(f"{self._place()}: a DOCTYPE, which this file has no need of")
