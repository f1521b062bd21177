"""What every loader does at its start and at its end: check the folder, sort out the tracks.

Public: `check_root`, `refuse_layout`, `first_that`, `check_path`, `present_tracks`,
`collect_dataset`, `note_of`, `Taken`.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from storage.datasets.records import (
    AboutDataset,
    Dataset,
    DatasetError,
    DatasetNote,
    DatasetTrack,
    NoteKind,
)
from storage.file_identities import path_for_people

SHOWN_EXAMPLES = 3
SHOWN_NAMES = 8

_ESCAPED_BYTE = re.compile(rb"\\x([89a-f][0-9a-f])")


def check_root(root: Path, about: AboutDataset) -> None:
    """Refuse a root that is no folder, or one that cannot be listed."""
    if not root.exists():
        raise DatasetError(
            f"the folder {root} does not exist; name the one that holds {about.title}"
        )
    if not root.is_dir():
        raise DatasetError(f"{root} is not a folder; name the one that holds {about.title}")
    try:
        next(root.iterdir(), None)
    except OSError as error:
        raise DatasetError(f"the folder {root} cannot be listed: {error.strerror}") from error


def refuse_layout(root: Path, about: AboutDataset, lack: str) -> NoReturn:
    """Say that a folder is not laid out like a data set.

    Parameters
    ----------
    lack : str
        What was looked for and is not there, to follow "there is no".
    """
    names = sorted(path.name for path in root.iterdir())
    held = ", ".join(repr(name) for name in names[:SHOWN_NAMES]) or "nothing"
    more = " ..." if len(names) > SHOWN_NAMES else ""
    raise DatasetError(
        f"{root} is not laid out like {about.title}: there is no {lack} (it holds {held}{more}); "
        f"expected is {about.layout}; the data set is described at {about.homepage}"
    )


def first_that(holds: Callable[[Path], bool], places: Iterable[Path]) -> Path | None:
    """Give the first place for which something holds; None if there is none."""
    return next((place for place in places if holds(place)), None)


def check_path(path: str, place: str) -> str:
    """Give back a path that a file of metadata names; refuse one that could leave its folder."""
    if path.startswith("/") or {"", ".", ".."}.intersection(path.split("/")):
        raise DatasetError(f"{place}: {path!r} is no plain path below the data set's folder")
    return path


class Taken:
    """Identifiers met so far, and where."""

    def __init__(self) -> None:
        self._places: dict[str, str] = {}

    def take(self, track_id: str, place: str) -> None:
        """Note an identifier; refuse an empty one, and one that was met before."""
        if not track_id:
            raise DatasetError(f"{place}: the track's identifier is empty")
        if track_id in self._places:
            raise DatasetError(
                f"{place}: {track_id!r} was met before, in {self._places[track_id]}; "
                "keep one of them"
            )
        self._places[track_id] = place


def note_of(kind: NoteKind, text: str, examples: Sequence[str]) -> Iterator[DatasetNote]:
    """Yield a note about some tracks, named by path or identifier; nothing if there are none."""
    if examples:
        yield DatasetNote(kind, len(examples), text, tuple(examples[:SHOWN_EXAMPLES]))


def present_tracks(
    root: Path, about: AboutDataset, tracks: Iterable[DatasetTrack]
) -> tuple[list[DatasetTrack], list[DatasetNote]]:
    """Part the tracks whose audio is there from those whose audio is missing.

    Returns
    -------
    list of DatasetTrack
        Those that are there, sorted by path.
    list of DatasetNote
        At most one, about the others.

    Raises
    ------
    DatasetError
        If there are no tracks, or the audio of all is missing.
    """
    listings: dict[str, frozenset[str]] = {}
    present: list[DatasetTrack] = []
    missing: list[DatasetTrack] = []
    for track in sorted(tracks, key=lambda track: track.path):
        folder, _, name = track.path.rpartition("/")
        if folder not in listings:
            listings[folder] = _names_in(os.fsencode(root / folder))
        (present if name in listings[folder] else missing).append(track)
    if not present:
        if missing:
            reason = f"not one of the {len(missing)} audio files is there ({missing[0].path})"
        else:
            reason = "its metadata name no track"
        raise DatasetError(
            f"{root} holds {about.title} without its audio: {reason}; expected is {about.layout}; "
            f"the data set is described at {about.homepage}"
        )
    text = "the metadata name them and their audio is not there"
    return present, list(note_of("missing", text, [track.path for track in missing]))


def _names_in(folder: bytes) -> frozenset[str]:
    r"""List a folder, named as it stands or with each ``\xNN`` as a byte; nothing if it is none."""
    for spelling in (folder, _ESCAPED_BYTE.sub(lambda match: bytes([int(match[1], 16)]), folder)):
        with suppress(OSError), os.scandir(spelling) as entries:
            return frozenset(path_for_people(entry.name) for entry in entries)
    return frozenset()


def collect_dataset(
    about: AboutDataset, tracks: Sequence[DatasetTrack], notes: Iterable[DatasetNote]
) -> Dataset:
    """Put a data set together, with notes about what its tracks lack.

    Parameters
    ----------
    tracks : sequence of DatasetTrack
        Those whose audio is there, in the order of `present_tracks`.
    notes : iterable of DatasetNote
        What the loader has to say.
    """
    bare = [track.path for track in tracks if track.genre is None and not track.tags]
    loose = [track.path for track in tracks if track.group is None]
    apart = [track.path for track in tracks if track.split is None]
    return Dataset(
        about,
        tuple(tracks),
        (
            *notes,
            *note_of("unlabelled", "they have neither a genre nor a tag", bare),
            *note_of("no-group", "their artist is not known and may straddle splits", loose),
            *note_of("no-split", "they are in no published split", apart),
            *_straddling(tracks),
        ),
    )


def _straddling(tracks: Sequence[DatasetTrack]) -> Iterator[DatasetNote]:
    splits: dict[str, set[str]] = {}
    for track in tracks:
        if track.group is not None and track.split is not None:
            splits.setdefault(track.group, set()).add(track.split)
    groups = {group for group, names in splits.items() if len(names) > 1}
    if groups:
        n_tracks = sum(track.group in groups for track in tracks)
        text = f"{len(groups)} groups stand in more than one part of the published split"
        yield DatasetNote("straddling", n_tracks, text, tuple(sorted(groups)[:SHOWN_EXAMPLES]))
