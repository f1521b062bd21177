"""A few rounds of the kill loop; more of them by hand: see kill_loop.py."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROUNDS = 6


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.timeout(1_200)
def test_no_kill_breaks_a_promise(tmp_path):
    """About two minutes on two quiet cores."""
    command = [sys.executable, HERE / "kill_loop.py", "--rounds", str(ROUNDS), "--seed", "3"]
    process = subprocess.run(
        [*command, "--work", tmp_path / "work"],
        env=os.environ | {"PYTHONPATH": str(HERE.parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.stdout, process.stderr
    *rounds, summary = map(json.loads, process.stdout.splitlines())
    assert process.returncode == 0, (process.stderr, summary, rounds)
    assert summary["broken"] == []
    assert [outcome["victim"] for outcome in rounds] == 2 * ["flow", "worker", "nanny"]
    assert any(outcome["killed"] for outcome in rounds)
