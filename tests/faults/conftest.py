"""Runs of the publishing script with faults; one process serves all trials of a session."""

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

HERE = Path(__file__).parent
sys.path.append(str(HERE))  # the scripts beside the tests import one another

from injector import build_shim, environment  # noqa: E402

SEED = 20_240


class Trials(NamedTuple):
    """What undisturbed commands do, and what became of the disturbed ones."""

    facts: dict
    outcomes: list[dict]

    def of(self, *faults, scene=None):
        """Give the trials of some kinds, in one scene or in all."""
        return [
            outcome
            for outcome in self.outcomes
            if outcome["fault"] in faults and scene in {None, outcome["scene"]}
        ]

    @property
    def broken(self):
        """Where and how a promise was broken."""
        names = ("scene", "fault", "at", "operation", "broken")
        return [[outcome[name] for name in names] for outcome in self.outcomes if outcome["broken"]]


@pytest.fixture(scope="session")
def shim(tmp_path_factory):
    """The compiled injector."""
    return build_shim(tmp_path_factory.mktemp("shim"))


@pytest.fixture(scope="session")
def run_trials(shim, tmp_path_factory):
    """Run trials in a process with the injector loaded."""

    def run(trials, seed=SEED):
        work = tmp_path_factory.mktemp("trials")
        request = json.dumps({"seed": seed, "trials": trials})
        command = [sys.executable, HERE / "publishing_run.py", "--work", work, "--request", request]
        process = subprocess.run(
            command,
            env=environment(shim, work / "control"),
            cwd=HERE.parents[1],
            capture_output=True,
            text=True,
            check=False,
        )
        assert process.returncode == 0, process.stderr
        facts, *outcomes = map(json.loads, process.stdout.splitlines())
        return Trials(facts, outcomes)

    return run
