"""What a loader of a data set gives: its tracks, where it comes from, and what was left out.

Public: `Dataset`, `AboutDataset`, `DatasetTrack`, `DatasetNote`, `DatasetError`, `Split`,
`SPLITS`, `NoteKind`.
"""

from dataclasses import dataclass
from typing import Literal, get_args

from storage.errors import RowFileError

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

NoteKind = Literal[
    "missing", "corrupt", "faulty", "duplicate", "unlabelled", "no-split", "no-group", "straddling"
]


class DatasetError(RowFileError):
    """A folder is not laid out like the data set it is said to be, or a file in it is damaged."""


@dataclass(frozen=True, slots=True)
class AboutDataset:
    """Where a data set comes from.

    Attributes
    ----------
    name : str
        What the command line calls it.
    title : str
        What people call it.
    citation : str
        The publication to name with any figure.
    homepage : str
        Where it is described and how it is had.
    licence : str
        What its makers allow, as far as they say.
    layout : str
        The files and folders that are expected below the root.
    """

    name: str
    title: str
    citation: str
    homepage: str
    licence: str
    layout: str


@dataclass(frozen=True, slots=True)
class DatasetTrack:
    r"""One track.

    Attributes
    ----------
    path : str
        Below the root, with ``/``; bytes that are not UTF-8 as ``\xNN``, as manifests have them.
    track_id : str
        The data set's own identifier, as text.
    genre : str or None
        Its one genre; None if it has none or several.
    tags : tuple of str
        In the order of the data set.
    group : str or None
        The unit that must not straddle a split: an artist, or an album where no artist is known.
    split : {"train", "validation", "test"} or None
        Of the published split.
    duration_s : float or None
        Seconds, where the data set says it.
    """

    path: str
    track_id: str
    genre: str | None = None
    tags: tuple[str, ...] = ()
    group: str | None = None
    split: Split | None = None
    duration_s: float | None = None


@dataclass(frozen=True, slots=True)
class DatasetNote:
    """Something that whoever uses the tracks must know.

    Attributes
    ----------
    kind : str
        What it is about. "missing", "corrupt", "faulty" and "duplicate" tracks are left out; the
        others are in.
    n_tracks : int
        How many tracks it is about.
    text : str
        A clause without a full stop.
    examples : tuple of str
        A few of the identifiers, paths or groups.
    """

    kind: NoteKind
    n_tracks: int
    text: str
    examples: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Dataset:
    """A data set on this machine.

    Attributes
    ----------
    about : AboutDataset
        Its source, citation and licence.
    tracks : tuple of DatasetTrack
        Those whose audio is there, sorted by path.
    notes : tuple of DatasetNote
        What was left out and why, and what is not known.
    """

    about: AboutDataset
    tracks: tuple[DatasetTrack, ...]
    notes: tuple[DatasetNote, ...]
