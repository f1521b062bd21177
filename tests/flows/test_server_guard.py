"""Without a configured server a flow has one within its process, and what it records is there."""

import os
import sqlite3
import subprocess
import sys

import pytest

FLOW = """
import httpx, psutil
from flows.environment import prepare_environment
prepare_environment(quiet=True)
from flows.server_guard import end_server_with_us, serve_within_process
serve_within_process()
serve_within_process()
from prefect import flow, task

@task
def double(number):
    return 2 * number

@flow(name="small")
def small():
    end_server_with_us()
    assert double(21) == 42
    (port,) = [
        one.laddr.port for one in psutil.Process().net_connections("tcp") if one.status == "LISTEN"
    ]
    strangers = [
        httpx.post(f"http://127.0.0.1:{port}/api/{path}", headers=headers, json={}).status_code
        for path in ("flow_runs/filter", "block_documents/filter", "deployments/")
        for headers in ({}, {"Origin": "https://evil.example"})
    ]
    children = [child.cmdline() for child in psutil.Process().children(recursive=True)]
    return children, set(strangers)

print(small())
"""


@pytest.mark.slow  # half a minute: a server makes its database
def test_the_server_is_no_process_lets_nobody_in_and_records_the_run(tmp_path):
    clean = {name: text for name, text in os.environ.items() if not name.startswith("PREFECT_")}
    done = subprocess.run(
        [sys.executable, "-c", FLOW],
        env=clean | {"PREFECT_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "([], {401})\n", "")
    with sqlite3.connect(tmp_path / "prefect.db") as database:
        flows = database.execute("select state_name from flow_run").fetchall()
        tasks = database.execute("select state_name from task_run").fetchall()
    database.close()
    assert flows == [("Completed",)]
    assert tasks == [("Completed",)]
