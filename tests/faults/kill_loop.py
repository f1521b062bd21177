"""Rounds of ``kill -9`` at random times: of the flow's process, of a Dask worker, of a nanny.

``python kill_loop.py --rounds 100 --seed 1 --work FOLDER`` starts ``musichash run`` on a store with
a published snapshot and a changed catalogue, kills one of its processes at a random moment, and
looks at the store; so often. A run that got to its end must have made what an undisturbed one
makes, byte for byte; then the store is put back. Where the nanny is killed, the worker is a
``dask worker`` of its own, which is started anew as a supervisor would. At last the same command
must complete. Prints one JSON object per round, then a summary; ends with 1 after a broken promise.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from random import Random

import soundfile

from flows.environment import prepare_environment

prepare_environment(quiet=True)  # before Prefect and Dask are imported

from publishing_run import (  # noqa: E402
    ADDED,
    DURATION_S,
    FIRST,
    REMOVED,
    contents,
    what_a_reader_sees,
)

MUSIC = Path(__file__).parents[1] / "data" / "music"
SETTINGS = """
max_failed_share = 0.5
front_end = "numba"
[partitions]
max_tracks = 1
[models.training]
n_threads = 1
"""
VICTIMS = ("flow", "worker", "nanny")
PATIENCE_S = 240
DONE = {0, 3}


class Loop:
    """A catalogue, a store, and the processes that work on it."""

    def __init__(self, work: Path, seed: int) -> None:
        self.work, self.random = work, Random(seed)
        self.catalogue, self.store = work / "catalogue", work / "store"
        self.before = work / "before"
        self.settings = work / "settings.toml"
        self.broken: list[str] = []

    def cut(self, path: str) -> Path:
        """Put the beginning of a track into the catalogue."""
        samples, sr = soundfile.read(MUSIC / path, frames=int(DURATION_S * 44_100))
        place = self.catalogue / path.replace("/", "-").replace(".ogg", ".wav")
        soundfile.write(place, samples, sr, subtype="PCM_16")
        return place

    def prepare(self) -> float:
        """Publish once, change the catalogue, publish beside it; give how long that took."""
        self.catalogue.mkdir(parents=True)
        self.settings.write_text(SETTINGS)
        removed = [self.cut(path) for path in (*FIRST, REMOVED)][-1]
        self.complete()
        self.old = what_a_reader_sees(self.store)
        for path in ADDED:
            self.cut(path)
        removed.unlink()
        shutil.copytree(self.store, self.before)
        started = time.monotonic()
        self.complete()
        duration_s = time.monotonic() - started
        self.new, self.files = what_a_reader_sees(self.store), contents(self.store)
        self.restore()
        return duration_s

    def restore(self) -> None:
        """Put the store back as it was before the night."""
        shutil.rmtree(self.store)
        shutil.copytree(self.before, self.store)

    def start(self, *more: str) -> subprocess.Popen:
        """Start the command in a session of its own."""
        arguments = ["run", "--catalogue", self.catalogue, "--store", self.store]
        arguments += ["--labels", "none", "--config", self.settings, *(more or ("--workers", "1"))]
        return self._start("-c", "from flows.cli import main; main()", *map(str, arguments))

    def _start(self, *arguments: str) -> subprocess.Popen:
        with (self.work / "said").open("ab") as said:
            return subprocess.Popen(
                [sys.executable, *arguments],
                cwd=self.work,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )

    def complete(self) -> None:
        """Run the command to its end."""
        code = self.start().wait(PATIENCE_S)
        if code not in DONE:
            raise RuntimeError(f"an undisturbed run ended with {code}; see {self.work / 'said'}")

    def round(self, victim: str, moment_s: float) -> dict:
        """Start a run, kill one of its processes after some time, and look at the store."""
        cluster = Cluster(self) if victim == "nanny" else None
        process = self.start(*(cluster.options if cluster else ()))
        started = time.monotonic()
        while time.monotonic() - started < moment_s and process.poll() is None:
            time.sleep(0.01)
        if victim == "flow":
            killed = _kill(process.pid) if process.poll() is None else None
        elif cluster is not None:
            killed = cluster.kill_nanny()
        else:
            workers = _pids(process.pid, "multiprocessing.spawn")
            killed = _kill(self.random.choice(workers)) if workers else None
        if victim == "flow":
            process.wait(PATIENCE_S)
        seen = self.look("after the kill")
        code = process.wait(PATIENCE_S)
        if code in DONE:
            self.check_complete()
        elif victim != "flow" or killed is None:
            self.broken.append(f"{victim} killed: the run ended with {code}")
        left = _left_in_session(process.pid)
        if left:
            self.broken.append(f"{victim} killed: processes left: {left}")
        if cluster is not None:
            cluster.end()
        return {"victim": victim, "at_s": round(moment_s, 2), "killed": killed, "sees": seen} | {
            "ended": code
        }

    def look(self, when: str) -> str:
        """Read the store as a reader does."""
        try:
            seen = what_a_reader_sees(self.store)
        except Exception as error:  # noqa: BLE001 - whatever a reader meets is a broken promise
            self.broken.append(f"{when}: {error!r}")
            return "neither"
        if seen not in (self.old, self.new):
            self.broken.append(f"{when}: {seen}")
            return "neither"
        return "old" if seen == self.old else "new"

    def check_complete(self) -> None:
        """Compare a store whose run got to its end with the undisturbed one, and put it back."""
        if self.look("after a whole run") != "new" or contents(self.store) != self.files:
            self.broken.append("a whole run made something else than an undisturbed one")
        if left := list(self.store.rglob(".tmp-*")):
            self.broken.append(f"left over: {left}")
        self.restore()


class Cluster:
    """A Dask scheduler and one worker under a nanny, each a process of its own."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._file = loop.work / "scheduler.json"
        self._file.unlink(missing_ok=True)
        self._scheduler = loop._start(
            *("-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0"),
            *("--no-dashboard", "--scheduler-file", str(self._file)),
        )
        self._nannies = [self._start_nanny()]
        while not self._file.exists():
            time.sleep(0.05)
        time.sleep(0.2)
        self.options = ("--scheduler", json.loads(self._file.read_text())["address"])

    def _start_nanny(self) -> subprocess.Popen:
        return self._loop._start(
            *("-m", "distributed.cli.dask_worker", "--nthreads", "1", "--host", "127.0.0.1"),
            *("--no-dashboard", "--scheduler-file", str(self._file)),
            *("--local-directory", str(self._loop.work / "dask")),
        )

    def kill_nanny(self) -> int:
        """Kill the nanny; another takes its place."""
        killed = _kill(self._nannies[-1].pid)
        self._nannies[-1].wait()
        self._nannies.append(self._start_nanny())
        return killed

    def end(self) -> None:
        """Kill what is left of the cluster; its own worker must have gone with its nanny."""
        for process in (*self._nannies, self._scheduler):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _kill(pid: int) -> int:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    return pid


