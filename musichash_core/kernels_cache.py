"""Compile numba kernels, and keep the machine code in a private directory between processes.

Numba's own on-disk cache is a pickle beside the source file: whoever can write there runs code in
every worker, a damaged file crashes the process, and a kernel that calls a kernel of another module
is not recompiled when that module changes. Here an entry lies in a directory that only this user
can read or write, starts with the SHA-256 of its contents and is deleted and compiled anew when
that does not match; the directory's name covers the sources of all kernels and the versions of
Python, numba and llvmlite, and an entry's name covers the processor.

The directory is looked at when the first kernel is compiled or loaded, and nothing needs to be set
before numba is imported: a worker process calls `musichash_core.kernel_warmup.warm_kernels` before
its first track, with its cache directory unless the default will do. Entries may be deleted at any
time.

Public: `kernel`, `use_kernel_cache`, `default_cache_directory`, `kernel_cache_state`.
"""

import hashlib
import os
import pickle
import platform
import stat
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

import numba
from numba.core.caching import _Cache
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps

from musichash_core.errors import ParameterError

P = ParamSpec("P")
R = TypeVar("R")

NumbaObject = Any
"""A compilation context, compiled function or code generator of numba, which has no types."""

_rebuild: Callable[..., NumbaObject] = CompileResult._rebuild
_dumps: Callable[[object], bytes] = dumps

DIGEST_BYTES = 32


@dataclass(slots=True)
class KernelCacheState:
    """What this process's kernel cache did so far.

    Attributes
    ----------
    directory : Path or None
        Where entries lie; None when kernels are compiled in each process.
    reason : str
        Why there is no directory; empty when there is one.
    n_loaded, n_compiled, n_damaged, n_unsaved : int
        Kernels read from disk; compiled here; found damaged and deleted; not written (disk full).
    """

    directory: Path | None = None
    reason: str = ""
    n_loaded: int = 0
    n_compiled: int = 0
    n_damaged: int = 0
    n_unsaved: int = 0


_state: KernelCacheState | None = None


def kernel(function: Callable[P, R], *, variant: str = "") -> Callable[P, R]:
    """Compile a function at its first call, or load its machine code from the kernel cache.

    Kernels release the GIL, divide like NumPy (no exception) and never reorder floating-point
    operations, so that their results do not depend on block sizes or on the vector width.

    Parameters
    ----------
    function : callable
        Written in numba's subset of Python.
    variant : str
        Distinguishes kernels that a factory makes from the same source, such as a filter length.
    """
    dispatcher: Any = numba.njit(nogil=True, error_model="numpy")(function)
    dispatcher._cache = _CheckedCache(function, variant)
    return cast(Callable[P, R], dispatcher)


def default_cache_directory() -> Path:
    """Give ``NUMBA_CACHE_DIR/musichash`` if that is set, else ``~/.cache/musichash/kernels``."""
    directory = vars(numba.config)["CACHE_DIR"]
    if directory:
        return Path(directory) / "musichash"
    return Path.home() / ".cache" / "musichash" / "kernels"


def use_kernel_cache(directory: Path | None = None) -> KernelCacheState:
    """Choose where this process keeps compiled kernels, and create the directory if need be.

    Parameters
    ----------
    directory : Path, optional
        Must belong to this user with mode 0700, or not exist yet. By default
        `default_cache_directory`, and if that cannot be used, no cache at all: kernels are then
        compiled in each process and the returned state says why.

    Raises
    ------
    ParameterError
        If the directory that was asked for cannot be used safely.
    """
    global _state
    try:
        place = _prepare_directory(directory or default_cache_directory())
        _state = KernelCacheState(directory=place)
    except (OSError, RuntimeError, ParameterError) as error:
        if directory is not None:
            raise ParameterError(f"kernel cache {directory}: {error}") from error
        _state = KernelCacheState(reason=str(error))
    return _state


def kernel_cache_state() -> KernelCacheState:
    """Give the state of this process's cache; choose the default directory if none was chosen."""
    return _state or use_kernel_cache()


def _prepare_directory(root: Path) -> Path:
    root.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    root = root.parent.resolve() / root.name  # a link in the last place is refused below
    for parent in root.parents:
        _check_parent(parent)
    directory = root / _sources_digest()[:32]
    for level in (root, directory):
        level.mkdir(mode=0o700, exist_ok=True)
        _check_private(level)
    tempfile.TemporaryFile(dir=directory).close()
    return directory


