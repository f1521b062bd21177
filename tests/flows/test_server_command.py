"""The command ``server``: a real server is started, and asked by all who must not and who may."""

import asyncio
import base64
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from flows.server_settings import (
    DATABASE_VARIABLE,
    ServerSettings,
    check_addresses,
    database_from,
    prefect_environment,
)
from flows.server_state import ServerError, ServerUsageError, StateFolder

PATIENCE_S = 180
LONG_S = 60
COMMAND = Path(sys.executable).with_name("musichash")
FOREIGN = {"Origin": "https://evil.example", "Host": "127.0.0.1"}
OPEN_ROUTES = {("GET", "/api/health"), ("GET", "/api/ready")}
OUTSIDE = {("GET", "/ui-settings")}  # where the API is; asked before the login; no secret
A_KEY = "00000000-0000-4000-8000-000000000000"
SOCKETS = {
    ("socket", "/api/events/in"),
    ("socket", "/api/events/out"),
    ("socket", "/api/logs/out"),
    ("socket", "/api/task_runs/subscriptions/scheduled"),
    ("socket", f"/api/work_pools/{A_KEY}/workers/connect"),
}
REPORT = f"/reports/{A_KEY}/report.html"  # ours: asks for the credentials itself
ROUTES = """
import json, sys
from pathlib import Path
from flows.server_settings import ServerSettings, enter_prefect_environment
from flows.server_state import StateFolder

state = StateFolder(Path(sys.argv[1]))
state.prepare()
enter_prefect_environment(ServerSettings(), state, state.secret_made_once())
from flows.server_process import _app

def walk(routes, before):
    for route in routes:
        included = getattr(route, "original_router", None)
        if included is not None:
            walk(included.routes, before + route.include_context.prefix)
            continue
        path = before + route.path
        inside = getattr(route, "app", None)
        if hasattr(inside, "routes"):
            walk(inside.routes, path)
        elif type(route).__name__.endswith("WebSocketRoute"):
            found.append(["socket", path])
        else:
            methods = getattr(route, "methods", None)
            found.extend([method, path] for method in (methods or ["files"]))

found = []
walk(_app(ServerSettings(), state).routes, "")
print(json.dumps(found))
"""
"""Every route that the server's own router knows, also those that it does not document."""

FLOW = """
from flows.environment import prepare_environment
prepare_environment(quiet=True)
from flows.server_connection import connect_as_asked
connect_as_asked()
from prefect import flow, task

@task
def double(number):
    return 2 * number

@flow(name="small")
def small():
    return double(21)

print(small())
"""


def free_port():
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def clean_environment(**more):
    plain = {
        name: text
        for name, text in os.environ.items()
        if not name.startswith(("PREFECT_", "MUSICHASH_"))
    }
    return plain | {"COLUMNS": "200", "NO_COLOR": "1"} | more


class Live(NamedTuple):
    """A server at work."""

    process: subprocess.Popen
    home: Path
    port: int
    log: Path

    @property
    def origin(self):
        return f"http://127.0.0.1:{self.port}"

    @property
    def secret(self):
        return (self.home / "credentials").read_text().strip()

    @property
    def login(self):
        return {"Authorization": "Basic " + base64.b64encode(self.secret.encode()).decode()}

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.process.wait(60)


@contextmanager
def started(home, *options, **environment):
    """Start the installed command and wait until it says that it is healthy."""
    port = free_port()
    log = home.with_name(home.name + ".log")
    with log.open("w") as output:
        process = subprocess.Popen(
            [str(COMMAND), "server", "--home", str(home), "--port", str(port), *options],
            env=clean_environment(**environment),
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    live = Live(process, home, port, log)
    try:
        until = time.monotonic() + PATIENCE_S
        while "a browser asks once" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.2)
        yield live
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    """One server for the module, in an environment that tries to undo its settings."""
    with started(
        tmp_path_factory.mktemp("server") / "home",
        PREFECT_SERVER_CSRF_PROTECTION_ENABLED="false",
        PREFECT_SERVER_CORS_ALLOWED_ORIGINS="*",
        PREFECT_UI_API_URL="http://elsewhere.example/api",
    ) as live:
        yield live


