"""Miniature data sets: folders and files as their makers hand them out, with short sounds."""

import numpy as np
import pytest
import soundfile

SR = 22_050


class Tree:
    """A folder to fill."""

    def __init__(self, root):
        self.root = root

    def text(self, path, content, *, encoding="utf-8"):
        """Write a text as it stands: line ends are the caller's."""
        self.raw(path, content.encode(encoding))

    def raw(self, path, content=b"audio"):
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)

    def sound(self, path, hz=440):
        """Write a tenth of a second of a tone."""
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        seconds = np.arange(SR // 10) / SR
        soundfile.write(place, 0.3 * np.sin(2 * np.pi * hz * seconds), SR)


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path / "data")


@pytest.fixture
def by_id():
    """Give the tracks of a data set by their identifiers."""
    return lambda dataset: {track.track_id: track for track in dataset.tracks}


@pytest.fixture
def noted():
    """Give the notes of a data set: kind -> (number of tracks, examples)."""
    return lambda dataset: {
        note.kind: (note.n_tracks, list(note.examples)) for note in dataset.notes
    }
