"""The tracks of a data set as a manifest, the file that says what to process.

A CSV with the columns of every manifest (``path``, ``id``, ``label``, ``group``) and three of its
own: ``split``, ``tags`` (with ``;`` between them) and ``duration_s``. A label column without labels
is written too, so that no folder's name is taken for a genre.

Public: `write_manifest_rows`, `MANIFEST_COLUMNS`.
"""

import csv
import io
from collections.abc import Iterable
from pathlib import Path

from storage.atomic import write_file
from storage.datasets.records import DatasetError, DatasetTrack
from storage.errors import StoreError

MANIFEST_COLUMNS = ("path", "id", "label", "group", "split", "tags", "duration_s")
TAG_SEPARATOR = ";"


def write_manifest_rows(path: Path, tracks: Iterable[DatasetTrack]) -> None:
    """Write tracks to a file; it appears whole or not at all.

    It replaces what an earlier call wrote, and nothing else: data sets are full of ``.csv`` files.

    Raises
    ------
    DatasetError
        If a tag holds the character that parts tags, or another file is there.
    StoreError
        If the file cannot be written.
    """
    if path.exists() and not _is_ours(path):
        raise DatasetError(
            f"{path} exists and is no manifest that this command wrote; name another file with "
            "--output, or remove it"
        )
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(MANIFEST_COLUMNS)
    writer.writerows(_row_of(track) for track in tracks)
    try:
        write_file(path, text.getvalue().encode())
    except OSError as error:
        raise StoreError(
            f"{path} cannot be written: {error.strerror}; name another file with --output"
        ) from error


def _is_ours(path: Path) -> bool:
    header = f"{','.join(MANIFEST_COLUMNS)}\n".encode()
    try:
        with path.open("rb") as file:
            return file.read(len(header)) == header
    except OSError:
        return False


def _row_of(track: DatasetTrack) -> tuple[str, ...]:
    if any(TAG_SEPARATOR in tag for tag in track.tags):
        raise DatasetError(f"{track.path}: the tags {track.tags} hold a {TAG_SEPARATOR!r}")
    return (
        track.path,
        track.track_id,
        track.genre or "",
        track.group or "",
        track.split or "",
        TAG_SEPARATOR.join(track.tags),
        "" if track.duration_s is None else f"{track.duration_s:g}",
    )