def musichash(*arguments, **environment):
    return subprocess.run(
        [str(COMMAND), *map(str, arguments)],
        env=clean_environment(**environment),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def all_routes(tmp_path_factory):
    """Every method and path that the server's router knows, parameters filled in."""
    done = subprocess.run(
        [sys.executable, "-c", ROUTES, tmp_path_factory.mktemp("routes") / "home"],
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [(kind, re.sub(r"\{[^}]*\}", A_KEY, path)) for kind, path in json.loads(done.stdout)]


@pytest.fixture(scope="module")
def asked_routes(all_routes):
    """The requests to the API among them: static files by one name that there may be."""
    requests = {("GET", f"{path}/x") for kind, path in all_routes if kind == "files"}
    requests |= {route for route in all_routes if route[0] not in {"files", "socket"}}
    return requests - OUTSIDE


@pytest.mark.integration
def test_no_route_is_overlooked(live, all_routes):
    answer = httpx.get(f"{live.origin}/api/openapi.json", headers=live.login, timeout=LONG_S)
    documented = {
        (method.upper(), "/api" + re.sub(r"\{[^}]*\}", A_KEY, path.removeprefix("/api")))
        for path, methods in answer.json()["paths"].items()
        for method in methods
    }
    assert len(documented) > 150
    assert set(all_routes) >= documented | OPEN_ROUTES
    assert sum(kind == "socket" for kind, _ in all_routes) == len(set(all_routes) & SOCKETS) == 5
    outside = {route for route in all_routes if not route[1].startswith("/api/")}
    assert outside == OUTSIDE | {(method, REPORT) for method in ("GET", "HEAD")}
    assert ("GET", "/api/docs") in all_routes


@pytest.mark.integration
@pytest.mark.parametrize(
    "headers",
    [
        {},
        FOREIGN,
        {"Authorization": "Basic " + base64.b64encode(b"musichash:guess").decode()},
        {"Authorization": "Bearer x", "Prefect-Csrf-Token": "x", "Prefect-Csrf-Client": "y"},
    ],
    ids=["nothing", "foreign origin", "wrong secret", "wrong scheme and token"],
)
def test_without_credentials_every_route_is_closed(live, asked_routes, headers):
    assert len(asked_routes) > 150
    with httpx.Client(base_url=live.origin, headers=headers, timeout=LONG_S) as client:
        answers = {route: client.request(*route).status_code for route in asked_routes}
    opened = {route for route, code in answers.items() if code not in {401, 403}}
    assert opened == OPEN_ROUTES


@pytest.mark.integration
def test_outside_of_the_api_there_are_only_the_pages(live):
    with httpx.Client(base_url=live.origin, timeout=LONG_S) as client:
        for path in ("/docs", "/redoc", "/openapi.json", "/docs/oauth2-redirect", "/metrics"):
            answer = client.get(path)
            said = answer.text.lower()
            assert answer.status_code == 404 or "<title>prefect" in said, path
            assert "swagger" not in said
            assert '"paths"' not in said


@pytest.mark.integration
def test_a_foreign_page_may_read_nothing_and_its_own_pages_may(live):
    ask = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x"}
    with httpx.Client(base_url=live.origin, timeout=LONG_S) as client:
        for origin, allowed in (
            ("https://evil.example", None),
            (f"http://127.0.0.1:{live.port + 1}", None),
            ("null", None),
            (live.origin, live.origin),
            (f"http://localhost:{live.port}", f"http://localhost:{live.port}"),
        ):
            before = client.options("/api/flows/", headers={"Origin": origin} | ask)
            answer = client.get("/api/health", headers={"Origin": origin})
            assert before.headers.get("access-control-allow-origin") == allowed
            assert answer.headers.get("access-control-allow-origin") == allowed
            assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.integration
def test_with_credentials_but_without_a_csrf_token_nothing_is_changed(live):
    with httpx.Client(base_url=live.origin, headers=live.login, timeout=LONG_S) as client:
        answer = client.post("/api/flows/", json={"name": "forged"})
        assert (answer.status_code, answer.json()) == (403, {"detail": "Missing CSRF token."})
        assert client.get("/api/admin/version").status_code == 200


@pytest.mark.integration
def test_websockets_want_the_credentials_too(live):
    from websockets.asyncio.client import connect
    from websockets.exceptions import ConnectionClosed, InvalidStatus

    async def ask(path, *, subprotocols, message):
        address = f"ws://127.0.0.1:{live.port}{path}"
        async with connect(address, subprotocols=subprotocols, proxy=None) as connection:
            await connection.send(json.dumps(message))
            return await asyncio.wait_for(connection.recv(), 30)

    wrong = {"type": "auth", "token": "musichash:guess"}
    for _, path in sorted(SOCKETS):
        if "workers" not in path:  # that one wants the sub-protocol first, whoever asks
            with pytest.raises(InvalidStatus, match="403"):
                asyncio.run(ask(path, subprotocols=None, message={}))
        for message in (wrong, {"type": "event"}, {"type": "auth"}):
            with pytest.raises((ConnectionClosed, InvalidStatus)) as refused:
                asyncio.run(ask(path, subprotocols=["prefect"], message=message))
            if isinstance(refused.value, ConnectionClosed):
                assert refused.value.rcvd.code == 1008
    right = {"type": "auth", "token": live.secret}
    answer = asyncio.run(ask("/api/events/out", subprotocols=["prefect"], message=right))
    assert json.loads(answer) == {"type": "auth_success"}


@pytest.mark.integration
def test_what_strangers_send_in_place_of_credentials_is_refused_without_a_word(live):
    from websockets.asyncio.client import connect
    from websockets.exceptions import ConnectionClosed

    async def send(path, message):
        address = f"ws://127.0.0.1:{live.port}{path}"
        async with connect(address, subprotocols=["prefect"], proxy=None) as connection:
            await connection.send(message)
            await asyncio.wait_for(connection.recv(), 30)

    for secret in ("müsic:hash".encode(), b"\xff:x", b":"):
        login = {"Authorization": "Basic " + base64.b64encode(secret).decode()}
        answer = httpx.get(f"{live.origin}/api/admin/version", headers=login, timeout=LONG_S)
        assert answer.status_code == 401
    for _, path in sorted(SOCKETS):
        for message in ("x", "[]", '{"type": "auth", "token": "müsic"}', '{"token": 5}', b"{}"):
            with pytest.raises(ConnectionClosed) as refused:
                asyncio.run(send(path, message))
            assert refused.value.rcvd.code == 1008
    assert "Traceback" not in live.log.read_text()


@pytest.mark.integration
def test_pages_may_be_framed_by_nobody_and_load_nothing_from_elsewhere(live):
    for path in ("/", "/v2/dashboard", "/api/health", "/ui-settings"):
        headers = httpx.get(f"{live.origin}{path}", timeout=LONG_S).headers
        assert headers["x-frame-options"] == "DENY"
        assert headers["x-content-type-options"] == "nosniff"
        assert "default-src 'self'; script-src 'self' " in headers["content-security-policy"]
        assert "server" not in headers


@pytest.mark.integration
def test_many_writers_at_once_wait_for_one_another(live):
    """Prefect alone answers most of them with 503, and its automations miss what happens."""
    n_runs = 24
    with httpx.Client(base_url=live.origin, headers=live.login, timeout=LONG_S) as client:
        token = client.get("/api/csrf-token", params={"client": "many"}).json()["token"]
        client.headers.update({"Prefect-Csrf-Client": "many", "Prefect-Csrf-Token": token})
        flow = client.post("/api/flows/", json={"name": "busy"}).json()["id"]

        def run_and_fail(_):
            wanted = {"flow_id": flow, "tags": ["musichash"], "state": {"type": "RUNNING"}}
            made = client.post("/api/flow_runs/", json=wanted)
            if made.status_code != 201:
                return made.status_code
            path = f"/api/flow_runs/{made.json()['id']}/set_state"
            return client.post(path, json={"state": {"type": "FAILED"}}).status_code

        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(run_and_fail, range(n_runs))) == {201}
        until = time.monotonic() + LONG_S
        seen = {"filter": {"event": {"name": ["prefect.automation.triggered"]}}, "limit": 50}
        while client.post("/api/events/filter", json=seen).json()["total"] < n_runs:
            assert time.monotonic() < until, "automations have missed runs that failed"
            time.sleep(0.5)
    assert "database is locked" not in live.log.read_text()


@pytest.mark.integration
def test_pages_are_served_and_call_the_right_port(live):
    settings = httpx.get(f"{live.origin}/ui-settings", timeout=LONG_S).json()
    assert settings["api_url"] == f"{live.origin}/api"
    assert (settings["csrf_enabled"], settings["auth"]) == (True, "BASIC")
    html = {"Accept": "text/html"}
    page = httpx.get(f"{live.origin}/", headers=html, follow_redirects=True, timeout=LONG_S)
    assert page.status_code == 200
    assert "<title>Prefect" in page.text


@pytest.mark.integration
def test_its_files_are_private_and_nobody_sees_the_secret(live):
    modes = {
        path.relative_to(live.home).as_posix(): path.stat().st_mode & 0o777
        for path in [live.home, *live.home.rglob("*")]
    }
    assert {"credentials", "server.json", "prefect", "prefect/prefect.db"} <= set(modes)
    assert not {path: oct(mode) for path, mode in modes.items() if mode & 0o077}
    assert re.fullmatch(r"musichash:[\w-]{43}", live.secret)
    hidden = live.secret.partition(":")[2]
    assert hidden not in Path(f"/proc/{live.process.pid}/cmdline").read_text()
    assert hidden not in live.log.read_text()


@pytest.mark.integration
def test_commands_of_the_same_user_find_it(live):
    found = musichash("server", "status", "--home", live.home, "--json")
    assert found.returncode == 0
    assert json.loads(found.stdout) == {
        "home": str(live.home),
        "healthy": True,
        "pid": live.process.pid,
        "api_url": f"{live.origin}/api",
        "ui_url": live.origin,
    }
    where = musichash("server", "credentials", "--home", live.home)
    assert where.stdout.splitlines()[0] == str(live.home / "credentials")
    assert live.secret not in where.stdout
    shown = musichash("server", "credentials", "--home", live.home, "--show")
    assert shown.stdout.strip() == live.secret


@pytest.mark.integration
def test_a_flow_runs_with_it_where_the_environment_asks(live, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FLOW],
        env=clean_environment(
            MUSICHASH_SERVER="on", MUSICHASH_SERVER_HOME=str(live.home), PREFECT_HOME=str(tmp_path)
        ),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "42\n", "")
    with httpx.Client(base_url=live.origin, headers=live.login, timeout=LONG_S) as client:
        token = client.get("/api/csrf-token", params={"client": "test"}).json()["token"]
        runs = client.post(
            "/api/flow_runs/filter",
            json={"flows": {"name": {"any_": ["small"]}}},
            headers={"Prefect-Csrf-Client": "test", "Prefect-Csrf-Token": token},
        ).json()
    assert [run["state_type"] for run in runs] == ["COMPLETED"]