def _check_parent(parent: Path) -> None:
    """Refuse a parent in which another user could swap our directory for theirs."""
    found = parent.stat()
    others_write = bool(found.st_mode & 0o022) and not found.st_mode & stat.S_ISVTX
    if others_write or found.st_uid not in (0, os.geteuid()):
        raise ParameterError(
            f"{parent} (mode {stat.S_IMODE(found.st_mode):04o}, owner {found.st_uid}) lets other "
            "users replace what is in it; choose a directory below your home"
        )


def _check_private(directory: Path) -> None:
    found = directory.lstat()
    is_private = stat.S_ISDIR(found.st_mode) and not found.st_mode & 0o077
    if not is_private or found.st_uid != os.geteuid():
        raise ParameterError(
            f"{directory} is {stat.filemode(found.st_mode)} of user {found.st_uid}; it must be a "
            f"directory of user {os.geteuid()} with mode 0700: compiled code is loaded from it"
        )


@cache
def _sources_digest() -> str:
    """Hash the sources of all modules with kernels: numba looks at the kernel's own file only."""
    digest = hashlib.sha256(
        f"{platform.python_version()} {version('numba')} {version('llvmlite')}".encode()
    )
    for path in _sources_of_kernels():
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _sources_of_kernels() -> list[Path]:
    """List the modules that hold kernels, write instructions for them, or plan these."""
    words = (b"kernels_cache", b"median_network", b"llvmlite")
    return [
        path
        for path in sorted(Path(__file__).parent.rglob("*.py"))
        if any(word in path.read_bytes() for word in words)
    ]


class _CheckedCache(_Cache):
    """The cache object that a numba dispatcher asks before and tells after compiling."""

    def __init__(self, function: Callable[..., Any], variant: str) -> None:
        self._name = f"{function.__module__}.{function.__qualname__}.{variant}"
        self._is_enabled = True

    @property
    def cache_path(self) -> str:
        return str(kernel_cache_state().directory)

    def enable(self) -> None:
        self._is_enabled = True

    def disable(self) -> None:
        self._is_enabled = False

    def flush(self) -> None:
        """Do nothing: entries are shared between processes and may be deleted by hand."""

    def load_overload(self, sig: object, target_context: NumbaObject) -> NumbaObject:
        """Give the compiled kernel for a signature, or None if it must be compiled."""
        path = self._entry_path(sig, target_context.codegen())
        if path is None or not path.exists():
            return None
        target_context.refresh()
        try:
            loaded = _rebuild(target_context, *pickle.loads(_read_entry(path)))
        except Exception:  # noqa: BLE001 - whatever is wrong with an entry, compiling cures it
            kernel_cache_state().n_damaged += 1
            path.unlink(missing_ok=True)
            return None
        kernel_cache_state().n_loaded += 1
        return loaded

    def save_overload(self, sig: object, data: NumbaObject) -> None:
        """Write a freshly compiled kernel; if that fails, the next process compiles again."""
        kernel_cache_state().n_compiled += 1
        path = self._entry_path(sig, data.codegen)
        if path is None or data.library.has_dynamic_globals:
            return
        try:
            _write_entry(path, _dumps(data._reduce()))
        except OSError:
            kernel_cache_state().n_unsaved += 1

    def _entry_path(self, sig: object, codegen: NumbaObject) -> Path | None:
        directory = kernel_cache_state().directory
        if directory is None or not self._is_enabled:
            return None
        key = f"{self._name} {sig} {codegen.magic_tuple()}"
        return directory / f"{hashlib.sha256(key.encode()).hexdigest()[:40]}.kernel"


def _read_entry(path: Path) -> bytes:
    contents = path.read_bytes()
    digest, payload = contents[:DIGEST_BYTES], contents[DIGEST_BYTES:]
    if hashlib.sha256(payload).digest() != digest:
        raise ValueError(f"{path} is damaged")
    return payload


def _write_entry(path: Path, payload: bytes) -> None:
    """Write beside the target and rename, so that a reader never meets half an entry."""
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
        try:
            file.write(hashlib.sha256(payload).digest() + payload)
            file.close()
            Path(file.name).replace(path)
        except OSError:
            Path(file.name).unlink(missing_ok=True)
            raise
