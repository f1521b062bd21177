"""What a cluster needs of this machine before anything is scanned or started.

Loads neither Dask nor what it looks for. Public: `check_needs`, `package`, `ClusterStartError`.
"""

import importlib
import ssl
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from flows.cluster_settings import ClusterSettings, TlsFiles
from musichash_core.errors import MusicHashError

_EXTRAS = {
    "asyncssh": "ssh",
    "dask_kubernetes": "kubernetes",
    "dask_jobqueue": "slurm",
    "dask_cuda": "cuda",
}


class ClusterStartError(MusicHashError):
    """A cluster cannot be started, or spoken to, with what this machine has."""

    is_wrong_input = True


def check_needs(settings: ClusterSettings) -> None:
    """Refuse a cluster whose package, certificates or keys are not here, before work is done.

    Raises
    ------
    ClusterStartError
        It names what is missing, and how to get it.
    """
    kinds = {
        "asyncssh": settings.ssh,
        "dask_kubernetes": settings.kubernetes,
        "dask_jobqueue": settings.slurm,
        "dask_cuda": settings.cuda,
    }
    for name, chosen in kinds.items():
        if chosen and find_spec(name) is None:
            raise _lacking(name, "it is not installed")
    if settings.tls is not None:
        _check_certificates(settings.tls)
    if settings.ssh is not None:
        for what in ("client_key", "known_hosts"):
            path = getattr(settings.ssh, what)
            if path is not None:
                _check_readable(path, f"ssh.{what}")


def package(name: str) -> Any:  # noqa: ANN401 - a module without types
    """Import a package that one kind of cluster needs, or a module of it.

    Raises
    ------
    ClusterStartError
        If it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise _lacking(name.partition(".")[0], str(error)) from error


def _lacking(name: str, reason: str) -> ClusterStartError:
    return ClusterStartError(
        f"this kind of cluster needs the package {name.replace('_', '-')} ({reason}); install it "
        f"with: pip install 'musichash[{_EXTRAS[name]}]'"
    )


def _check_certificates(files: TlsFiles) -> None:
    """Refuse files that no connection could be made with; Dask would not say which of them."""
    for what in ("ca_file", "cert_file", "key_file"):
        _check_readable(getattr(files, what), f"tls.{what}")
    try:
        context = ssl.create_default_context(cafile=files.ca_file)
    except ssl.SSLError as error:
        raise ClusterStartError(
            f"tls.ca_file: {files.ca_file} holds no certificate in PEM ({error.strerror}); name "
            "that of the authority"
        ) from error
    try:
        context.load_cert_chain(files.cert_file, files.key_file, password=_no_password)
    except (ssl.SSLError, ValueError) as error:
        reason = error.strerror if isinstance(error, ssl.SSLError) else str(error)
        raise ClusterStartError(
            f"tls.cert_file: {files.cert_file} and tls.key_file: {files.key_file} are not a "
            f"certificate in PEM and its own key without a password ({reason})"
        ) from error


def _no_password() -> str:
    """Keep OpenSSL from asking at the terminal, which a night has not."""
    raise ValueError("the key asks for a password")


def _check_readable(path: Path, what: str) -> None:
    try:
        path.open("rb").close()
    except OSError as error:
        raise ClusterStartError(
            f"{what}: {path} cannot be read ({error.strerror}); paths in the file of --cluster "
            "count from its folder"
        ) from error
