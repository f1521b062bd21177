"""What an operator sees in the Prefect UI, in a real browser: the demonstration, and a failed run.

One server, two runs and one browser for the module. With ``MUSICHASH_SCREENSHOTS`` naming a folder,
the pages that the documents show are left there as pictures.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,  # one to two minutes: a server, the demonstration, a browser
    pytest.mark.timeout(600),
]

COMMAND = Path(sys.executable).with_name("musichash")
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")
PATIENCE_S = 240
PAGE_MS = 60_000
LEFT_THE_PAGE = "net::ERR_ABORTED"
PICTURES = os.environ.get("MUSICHASH_SCREENSHOTS")
ACCOUNT = "63 seen = 62 done + 0 reused + 1 failed + 0 quarantined + 0 removed"


def environment_for(home):
    plain = {
        name: text
        for name, text in os.environ.items()
        if not name.startswith(("PREFECT_", "MUSICHASH_"))
    }
    return plain | {
        **{"MUSICHASH_SERVER": "on", "MUSICHASH_SERVER_HOME": str(home)},
        **{"COLUMNS": "200", "NO_COLOR": "1", "OMP_NUM_THREADS": "1"},
    }


def musichash(home, *arguments):
    return subprocess.run(
        [str(COMMAND), *map(str, arguments)],
        env=environment_for(home),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


class Operator(NamedTuple):
    """A browser that is logged in, what it looks at, and how to ask the server for facts."""

    page: object
    origin: str
    secret: str
    runs: dict
    """State -> flow run, as JSON."""
    artifacts: dict
    """Flow run id -> key -> artifact, as JSON."""

    def open_run(self, state, tab):
        run = self.runs[state]
        self.page.goto(f"{self.origin}/v2/runs/flow-run/{run['id']}?tab={tab.replace(' ', '+')}")
        self.page.get_by_text(run["name"]).first.wait_for()
        self.page.get_by_role("tab", name=tab).wait_for()
        return self.page

    def open_artifact(self, state, key):
        artifact = self.artifacts[self.runs[state]["id"]][key]
        self.page.goto(f"{self.origin}/v2/artifacts/artifact/{artifact['id']}")
        self.page.get_by_text(key).first.wait_for()
        return self.page

    def sees(self, text):
        """Wait until a text is seen; a hidden raw copy does not count."""
        self.page.get_by_text(text).filter(visible=True).first.wait_for()

    def picture(self, name):
        if PICTURES:
            self.page.wait_for_load_state("networkidle")
            self.page.wait_for_timeout(1_000)  # the chart of a run draws itself
            self.page.screenshot(path=Path(PICTURES) / f"{name}.png")


@pytest.fixture(scope="module")
def served(tmp_path_factory, music_root):
    """A server, the demonstration on it, and a run that finds most of the music missing."""
    root = tmp_path_factory.mktemp("ui")
    home = root / "home"
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with (root / "server.log").open("w") as log:
        process = subprocess.Popen(
            [str(COMMAND), "server", "--home", str(home), "--port", str(port)],
            env=environment_for(home),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        until = time.monotonic() + PATIENCE_S
        while not (home / "server.json").exists():
            assert process.poll() is None, (root / "server.log").read_text()
            assert time.monotonic() < until, (root / "server.log").read_text()
            time.sleep(0.2)
        demo = musichash(home, "demo", "--store", root / "demo", "--workers", 1)
        assert demo.returncode == 3, demo.stderr  # one file is damaged on purpose
        few = root / "few"
        shutil.copytree(music_root / "rock", few)
        failed = musichash(home, "run", "--catalogue", few, "--store", root / "demo")
        assert failed.returncode == 2, failed.stderr
        yield f"http://127.0.0.1:{port}", (home / "credentials").read_text().strip()
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def ask(client, path, question):
    answer = client.post(f"/api{path}", json=question)
    answer.raise_for_status()
    return answer.json()


@pytest.fixture(scope="module")
def facts(served):
    """What the server says of the two runs when it has written everything down."""
    origin, secret = served
    with httpx.Client(base_url=origin, auth=tuple(secret.split(":")), timeout=60) as client:
        token = client.get("/api/csrf-token", params={"client": "test"}).json()["token"]
        client.headers.update({"Prefect-Csrf-Client": "test", "Prefect-Csrf-Token": token})
        until = time.monotonic() + 60
        while True:
            runs = {run["state_type"]: run for run in ask(client, "/flow_runs/filter", {})}
            n_tasks = ask(client, "/task_runs/count", {})
            if n_tasks >= 10 or time.monotonic() > until:
                break
            time.sleep(1)
        artifacts = {}
        for run in runs.values():
            mine = {"artifacts": {"flow_run_id": {"any_": [run["id"]]}}}
            found = ask(client, "/artifacts/filter", mine)
            artifacts[run["id"]] = {one["key"]: one for one in found}
        return runs, artifacts


@pytest.fixture(scope="module")
def operator(request):
    """A browser in which somebody has given the server's credentials."""
    if BROWSER is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: pip install '.[dev]'"
    )
    (origin, secret), (runs, artifacts) = map(request.getfixturevalue, ("served", "facts"))
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=BROWSER, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 860})
        page.set_default_timeout(PAGE_MS)
        page.goto(origin)
        page.get_by_placeholder("admin:pass").fill(secret)
        page.get_by_role("button", name="Login").click()
        page.wait_for_url("**/dashboard**")
        yield Operator(page, origin, secret, runs, artifacts)
        browser.close()


