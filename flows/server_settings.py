"""What ``musichash server`` is told, and the settings of Prefect that follow from it.

Public: `ServerSettings`, `Database`, `database_from`, `check_addresses`, `prefect_environment`,
`enter_prefect_environment`.
"""

import ipaddress
import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from flows.environment import PREFECT_DEFAULTS
from flows.server_state import OTHERS_ANYTHING, ServerUsageError, StateFolder

DATABASE_VARIABLE = "MUSICHASH_DATABASE_URL"
SECONDS_OF_A_DAY = 86_400
HEARTBEATS_KEPT_DAYS = 1
GROUP_READS = 0o040

FOREIGN = re.compile(
    r"PREFECT_(SERVER_API_|SERVER_CSRF_|SERVER_CORS_|SERVER_UI_|UI_|SERVER_DATABASE_|API_|CLIENT_"
    r"|HOME$|PROFILE$|PROFILES_PATH$|SERVER_SERVICES_DB_VACUUM_|SERVER_EPHEMERAL_ENABLED$"
    r"|SERVER_ALLOW_EPHEMERAL_MODE$|SERVER_METRICS_ENABLED$|LOGGING_)"
)
"""Inherited variables that could undo a setting below, under one of its several names."""

HOST_NAME = re.compile(r"[a-z0-9.-]+")
"""As it stands in the headers that browsers send and are sent."""

_DRIVERS = {
    "postgresql+asyncpg": "postgresql+asyncpg",
    "postgresql": "postgresql+asyncpg",
    "postgres": "postgresql+asyncpg",
}


@dataclass(frozen=True, slots=True)
class Database:
    """Where a Postgres database is.

    Attributes
    ----------
    url : str
        For SQLAlchemy; holds the password.
    source : str
        Where the URL was read.
    """

    url: str
    source: str

    @property
    def plain_url(self) -> str:
        """The URL for the driver itself."""
        return self.url.replace("postgresql+asyncpg://", "postgresql://", 1)

    @property
    def shown(self) -> str:
        """The URL without user and password."""
        parts = urlsplit(self.url)
        return f"postgresql://{parts.hostname or ''}{_port_of(self.url)}{parts.path}"


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """How a server is reached and what it keeps.

    Attributes
    ----------
    host : str
        Address that it listens at.
    port : int
        Port that it listens at.
    proxy : str or None
        Origin (``https://name``) of the TLS proxy in front of it, as browsers see it.
    keep_days : int
        After which finished flow runs, their logs and artifacts are removed.
    database : Database or None
        None for SQLite in the state folder.
    """

    host: str = "127.0.0.1"
    port: int = 4200
    proxy: str | None = None
    keep_days: int = 90
    database: Database | None = None

    @property
    def own_origin(self) -> str:
        """Address of the server for programs of this machine."""
        host = self.host
        if _address(host) is not None and ipaddress.ip_address(host).is_unspecified:
            host = "127.0.0.1" if ipaddress.ip_address(host).version == 4 else "::1"
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def api_url(self) -> str:
        """Address of the API for programs of this machine."""
        return f"{self.own_origin}/api"

    @property
    def ui_url(self) -> str:
        """Address of the pages for a browser."""
        return self.proxy or self.own_origin

    @property
    def origins(self) -> list[str]:
        """Origins of pages that may call the API: its own, by each of its names."""
        if self.proxy is not None:
            return [self.proxy]
        names = {self.own_origin}
        if _is_loopback(self.host):
            names |= {f"http://127.0.0.1:{self.port}", f"http://localhost:{self.port}"}
        return sorted(names)


def check_addresses(settings: ServerSettings) -> None:
    """Refuse to be reachable from other machines without TLS in front.

    Raises
    ------
    ServerUsageError
        If the host is not of this machine alone and no proxy is named, or the proxy's address is
        not an origin of ``https``.
    """
    if _address(settings.host) is None and settings.host != "localhost":
        raise ServerUsageError(
            f"--host {settings.host!r} is not an IP address; give 127.0.0.1 (the default), another "
            "address of this machine, or 0.0.0.0 for all of them"
        )
    if settings.proxy is None:
        if not _is_loopback(settings.host):
            raise ServerUsageError(
                f"other machines can reach --host {settings.host}, and this server speaks plain "
                "HTTP: whoever listens reads the credentials, and with them starts programs here. "
                "Leave --host out and use an SSH tunnel (ssh -L 4200:127.0.0.1:4200 HOST), or put "
                "a TLS proxy in front and name it: --behind-tls-proxy https://NAME"
            )
        return
    parts = urlsplit(settings.proxy)
    origin = f"https://{parts.hostname or ''}{_port_of(settings.proxy)}"
    if not HOST_NAME.fullmatch(parts.hostname or "") or settings.proxy != origin:
        raise ServerUsageError(
            f"--behind-tls-proxy {settings.proxy!r} is not the origin of a TLS proxy; give what "
            "browsers show before the path, in small letters, such as https://music.example.org "
            "(one with letters beyond ASCII in its form xn--...)"
        )


