"""What stands before Prefect's server: which credentials and messages it lets through, and how."""

import asyncio
import base64
import json

import httpx
import pytest

from flows import server_front
from flows.server_front import Front, page_policy

ORIGINS = ["http://127.0.0.1:4242", "http://localhost:4242"]


def basic(secret):
    return b"Basic " + base64.b64encode(secret)


def headers_seen(*given):
    """Give the credentials that reach the application behind, and the headers of its answer."""
    seen = []

    async def behind(scope, receive, send):
        seen.extend(value for name, value in scope["headers"] if name == b"authorization")
        own = [(b"X-Frame-Options", b"SAMEORIGIN"), (b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 200, "headers": own})
        await send({"type": "http.response.body", "body": b""})

    async def ask():
        transport = httpx.ASGITransport(app=Front(behind, ORIGINS))
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            return await client.get("/", headers=[(b"Authorization", value) for value in given])

    return seen, asyncio.run(ask()).headers


@pytest.mark.parametrize("good", [b"musichash:secret", b"wrong:but plain", b":"])
def test_credentials_that_can_be_compared_pass(good):
    assert headers_seen(basic(good))[0] == [basic(good)]


@pytest.mark.parametrize(
    "bad",
    [
        basic("müsic:hash".encode()),
        basic(b"\xff\xfe:x"),
        b"Basic a",
        b"",
        b"Bearer x",
        b"basic " + base64.b64encode(b"musichash:secret"),
        "Basic müsic".encode(),
    ],
)
def test_others_are_made_wrong_ones(bad):
    (value,), _ = headers_seen(bad)
    assert base64.b64decode(value.removeprefix(b"Basic ")) == b"nobody:"


def test_nothing_is_added_where_no_credentials_are_given():
    assert headers_seen()[0] == []


def test_answers_get_the_headers_that_they_lack():
    _, headers = headers_seen()
    assert headers.get_list("x-frame-options") == ["SAMEORIGIN"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["content-security-policy"] == page_policy(ORIGINS)


def test_pages_may_call_their_own_server_by_all_its_names():
    directives = dict(
        directive.strip().split(" ", 1) for directive in page_policy(ORIGINS).split(";")
    )
    assert set(directives["connect-src"].split()) >= {
        *("'self'", "http://127.0.0.1:4242", "ws://localhost:4242")
    }
    assert "wss://music.example.org" in page_policy(["https://music.example.org"])
    assert "'unsafe-inline'" not in directives["script-src"]
    assert directives["frame-ancestors"] == "'none'"


def heard(*messages):
    """Give what the application behind receives on a websocket."""
    coming = [{"type": "websocket.connect"}, *messages]
    received = []

    async def receive():
        if not coming:
            await asyncio.Event().wait()
        return coming.pop(0)

    async def behind(scope, receive, send):
        while len(received) <= len(messages):
            received.append(await receive())

    async def speak():
        front = Front(behind, ORIGINS)
        await asyncio.wait_for(front({"type": "websocket"}, receive, None), 10)

    asyncio.run(speak())
    return received[1:]


def said(text):
    return {"type": "websocket.receive", "text": text}


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"type": "auth", "token": "musichash:secret"}),
        json.dumps({"type": "auth", "token": None}),
        json.dumps({"type": "event"}),
    ],
)
def test_a_first_message_that_can_be_read_passes_and_so_does_all_after_it(text):
    others = [said("x"), said("[]"), {"type": "websocket.receive", "bytes": b"\xff"}]
    assert heard(said(text), *others) == [said(text), *others]


@pytest.mark.parametrize(
    "message",
    [
        said(json.dumps({"type": "auth", "token": "müsic"})),
        said(json.dumps({"type": "auth", "token": 5})),
        said(json.dumps({"type": "auth", "token": {"a": 1}})),
        said("[]"),
        said("[" * 100_000),
        said("x"),
        said(""),
        {"type": "websocket.receive", "bytes": b'{"type": "auth"}'},
    ],
    ids=lambda message: repr(message)[:60],
)
def test_another_first_message_is_one_without_credentials(message):
    (first, second) = heard(message, said("x"))
    assert json.loads(first["text"]) == {"type": "none"}
    assert second == said("x")


def test_who_says_nothing_is_gone(monkeypatch):
    monkeypatch.setattr(server_front, "FIRST_MESSAGE_SECONDS", 0.05)
    received = []

    async def nothing():
        await asyncio.Event().wait()

    async def behind(scope, receive, send):
        received.append(await receive())

    asyncio.run(Front(behind, ORIGINS)({"type": "websocket"}, nothing, None))
    assert received == [{"type": "websocket.disconnect", "code": 1008}]
