"""Some stretches of a file, and bytes from memory, read as if they were one file.

libsndfile stops at the end of the first of several joined streams, and believes headers that lie.
Both are cured without a copy: it is shown one stream at a time, with a header that tells the truth.

Public: `ByteRuns`, `Run`.
"""

import os
from bisect import bisect_right
from itertools import accumulate

Run = tuple[int, int] | bytes
"""Part of a view: offset and length in the file, or the bytes themselves."""


class ByteRuns:
    """A read-only, seekable view of a descriptor, as soundfile expects of a file object.

    Parameters
    ----------
    descriptor : int
        The open file; its position is left alone, and the caller closes it.
    runs : sequence of Run
        What the view holds, in order.

    Attributes
    ----------
    error : OSError or None
        What reading met: soundfile calls from C, where an exception would be lost.
    """

    def __init__(self, descriptor: int, runs: tuple[Run, ...]) -> None:
        self._descriptor = descriptor
        self._runs = tuple(run for run in runs if _run_bytes(run))
        self._ends = list(accumulate(_run_bytes(run) for run in self._runs))
        self._at = 0
        self.error: OSError | None = None

    @property
    def n_bytes(self) -> int:
        """Length of the view."""
        return self._ends[-1] if self._ends else 0

    def tell(self) -> int:
        """Give the position in the view."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a position, as `io.IOBase.seek` does; never before the start."""
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.n_bytes}[whence]
        self._at = max(0, origin + offset)
        return self._at

    def read(self, n_bytes: int) -> bytes:
        """Give the next bytes; fewer only at the end, or when the file has become shorter."""
        pieces = []
        index = bisect_right(self._ends, self._at)
        while n_bytes > 0 and index < len(self._runs):
            piece = self._read_run(index, n_bytes)
            if not piece:
                break
            pieces.append(piece)
            self._at += len(piece)
            n_bytes -= len(piece)
            index += self._at >= self._ends[index]
        return b"".join(pieces)

    def readinto(self, buffer: bytearray | memoryview) -> int:
        """Fill a buffer with the next bytes; give their number."""
        piece = self.read(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)

    def _read_run(self, index: int, n_bytes: int) -> bytes:
        run = self._runs[index]
        inside = self._at - (self._ends[index] - _run_bytes(run))
        if isinstance(run, bytes):
            return run[inside : inside + n_bytes]
        start, length = run
        try:
            return os.pread(self._descriptor, min(n_bytes, length - inside), start + inside)
        except OSError as error:
            self.error = error
            return b""


def _run_bytes(run: Run) -> int:
    return len(run) if isinstance(run, bytes) else run[1]
