"""What a night adds to Prefect's database, and how long its page in the UI takes to load.

    python tests/benchmarks/prefect_database.py --tracks 10000 --folder DIR [--workers 2]

Cuts the music below tests/data/music into one-second WAV files (as scale.py does), starts a
``musichash server`` of its own, lives through two nights with it, and counts. The second night
finds nothing new. Prints one JSON object. With Chromium and playwright the run's page is loaded
too, and pictures of it are left in DIR.
"""

import argparse
import contextlib
import importlib.util
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

MUSICHASH = (sys.executable, "-c", "from flows.cli import main; main()")
SETTLED_S = 15
"""The server writes events and task runs in batches, a few seconds later."""

PATIENCE_S = 120


def make_tracks(folder: Path, n_tracks: int) -> None:
    path = Path(__file__).with_name("scale.py")
    spec = importlib.util.spec_from_file_location("scale", path)
    scale = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(scale)
    scale.make_tracks(folder, n_tracks)


@contextlib.contextmanager
def server(home: Path) -> Iterator[tuple[str, str]]:
    """Start a server; give its address and its secret."""
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with home.with_suffix(".log").open("w") as log:
        process = subprocess.Popen(
            [*MUSICHASH, "server", "--home", home, "--port", str(port)], stdout=log, stderr=log
        )
    try:
        until = time.monotonic() + PATIENCE_S
        while not (home / "server.json").exists():
            if process.poll() is not None or time.monotonic() > until:
                raise SystemExit(home.with_suffix(".log").read_text())
            time.sleep(0.3)
        yield f"http://127.0.0.1:{port}", (home / "credentials").read_text().strip()
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def counted(home: Path) -> dict[str, object]:
    """Count what the database holds; its size is that of its pages in use."""
    database = sqlite3.connect(f"file:{home / 'prefect' / 'prefect.db'}?mode=ro", uri=True)
    with contextlib.closing(database):
        ask = database.execute
        pages = ask("pragma page_count").fetchone()[0] - ask("pragma freelist_count").fetchone()[0]
        counts = {
            name: ask(f"select count(*) from {name}").fetchone()[0]
            for name in ("flow_run", "task_run", "artifact", "events", "log")
        }
        events = Counter(dict(ask("select event, count(*) from events group by event")))
        return {
            "bytes": pages * ask("pragma page_size").fetchone()[0],
            **counts,
            "artifact_updates": events["prefect.artifact.updated"],
        }


def night(folder: Path, home: Path, n_workers: int) -> dict[str, object]:
    """Run one night; give its account with what it added to the database."""
    before = counted(home)
    started = time.monotonic()
    done = subprocess.run(
        [
            *(*MUSICHASH, "run", "--catalogue", folder / "music", "--store", folder / "store"),
            *("--labels", "none", "--workers", str(n_workers), "--json"),
        ],
        env=os.environ | {"MUSICHASH_SERVER": "on", "MUSICHASH_SERVER_HOME": str(home)},
        stdout=subprocess.PIPE,
        check=True,
    )
    wall_s = time.monotonic() - started
    time.sleep(SETTLED_S)
    after = counted(home)
    run = json.loads(done.stdout)["run"]
    return {
        "wall_s": round(wall_s, 1),
        "cpu_s_of_stages": round(run["cpu_s"], 1),
        "done": run["done"],
        "failed": run["failed"],
        "added": {name: after[name] - before[name] for name in after},
    }


def look(folder: Path, home: Path, origin: str, secret: str) -> dict[str, float] | str:
    """Load the page of the first night in a browser; give the seconds of each of its tabs."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return "playwright is not installed"
    with contextlib.closing(
        sqlite3.connect(f"file:{home / 'prefect' / 'prefect.db'}?mode=ro", uri=True)
    ) as database:
        found = database.execute("select id, name from flow_run order by start_time limit 1")
        run_id, name = found.fetchone()
    seconds = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium",
            args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
        )
        page = browser.new_page(viewport={"width": 1440, "height": 1000})
        page.goto(origin)
        page.get_by_placeholder("admin:pass").fill(secret)
        page.get_by_role("button", name="Login").click()
        page.wait_for_url("**/dashboard**")
        for tab in ("Logs", "Task Runs", "Artifacts"):
            started = time.monotonic()
            page.goto(f"{origin}/v2/runs/flow-run/{run_id}?tab={tab.replace(' ', '+')}")
            page.get_by_text(name).first.wait_for()
            page.get_by_role("tab", name=tab).wait_for()
            page.wait_for_load_state("networkidle")
            seconds[tab] = round(time.monotonic() - started, 2)
            page.screenshot(path=folder / f"{tab.lower().replace(' ', '-')}.png")
        browser.close()
    return seconds


def main(arguments: list[str]) -> dict[str, object]:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, required=True, help="where files are made")
    parser.add_argument("--tracks", type=int, default=10_000, help="length of the catalogue")
    parser.add_argument("--workers", type=int, default=2, help="worker processes of a night")
    asked = parser.parse_args(arguments)
    folder = asked.folder.absolute()
    make_tracks(folder / "music", asked.tracks)
    home = folder / "home"
    with server(home) as (origin, secret):
        found = {"tracks": asked.tracks, "load": os.getloadavg()[0]}
        found |= {"first": night(folder, home, asked.workers)}
        found |= {"second": night(folder, home, asked.workers)}
        found |= {"page_s": look(folder, home, origin, secret)}
    return found


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1:]), indent=2))
