"""Read a file's headers by position, through a window, so that walks over many small ones are fast.

Public: `FileWindow`.
"""

import os

from musichash_core.decode.tag_blocks import audio_end, front_tag_bytes
from musichash_core.errors import DecodeError

WINDOW_BYTES = 1 << 16
"""Read at a time: the headers of frames of a few hundred bytes share one call to the system."""

_LYRICS = b"LYRICSBEGIN"


class FileWindow:
    """An open file, read by position; its own position is left alone.

    Parameters
    ----------
    descriptor : int
        The open file; the caller closes it.

    Attributes
    ----------
    n_bytes : int
        Size of the file.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.n_bytes = os.fstat(descriptor).st_size
        self._start = 0
        self._window = b""
        self._tags_begin: int | None = None

    def read_at(self, at: int, n_bytes: int) -> bytes:
        """Give the bytes at a place; fewer than asked for where the file ends."""
        if n_bytes > WINDOW_BYTES:
            return os.pread(self._descriptor, n_bytes, at)
        offset = at - self._start
        if offset < 0 or offset + n_bytes > len(self._window):
            self._start, offset = at, 0
            self._window = os.pread(self._descriptor, WINDOW_BYTES, at)
        return self._window[offset : offset + n_bytes]

    def read_exactly(self, at: int, n_bytes: int, what: str) -> bytes:
        """Give the bytes at a place.

        Parameters
        ----------
        at, n_bytes : int
            Where, and how many.
        what : str
            What they are, for the message: ``the header of an ADTS frame``.

        Raises
        ------
        DecodeError
            With code truncated, when the file ends before.
        """
        data = self.read_at(at, n_bytes)
        if len(data) < n_bytes:
            self.check_end(at, at + n_bytes, what)
            raise DecodeError("truncated", f"the file became shorter while {what} was read")
        return data

    def check_end(self, at: int, end: int, what: str) -> None:
        """Refuse a part of the file that would end behind the file's end.

        Raises
        ------
        DecodeError
            With code truncated.
        """
        if end > self.n_bytes:
            raise DecodeError(
                "truncated",
                f"{what} at byte {at} would end at byte {end}; the file has {self.n_bytes} bytes",
            )

    def is_end_of_audio(self, at: int) -> bool:
        """Whether nothing more than a tag, or a rest of zeros, stands at a place and behind it.

        Raises
        ------
        DecodeError
            With code truncated, when the file ends inside that tag.
        """
        if self._tags_begin is None:
            self._tags_begin = audio_end(self._descriptor, self.n_bytes)
        if at >= self._tags_begin:
            return True
        head = self.read_at(at, 32)
        if tag_bytes := front_tag_bytes(head):
            self.check_end(at, at + tag_bytes, "the tag behind the audio")
            return True
        if head.startswith(_LYRICS):
            return True
        if head.strip(b"\0"):
            return False
        while not self.read_at(at, WINDOW_BYTES).strip(b"\0"):
            at += WINDOW_BYTES
            if at >= self.n_bytes:
                return True
        return False