def _pids(session: int, part: str = "") -> list[int]:
    """List the processes of a session whose command line has some text in it."""
    found = subprocess.run(
        ["ps", "-o", "pid=,args=", "-s", str(session)], capture_output=True, text=True, check=False
    )
    lines = [line for line in found.stdout.splitlines() if "<defunct>" not in line]
    return [int(line.split()[0]) for line in lines if part in line]


def _left_in_session(session: int) -> list[int]:
    deadline = time.monotonic() + 60
    while (pids := _pids(session)) and time.monotonic() < deadline:
        time.sleep(0.1)
    for pid in pids:
        _kill(pid)
    return pids


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--victims", nargs="+", choices=VICTIMS, default=VICTIMS)
    asked = parser.parse_args()
    loop = Loop(asked.work.resolve(), asked.seed)
    duration_s = loop.prepare()
    counts: Counter[str] = Counter()
    for number in range(asked.rounds):
        victim = asked.victims[number % len(asked.victims)]
        outcome = loop.round(victim, loop.random.uniform(0.0, duration_s))
        counts[f"{victim}, {'killed' if outcome['killed'] else 'too late or too early'}"] += 1
        print(json.dumps({"round": number} | outcome), flush=True)
    loop.complete()
    loop.check_complete()
    summary = {"rounds": asked.rounds, "counts": counts, "broken": loop.broken}
    print(json.dumps(summary | {"undisturbed_s": round(duration_s, 2)}), flush=True)
    sys.exit(bool(loop.broken))


if __name__ == "__main__":
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=180):
        from prefect.settings import get_current_settings

        os.environ["PREFECT_API_URL"] = str(get_current_settings().api.url)
        main()
