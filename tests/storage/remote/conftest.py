"""A local S3-compatible server, buckets in it, a proxy before it, and stores with two snapshots."""

import http.client
import os
import shutil
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path

import pytest

from storage.published import read_table
from storage.remote import open_bucket, open_replica, replica_address
from storage.snapshots import content_digest, current_snapshot, publish_snapshot
from storage.store import open_store
from storage.tables import write_part

OWNER = (
    "AWS4-HMAC-SHA256 Credential=tester/20260101/us-east-1/s3/aws4_request, "
    "SignedHeaders=host, Signature=0"
)
"""The server takes any signature, but shows private objects to nobody who gives none."""

HEADERS = {"Authorization": OWNER, "Content-Type": "application/octet-stream"}

HERE = Path(__file__).parent
NUMBERS = count()


@pytest.fixture(scope="session")
def s3_endpoint():
    """The address of a server that lives as long as the session."""
    environment = {name: text for name, text in os.environ.items() if "PROXY" not in name.upper()}
    process = subprocess.Popen(
        [sys.executable, HERE / "s3_server.py"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        text=True,
    )
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture(autouse=True)
def _credentials(monkeypatch):
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "tester")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-a-secret")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@dataclass(frozen=True)
class Place:
    """A bucket of its own, looked at through plain HTTP and not through our code."""

    endpoint: str
    name: str
    prefix: str = "music/store"

    @property
    def url(self):
        return f"s3://{self.name}/{self.prefix}"

    def bucket(self, endpoint=None):
        return open_bucket(replica_address(self.url, endpoint=endpoint or self.endpoint))

    def replica(self):
        return open_replica(self.bucket())

    def within(self, prefix):
        return replace(self, prefix=prefix)

    def _request(self, key, method="GET", data=None):
        address = f"{self.endpoint}/{self.name}/{key}"
        request = urllib.request.Request(address, data=data, method=method, headers=HEADERS)
        with urllib.request.urlopen(request) as answer:
            return answer.read()

    def read(self, path):
        try:
            return self._request(f"{self.prefix}/{path}")
        except urllib.error.HTTPError as error:
            error.close()  # it holds the connection
            if error.code != 404:
                raise
            return None

    def write(self, path, data):
        self._request(f"{self.prefix}/{path}", "PUT", data)

    def current(self):
        """Give the number that the pointer says; None without a pointer."""
        data = self.read("CURRENT")
        return None if data is None else int(data.split()[0])

    def remove(self, path):
        self._request(f"{self.prefix}/{path}", "DELETE")

    def flip(self, path):
        """Change the middle bit of an object."""
        data = bytearray(self.read(path))
        data[len(data) // 2] ^= 1
        self.write(path, bytes(data))

    def objects(self):
        """Give every object below the prefix, by path."""
        import xml.etree.ElementTree as ElementTree

        paths, token = [], ""
        while token is not None:
            text = self._request(f"?list-type=2&prefix={self.prefix}/{token}")
            tree = ElementTree.fromstring(text)
            space = {"s3": tree.tag[1:].partition("}")[0]}
            paths += [key.text for key in tree.findall("s3:Contents/s3:Key", space)]
            found = tree.find("s3:NextContinuationToken", space)
            token = None if found is None else f"&continuation-token={found.text}"
        names = [path.removeprefix(f"{self.prefix}/") for path in paths]
        return {name: self.read(name) for name in names}


@pytest.fixture
def place(s3_endpoint):
    made = Place(s3_endpoint, f"bucket-{next(NUMBERS)}")
    made._request("", "PUT", b"")
    return made


@pytest.fixture
def publish_next(published):
    """Publish a snapshot with other content in a store; give it."""
    failures = read_table(published, current_snapshot(published), "failures")

    def publish(layout, *, n_failures=0):
        before = current_snapshot(layout)
        part = write_part(layout, "failures", failures.slice(0, n_failures))
        old = set(before.tables["failures"])
        files = [entry for entry in before.files if entry.path not in old] + [part]
        following = replace(
            before,
            tables=before.tables | {"failures": [part.path]},
            files=tuple(sorted(files, key=lambda entry: entry.path)),
            digest="",
        )
        publish_snapshot(layout, replace(following, digest=content_digest(following)))
        return current_snapshot(layout)

    return publish


@pytest.fixture
def copy_store(tmp_path):
    """Copy a store as it is; give the copy."""

    def copy(layout, name):
        shutil.copytree(layout.root, tmp_path / name)
        return open_store(tmp_path / name)

    return copy


class Proxy:
    """Passes requests on; may look at them, change them, answer itself, or cut the line.

    ``before(number, method, path)`` and ``after(...)`` are called around each request: what
    `before` returns, if anything, is the status that is answered instead; with `Proxy.CUT` nothing
    is answered.
    """

    CUT = object()

    def __init__(self, endpoint):
        self.target = endpoint.removeprefix("http://")
        self.requests = []
        self.body = b""
        self.before = self.after = lambda *_: None
        self.dropped_headers = set()
        self._lock = threading.Lock()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_request(self):
                proxy.handle(self)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_request  # noqa: N815

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def handle(self, request):
        data = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        with self._lock:
            number = len(self.requests)
            self.requests.append((request.command, request.path))
        answer = self.before(number, request.command, request.path)
        if answer is self.CUT:
            request.close_connection = True
            return
        if answer is not None:
            self._reply(request, answer, [], self.body)
            return
        status, headers, body = self._pass_on(request, data)
        if self.after(number, request.command, request.path) is self.CUT:
            request.close_connection = True
            return
        self._reply(request, status, headers, body)

    def _pass_on(self, request, data):
        headers = {
            name: text
            for name, text in request.headers.items()
            if name.lower() not in self.dropped_headers
        }
        connection = http.client.HTTPConnection(self.target, timeout=30)
        try:
            connection.request(request.command, request.path, data, headers)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()

    @staticmethod
    def _reply(request, status, headers, body):
        try:
            request.send_response(status)
            for name, text in headers:
                skipped = {"connection", "date", "server", "transfer-encoding"}
                if request.command != "HEAD":
                    skipped.add("content-length")
                if name.lower() not in skipped:
                    request.send_header(name, text)
            if request.command != "HEAD":
                request.send_header("Content-Length", str(len(body)))
            elif not headers:
                request.send_header("Content-Length", "0")
            request.end_headers()
            if request.command != "HEAD":
                request.wfile.write(body)
        except OSError:  # who asked was killed
            request.close_connection = True


@pytest.fixture
def proxied(s3_endpoint):
    """Give proxies before the server."""
    started = []

    @contextmanager
    def proxy():
        made = Proxy(s3_endpoint)
        started.append(made)
        try:
            yield made
        finally:
            made.server.shutdown()
            made.server.server_close()

    return proxy


@pytest.fixture(scope="session")
def _publisher():
    process = subprocess.Popen(
        [sys.executable, HERE / "killed_publisher.py"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ
        | {
            "AWS_ACCESS_KEY_ID": "tester",
            "AWS_SECRET_ACCESS_KEY": "not-a-secret",
            "NO_PROXY": "127.0.0.1",
            "PYTHONPATH": str(HERE.parents[2]),
        },
    )
    yield process
    process.kill()
    process.communicate()


@pytest.fixture
def start_publisher(_publisher):
    """Publish in another process: give its process id, and a way to wait for its exit status."""
    import json

    def start(**arguments):
        _publisher.stdin.write(json.dumps(arguments) + "\n")
        _publisher.stdin.flush()
        return int(_publisher.stdout.readline()), lambda: int(_publisher.stdout.readline())

    return start
