"""Catalogue roots as operators name them, made absolute and checked.

Public: `check_roots`.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from storage.errors import CatalogueError


def check_roots(roots: Sequence[str | Path]) -> tuple[str, ...]:
    """Make catalogue roots absolute, and refuse what is no readable folder.

    Raises
    ------
    CatalogueError
        If a root is missing, is no folder, cannot be listed, has a name that is not UTF-8, or is
        or lies inside another.
    """
    if not roots:
        raise CatalogueError("no catalogue is given; name one or more folders with --catalogue DIR")
    absolute = [_check_root(root) for root in roots]
    for place, path in enumerate(absolute):
        for other in absolute[:place] + absolute[place + 1 :]:
            if other.resolve() == path.resolve():
                raise CatalogueError(f"the catalogue {path} is named twice; name it once")
            if other.resolve().is_relative_to(path.resolve()):
                raise CatalogueError(
                    f"the catalogue {other} lies inside {path}; name only one of them"
                )
    return tuple(str(path) for path in absolute)


def _check_root(root: str | Path) -> Path:
    if not str(root):
        raise CatalogueError("a catalogue has an empty name; name a folder with --catalogue DIR")
    path = Path(root).absolute()
    if ".." in path.parts:
        path = path.resolve()  # one folder, one spelling: unchanged files are known by their path
    try:
        str(path).encode()
        with os.scandir(path):
            pass
    except UnicodeEncodeError as error:
        raise CatalogueError(
            f"the name of the catalogue {os.fsencode(path)!r} is not UTF-8; rename the folder, or "
            "name a link to it"
        ) from error
    except FileNotFoundError as error:
        raise CatalogueError(
            f"the catalogue {path} does not exist; check the path, or mount the disk, and run again"
        ) from error
    except NotADirectoryError as error:
        raise CatalogueError(
            f"the catalogue {path} is not a folder; name the folder that holds the music"
        ) from error
    except OSError as error:
        raise CatalogueError(
            f"the catalogue {path} cannot be listed: {error.strerror}; grant read permission"
        ) from error
    return path
