"""Take from the decoder process what it does not need: files, memory, processes, privileges.

What holds always are resource limits, no new privileges, and another user when started by root.
`sandbox_command` adds a network-less namespace where the system has one and the operator asks.

Public: `confine`, `allow_cpu`, `sandbox_command`, `clean_environment`.
"""

import ctypes
import errno
import math
import os
import resource
import shutil
import site
import sys
import time
from pathlib import Path

from musichash_core.decode.limits import DecodeConfig, Sandbox
from musichash_core.errors import ConfigError

OPEN_FILES = 64
NOBODY = 65_534
"""User and group that a process started by root becomes: it needs no file by name."""

PR_SET_NO_NEW_PRIVS = 38
PASSED_ON = ("PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "TZ")
_PACKAGES = {"unshare": "util-linux", "bwrap": "bubblewrap"}


def confine(config: DecodeConfig) -> None:
    """Give up, for the rest of this process, what decoding does not need.

    No file can be written (a limit of 0 bytes) and no core dumped; memory is limited to
    ``config.memory_mb``; no process can be started by anybody but root, and root becomes nobody.
    """
    megabytes = config.memory_mb * 1_000_000
    for limit, value in (
        (resource.RLIMIT_AS, megabytes),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, OPEN_FILES),
    ):
        hard = resource.getrlimit(limit)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (value, value))
    if os.geteuid() == 0:
        _become_nobody()
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def _become_nobody() -> None:
    try:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    except OSError as error:
        # Inside a user namespace nobody is not mapped, and root there is no root outside.
        if error.errno not in {errno.EINVAL, errno.EPERM}:
            raise


def allow_cpu(seconds: float) -> None:
    """Let this process use so much more CPU time; beyond it the kernel ends it (SIGXCPU)."""
    soft = math.ceil(time.process_time() + seconds) + 1
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(
        resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard)
    )


def sandbox_command(sandbox: Sandbox) -> list[str]:
    """Give the command that the decoder process is started through; empty for none.

    Raises
    ------
    ConfigError
        If the program is not installed.
    """
    if sandbox == "off":
        return []
    program = shutil.which(sandbox)
    if program is None:
        raise ConfigError(
            f"decode.sandbox = {sandbox!r}: there is no program {sandbox} here; install the "
            f"package {_PACKAGES[sandbox]}, or set decode.sandbox to 'off'"
        )
    if sandbox == "unshare":
        return [program, "--user", "--net", "--ipc", "--uts", "--"]
    bound = [part for path in _needed_folders() for part in ("--ro-bind", path, path)]
    kept_apart = ["--unshare-all", "--die-with-parent", "--new-session"]
    return [program, *kept_apart, *bound, "--proc", "/proc", "--dev", "/dev", "--chdir", "/", "--"]


def _needed_folders() -> list[str]:
    """List what Python and its libraries are read from: neither homes nor catalogues."""
    project = Path(__file__).resolve().parents[3]
    named = [sys.prefix, sys.base_prefix, *site.getsitepackages(), str(project)]
    system = ["/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache"]
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return sorted({path for path in (*named, *system, *paths) if path and Path(path).exists()})


def clean_environment() -> dict[str, str]:
    """Give the environment of the decoder process: no secrets, one thread, nothing written."""
    kept = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    return kept | {
        "LANG": "C.UTF-8",
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
