"""The installed command as a process of its own, without any server or setting."""

import json
import re
import signal

import pytest

from tasks.status import store_status, verify_store

pytestmark = pytest.mark.integration

PATIENCE_S = 240


def test_a_run_needs_no_server_and_says_only_what_it_did(
    start_musichash, processes_left, tones, tiny_config_path, tmp_path
):
    process = start_musichash(
        *("run", "--catalogue", tones, "--store", "store", "--workers", 2),
        *("--config", tiny_config_path),
    )
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, err
    assert err == ""  # no logs of Prefect, Dask or uvicorn, no warnings
    stages = [line.split()[0] for line in out.splitlines()]
    assert stages == ["scan", "plan", "extract", "train", "encode", "index", "report"]
    assert "6 seen = 6 done + 0 reused" in out
    assert verify_store(str(tmp_path / "store"))["findings"] == []
    assert processes_left(process.pid) == []


@pytest.mark.slow
def test_an_interrupted_run_says_how_to_go_on_and_leaves_no_process(
    start_musichash, processes_left, sample, tiny_config_path, tmp_path
):
    catalogue = tmp_path / "catalogue"
    sample.copy(sample.first_night, catalogue)
    arguments = ["run", "--catalogue", catalogue, "--store", "store", "--workers", 1]
    process = start_musichash(*arguments, "--config", tiny_config_path)
    said = ""
    while "plan" not in said:
        said = process.stdout.readline()
        assert said, process.stderr.read()
    process.send_signal(signal.SIGINT)  # to this process alone, as a supervisor does
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130, err
    assert "interrupted; what was finished is kept" in err
    assert "Traceback" not in err
    assert processes_left(process.pid) == []
    status = store_status(str(tmp_path / "store"))
    assert [run["state"] for run in status["runs"]] == ["failed"]
    assert status["snapshot"] is None

    process = start_musichash(*arguments, "--config", tiny_config_path, "--json")
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 3, err
    assert json.loads(out)["run"]["seen"] == 8
    assert re.search(r"published snapshot 1", err)
