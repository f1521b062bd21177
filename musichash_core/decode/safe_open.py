"""Open a file of a catalogue without being led anywhere else, and without ever waiting.

Public: `open_beneath`, `check_unchanged`, `reading`.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from musichash_core.errors import DecodeError


def open_beneath(root: str, path_raw: bytes) -> int:
    """Open a file below a catalogue root, following no link and never blocking.

    Each component is opened relative to its parent with ``O_NOFOLLOW``; ``..`` and absolute paths
    are refused; pipes and devices do not block.

    Parameters
    ----------
    root : str
        The catalogue root; may itself be a link.
    path_raw : bytes
        Path below it, as the file system spells it.

    Returns
    -------
    int
        A descriptor of a regular file; the caller closes it.

    Raises
    ------
    DecodeError
        With code outside-root, not-a-regular-file, vanished, permission or read-error.
    """
    parts = path_raw.split(b"/")
    if path_raw.startswith(b"/") or b".." in parts or b"\0" in path_raw:
        raise DecodeError(
            "outside-root", f"path {_shown(path_raw)} does not stay below the root {root}"
        )
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        parent = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        for part in parts[:-1]:
            child = _open_at(parent, part, flags | os.O_DIRECTORY)
            parent = child
        descriptor = _open_at(parent, parts[-1], flags)
    except OSError as error:
        raise _as_decode_error(error, path_raw) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise DecodeError("not-a-regular-file", f"{_shown(path_raw)} is not a regular file")
    return descriptor


def _open_at(parent: int, name: bytes, flags: int) -> int:
    try:
        return os.open(name, flags, dir_fd=parent)
    finally:
        os.close(parent)


def _as_decode_error(error: OSError, path_raw: bytes) -> DecodeError:
    code = {
        errno.ENOENT: "vanished",
        errno.EACCES: "permission",
        errno.EPERM: "permission",
        errno.ELOOP: "not-a-regular-file",
        errno.ENOTDIR: "not-a-regular-file",
        errno.ENXIO: "not-a-regular-file",
    }.get(error.errno or 0, "read-error")
    # What the system says of a link that is not followed, 'too many levels', misleads.
    reason = "it is a symbolic link" if error.errno == errno.ELOOP else error.strerror
    return DecodeError(code, f"{_shown(path_raw)} cannot be opened: {reason}")


def _shown(path_raw: bytes) -> str:
    return repr(path_raw.decode("utf-8", "backslashreplace"))


@contextmanager
def reading() -> Iterator[None]:
    """Turn what the operating system says about reading a file into a failure of that file."""
    try:
        yield
    except OSError as error:
        raise DecodeError("read-error", f"reading failed: {error.strerror}") from error


def check_unchanged(descriptor: int, n_bytes: int, mtime_ns: int) -> None:
    """Refuse a file that is not the one that the scan saw.

    Raises
    ------
    DecodeError
        With code changed-while-reading.
    """
    with reading():
        status = os.fstat(descriptor)
    if (status.st_size, status.st_mtime_ns) != (n_bytes, mtime_ns):
        raise DecodeError(
            "changed-while-reading",
            f"the scan saw {n_bytes} bytes, now there are {status.st_size}, "
            "or the modification time differs",
        )
