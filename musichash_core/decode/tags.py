"""Title, artist, album, genre and year that a file carries.

Tags are a hint for people and decide nothing: what is damaged or missing is None. Texts are one
line without control characters.

Public: `AudioTags`, `read_tags`, `tags_from_metadata`.
"""

import io
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import BinaryIO, cast

from tinytag import TinyTag

from musichash_core.plain_text import remove_controls

MAX_TEXT_CHARACTERS = 500
"""Longer texts are cut: no title is that long, and every row of a table holds them."""

MAX_READ_BYTES = 4_000_000
"""Read of one file for its tags. Pictures are passed over, but for those inside Ogg comments."""

MAX_READS = 100_000
"""A tag has tens of entries; one of more reads was made to keep its reader busy."""

TAGGED_CONTAINERS = frozenset(
    {"aiff", "asf", "flac", "mp3", "mp4", "ogg-flac", "ogg-opus", "ogg-speex", "ogg-vorbis", "wav"}
)
"""Containers, as `sniff_container` names them, whose tags tinytag knows."""

_YEAR_KEYS = ("date", "year", "tdrc", "tyer")


@dataclass(frozen=True, slots=True)
class AudioTags:
    """What the tags of a file say; None where they say nothing.

    Attributes
    ----------
    title, artist, album, genre : str or None
        At most `MAX_TEXT_CHARACTERS` characters.
    year : int or None
        Year of release, 1000 to 2999.
    """

    title: str | None = None
    artist: str | None = None
    album: str | None = None
    genre: str | None = None
    year: int | None = None


def read_tags(descriptor: int, container: str) -> AudioTags:
    """Read the tags of an open file; its position stays where it is.

    Parameters
    ----------
    descriptor : int
        The file.
    container : str
        As `sniff_container` names it.

    Returns
    -------
    AudioTags
        All None when the container has no tags known here, or damaged ones.
    """
    if container not in TAGGED_CONTAINERS:
        return AudioTags()
    try:
        file = cast("BinaryIO", _BoundedFile(descriptor))
        found = TinyTag.get(file_obj=file, duration=False, image=False)
    except Exception:  # noqa: BLE001 - made of foreign bytes; the audio may be sound all the same
        return AudioTags()
    return AudioTags(
        title=_clean(found.title),
        artist=_clean(found.artist),
        album=_clean(found.album),
        genre=_clean(found.genre),
        year=_first_year(
            [found.year, *(text for name in _OTHER_YEARS for text in found.other.get(name, ()))]
        ),
    )


def tags_from_metadata(metadata: Mapping[str, str]) -> AudioTags:
    """Take the tags from FFmpeg's metadata of a container or stream; keys may be in any case."""
    lowered = {str(key).lower(): value for key, value in metadata.items()}
    return AudioTags(
        title=_clean(lowered.get("title")),
        artist=_clean(lowered.get("artist")) or _clean(lowered.get("author")),  # AIFF has authors
        album=_clean(lowered.get("album")),
        genre=_clean(lowered.get("genre")),
        year=_first_year([lowered.get(key) for key in _YEAR_KEYS]),
    )


def _clean(text: object) -> str | None:
    if text is None:
        return None
    # Cut twice: first, so that a text of megabytes costs nothing.
    kept = remove_controls(str(text)[: 2 * MAX_TEXT_CHARACTERS])
    return kept[:MAX_TEXT_CHARACTERS].rstrip() or None


_YEAR = re.compile(r"(?<!\d)([12]\d{3})(?!\d)")
_COMPACT_DATE = re.compile(r"([12]\d{3})(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?!\d)")


def _first_year(texts: Iterable[object]) -> int | None:
    return next((year for text in texts if (year := _year(text))), None)


def _year(text: object) -> int | None:
    """Find the year in ``2004``, ``2004-05-01``, ``20040501`` or ``1 May 2004``."""
    plain = _clean(text)
    if plain is None:
        return None
    found = _COMPACT_DATE.match(plain) or _YEAR.search(plain)
    return int(found[1]) if found else None


class _BoundedFile(io.RawIOBase):
    """A file that seems to end once `MAX_READ_BYTES` were read of it.

    Reads at its own position, so the descriptor's stays where it is. A sizeless read gives what
    is left of the bound.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._size = os.fstat(descriptor).st_size
        self._position = 0
        self._bytes_left = MAX_READ_BYTES
        self._reads_left = MAX_READS

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        self._reads_left -= 1
        if self._reads_left < 0:
            raise OSError(f"more than {MAX_READS} reads for the tags of one file")
        wanted = self._bytes_left if size is None or size < 0 else min(size, self._bytes_left)
        data = os.pread(self._descriptor, wanted, self._position)
        self._position += len(data)
        self._bytes_left -= len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        if start + offset < 0:
            raise OSError(f"position {start + offset} lies before the beginning of the file")
        self._position = start + offset
        return self._position

    def tell(self) -> int:
        return self._position


_OTHER_YEARS = ("_year", "date")
"""Fields that tinytag has no place for and that hold a year: YEAR in Vorbis comments, and what
FFmpeg writes into ASF."""


def _keep_other_years(self: TinyTag, fieldname: str, value: str) -> None:
    """Keep none of the fields that are not asked for.

    tinytag compares each with all before it: half a million made-up comments would take hours.
    """
    if fieldname in _OTHER_YEARS:
        self.other.setdefault(fieldname, [value])


TinyTag._set_other_field = _keep_other_years  # type: ignore[method-assign]
