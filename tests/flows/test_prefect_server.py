"""A real Prefect server of the locked versions: it starts, and its scheduler makes runs.

Two dependencies of Prefect have broken this without an error message: a FastAPI that its server
does not start with, and an SQLAlchemy under which the scheduler makes no runs.
"""

import os
import socket
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from flows.environment import PREFECT_DEFAULTS
from flows.nightly import nightly

pytestmark = pytest.mark.integration

PATIENCE_S = 120
ROOT = Path(__file__).parents[2]


def test_the_server_can_be_imported():
    from prefect.server.api.server import create_app

    assert create_app(ephemeral=True).title == "Prefect Server"


def test_parameters_of_the_nightly_flow_are_forms_with_units_and_bounds():
    schema = nightly.parameters.model_dump()
    assert set(schema["required"]) == {"catalogues", "store"}
    definitions = schema["definitions"]
    assert {"PipelineConfig", "ClusterSettings", "CRNNHashConfig"} <= set(definitions)
    bits = definitions["CRNNHashConfig"]["properties"]["n_bits"]
    assert (bits["minimum"], bits["maximum"], bits["default"]) == (16, 256, 64)
    for name, definition in definitions.items():
        for key, entry in definition["properties"].items():
            assert "description" in entry or "$ref" in entry or "allOf" in entry, f"{name}.{key}"


def test_parameters_out_of_range_are_refused_before_a_run():
    from prefect.exceptions import ParameterTypeError

    wrong = {"models": {"crnn_hash": {"n_bits": 512}}}
    with pytest.raises(ParameterTypeError, match="n_bits"):
        nightly.validate_parameters({"catalogues": ["x"], "store": "y", "config": wrong})
    with pytest.raises(ParameterTypeError, match="n_bit"):
        nightly.validate_parameters(
            {"catalogues": ["x"], "store": "y", "config": {"models": {"n_bit": 64}}}
        )


def test_a_deployment_can_load_the_flow_by_its_path():
    from prefect.flows import load_flow_from_entrypoint

    loaded = load_flow_from_entrypoint(f"{ROOT / 'flows' / 'nightly.py'}:nightly")
    assert loaded.name == "nightly"
    assert loaded.parameters == nightly.parameters


def free_port():
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def server(tmp_path):
    """Start a server with the settings that we ship; give the address of its API."""
    port = free_port()
    clean = {name: text for name, text in os.environ.items() if not name.startswith("PREFECT_")}
    mine = {
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "PREFECT_SERVER_API_HOST": "127.0.0.1",
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_SERVER_UI_ENABLED": "false",
    }
    with (tmp_path / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "prefect", "server", "start"],
            env=clean | PREFECT_DEFAULTS | mine,
            stdout=log,
            stderr=log,
        )
        try:
            yield f"http://127.0.0.1:{port}/api"
        finally:
            process.terminate()
            process.wait(30)


def wait_for(question, process_log):
    """Ask until the answer is true."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if answer := question():
            return answer
        time.sleep(0.5)
    pytest.fail(f"nothing within {PATIENCE_S} s; the server says:\n{process_log.read_text()}")
    return None


@pytest.mark.slow
def test_a_deployment_with_a_cron_schedule_gets_scheduled_runs(server, tmp_path):
    import httpx
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.actions import DeploymentScheduleCreate
    from prefect.client.schemas.objects import StateType
    from prefect.client.schemas.schedules import CronSchedule

    log = tmp_path / "server.log"

    def is_healthy():
        try:
            return httpx.get(f"{server}/health", timeout=5).json() is True
        except httpx.HTTPError:
            return False

    wait_for(is_healthy, log)
    with SyncPrefectClient(server) as client:
        deployment_id = client.create_deployment(
            flow_id=client.create_flow(nightly),
            name="nightly",
            schedules=[
                DeploymentScheduleCreate(
                    schedule=CronSchedule(cron="0 2 * * *", timezone="UTC"), active=True
                )
            ],
            parameters={"catalogues": ["/music"], "store": "/store"},
            parameter_openapi_schema=nightly.parameters.model_dump(),
            entrypoint="flows/nightly.py:nightly",
        )
        runs = wait_for(client.read_flow_runs, log)
    assert {run.deployment_id for run in runs} == {deployment_id}
    assert {run.state_type for run in runs} == {StateType.SCHEDULED}
    assert all(run.state.state_details.scheduled_time.hour == 2 for run in runs)