@pytest.mark.integration
def test_a_second_one_is_refused_with_the_reason(live, tmp_path):
    again = musichash("server", "--home", live.home, "--port", free_port())
    assert again.returncode == 1
    assert f"process {live.process.pid}" in again.stderr
    assert live.origin in again.stderr
    taken = musichash("server", "--home", tmp_path / "other", "--port", live.port)
    assert taken.returncode == 1
    assert f"port {live.port} (Address already in use)" in taken.stderr
    rotated = musichash("server", "rotate", "--home", live.home)
    assert rotated.returncode == 1
    assert "runs already" in rotated.stderr


@pytest.mark.integration
@pytest.mark.slow  # half a minute: three starts of a server
def test_it_ends_in_order_keeps_its_credentials_and_forgets_them_when_rotated(tmp_path):
    home = tmp_path / "home"
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(LONG_S)
        with started(home, NOTIFY_SOCKET=str(tmp_path / "notify")) as live:
            assert systemd.recv(100) == b"READY=1"
            first = live.secret
            assert live.end(signal.SIGTERM) == 0
            assert "the server has ended" in live.log.read_text()
            assert not (home / "server.json").exists()
    with started(home) as live:
        assert live.secret == first
        assert live.end(signal.SIGINT) == 0
    assert musichash("server", "rotate", "--home", home).returncode == 0
    with started(home) as live:
        old = "Basic " + base64.b64encode(first.encode()).decode()
        version = f"{live.origin}/api/admin/version"
        refused = httpx.get(version, headers={"Authorization": old}, timeout=LONG_S)
        assert refused.status_code == 401
        assert httpx.get(version, headers=live.login, timeout=LONG_S).status_code == 200
        live.process.kill()  # leaves server.json behind, which counts for nothing
        live.process.wait()
    assert (home / "server.json").exists()
    assert musichash("server", "status", "--home", home).returncode == 1
    asked = musichash("server", "credentials", "--home", home)
    assert "PREFECT_API_URL" not in asked.stdout


