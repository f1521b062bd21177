"""Nights on a schedule: ``serve`` on one machine, and the deployments of ``deploy/prefect.yaml``.

One server for the module; served from another folder. A served run needs half a minute on a busy
machine of two cores, mostly for its imports.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from flows.server_automations import SKIPPED_MESSAGE, ensure_automations
from flows.server_schedules import Timetable, next_times, timetable
from flows.server_state import ServerUsageError
from musichash_core.config import load_config

PATIENCE_S = 240
CRASH_AFTER_S = 60
SETTLED_S = 10
COMMAND = Path(sys.executable).with_name("musichash")
ROOT = Path(__file__).parents[2]
READY = "Ctrl-C ends"
HIDDEN = "a-key-that-nobody-may-read"


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


def wait_for(question, log):
    """Ask until the answer is true."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        if answer := question():
            return answer
        time.sleep(0.5)
    pytest.fail(f"nothing within {PATIENCE_S} s; the log says:\n{log.read_text()}")
    return None


class Serving(NamedTuple):
    """A ``serve`` at work."""

    process: subprocess.Popen
    log: Path

    def run_process(self):
        """Give the process of the run that it has started; None while there is none."""
        children = psutil.Process(self.process.pid).children()
        return next((one for one in children if "prefect.engine" in one.cmdline()), None)


