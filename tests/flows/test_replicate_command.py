"""The command line of replicas, against a local S3-compatible server."""

import importlib.util
import json
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

STORAGE_TESTS = Path(__file__).parents[1] / "storage"
OWNER = (
    "AWS4-HMAC-SHA256 Credential=tester/20260101/us-east-1/s3/aws4_request, "
    "SignedHeaders=host, Signature=0"
)


@pytest.fixture(scope="module")
def endpoint():
    process = subprocess.Popen(
        [sys.executable, STORAGE_TESTS / "remote" / "s3_server.py"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    address = f"http://127.0.0.1:{int(process.stdout.readline())}"
    request = urllib.request.Request(
        f"{address}/music", method="PUT", headers={"Authorization": OWNER}
    )
    urllib.request.urlopen(request).close()
    yield address
    process.kill()
    process.wait()
    process.stdout.close()


@pytest.fixture
def replica(endpoint, monkeypatch, request):
    """The options that name a replica of the test's own; the endpoint is in the environment."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "tester")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-a-secret")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("MUSICHASH_REPLICA", raising=False)
    return f"s3://music/{request.node.name.replace('[', '-').replace(']', '')}"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A small published store: the one that the tests of storage use."""
    source = importlib.util.spec_from_file_location("stores", STORAGE_TESTS / "conftest.py")
    stores = importlib.util.module_from_spec(source)
    source.loader.exec_module(stores)
    root = tmp_path_factory.mktemp("replicated") / "store"
    stores._publish_small_snapshot(root)
    return root


def test_a_store_is_published_looked_at_and_fetched(musichash, store, replica, tmp_path):
    planned = musichash("replicate", "--store", store, "--to", replica, "--dry-run", "--json")
    assert planned.code == 0
    assert json.loads(planned.out)["dry_run"]
    done = musichash("replicate", "--store", store, "--to", replica, "--json")
    sent = json.loads(done.out)
    assert sent | {"dry_run": True} == json.loads(planned.out)
    assert sent["sent"] == sent["files"] > 10

    again = musichash("replicate", "--store", store, "--to", replica)
    assert "shows snapshot 1 already, with all its files" in again.out

    (listed,) = json.loads(musichash("replica", "list", "--from", replica, "--json").out)[
        "snapshots"
    ]
    status = json.loads(musichash("status", "--store", store, "--json").out)
    assert listed["is_current"]
    assert not listed["with_features"]
    assert listed["digest"] == status["digest"] == sent["digest"]
    shown = musichash("replica", "list", "--from", replica)
    assert "1 (current)" in shown.out
    assert listed["digest"] in shown.out

    verified = musichash("replica", "verify", "--from", replica)
    assert verified.code == 0
    assert "all as published" in verified.out

    copy = tmp_path / "copy"
    fetched = musichash("replica", "fetch", "--from", replica, "--to", copy)
    assert f"{copy} shows snapshot 1" in fetched.out
    for question in (
        ("export", "tracks", "--format", "jsonl"),
        ("export", "codes"),
        ("search", "--track", f"{1:032x}", "--json"),
        ("failures", "--json"),
    ):
        here = musichash(*question, "--store", copy)
        assert here.code == 0
        assert here.out == musichash(*question, "--store", store).out
    assert (
        json.loads(musichash("status", "--store", copy, "--json").out)["digest"]
        == (status["digest"])
    )


def test_damage_ends_with_an_exit_code_and_is_mended(musichash, store, replica, endpoint):
    musichash("replicate", "--store", store, "--to", replica)
    status = json.loads(musichash("status", "--store", store, "--json").out)
    path = Path(status["index"]["path"]).relative_to(store)
    data = bytearray((store / path).read_bytes())
    data[-1] ^= 1
    request = urllib.request.Request(
        f"{endpoint}/{replica.removeprefix('s3://')}/{path}",
        data=bytes(data),
        method="PUT",
        headers={"Authorization": OWNER, "Content-Type": "application/octet-stream"},
    )
    urllib.request.urlopen(request).close()
    found = musichash("replica", "verify", "--from", replica, "--json")
    assert found.code == 1
    assert json.loads(found.out)["findings"] == [{"path": str(path), "problem": "changed"}]
    assert musichash("replicate", "--store", store, "--to", replica, "--mend").code == 0
    assert musichash("replica", "verify", "--from", replica).code == 0


def test_clearing_and_rolling_back_say_what_they_do(musichash, store, replica):
    musichash("replicate", "--store", store, "--to", replica)
    planned = musichash("replica", "gc", "--from", replica, "--keep", "1", "--dry-run")
    assert "would delete 0 snapshot(s) (none), 0 objects, 0.0 MB; kept (1)" in planned.out
    done = musichash("replica", "gc", "--from", replica, "--keep", "1", "--json")
    assert json.loads(done.out)["kept"] == [1]
    back = musichash("replica", "rollback", "--from", replica)
    assert back.code == 1
    assert "has no snapshot before 1; name one of [1] with --snapshot" in back.err
    assert musichash("replica", "rollback", "--from", replica, "--snapshot", "1").code == 0


@pytest.mark.parametrize(
    ("changes", "options", "code", "sentence"),
    [
        ({"AWS_ACCESS_KEY_ID": None}, (), 2, "there are no credentials"),
        ({"AWS_ENDPOINT_URL": "nas:9000"}, (), 2, "'nas:9000' is no endpoint"),
        ({}, ("--endpoint", "http://127.0.0.1:9"), 1, "127.0.0.1:9 cannot be reached"),
        ({}, ("--from", "music/store"), 2, "it has the form s3://BUCKET/PREFIX"),
        ({}, ("--from", "s3://ab/music"), 2, "the bucket of 3 to 63, such as"),
        ({}, ("--from", "s3://music/a/../b"), 2, "it has the form s3://BUCKET/PREFIX"),
        ({}, ("--from", "s3://nowhere/a"), 1, "there is no bucket 'nowhere'"),
        ({}, ("--from", "s3://music/nothing"), 1, "s3://music/nothing is no replica of a store"),
    ],
)
def test_what_cannot_be_used_is_a_sentence(
    musichash, replica, monkeypatch, changes, options, code, sentence
):
    for name, text in changes.items():
        monkeypatch.delenv(name) if text is None else monkeypatch.setenv(name, text)
    said = musichash("replica", "list", "--from", "s3://music/nothing", *options)
    assert said.code == code
    assert sentence in said.err
    assert said.err.count("\n") == 1


def test_a_working_store_is_not_fetched_into(musichash, store, replica):
    musichash("replicate", "--store", store, "--to", replica)
    said = musichash("replica", "fetch", "--from", replica, "--to", store)
    assert said.code == 1
    assert "is a store that was not fetched" in said.err