@pytest.fixture(scope="module")
def postgres():
    """A database of Debian's Postgres, with a password; gives its URL."""
    binaries = [Path(found) for found in (shutil.which("initdb"),) if found]
    binaries += sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not binaries:
        pytest.skip("no Postgres here: apt-get install postgresql")
    # Not below pytest's own folder, which nobody but its owner may enter.
    folder = Path(tempfile.mkdtemp(prefix="musichash-postgres-"))
    folder.chmod(0o755)
    run = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    as_nobody = run if os.geteuid() == 0 else []  # Postgres refuses to run as root
    data, port = folder / "data", free_port()
    data.mkdir()
    password = folder / "password"
    password.write_text("s3cret@with:signs")
    if as_nobody:
        for path in (data, password):
            os.chown(path, 65534, 65534)
    initdb = binaries[0].resolve()
    postgres = initdb.with_name("postgres")
    subprocess.run(
        [
            *(*as_nobody, initdb, "-D", data, "-U", "night", "-A", "scram-sha-256"),
            *("--no-sync", f"--pwfile={password}"),
        ],
        check=True,
        capture_output=True,
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                *(*as_nobody, postgres, "-D", data, "-p", str(port), "-h", "127.0.0.1", "-F"),
                *("-c", "unix_socket_directories="),
            ],
            stdout=subprocess.DEVNULL,
            stderr=log,
        )
    try:
        until = time.monotonic() + 60
        while b"ready to accept" not in (folder / "log").read_bytes():
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < until
            time.sleep(0.2)
        yield f"postgresql://night:s3cret%40with%3Asigns@127.0.0.1:{port}/postgres"
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.integration
@pytest.mark.slow  # half a minute: Postgres makes a cluster, and Prefect its tables in it
def test_a_flow_runs_on_a_server_that_keeps_its_database_in_postgres(postgres, tmp_path):
    secret_file = tmp_path / "database"
    secret_file.write_text(postgres + "\n")
    secret_file.chmod(0o600)
    home = tmp_path / "home"
    with started(home, "--database-file", str(secret_file)) as live:
        done = subprocess.run(
            [sys.executable, "-c", FLOW],
            env=clean_environment(
                MUSICHASH_SERVER="on", MUSICHASH_SERVER_HOME=str(home), PREFECT_HOME=str(tmp_path)
            ),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "42\n", "")
        assert live.end() == 0
        assert "s3cret" not in live.log.read_text()
    assert not (home / "prefect" / "prefect.db").exists()
    assert asyncio.run(_states(postgres)) == ["COMPLETED"]
    everything = asyncio.run(_all_rows(postgres))
    assert "small" in everything  # the name of the flow
    for hidden in ("s3cret", live.secret.partition(":")[2]):
        assert hidden not in everything
    wrong = musichash(
        *("server", "--home", home, "--port", free_port()),
        MUSICHASH_DATABASE_URL=postgres.replace("s3cret", "guess"),
    )
    assert wrong.returncode == 1
    assert "password authentication failed" in wrong.stderr
    assert "guess" not in wrong.stderr


