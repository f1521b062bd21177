"""Files without a name for what is too much for memory; gone with the process, however it ends.

They lie in the folder that ``TMPDIR`` names; without it, in ``/var/tmp`` where that can be written,
because ``/tmp`` is in memory on many machines.

Public: `temporary_file`, `temporary_space`.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, cast

from storage.errors import TemporarySpaceError

ON_DISK = "/var/tmp"
"""Holds what is large and temporary, by the Filesystem Hierarchy Standard."""


def temporary_file() -> BinaryIO:
    """Open a new file without a name, to write and to read; to be used in `temporary_space`."""
    return cast("BinaryIO", tempfile.TemporaryFile(prefix="musichash-", dir=_folder()))


@contextmanager
def temporary_space() -> Iterator[None]:
    """Turn what goes wrong with a temporary file into an error that says what to do.

    Raises
    ------
    TemporarySpaceError
        If the folder for temporary files is full, or cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise TemporarySpaceError(
            f"writing a temporary file in {_folder()} failed: {error.strerror or error}"
            "; a large catalogue needs some 300 bytes per file there: make room, or name another "
            "folder with the environment variable TMPDIR"
        ) from error


def _folder() -> str:
    named = os.environ.get("TMPDIR")
    if named:
        return named
    if os.access(ON_DISK, os.W_OK | os.X_OK):
        return ON_DISK
    try:
        return tempfile.gettempdir()
    except FileNotFoundError:  # none of those that it tries can be written
        return ON_DISK
