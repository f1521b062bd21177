"""The state folder of ``musichash server``: its credentials, its lock, and where it answers.

The folder belongs to one user and holds ``credentials`` (the string that the server and its clients
share, mode 0600), ``server.lock`` (held while a server runs), ``server.json`` (where it answers;
gone after an orderly end) and ``prefect/`` (Prefect's own files, the SQLite database among them).
Public: `ServerError`, `ServerUsageError`, `StateFolder`, `Running`, `default_home`.
"""

import contextlib
import fcntl
import json
import os
import secrets
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from musichash_core.errors import MusicHashError

OTHERS_WRITE = 0o022
OTHERS_ANYTHING = 0o077
PRIVATE_FILE = 0o600
PRIVATE_FOLDER = 0o700
USER_NAME = "musichash"
SECRET_BYTES = 32
ASKED_TIMES = 5
ASKED_AGAIN_S = 0.1


class ServerError(MusicHashError):
    """A server that cannot be started, or is not there, or files of it that are not safe."""


class ServerUsageError(ServerError):
    """An option or file of the server that the operator must correct."""

    is_wrong_input = True


def default_home() -> Path:
    """Give the folder where a user's server keeps its state, as the XDG rules say."""
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "musichash"


@dataclass(frozen=True, slots=True)
class Running:
    """Where a server answers.

    Attributes
    ----------
    pid : int
        Its process.
    api_url, ui_url : str
        Of its API for programs of this machine, and of its pages for a browser.
    """

    pid: int
    api_url: str
    ui_url: str


class StateFolder:
    """The files of one server.

    Parameters
    ----------
    home : Path or None
        The folder; None for the user's own.
    """

    def __init__(self, home: Path | None = None) -> None:
        self.path = (home or default_home()).absolute()
        self.credentials = self.path / "credentials"
        self.prefect_home = self.path / "prefect"
        self.log = self.path / "server.log"
        self._lock = self.path / "server.lock"
        self._record = self.path / "server.json"

    def prepare(self) -> None:
        """Make the folder, for this user alone.

        Raises
        ------
        ServerUsageError
            If it cannot be made, or if others own it or could write to it.
        """
        try:
            self.path.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
            self.prefect_home.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
            status = self.path.stat()
        except OSError as error:
            raise ServerUsageError(
                f"the state folder {self.path} cannot be made ({error.strerror}); choose another "
                "with --home"
            ) from error
        if status.st_uid != os.geteuid() or status.st_mode & OTHERS_WRITE:
            raise ServerUsageError(
                f"others can write to the state folder {self.path}, and could put credentials of "
                "their own there; make it yours alone (chmod 700), or choose another with --home"
            )

    def secret(self) -> str:
        """Read the string that the server and its clients share.

        Raises
        ------
        ServerUsageError
            If there is none yet, or if others can read it.
        """
        try:
            with self.credentials.open(encoding="ascii") as file:
                mode = os.fstat(file.fileno()).st_mode
                text = file.read().strip()
        except FileNotFoundError:
            raise ServerUsageError(
                f"no credentials at {self.credentials}: 'musichash server' makes them when it "
                "starts for the first time; --home names another state folder"
            ) from None
        except (OSError, UnicodeDecodeError) as error:
            raise ServerUsageError(f"{self.credentials} cannot be read: {error}") from error
        if mode & OTHERS_ANYTHING:
            raise ServerUsageError(
                f"others can read {self.credentials} (mode {mode & 0o777:04o}): make new ones with "
                "'musichash server rotate'"
            )
        if ":" not in text:
            raise ServerUsageError(
                f"{self.credentials} does not hold 'name:secret'; make new ones with 'musichash "
                "server rotate'"
            )
        return text

    def secret_made_once(self) -> str:
        """Read the shared string; make it at random if there is none yet."""
        if not self.credentials.exists():
            self.new_secret()
        return self.secret()

    def new_secret(self) -> None:
        """Put a new random string in the place of the one before."""
        self._write(self.credentials, f"{USER_NAME}:{secrets.token_urlsafe(SECRET_BYTES)}\n")

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Be the one server of this folder.

        Raises
        ------
        ServerError
            If another one runs.
        """
        descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE)
        try:
            if not _locked_soon(descriptor):
                raise ServerError(self._describe_other())
            self._record.unlink(missing_ok=True)  # of a server that was killed
            yield
        finally:
            os.close(descriptor)

    def _describe_other(self) -> str:
        record = self._read_record()
        where = "is starting" if record is None else f"answers at {record.ui_url}"
        pid = "" if record is None else f" (process {record.pid})"
        return (
            f"a server of the state folder {self.path} runs already{pid} and {where}; end it first "
            "(Ctrl-C, or SIGTERM to its process), or give this one a folder of its own with --home"
        )

    def is_held(self) -> bool:
        """Tell whether a server of this folder runs, or is starting."""
        try:
            descriptor = os.open(self._lock, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def running(self) -> Running | None:
        """Give where the server of this folder answers; None while none does."""
        return self._read_record() if self.is_held() else None

    def _read_record(self) -> Running | None:
        try:
            return Running(**json.loads(self._record.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def record(self, running: Running) -> None:
        """Tell the clients of this folder where its server answers."""
        self._write(self._record, json.dumps(asdict(running), indent=2) + "\n")

    def forget(self) -> None:
        """Tell the clients of this folder that its server ends."""
        self._record.unlink(missing_ok=True)

    def _write(self, path: Path, text: str) -> None:
        """Replace a file as a whole, readable by this user alone."""
        beside = path.with_name(f".{path.name}.{os.getpid()}")
        beside.unlink(missing_ok=True)
        descriptor = os.open(
            beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE_FILE
        )
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _locked_soon(descriptor: int) -> bool:
    """Lock a file; whoever only asks whether it is locked holds it for an instant."""
    for _ in range(ASKED_TIMES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(ASKED_AGAIN_S)
        else:
            return True
    return False