async def _states(url):
    import asyncpg

    connection = await asyncpg.connect(url)
    try:
        return [row["state_type"] for row in await connection.fetch("select * from flow_run")]
    finally:
        await connection.close()


async def _all_rows(url):
    """Give the rows of all tables as text."""
    import asyncpg

    connection = await asyncpg.connect(url)
    try:
        tables = await connection.fetch(
            "select table_name from information_schema.tables where table_schema = 'public'"
            " and table_type = 'BASE TABLE'"
        )
        rows = []
        for (table,) in tables:
            rows += await connection.fetch(f'select t::text from "{table}" t')
        return "\n".join(text for (text,) in rows)
    finally:
        await connection.close()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "music.example.org"])
def test_an_address_that_others_reach_needs_a_proxy_with_tls(host):
    with pytest.raises(ServerUsageError, match=r"--behind-tls-proxy|not an IP address"):
        check_addresses(ServerSettings(host=host))


@pytest.mark.parametrize(
    "proxy",
    [
        "http://music.example.org",
        "https://",
        "https://music.example.org/path",
        "https://user:password@music.example.org",
        "https://music.example.org:port",
        "music.example.org",
        "https://m\u00fcsik.example.org",
        "https://music.example.org;script-src",
    ],
)
def test_a_proxy_is_named_by_its_origin(proxy):
    with pytest.raises(ServerUsageError, match=r"--behind-tls-proxy|port"):
        check_addresses(ServerSettings(host="0.0.0.0", proxy=proxy))


