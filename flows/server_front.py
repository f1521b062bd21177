"""What stands before Prefect's server, and sees each request first.

Prefect refuses whoever does not give the credentials. It falls over some of what strangers send in
their place, though: no harm, but each time a hundred lines of its log, and strangers must not fill
a disk. It waits for ever for the first message of a websocket. And it lets its pages be shown
within others and load from everywhere, where a page on which somebody is logged in starts programs.
Public: `Front`, `page_policy`.
"""

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

FIRST_MESSAGE_SECONDS = 20.0
"""In which a websocket must give its credentials."""

NOBODYS = b"Basic " + base64.b64encode(b"nobody:")
"""Credentials that are well-formed, and wrong."""

NO_MESSAGE = json.dumps({"type": "none"})
"""For which Prefect closes a websocket, with a line in its log."""

LOGOS = "https://cdn.sanity.io/images/3ugk85nk/"
"""Prefect's pictures of the kinds of blocks, on the page where one is chosen."""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]


def page_policy(origins: Sequence[str]) -> str:
    """Say what pages may load and call: the server's own, by any of its names, and logos.

    Text of Markdown that became a script in spite of everything is not run, and a picture of
    elsewhere does not tell its owner who reads the page. The chart of a run makes functions of
    text that is its own (``unsafe-eval``).
    """
    sockets = [origin.replace("http", "ws", 1) for origin in origins]
    return (
        "default-src 'self'; script-src 'self' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
        f"img-src 'self' data: blob: {LOGOS}; font-src 'self' data:; worker-src 'self' blob:; "
        f"connect-src 'self' data: blob: {' '.join([*origins, *sockets])}; "
        "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
    )


class Front:
    """An application around another one.

    Parameters
    ----------
    app : callable
        Of the protocol ASGI.
    origins : sequence of str
        By which browsers know the server.
    """

    def __init__(self, app: Application, origins: Sequence[str]) -> None:
        self._app = app
        self._headers = {
            b"content-security-policy": page_policy(origins).encode("ascii"),
            b"x-frame-options": b"DENY",
            b"x-content-type-options": b"nosniff",
            b"referrer-policy": b"same-origin",
        }

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request, or let a websocket speak."""
        if scope["type"] == "websocket":
            await self._app(scope, _with_first_message_checked(receive), send)
        elif scope["type"] == "http":
            scope = dict(scope, headers=[_comparable(*header) for header in scope["headers"]])
            await self._app(scope, receive, self._with_headers(send))
        else:
            await self._app(scope, receive, send)

    def _with_headers(self, send: Send) -> Send:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                present = {name.lower() for name, _ in message["headers"]}
                missing = [one for one in self._headers.items() if one[0] not in present]
                message = dict(message, headers=[*message["headers"], *missing])
            await send(message)

        return send_with_headers


def _comparable(name: bytes, value: bytes) -> tuple[bytes, bytes]:
    """Put wrong credentials in the place of those that Prefect cannot compare with its own."""
    if name.lower() != b"authorization":
        return name, value
    scheme, _, encoded = value.partition(b" ")
    try:
        is_ascii = base64.b64decode(encoded).isascii()
    except ValueError:
        is_ascii = False
    return name, value if is_ascii and scheme == b"Basic" else NOBODYS


def _with_first_message_checked(receive: Receive) -> Receive:
    is_first = True

    async def receive_checked() -> Message:
        nonlocal is_first
        if not is_first:
            return await receive()
        try:
            message = await asyncio.wait_for(receive(), FIRST_MESSAGE_SECONDS)
        except TimeoutError:
            return {"type": "websocket.disconnect", "code": 1008}
        if message["type"] != "websocket.receive":
            return message  # it connects, or has gone already
        is_first = False
        return message if _may_give_credentials(message) else dict(message, text=NO_MESSAGE)

    return receive_checked


def _may_give_credentials(message: Message) -> bool:
    """Tell whether a message is one that Prefect can read, of text and with a token to compare."""
    try:
        content = json.loads(message.get("text") or "")
    except (ValueError, RecursionError):
        return False
    if not isinstance(content, dict):
        return False
    token = content.get("token") or ""
    return isinstance(token, str) and token.isascii()