def test_the_page_of_a_run_says_which_one_it_is_and_how_it_ended(operator):
    page = operator.open_run("COMPLETED", "Logs")
    assert re.fullmatch(r"nightly music \d{4}-\d\d-\d\d", operator.runs["COMPLETED"]["name"])
    operator.sees("Completed")
    operator.sees("8 Task runs")
    assert set(operator.runs["COMPLETED"]["tags"]) == {
        *("musichash", "nightly", "catalogue:music", "store:demo")
    }
    assert page.get_by_text("store:demo").or_(page.get_by_text("catalogue:music")).count()


def test_the_log_of_a_run_tells_what_each_stage_did(operator):
    operator.open_run("COMPLETED", "Logs")
    operator.sees(f"published snapshot 1: {ACCOUNT}")
    operator.picture("run")


def test_the_artifacts_of_a_run_are_named_and_begin_with_what_matters(operator):
    operator.open_run("COMPLETED", "Artifacts")
    for key in (
        *("morning-report", "run-summary", "code-health", "learning-curves", "html-report"),
        *("scan-progress", "extract-progress", "describe-progress", "encode-progress"),
    ):
        operator.sees(key)
    operator.sees("62 processed, 1 failed of 63 tracks")
    operator.picture("artifacts")


def test_the_morning_report_reads_well(operator):
    page = operator.open_artifact("COMPLETED", "morning-report")
    page.get_by_role("heading", name="62 processed, 1 failed of 63 tracks").wait_for()
    operator.sees(ACCOUNT)
    operator.sees("Snapshot 1 is published.")
    page.get_by_role("cell", name="truncated", exact=True).wait_for()
    page.get_by_role("cell", name=re.compile("singularity-.*-truncated.ogg")).wait_for()
    page.get_by_role("cell", name=re.compile("^Fetch the file again")).wait_for()
    operator.sees("musichash failures --store")
    operator.picture("morning-report")


def test_the_link_opens_the_report_for_whoever_has_the_credentials(operator):
    page = operator.open_artifact("COMPLETED", "morning-report")
    link = page.get_by_role("link", name="Open the HTML report")
    target = link.get_attribute("href")
    assert target == "/reports/demo/report.html"
    assert httpx.get(operator.origin + target).status_code == 401
    name, _, password = operator.secret.partition(":")
    context = page.context.browser.new_context(
        http_credentials={"username": name, "password": password}
    )
    report = context.new_page()
    answer = report.goto(operator.origin + target)
    assert answer.status == 200
    assert report.title() == "musichash: snapshot 1"
    report.get_by_role("heading", name="Account of the last run").wait_for()
    pictures = report.locator('img[src^="data:"]')
    assert pictures.count() >= 4
    for number in range(pictures.count()):  # the policy of the page lets them be seen
        assert pictures.nth(number).evaluate("picture => picture.naturalWidth") > 0
    context.close()
    page = operator.open_artifact("COMPLETED", "html-report")
    assert page.get_by_role("link", name="Open the HTML report").get_attribute("href") == target


