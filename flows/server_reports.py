"""The HTML reports of stores, as pages of ``musichash server``, and where a run links to them.

A page of the UI cannot open a file of this machine, and its reader may sit at another one. So the
server shows ``/reports/NAME/report.html`` to whoever gives its credentials (a browser asks once),
and nothing else of a store. NAME is a link in the state folder, which a run makes there; the link
in the UI has no host, so that it leads to the server by whatever way the reader has come.

Where there is no such server, ``MUSICHASH_REPORTS_URL`` may name the address under which the
folder that holds the stores can be read.

Public: `report_link`, `add_reports`, `REPORTS_VARIABLE`.
"""

import base64
import contextlib
import hashlib
import hmac
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from flows.server_connection import state_folder_asked_for
from flows.server_state import StateFolder

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

REPORTS_VARIABLE = "MUSICHASH_REPORTS_URL"
REPORT_FILE = "report.html"
LINKS_FOLDER = "reports"
PRIVATE_FOLDER = 0o700
MAX_REPORT_BYTES = 64_000_000
ROUTE = f"/reports/{{name}}/{REPORT_FILE}"

HEADERS = {
    # Text of files from anywhere is on the page. It is escaped, and may yet do nothing: no scripts,
    # nothing from elsewhere, and none of what the origin's own pages may (the secret is theirs).
    "Content-Security-Policy": (
        "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def report_link(store: str) -> str | None:
    """Give where a browser finds the report of a store; None where it finds it nowhere.

    The store becomes known to the server of this user that the process uses, if it uses one.
    """
    root = Path(store).absolute()
    base = os.environ.get(REPORTS_VARIABLE)
    if base:
        return f"{base.rstrip('/')}/{quote(root.name)}/{REPORT_FILE}"
    state = state_folder_asked_for()
    running = state.running()
    if running is None or running.api_url != os.environ.get("PREFECT_API_URL", "").rstrip("/"):
        return None
    try:
        name = _known_as(state.path / LINKS_FOLDER, root)
    except OSError:  # a link is a convenience: the path is told as well
        return None
    return ROUTE.format(name=quote(name, safe=""))


def _known_as(links: Path, root: Path) -> str:
    """Make a link to a store, if there is none; give its name."""
    links.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
    plain = root.name or "store"
    told_apart = f"{plain}-{hashlib.sha256(os.fsencode(root)).hexdigest()[:8]}"
    for name in (plain, told_apart):
        with contextlib.suppress(FileExistsError):
            (links / name).symlink_to(root)
        if (links / name).readlink() == root:
            return name
    raise FileExistsError(links / told_apart)


def add_reports(app: Any, state: StateFolder) -> None:  # noqa: ANN401 - of Prefect
    """Let an application show the reports of the stores that a state folder knows.

    Parameters
    ----------
    app : fastapi.FastAPI
        Prefect's; the route is put before its own.
    state : StateFolder
        Of the server; a browser must give the secret that lies there.
    """
    from starlette.responses import HTMLResponse, PlainTextResponse
    from starlette.routing import Route

    wanted = "Basic " + base64.b64encode(state.secret().encode("utf-8")).decode("ascii")
    links = state.path / LINKS_FOLDER

    def show(request: "Request") -> "Response":
        given = request.headers.get("authorization", "")
        if not hmac.compare_digest(given.encode("utf-8"), wanted.encode("utf-8")):
            return PlainTextResponse(
                "the report is shown to whoever gives the server's credentials; 'musichash server "
                "credentials --show' prints them as NAME:PASSWORD\n",
                status_code=401,
                headers={"WWW-Authenticate": 'Basic realm="musichash", charset="UTF-8"'},
            )
        page = _read(links, request.path_params["name"])
        if page is None:
            return PlainTextResponse(
                "no report here: the store is not known to this server, its folder cannot be read "
                "by it, or nothing was published yet; 'musichash report' writes one\n",
                status_code=404,
            )
        return HTMLResponse(page, headers=HEADERS)

    app.router.routes.insert(0, Route(ROUTE, show, methods=["GET"], include_in_schema=False))


def _read(links: Path, name: str) -> bytes | None:
    """Read the report of a store; that one file, and only if it is one."""
    if name in {"", ".", ".."} or "/" in name or "\0" in name or not (links / name).is_symlink():
        return None
    try:
        descriptor = os.open(
            links / name / REPORT_FILE,
            os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK,
        )
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_REPORT_BYTES:
            return None
        return file.read(MAX_REPORT_BYTES)