class Machine(NamedTuple):
    """A catalogue, a store and a state folder, and how to serve them."""

    root: Path
    port: int
    config: Path

    @property
    def home(self):
        return self.root / "home"

    @contextmanager
    def serving(self, *options):
        log = self.root / f"serve-{time.monotonic_ns()}.log"
        elsewhere = self.root / "elsewhere"
        elsewhere.mkdir(exist_ok=True)
        with log.open("w") as output:
            process = subprocess.Popen(
                [
                    *(COMMAND, "serve", "--catalogue", "../music", "--store", "../store"),
                    *("--config", self.config, "--workers", "1", "--home", self.home),
                    *("--port", str(self.port), "--crash-after", str(CRASH_AFTER_S), *options),
                ],
                env=clean_environment(AWS_SECRET_ACCESS_KEY=HIDDEN),
                cwd=elsewhere,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        serving = Serving(process, log)
        try:
            wait_for(lambda: READY in log.read_text() or process.poll() is not None, log)
            assert process.poll() is None, log.read_text()
            yield serving
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait(90)

    @contextmanager
    def client(self):
        """Ask the server as Prefect's own programs do."""
        from prefect.client.orchestration import get_client
        from prefect.settings import (
            PREFECT_API_AUTH_STRING,
            PREFECT_API_URL,
            temporary_settings,
        )

        secret = (self.home / "credentials").read_text().strip()
        api_url = json.loads((self.home / "server.json").read_text())["api_url"]
        with (
            temporary_settings({PREFECT_API_URL: api_url, PREFECT_API_AUTH_STRING: secret}),
            get_client(sync_client=True) as client,
        ):
            yield client


@pytest.fixture(scope="module")
def machine(tmp_path_factory, tiny_config_path):
    import numpy as np
    import soundfile

    root = tmp_path_factory.mktemp("machine")
    rng = np.random.default_rng(3)
    times = np.arange(3 * 16_000) / 16_000
    for label, noise in (("hiss", 0.2), ("hum", 0.0)):
        folder = root / "music" / label
        folder.mkdir(parents=True)
        for number in range(3):
            tone = 0.3 * np.sin(2 * np.pi * (110 + 40 * number) * times)
            samples = tone + noise * rng.standard_normal(len(times)).clip(-3, 3)
            soundfile.write(folder / f"{number}.wav", samples.astype(np.float32), 16_000)
    return Machine(root, free_port(), tiny_config_path)


@pytest.fixture(scope="module")
def server(machine):
    """A server that outlives each ``serve``, which finds it."""
    log = machine.root / "server.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [COMMAND, "server", "--home", machine.home, "--port", str(machine.port)],
            env=clean_environment(),
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        wait_for((machine.home / "server.json").exists, log)
        yield process
    finally:
        process.terminate()
        process.wait(60)


def ledger(machine):
    from tasks.status import list_runs

    found = list_runs(str(machine.root / "store"))["runs"]
    return [(run["state"], run["done"], run["reused"]) for run in found]


def state_of(client, run, log, *names):
    """Wait until a run is in one of some states; give it."""

    def asked():
        found = client.read_flow_run(run.id)
        return found if found.state_name in names else None

    return wait_for(asked, log)


@pytest.mark.integration
@pytest.mark.slow  # five minutes, one of them of silence
@pytest.mark.timeout(900)
def test_served_nights_run_are_skipped_crash_and_are_completed_by_the_next(machine, server):
    with machine.serving("--at", "02:00", "--timezone", "UTC") as serving:  # noqa: SIM117
        with machine.client() as client:
            # The server has made them by itself; serve changes when a run is held to be silent.
            assert (machine.root / "server.log").read_text().count("automation created") == 3
            assert serving.log.read_text().count("automation brought up to date") == 1
            night = client.read_deployment_by_name("nightly/store")
            first = client.create_flow_run_from_deployment(night.id)
            state_of(client, first, serving.log, "Running")
            # Else it may be over before serve, which asks every ten seconds, sees the second.
            wait_for(serving.run_process, serving.log).suspend()
            second = client.create_flow_run_from_deployment(night.id)
            skipped = state_of(client, second, serving.log, "Skipped")
            assert skipped.state.is_cancelled()
            assert skipped.state.message == SKIPPED_MESSAGE
            # The server gives the state, serve gives the name: whichever comes first.
            named = f"nightly music {skipped.expected_start_time:%Y-%m-%d} (skipped)"
            wait_for(lambda: client.read_flow_run(second.id).name == named, serving.log)
            wait_for(lambda: _was_reported(client, second.id), serving.log)

            # The process of a run dies: serve tells the server at once.
            serving.run_process().kill()
            crashed = state_of(client, first, serving.log, "Crashed")
            assert "SIGKILL" in crashed.state.message

            # The next night completes the work.
            third = client.create_flow_run_from_deployment(night.id)
            done = state_of(client, third, serving.log, "Completed", "Failed", "Crashed")
            assert "of 6 seen; snapshot 1" in done.state.message
            assert done.name == f"nightly music {datetime.now(UTC):%Y-%m-%d}"
            assert {"musichash", "nightly"} <= set(done.tags)

            # The run and serve die together: the server marks the run as crashed by itself.
            fourth = client.create_flow_run_from_deployment(night.id)
            state_of(client, fourth, serving.log, "Running")
            running = wait_for(serving.run_process, serving.log)
            wait_for(lambda: ledger(machine)[0][0] == "running", serving.log)
            since = time.monotonic()
            serving.process.kill()
            running.kill()
            silent = state_of(client, fourth, serving.log, "Crashed")
            assert silent.state.message.startswith(f"no sign of life for {CRASH_AFTER_S} s")
            assert time.monotonic() - since < CRASH_AFTER_S + 60
    # A new serve goes on; its end ends the run at work, which says so.
    with machine.serving("--at", "02:00", "--timezone", "UTC") as serving:
        assert "automation" not in serving.log.read_text()
        with machine.client() as client:
            fifth = client.create_flow_run_from_deployment(night.id)
            state_of(client, fifth, serving.log, "Running")
            wait_for(lambda: ledger(machine)[0][0] == "running", serving.log)
            serving.process.send_signal(signal.SIGINT)
            assert serving.process.wait(90) == 0
            ended = client.read_flow_run(fifth.id)
            assert ended.state_name == "Cancelled"
            assert "serve was ended" in ended.state.message
    assert "serve has ended" in serving.log.read_text()
    assert server.poll() is None
    states = [state for state, _, _ in ledger(machine)]
    assert "running" not in states
    assert "done" in states
    _assert_no_secret_is_kept(machine)


def _assert_no_secret_is_kept(machine):
    """Look for secrets in all that the server wrote: its database and its log."""
    secret = (machine.home / "credentials").read_text().strip().partition(":")[2]
    written = [*(machine.home / "prefect").rglob("*"), *machine.root.glob("*.log")]
    contents = {path: path.read_bytes() for path in written if path.is_file()}
    assert any(b"nightly music" in content for content in contents.values())
    for path, content in contents.items():
        for hidden in (secret, HIDDEN):
            assert hidden.encode() not in content, path


def _was_reported(client, run_id):
    """Tell whether the automation for failures and skipped nights was triggered by a run."""
    asked = {"filter": {"event": {"name": ["prefect.automation.triggered"]}}, "limit": 50}
    return any(
        "was skipped" in event["resource"]["prefect.resource.name"]
        and str(run_id) in json.dumps(event["payload"])
        for event in client.request("POST", "/events/filter", json=asked).json()["events"]
    )


@pytest.mark.integration
@pytest.mark.slow  # three minutes, one of them of silence
@pytest.mark.timeout(600)
def test_a_run_by_hand_that_is_killed_has_crashed_and_the_next_one_completes_it(machine, server):
    store = machine.root / "by-hand"
    log = machine.root / "by-hand.log"

    def begin():
        with log.open("a") as output:
            return subprocess.Popen(
                [
                    *(COMMAND, "run", "--catalogue", machine.root / "music", "--store", store),
                    *("--config", machine.config, "--workers", "1"),
                ],
                env=clean_environment(
                    MUSICHASH_SERVER="on",
                    MUSICHASH_SERVER_HOME=str(machine.home),
                    AWS_SECRET_ACCESS_KEY=HIDDEN,
                ),
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def runs_of(client):
        found = client.read_flow_runs()
        return [run for run in found if run.parameters.get("store") == str(store)]

    with machine.client() as client:
        ensure_automations(client, silent_seconds=CRASH_AFTER_S)
        time.sleep(SETTLED_S)
        killed = begin()
        (run,) = wait_for(lambda: runs_of(client), log)
        state_of(client, run, log, "Running")
        wait_for(lambda: store.is_dir() and status_of(store)[:1] == ["running"], log)
        os.killpg(killed.pid, signal.SIGKILL)
        killed.wait()
        silent = state_of(client, run, log, "Crashed")
        assert silent.state.message.startswith(f"no sign of life for {CRASH_AFTER_S} s")
        assert status_of(store) == ["killed"]
        assert begin().wait(PATIENCE_S) == 0, log.read_text()
        assert {found.state_name for found in runs_of(client)} == {"Crashed", "Completed"}
    assert status_of(store) == ["done", "killed"]
    _assert_no_secret_is_kept(machine)


@pytest.mark.integration
@pytest.mark.slow  # a minute
@pytest.mark.timeout(600)
def test_a_night_outlives_the_server_that_serve_started(machine):
    alone = Machine(machine.root / "alone", free_port(), machine.config)
    alone.root.mkdir()
    (alone.root / "music").symlink_to(machine.root / "music")
    with alone.serving("--now") as serving, alone.client() as client:
        assert "next night now" in serving.log.read_text()
        store = alone.root / "store"
        wait_for(lambda: store.is_dir() and status_of(store) == ["running"], serving.log)
        old = json.loads((alone.home / "server.json").read_text())["pid"]
        os.kill(old, signal.SIGKILL)
        wait_for(lambda: "healthy again" in serving.log.read_text(), serving.log)
        assert "ended by signal 9" in serving.log.read_text()
        (run,) = [run for run in client.read_flow_runs() if run.state_name != "Scheduled"]
        done = state_of(client, run, serving.log, "Completed", "Failed", "Crashed", "Skipped")
        assert "6 done" in done.state.message
    assert "serve has ended" in serving.log.read_text()
    assert not (alone.home / "server.json").exists()


def status_of(store):
    """Give the states of the runs of a store, the last one first."""
    from tasks.status import list_runs

    return [run["state"] for run in list_runs(str(store))["runs"]]


@pytest.mark.integration
@pytest.mark.slow  # a minute
@pytest.mark.timeout(600)
def test_serve_registers_what_it_says_and_leaves_alone_what_the_operator_set(machine, server):
    from prefect.exceptions import PrefectHTTPStatusError

    options = ("--name", "forms", "--timezone", "UTC", "--cron")
    with machine.serving(*options, "0 2 * * *") as serving, machine.client() as client:
        night = client.read_deployment_by_name("nightly/forms")
        filling = client.read_deployment_by_name("backfill/forms")
        assert night.concurrency_options.collision_strategy == "CANCEL_NEW"
        assert filling.concurrency_options.collision_strategy == "ENQUEUE"
        limits = [one.global_concurrency_limit.limit for one in (night, filling)]
        assert limits == [1, 1]
        (catalogue,) = night.parameters["catalogues"]
        assert Path(catalogue).is_absolute()
        assert Path(catalogue).samefile(machine.root / "music")
        assert Path(night.parameters["store"]).is_absolute()
        assert night.parameters["config"]["models"]["genre_cnn"]["widths"] == [8, 8, 8]
        planned = wait_for(lambda: _planned(client, night.id), serving.log)
        assert {(time.hour, time.minute) for time in planned} == {(2, 0)}
        assert not _planned(client, filling.id)
        for wrong, name in (
            ({"colection": "x"}, "colection"),
            ({"limit_hours": "soon"}, "limit_hours"),
            ({"features": {"nope": 1}}, "nope"),
        ):
            with pytest.raises(PrefectHTTPStatusError, match=f"409 Conflict.*(?s:.)*{name}"):
                client.create_flow_run_from_deployment(filling.id, parameters=wrong)
        client.pause_deployment(night.id)
        automations = {one.name: one.id for one in client.read_automations()}
        assert len(automations) == 3
        again = subprocess.run(
            [
                *(COMMAND, "serve", "--catalogue", machine.root / "music"),
                *("--store", machine.root / "store", "--home", machine.home, "--name", "forms"),
            ],
            env=clean_environment(),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert again.returncode == 1
        assert "served already" in again.stderr
    with machine.serving(*options, "30 3 * * *") as serving, machine.client() as client:
        assert "nightly/forms is paused" in serving.log.read_text()
        night = client.read_deployment_by_name("nightly/forms")
        assert night.paused
        assert [one.schedule.cron for one in night.schedules] == ["30 3 * * *"]
        assert {one.name: one.id for one in client.read_automations()} == automations


def _planned(client, deployment_id):
    from prefect.client.schemas.filters import (
        DeploymentFilter,
        DeploymentFilterId,
    )

    chosen = DeploymentFilter(id=DeploymentFilterId(any_=[deployment_id]))
    runs = client.read_flow_runs(deployment_filter=chosen)
    return [run.expected_start_time for run in runs if run.state_name == "Scheduled"]


@pytest.mark.integration
@pytest.mark.slow  # a minute
@pytest.mark.timeout(600)
def test_the_shipped_deployments_are_accepted_and_a_worker_runs_the_night(machine, server):
    described = machine.root / "prefect.yaml"
    text = (ROOT / "deploy" / "prefect.yaml").read_text()
    for shipped, ours in (
        ("[/srv/music]", f"[{machine.root / 'music'}]"),
        ("/srv/musichash/store", str(machine.root / "pool-store")),
        ("n_workers: null", "n_workers: 1"),
    ):
        assert text.count(shipped) == 1
        text = text.replace(shipped, ours)
    described.write_text(text)
    environment = clean_environment(
        PREFECT_HOME=str(machine.root / "client"),
        PREFECT_API_URL=f"http://127.0.0.1:{machine.port}/api",
        PREFECT_API_AUTH_STRING=(machine.home / "credentials").read_text().strip(),
    )
    log = machine.root / "worker.log"
    prefect = [sys.executable, "-m", "prefect", "--no-prompt"]

    def ask(*arguments):
        with log.open("a") as output:
            command = [*prefect, *arguments]
            subprocess.run(
                command, env=environment, cwd=machine.root, stdout=output, stderr=output, check=True
            )

    ask("work-pool", "create", "musichash", "--type", "process")
    ask("deploy", "--all", "--prefect-file", str(described))
    with machine.client() as client:
        night = client.read_deployment_by_name("nightly/music")
        filling = client.read_deployment_by_name("backfill/music")
        for deployment, strategy in ((night, "CANCEL_NEW"), (filling, "ENQUEUE")):
            assert deployment.work_pool_name == "musichash"
            assert deployment.global_concurrency_limit.limit == 1
            assert deployment.concurrency_options.collision_strategy == strategy
            assert "musichash" in deployment.tags
            assert deployment.parameter_openapi_schema["definitions"]
        planned = wait_for(lambda: _planned(client, night.id), log)
        assert {(time.hour, time.minute) for time in planned} == {(2, 0)}
        small = load_config(machine.config).model_dump(mode="json")
        run = client.create_flow_run_from_deployment(night.id, parameters={"config": small})
        with log.open("a") as output:
            worker = subprocess.Popen(
                [*prefect, "worker", "start", "--pool", "musichash"],
                env=environment,
                cwd=machine.root,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            done = state_of(client, run, log, "Completed", "Failed", "Crashed")
        finally:
            worker.terminate()
            worker.wait(60)
    assert "6 done" in done.state.message, log.read_text()


@contextmanager
def listening():
    """Answer every request to a port of this machine; give its address and what came."""
    came = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            came.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as listener:
        thread = threading.Thread(target=listener.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.server_port}/", came
        finally:
            listener.shutdown()
            thread.join()


@pytest.mark.integration
@pytest.mark.slow  # half a minute, and the server's start
@pytest.mark.timeout(600)
def test_a_block_is_told_of_a_run_that_failed(machine, server):
    from prefect import flow
    from prefect.blocks.notifications import CustomWebhookNotificationBlock
    from prefect.states import Completed, Failed

    from flows.server_automations import REPORTED_NAME

    @flow
    def small():
        pass

    log = machine.root / "server.log"
    with machine.client() as client, listening() as (address, came):
        block = CustomWebhookNotificationBlock(
            name="night", url=address, json_data={"text": "{{subject}}: {{body}}"}, secrets={}
        )
        block.save("night", overwrite=True)
        ensure_automations(client)
        said = ensure_automations(client, notify="custom-webhook/night")
        assert said == [f"automation brought up to date: {REPORTED_NAME}"]
        assert ensure_automations(client, notify="custom-webhook/night") == []
        with pytest.raises(ServerUsageError, match="page Blocks"):
            ensure_automations(client, notify="slack-webhook/none")
        time.sleep(SETTLED_S)  # the server's triggers learn of a change a moment later
        for tags, state in (
            (["musichash"], Completed(message="well")),
            (["another"], Failed(message="not ours")),
            (["musichash"], Failed(message="the disk is full")),
        ):
            run = client.create_flow_run(small, tags=tags)
            client.set_flow_run_state(run.id, state, force=True)
        wait_for(lambda: came, log)
        assert len(came) == 1
        assert "the disk is full" in came[0]
        assert ensure_automations(client) == []  # of another store that names no block


async def _next(when, start):
    return [time.astimezone(UTC) for time in await next_times(when, 3, start)]


def test_the_time_of_a_night_is_that_of_a_place_in_summer_and_winter():
    import asyncio

    start = datetime(2026, 10, 23, 12, tzinfo=UTC)
    found = asyncio.run(_next(timetable(cron=None, at="03:30", timezone="Europe/Berlin"), start))
    # Summer time ends in Berlin on 2026-10-25 at three: UTC+2 before, UTC+1 after.
    assert [time.strftime("%d %H:%M") for time in found] == ["24 01:30", "25 02:30", "26 02:30"]


def test_a_timetable_is_two_at_night_unless_told_otherwise():
    assert timetable(cron=None, at=None, timezone="UTC") == Timetable("0 2 * * *", "UTC")
    assert timetable(cron=None, at="9:05", timezone="UTC").cron == "5 9 * * *"
    assert timetable(cron="*/10 1-3 * * 1-5", at=None, timezone="UTC").cron == "*/10 1-3 * * 1-5"
    assert timetable(cron=None, at=None, timezone=None).timezone


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"cron": "0 2 * *"}, "five fields"),
        ({"cron": "0 25 * * *"}, "five fields"),
        ({"cron": "@daily"}, "five fields"),
        ({"at": "25:00"}, "02:00 or 23:30"),
        ({"at": "2 am"}, "02:00 or 23:30"),
        ({"timezone": "Berlin"}, "Europe/Berlin"),
        ({"timezone": "../../etc/passwd"}, "Europe/Berlin"),
        ({"cron": "0 2 * * *", "at": "02:00"}, "exclude one another"),
    ],
)
def test_a_time_that_cannot_be_understood_is_refused(given, message):
    with pytest.raises(ServerUsageError, match=message):
        timetable(**({"cron": None, "at": None, "timezone": None} | given))


