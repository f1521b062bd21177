"""kill -9 at every stage: readers see a whole snapshot or none, and the same command completes."""

import os
import signal
import subprocess
import sys

import pytest

from tasks.status import store_status, verify_store

pytestmark = [pytest.mark.integration, pytest.mark.slow]

PATIENCE_S = 240

DRIVER = """
import os, signal, sys

point = sys.argv.pop(1)

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

import flows.commands_run, flows.progress, flows.stages
import storage.assembling, storage.snapshots, tasks.index

class Deadly(flows.progress.RichReporter):
    def advance(self, stage, done, failed=0):
        if stage == point:
            die()

flows.commands_run.RichReporter = Deadly
if point == "tables":
    storage.assembling.write_index = die
elif point == "manifest":
    tasks.index.publish_snapshot = die
elif point == "pointer":
    storage.snapshots.write_file = die
elif point == "report":
    flows.stages.write_report = die

from flows.cli import main
main()
"""


@pytest.fixture
def run_killed_at(tmp_path, prefect_server, tiny_config_path):
    """Run the command in a process of its own that kills itself at a point of the pipeline."""

    def run(point, catalogue, store):
        arguments = ["run", "--catalogue", catalogue, "--store", store, "--workers", 1]
        arguments += ["--config", tiny_config_path]
        return subprocess.run(
            [sys.executable, "-c", DRIVER, point, *map(str, arguments)],
            cwd=tmp_path,
            env=os.environ | {"PREFECT_API_URL": prefect_server},
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )

    return run


FIRST = ("extract", "train-genre", "encode", "tables", "manifest", "pointer", "report")
LATER = ("extract", "encode", "tables", "manifest", "pointer")


@pytest.mark.timeout(900)
def test_killed_at_every_stage_the_same_command_ends_with_the_same_snapshot(
    run_killed_at, run_night, sample, tiny_config, tmp_path
):
    catalogue, store = tmp_path / "catalogue", tmp_path / "store"
    sample.copy(sample.first_night, catalogue)

    for point in FIRST:
        process = run_killed_at(point, catalogue, store)
        assert process.returncode == -signal.SIGKILL, f"{point}: {process.stderr}"
        published = store_status(str(store))["snapshot"]
        assert published == (None if point != "report" else 2), point
    finished = run_killed_at("never", catalogue, store)
    assert finished.returncode == 3, finished.stderr
    undisturbed = tmp_path / "undisturbed"
    run_night(catalogue, undisturbed, tiny_config)
    assert store_status(str(store))["digest"] == store_status(str(undisturbed))["digest"]

    old = store_status(str(store))["digest"]
    sample.copy(sample.added, catalogue)
    for point in LATER:
        process = run_killed_at(point, catalogue, store)
        assert process.returncode == -signal.SIGKILL, f"{point}: {process.stderr}"
        assert store_status(str(store))["digest"] == old, point
        assert verify_store(str(store))["findings"] == [], point
    finished = run_killed_at("never", catalogue, store)
    assert finished.returncode == 3, finished.stderr
    assert verify_store(str(store))["findings"] == []
    run_night(catalogue, undisturbed, tiny_config)
    assert store_status(str(store))["digest"] == store_status(str(undisturbed))["digest"]


def test_a_killed_run_leaves_no_process_behind(
    tiny_config_path, sample, processes_left, prefect_home, tmp_path
):
    catalogue, store = tmp_path / "catalogue", tmp_path / "store"
    sample.copy(sample.first_night, catalogue)
    arguments = ["run", "--catalogue", catalogue, "--store", store, "--workers", 2]
    arguments += ["--config", tiny_config_path]
    # No server is given: the run starts its own.
    environment = {name: text for name, text in os.environ.items() if name != "PREFECT_API_URL"}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", DRIVER, "extract", *map(str, arguments)],
            cwd=tmp_path,
            env=environment | {"PREFECT_HOME": str(prefect_home)},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        assert process.wait(PATIENCE_S) == -signal.SIGKILL, (tmp_path / "log").read_text()
    assert processes_left(process.pid) == []