def _port_of(url: str) -> str:
    try:
        port = urlsplit(url).port
    except ValueError as error:
        raise ServerUsageError(f"the port of an address is not a number: {error}") from None
    return "" if port is None else f":{port}"


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _is_loopback(host: str) -> bool:
    address = _address(host)
    return host == "localhost" if address is None else address.is_loopback


def database_from(path: Path | None) -> Database | None:
    """Read the URL of a Postgres database from a file, or else from the environment.

    Raises
    ------
    ServerUsageError
        If the file cannot be read or is open to others, or what it holds is not such a URL.
    """
    if path is not None:
        text, source = _read_private(path), str(path)
    else:
        text, source = os.environ.get(DATABASE_VARIABLE, ""), f"${DATABASE_VARIABLE}"
        if not text:
            return None
    scheme, separator, rest = text.strip().partition("://")
    if scheme not in _DRIVERS or not separator or not urlsplit(f"x://{rest}").path.strip("/"):
        raise ServerUsageError(
            f"{source} does not hold the URL of a Postgres database; it looks like "
            "postgresql+asyncpg://USER:PASSWORD@HOST:5432/DATABASE (without any, the server keeps "
            "an SQLite database in its state folder)"
        )
    return Database(f"{_DRIVERS[scheme]}://{rest}", source)


def _read_private(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            status = os.fstat(file.fileno())
            text = file.read(10_000)
    except (OSError, UnicodeDecodeError) as error:
        raise ServerUsageError(f"--database-file {path} cannot be read: {error}") from error
    forbidden = OTHERS_ANYTHING
    if status.st_uid == 0:  # a mounted secret of Kubernetes: root's, and readable for our group
        forbidden &= ~GROUP_READS
    if status.st_mode & forbidden:
        raise ServerUsageError(
            f"others can read --database-file {path} (mode {status.st_mode & 0o777:04o}), which "
            f"holds a password: chmod 600 {path}"
        )
    return text


def prefect_environment(
    settings: ServerSettings, state: StateFolder, secret: str
) -> dict[str, str]:
    """Give the variables with which Prefect's server is ours; the secret is among them."""
    database = settings.database
    return PREFECT_DEFAULTS | {
        "PREFECT_HOME": str(state.prefect_home),
        "PREFECT_SERVER_API_HOST": settings.host,
        "PREFECT_SERVER_API_PORT": str(settings.port),
        # The pages call what this says; without it they call port 4200 whatever the port is.
        "PREFECT_SERVER_UI_API_URL": f"{settings.ui_url}/api",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT_SERVER_API_AUTH_STRING": secret,
        "PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED": "true",
        "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS": ",".join(settings.origins),
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": (
            f"sqlite+aiosqlite:///{state.prefect_home / 'prefect.db'}"
            if database is None
            else database.url
        ),
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
        "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": str(
            settings.keep_days * SECONDS_OF_A_DAY
        ),
        # Two a minute of every run, and of use only while it runs.
        "PREFECT_SERVER_SERVICES_DB_VACUUM_EVENT_RETENTION_OVERRIDES": (
            f'{{"prefect.flow-run.heartbeat": {HEARTBEATS_KEPT_DAYS * SECONDS_OF_A_DAY}}}'
        ),
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
        "PREFECT_LOGGING_LEVEL": "WARNING",
        "PREFECT_LOGGING_SERVER_LEVEL": "WARNING",
    }


def enter_prefect_environment(settings: ServerSettings, state: StateFolder, secret: str) -> None:
    """Make this process one in which Prefect's server is ours; before Prefect is imported.

    Prefect reads settings from files of the working folder too, so this leaves it.
    """
    for name in [name for name in os.environ if FOREIGN.match(name)]:
        del os.environ[name]
    os.environ.update(prefect_environment(settings, state, secret))
    os.umask(OTHERS_ANYTHING)
    os.chdir(state.path)
