"""The sample catalogue of real music that a checkout of the repository holds.

Public: `sample_catalogue`, `sample_files`, `SAMPLE_CONFIG`.
"""

from pathlib import Path

from musichash_core.errors import MusicHashError

_REPOSITORY = Path(__file__).parent.parent
_MUSIC = _REPOSITORY / "tests" / "data" / "music"
_NO_MUSIC_SUFFIXES = frozenset({".csv", ".md", ".txt"})

SAMPLE_CONFIG = _REPOSITORY / "deploy" / "demo.toml"


def sample_catalogue() -> Path:
    """Give the folder of the sample catalogue; its labels are in ``labels.csv``.

    Raises
    ------
    MusicHashError
        If it is not there, because this is no checkout.
    """
    if not _MUSIC.is_dir():
        raise MusicHashError(
            f"the sample catalogue {_MUSIC} is missing; it comes with a checkout of the "
            "repository: name files or a catalogue of your own"
        )
    return _MUSIC


def sample_files() -> list[str]:
    """List the audio files of the sample catalogue, sorted."""
    files = (path for path in sample_catalogue().rglob("*") if path.is_file())
    return sorted(str(path) for path in files if path.suffix not in _NO_MUSIC_SUFFIXES)
