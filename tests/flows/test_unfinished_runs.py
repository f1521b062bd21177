"""What runs that fail or are killed leave in the UI; and how much of it a run leaves at all."""

import os
import signal
import subprocess
import sys
import time

import pytest

from flows.cluster_settings import ClusterSettings
from flows.unfinished_runs import leave_account
from musichash_core.errors import MusicHashError
from storage.store import create_store, writing

pytestmark = pytest.mark.integration

PATIENCE_S = 240
RECORDED_S = 60
N_STAGES = 8

DRIVER = """
import os, signal

import flows.commands_run, flows.progress

class Deadly(flows.progress.RichReporter):
    def advance(self, stage, done, failed=0):
        if stage == "extract":
            os.kill(os.getpid(), signal.SIGKILL)

flows.commands_run.RichReporter = Deadly

from flows.cli import main
main()
"""


def runs_of(store):
    """Give the flow runs on a store, oldest first, each with its artifacts by key."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
    from prefect.client.schemas.sorting import FlowRunSort

    with get_client(sync_client=True) as client:
        runs = [
            run
            for run in client.read_flow_runs(sort=FlowRunSort.START_TIME_ASC)
            if run.parameters.get("store") == str(store)
        ]
        found = {}
        for run in runs:
            mine = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run.id]))
            found[run.id] = {one.key: one for one in client.read_artifacts(artifact_filter=mine)}
    return [(run, found[run.id]) for run in runs]


def test_a_run_that_fails_after_some_stages_says_what_they_did(
    run_night, tones, tiny_config, tmp_path
):
    for number in range(5):
        (tones / "hum" / f"broken-{number}.wav").write_bytes(bytes([number]) * 500)
    store = tmp_path / "store"
    strict = tiny_config.model_copy(update={"max_failed_share": 0.1})
    with pytest.raises(MusicHashError, match="max_failed_share"):
        run_night(tones, store, strict)
    ((run, artifacts),) = runs_of(store)
    assert run.state.is_failed()
    page = artifacts["unfinished-run"].data
    assert page.startswith("# nightly tones ")
    assert "5 of 11 tracks failed, more than 10%" in page
    assert "encountered an exception" not in page
    assert "| extract | 6 | 0 | 5 |" in page
    assert "| train | 6 |" in page
    assert "| encode | 6 |" in page
    assert "| index |" not in page
    assert f"musichash run --catalogue {tones} --store {store}" in page


def test_a_run_that_was_refused_the_store_claims_nothing_of_another(
    run_night, tones, tiny_config, tmp_path
):
    layout = create_store(tmp_path / "store")
    with writing(layout, what="gc"), pytest.raises(MusicHashError, match="gc"):
        run_night(tones, layout.root, tiny_config)
    ((_, artifacts),) = runs_of(layout.root)
    assert "It had not begun to write to the store." in artifacts["unfinished-run"].data


@pytest.mark.slow  # half a minute: a process with workers of its own
def test_a_killed_run_has_an_account_by_whoever_started_it(
    prefect_server, tones, tiny_config_path, tmp_path
):
    from prefect.states import Crashed

    from flows.nightly import nightly

    store = tmp_path / "store"
    options = ["run", "--catalogue", tones, "--store", store, "--config", tiny_config_path]
    killed = subprocess.run(
        [sys.executable, "-c", DRIVER, *map(str, options), "--workers", "1"],
        env=os.environ | {"PREFECT_API_URL": prefect_server},
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    ((run, artifacts),) = runs_of(store)
    assert "unfinished-run" not in artifacts
    # As the runner does when the process of a run is gone; it knows the run as it was before.
    before = run.model_copy(update={"name": "quiet-capuchin", "start_time": None})
    gone = Crashed(message="exited with status code -9")
    leave_account(flow=nightly, flow_run=before, state=gone)
    ((_, artifacts),) = runs_of(store)
    page = artifacts["unfinished-run"].data
    assert page.startswith("# nightly tones ")
    assert ": crashed\n\nexited with status code -9\n" in page
    assert "| plan | 6 |" in page
    assert "| extract |" not in page


def n_tasks_of(run):
    """Count the task runs of a run; the server writes them down some time after they ended."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

    ours = FlowRunFilter(id=FlowRunFilterId(any_=[run.id]))
    n_before, n_now = -1, 0
    until = time.monotonic() + RECORDED_S
    with get_client(sync_client=True) as client:
        while (n_now < N_STAGES or n_now != n_before) and time.monotonic() < until:
            time.sleep(1.0)
            n_before, n_now = n_now, len(client.read_task_runs(flow_run_filter=ours))
    return n_now


def test_what_a_run_leaves_does_not_grow_with_its_partitions(
    run_night, tones, tiny_config, tmp_path
):
    left = {}
    for max_tracks in (6, 1):
        store = tmp_path / f"store-{max_tracks}"
        sizes = tiny_config.partitions.model_copy(update={"max_tracks": max_tracks})
        config = tiny_config.model_copy(update={"partitions": sizes})
        night = run_night(tones, store, config, cluster=ClusterSettings(n_workers=1))
        assert night.account["run"]["done"] == 6
        assert f"in {6 // max_tracks} partitions" in night.said["plan"]
        ((run, artifacts),) = runs_of(store)
        left[max_tracks] = (n_tasks_of(run), sorted(artifacts))
    assert left[6] == left[1]
    assert left[1][0] < 10
