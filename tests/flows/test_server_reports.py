"""Reports of stores as pages of the server: who sees them, and that nothing else can be read."""

import asyncio
import base64
import json
import os

import fastapi
import httpx
import pytest

from flows.server_reports import add_reports, report_link
from flows.server_state import Running, StateFolder

PAGE = "<!doctype html><title>report</title>"


@pytest.fixture
def state(tmp_path, monkeypatch):
    """The state folder of a server that this process uses; it runs as long as the test."""
    state = StateFolder(tmp_path / "home")
    state.prepare()
    state.secret_made_once()
    monkeypatch.setenv("MUSICHASH_SERVER_HOME", str(state.path))
    monkeypatch.delenv("MUSICHASH_REPORTS_URL", raising=False)
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:4242/api")
    with state.held():
        state.record(Running(os.getpid(), "http://127.0.0.1:4242/api", "http://127.0.0.1:4242"))
        yield state


def make_store(folder, page=PAGE):
    folder.mkdir(parents=True)
    (folder / "report.html").write_text(page)
    (folder / "secret.txt").write_text("not for readers")
    return str(folder)


def ask(state, path, secret=None, method="GET"):
    app = fastapi.FastAPI()
    add_reports(app, state)

    async def asking():
        headers = {}
        if secret is not None:
            headers["Authorization"] = "Basic " + base64.b64encode(secret.encode()).decode()
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            return await client.request(method, path, headers=headers)

    return asyncio.run(asking())


def test_the_link_has_no_host_and_leads_to_the_report(state, tmp_path):
    store = make_store(tmp_path / "my music.store")
    link = report_link(store)
    assert link == "/reports/my%20music.store/report.html"
    assert report_link(store) == link
    answer = ask(state, link, state.secret())
    assert (answer.status_code, answer.text) == (200, PAGE)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("sandbox; default-src 'none'")
    assert "script-src" not in policy
    assert answer.headers["cache-control"] == "no-store"


def test_two_stores_of_one_name_are_told_apart(state, tmp_path):
    one = make_store(tmp_path / "a" / "store", "one")
    two = make_store(tmp_path / "b" / "store", "two")
    links = [report_link(one), report_link(two), report_link(one)]
    assert links[0] == links[2] == "/reports/store/report.html"
    assert links[1].startswith("/reports/store-")
    assert [ask(state, link, state.secret()).text for link in links] == ["one", "two", "one"]


@pytest.mark.parametrize("secret", [None, "musichash:guess", "", "musichash", "müsic:hash"])
def test_without_the_credentials_nothing_is_shown(state, tmp_path, secret):
    link = report_link(make_store(tmp_path / "store"))
    answer = ask(state, link, secret)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Basic realm=")
    assert PAGE not in answer.text
    assert ask(state, "/reports/unknown/report.html", secret).status_code == 401


@pytest.mark.parametrize(
    "path",
    [
        "/reports/store/secret.txt",
        "/reports/store/../secret.txt",
        "/reports/store%2F..%2Fstore/report.html",
        "/reports/../report.html",
        "/reports/%2e%2e/report.html",
        "/reports/./report.html",
        "/reports/plain/report.html",
        "/reports/%00/report.html",
        "/reports/unknown/report.html",
    ],
)
def test_nothing_but_the_report_of_a_known_store_can_be_read(state, tmp_path, path):
    report_link(make_store(tmp_path / "store"))
    make_store(state.path / "reports" / "plain")  # no link: nobody has made it known
    (state.path / "report.html").write_text("not for readers")
    answer = ask(state, path, state.secret())
    assert answer.status_code == 404
    assert "not for readers" not in answer.text
    assert PAGE not in answer.text


def test_a_report_that_is_no_file_of_its_store_is_not_shown(state, tmp_path):
    store = tmp_path / "store"
    link = report_link(make_store(store))
    (store / "report.html").unlink()
    assert ask(state, link, state.secret()).status_code == 404
    (store / "report.html").symlink_to(store / "secret.txt")
    assert ask(state, link, state.secret()).status_code == 404
    (store / "report.html").unlink()
    os.mkfifo(store / "report.html")
    assert ask(state, link, state.secret()).status_code == 404
    assert ask(state, link, state.secret(), method="POST").status_code == 405


def test_without_a_server_of_ours_there_is_no_link(state, tmp_path, monkeypatch):
    store = make_store(tmp_path / "store")
    monkeypatch.setenv("PREFECT_API_URL", "https://elsewhere.example/api")
    assert report_link(store) is None
    monkeypatch.delenv("PREFECT_API_URL")
    assert report_link(store) is None
    assert json.loads((state.path / "server.json").read_text())["api_url"].endswith("4242/api")
    assert not (state.path / "reports").exists()


def test_the_environment_may_name_the_address(tmp_path, monkeypatch):
    monkeypatch.setenv("MUSICHASH_REPORTS_URL", "https://files.example/stores/")
    link = report_link(str(tmp_path / "my store"))
    assert link == "https://files.example/stores/my%20store/report.html"