def test_behind_a_proxy_pages_call_the_proxy_and_only_its_pages_may_call(tmp_path):
    settings = ServerSettings(host="0.0.0.0", port=4300, proxy="https://music.example.org:8443")
    check_addresses(settings)
    made = prefect_environment(settings, StateFolder(tmp_path), "musichash:x")
    assert made["PREFECT_SERVER_UI_API_URL"] == "https://music.example.org:8443/api"
    assert made["PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS"] == "https://music.example.org:8443"
    assert made["PREFECT_SERVER_API_HOST"] == "0.0.0.0"
    assert settings.api_url == "http://127.0.0.1:4300/api"


def test_prefect_knows_every_setting_that_it_is_given(tmp_path):
    """A variable that Prefect has renamed would be passed over without a word."""
    from prefect.settings.models.root import Settings

    made = prefect_environment(ServerSettings(keep_days=30), StateFolder(tmp_path), "musichash:x")
    names = set()
    for key, value in made.items():
        if key != "DO_NOT_TRACK":
            names |= {key.lower()} - _known_names(Settings)
            assert value
    assert names == set()


def _known_names(model):
    from prefect.settings.base import PrefectBaseSettings

    found = set()
    prefix = model.model_config["env_prefix"]
    for name, field in model.model_fields.items():
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, PrefectBaseSettings):
            found |= _known_names(annotation)
            continue
        alias = field.validation_alias
        choices = [] if alias is None else getattr(alias, "choices", [alias])
        found |= {choice for choice in choices if isinstance(choice, str)}
        found |= {f"{prefix}{name}".lower()} if alias is None else set()
    return found


@pytest.mark.parametrize("text", ["", "mysql://u:p@h/d", "postgresql://u:p@h", "h/d"])
def test_a_database_that_is_not_postgres_is_refused(tmp_path, text):
    path = tmp_path / "url"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(ServerUsageError, match="USER:PASSWORD@HOST"):
        database_from(path)