def test_a_dry_run_says_what_would_be_scheduled_and_starts_nothing(musichash, tones, tmp_path):
    options = ("--catalogue", tones, "--store", tmp_path / "store", "--home", tmp_path / "home")
    said = musichash("serve", *options, "--at", "03:30", "--timezone", "UTC", "--dry-run")
    assert said.code == 0
    assert said.out.count("03:30 UTC") == 3
    assert "nightly/store" in said.out
    assert "backfill/store" in said.out
    told = musichash("serve", *options, "--timezone", "UTC", "--dry-run", "--json")
    made = json.loads(told.out)
    assert made["nightly"]["catalogues"] == [str(tones)]
    assert [time[11:16] for time in made["next"]] == ["02:00"] * 3
    assert not (tmp_path / "home").exists()
    assert not (tmp_path / "store").exists()


def test_wrong_use_of_serve_is_a_sentence(musichash, tones, tmp_path):
    options = ("--catalogue", tones, "--store", tmp_path / "store", "--home", tmp_path / "home")
    assert musichash("serve", *options, "--name", "a/b").code == 2
    assert "--json is of --dry-run alone" in musichash("serve", *options, "--json").err
    gone = musichash("serve", "--catalogue", tmp_path / "gone", "--store", tmp_path / "store")
    assert gone.code == 2
    assert "gone" in gone.err