def test_the_summary_has_a_row_for_each_stage(operator):
    page = operator.open_artifact("COMPLETED", "run-summary")
    for stage in ("plan", "extract", "describe", "train", "encode", "index", "report"):
        page.get_by_role("cell", name=stage, exact=True).wait_for()
    row = page.get_by_role("row").filter(has=page.get_by_role("cell", name="extract", exact=True))
    assert row.get_by_role("cell").all_inner_texts()[:4] == ["extract", "62", "0", "1"]
    operator.sees(ACCOUNT)
    operator.picture("run-summary")


def test_progress_says_how_far_a_stage_came(operator):
    operator.open_artifact("COMPLETED", "extract-progress")
    operator.sees(re.compile(r"63 of 63 tracks done, 1 failed, in (\d+ min )?\d+ s, [\d.]+ per "))
    operator.sees("100%")


def test_code_health_is_a_table_with_meanings(operator):
    page = operator.open_artifact("COMPLETED", "code-health")
    page.get_by_role("heading", name="Code health: ok").wait_for()
    page.get_by_role("cell", name="canaries").wait_for()


def test_learning_curves_are_seen(operator):
    page = operator.open_artifact("COMPLETED", "learning-curves")
    picture = page.locator('img[src^="data:image/png"]').filter(visible=True).first
    picture.wait_for()
    assert picture.evaluate("picture => picture.naturalWidth") > 300
    operator.picture("learning-curves")


def test_a_failed_run_says_why_and_what_to_do(operator):
    page = operator.open_run("FAILED", "Artifacts")
    operator.sees("Failed")
    operator.sees("unfinished-run")
    page = operator.open_artifact("FAILED", "unfinished-run")
    page.get_by_role("heading", name=re.compile(r"nightly few .*: failed")).wait_for()
    operator.sees("mount the missing disk, name every catalogue root")
    operator.sees("what was published before is still served")
    operator.sees(re.compile(r"musichash run --catalogue \S+/few --store \S+/demo"))
    operator.picture("unfinished-run")


def test_every_page_reaches_its_api(operator):
    """One that calls another port or origin is blank."""
    refused, answered = [], []

    def note_refusal(request):
        if "/api/" in request.url and request.failure != LEFT_THE_PAGE:
            refused.append((request.url, request.failure))

    def note_answer(response):
        if "/api/" in response.url:
            answered.append((response.url, response.status))

    operator.page.on("requestfailed", note_refusal)
    operator.page.on("response", note_answer)
    for path in ("dashboard", "runs", "artifacts", "deployments", "automations"):
        operator.page.goto(f"{operator.origin}/v2/{path}", wait_until="networkidle")
    operator.sees("musichash: a run that fell silent has crashed")
    assert not refused
    assert len(answered) > 10
    assert {url.startswith(f"{operator.origin}/api/") for url, _ in answered} == {True}
    assert not [answer for answer in answered if answer[1] in {401, 403, 500}]


def test_pages_work_under_their_policy_and_run_nothing_that_was_put_into_them(operator):
    page = operator.page
    broken, elsewhere = [], []
    page.on("pageerror", lambda error: broken.append(str(error)))
    page.on("response", lambda response: elsewhere.append(response.url))
    operator.open_run("COMPLETED", "Logs")  # its chart makes functions of text
    page.wait_for_load_state("networkidle")
    page.locator("canvas").first.wait_for()
    page.evaluate(
        """() => {
            const script = document.createElement("script");
            script.textContent = "window.ranAsScript = true";
            const picture = document.createElement("img");
            picture.setAttribute("onerror", "window.ranAsScript = true");
            picture.src = "data:image/png,nothing";
            document.body.append(script, picture);
        }"""
    )
    page.wait_for_timeout(500)
    assert page.evaluate("() => window.ranAsScript === undefined")
    assert not broken
    assert not [url for url in elsewhere if not url.startswith((operator.origin, "data:", "blob:"))]