def test_a_database_is_named_without_its_password(tmp_path, monkeypatch):
    monkeypatch.delenv(DATABASE_VARIABLE, raising=False)
    assert database_from(None) is None
    path = tmp_path / "url"
    path.write_text("postgres://night:hidden@db.example:5433/prefect\n")
    with pytest.raises(ServerUsageError, match="chmod 600"):
        database_from(path)
    path.chmod(0o600)
    found = database_from(path)
    assert found.url == "postgresql+asyncpg://night:hidden@db.example:5433/prefect"
    assert found.shown == "postgresql://db.example:5433/prefect"
    monkeypatch.setenv(DATABASE_VARIABLE, "postgresql://night:hidden@db.example/prefect")
    assert database_from(None).shown == "postgresql://db.example/prefect"


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file to another user")
def test_a_secret_that_root_has_mounted_for_our_group_is_read(tmp_path):
    path = tmp_path / "url"
    path.write_text("postgresql://night:hidden@db.example/prefect")
    for owner, mode, is_read in ((0, 0o440, True), (0, 0o444, False), (10_001, 0o440, False)):
        path.chmod(mode)
        os.chown(path, owner, 10_001)
        if is_read:
            assert database_from(path).shown == "postgresql://db.example/prefect"
            continue
        with pytest.raises(ServerUsageError, match="others can read"):
            database_from(path)


def test_a_state_folder_in_a_volume_of_root_is_our_own(tmp_path):
    volume = tmp_path / "state"
    volume.mkdir()
    volume.chmod(0o2770)  # as Kubernetes leaves a volume with fsGroup
    state = StateFolder(volume / "server")
    state.prepare()
    state.secret_made_once()
    assert state.path.stat().st_mode & 0o777 == 0o700
    with pytest.raises(ServerUsageError, match="chmod 700"):
        StateFolder(volume).prepare()


def test_a_state_folder_that_others_write_to_is_refused(tmp_path):
    folder = tmp_path / "state"
    folder.mkdir()
    folder.chmod(0o770)
    with pytest.raises(ServerUsageError, match="chmod 700"):
        StateFolder(folder).prepare()
    folder.chmod(0o700)
    StateFolder(folder).prepare()


def test_credentials_that_others_read_are_refused_and_replaced(tmp_path):
    state = StateFolder(tmp_path / "state")
    with pytest.raises(ServerUsageError, match="no credentials"):
        state.secret()
    state.prepare()
    first = state.secret_made_once()
    assert state.secret_made_once() == first
    state.credentials.chmod(0o640)
    with pytest.raises(ServerUsageError, match="rotate"):
        state.secret()
    state.new_secret()
    assert state.secret() != first
    assert state.credentials.stat().st_mode & 0o777 == 0o600


def test_a_folder_has_one_server_and_tells_who_asks(tmp_path):
    state = StateFolder(tmp_path / "state")
    state.prepare()
    assert not state.is_held()
    with state.held():
        assert state.is_held()
        with pytest.raises(ServerError, match="is starting"), StateFolder(state.path).held():
            pass
    assert not state.is_held()


def test_asking_for_a_server_where_none_runs_is_an_error(tmp_path, monkeypatch):
    from flows.server_connection import connect_as_asked

    monkeypatch.setenv("MUSICHASH_SERVER_HOME", str(tmp_path))
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setenv("MUSICHASH_SERVER", "on")
    with pytest.raises(ServerError, match="start one with 'musichash server'"):
        connect_as_asked()
    monkeypatch.setenv("MUSICHASH_SERVER", "http://elsewhere")
    with pytest.raises(ServerUsageError, match="neither 'on' nor 'off'"):
        connect_as_asked()
    monkeypatch.setenv("MUSICHASH_SERVER", "off")
    connect_as_asked()
    assert "PREFECT_API_URL" not in os.environ
