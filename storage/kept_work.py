"""Keeping what was worked out beside runs, for the next time: a file that nothing published lists.

It is written beside any run, whose start sweeps temporary files away, this one's too: then it is
written once more.

Public: `keep_json`, `keep_table`.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from storage.atomic import LEFTOVER_PREFIX, make_folder, place_file, write_json
from storage.errors import StoreError
from storage.tables import write_table


def keep_json(path: Path, content: dict[str, Any], what: str) -> None:
    """Keep JSON in place of what was kept before, durably.

    Parameters
    ----------
    what : str
        What it is, for a message: ``the comparison``.

    Raises
    ------
    StoreError
        If the store cannot be written.
    """
    _keep(path, what, lambda: write_json(path, content))


def keep_table(path: Path, table: pa.Table, what: str) -> None:
    """Keep a table in place of what was kept before, durably; as `keep_json`."""
    _keep(path, what, lambda: _place(path, table))


def _keep(path: Path, what: str, write: Callable[[], object]) -> None:
    try:
        try:
            write()
        except FileNotFoundError:  # swept away
            write()
    except OSError as error:
        raise StoreError(
            f"{what} {path} cannot be written: {error.strerror}; check owner, permissions and free "
            "space of the store"
        ) from error


def _place(path: Path, table: pa.Table) -> None:
    make_folder(path.parent)
    temporary = path.with_name(f"{LEFTOVER_PREFIX}{os.getpid()}-{path.name}")
    try:
        write_table(temporary, table)
        place_file(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
