"""Rounds of ``kill -9`` at random times: of the flow's process, of a Dask worker, of a nanny.

``python kill_loop.py --rounds 100 --seed 1 --work FOLDER`` starts ``musichash run`` on a store with
a published snapshot and a changed catalogue, kills one of its processes at a random moment between
the start of its work and its end, and reads the store meanwhile; so often. Every other run brings
its own workers, the others use a Dask cluster that stays from round to round, in which a supervisor
starts a killed nanny anew. One Prefect server serves all rounds.

What must hold: a reader sees wholly the old snapshot or wholly the new one, at any time; a run that
loses a worker or a nanny ends well; after a run that was killed itself, the next one goes on; one
that gets to its end has made what an undisturbed one makes, byte for byte (then the store is put
back); and no process outlives the one that was killed. Prints one JSON object per round, then a
summary; ends with 1 after a broken promise.
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

from bench import ADDED, DURATION_S, FIRST, MUSIC, REMOVED  # noqa: E402
from scenes import contents, what_a_reader_sees  # noqa: E402

SETTINGS = """
max_failed_share = 0.5
front_end = "numba"
[partitions]
max_tracks = 1
[models.training]
n_threads = 1
"""
VICTIMS = ("flow", "worker", "nanny")
PATIENCE_S = 300
LEAVE_S = 60
LOOK_EVERY_S = 1.0
DONE = {0, 3}
WORKER = "from multiprocessing."
"""In the command line of a worker, of the process that workers are forked from, and of the one that
cleans up after both."""


class Loop:
    """A catalogue, a store, and the processes that work on it."""

    def __init__(self, work: Path, seed: int) -> None:
        self.work, self.random = work, Random(seed)
        self.catalogue, self.store = work / "catalogue", work / "store"
        self.before = work / "before"
        self.settings = work / "settings.toml"
        self.broken: list[str] = []
        self.n_looks = 0
        self.lengths_s: dict[bool, float] = {}

    def cut(self, path: str) -> Path:
        """Put the beginning of a track into the catalogue."""
        samples, sr = soundfile.read(MUSIC / path, frames=int(DURATION_S * 44_100))
        place = self.catalogue / path.replace("/", "-").replace(".ogg", ".wav")
        soundfile.write(place, samples, sr, subtype="PCM_16")
        return place

    def prepare(self) -> None:
        """Publish, change the catalogue, and measure a run in both kinds of clusters."""
        self.catalogue.mkdir(parents=True)
        self.settings.write_text(SETTINGS)
        removed = [self.cut(path) for path in (*FIRST, REMOVED)][-1]
        self.cluster = Cluster(self)
        self.complete(shared=True)
        self.old = what_a_reader_sees(self.store)
        for path in ADDED:
            self.cut(path)
        removed.unlink()
        shutil.copytree(self.store, self.before)
        self.lengths_s[True] = self.complete(shared=True)
        self.new, self.files = what_a_reader_sees(self.store), contents(self.store)
        self.restore()
        self.lengths_s[False] = self.complete(shared=False)
        self.check_complete()

    def restore(self) -> None:
        """Put the store back as it was before the night."""
        shutil.rmtree(self.store)
        shutil.copytree(self.before, self.store)

    def start(self, *, shared: bool) -> subprocess.Popen:
        """Start the command in a session of its own."""
        arguments = ["run", "--catalogue", self.catalogue, "--store", self.store]
        arguments += ["--labels", "none", "--config", self.settings]
        where = ("--scheduler", self.cluster.address) if shared else ("--workers", "1")
        command = ("-c", "from flows.cli import main; main()")
        return self.start_process(*command, *map(str, (*arguments, *where)))

    def start_process(self, *arguments: str) -> subprocess.Popen:
        """Start Python in a session of its own."""
        with (self.work / "said").open("ab") as said:
            return subprocess.Popen(
                [sys.executable, *arguments],
                cwd=self.work,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )

    def complete(self, *, shared: bool) -> float:
        """Run the command to its end; give for how long it worked on the store."""
        known = self.records()
        process = self.start(shared=shared)
        self.wait_for_work(process, known)
        started = time.monotonic()
        code = process.wait(PATIENCE_S)
        if code not in DONE:
            raise RuntimeError(f"an undisturbed run ended with {code}; see {self.work / 'said'}")
        return time.monotonic() - started

    def records(self) -> set[str]:
        """Name the records of runs in the ledger."""
        return {path.name for path in (self.store / "runs").glob("[!.]*")}

    def wait_for_work(self, process: subprocess.Popen, known: set[str]) -> None:
        """Wait until a run is in the ledger: it holds the store then."""
        deadline = time.monotonic() + PATIENCE_S
        while process.poll() is None and self.records() <= known:
            if time.monotonic() > deadline:
                raise RuntimeError(f"no run began; see {self.work / 'said'}")
            time.sleep(0.02)

    def round(self, victim: str, *, shared: bool) -> dict:
        """Start a run, kill one of its processes after some time, and read the store meanwhile."""
        began, known = time.monotonic(), self.records()
        process = self.start(shared=shared)
        self.wait_for_work(process, known)
        working = time.monotonic()
        moment_s = self.random.uniform(0.0, self.lengths_s[shared])
        with suppress(subprocess.TimeoutExpired):
            process.wait(moment_s)
        killed = self.kill(victim, process, shared=shared)
        killed_s = time.monotonic() - working
        if killed is None:  # runs are faster now than when one was measured
            self.lengths_s[shared] = killed_s
        seen = [self.look(f"after the kill of the {victim}")]
        code = self.watch(process, seen)
        if code in DONE:
            self.check_complete()
        elif victim != "flow" or killed is None:
            self.broken.append(f"{victim} killed: the run ended with {code}")
        self.check_left(process.pid)
        return {
            "victim": victim,
            "workers": "of a cluster that stays" if shared else "of the run",
            "killed": killed,
            "after_s": round(killed_s, 2),
            "sees": seen,
            "ended": code,
            "took_s": round(time.monotonic() - began, 1),
        }

    def kill(self, victim: str, process: subprocess.Popen, *, shared: bool) -> int | None:
        """Kill a process of a run that is not at its end; a worker as soon as there is one."""
        if victim == "flow":
            return _kill(process.pid) if process.poll() is None else None
        if victim == "nanny":
            return self.cluster.kill_nanny() if process.poll() is None else None
        session = self.cluster.nanny.pid if shared else process.pid
        while process.poll() is None:
            if workers := _pids(session, WORKER):
                return _kill(self.random.choice(workers))
            time.sleep(0.02)
        return None

    def watch(self, process: subprocess.Popen, seen: list[str]) -> int:
        """Read the store until a run ends; note what changes."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            with suppress(subprocess.TimeoutExpired):
                return process.wait(LOOK_EVERY_S)
            if (sees := self.look("while a run goes on")) != seen[-1]:
                seen.append(sees)
            if time.monotonic() > deadline:
                self.broken.append(f"a run hung for {PATIENCE_S} s")
                os.killpg(process.pid, signal.SIGKILL)

    def look(self, when: str) -> str:
        """Read the store as a reader does."""
        self.n_looks += 1
        while True:
            pointer = (self.store / "CURRENT").read_bytes()
            try:
                seen = what_a_reader_sees(self.store)
            except Exception as error:  # noqa: BLE001 - whatever a reader meets is a broken promise
                self.broken.append(f"{when}: {error!r}")
                return "neither"
            if (self.store / "CURRENT").read_bytes() == pointer:  # all of it is of one snapshot
                break
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

    def check_left(self, session: int) -> None:
        """Check that no process of a session is left a while after its first one ended."""
        deadline = time.monotonic() + LEAVE_S
        while (pids := _pids(session)) and time.monotonic() < deadline:
            time.sleep(0.1)
        if pids:
            self.broken.append(f"processes left: {pids}")
            for pid in pids:
                _kill(pid)


class Cluster:
    """A Dask scheduler and one worker under a nanny, each a process of its own."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._file = loop.work / "scheduler.json"
        self._scheduler = loop.start_process(
            *("-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0"),
            *("--no-dashboard", "--scheduler-file", str(self._file)),
        )
        self.nanny = self._start_nanny()
        while not self._file.exists() or not self._file.read_text():
            time.sleep(0.05)
        time.sleep(0.2)
        self.address = json.loads(self._file.read_text())["address"]

    def _start_nanny(self) -> subprocess.Popen:
        return self._loop.start_process(
            *("-m", "distributed.cli.dask_worker", "--nthreads", "1", "--host", "127.0.0.1"),
            *("--no-dashboard", "--scheduler-file", str(self._file)),
            *("--local-directory", str(self._loop.work / "dask")),
        )

    def kill_nanny(self) -> int:
        """Kill the nanny, whose worker must end with it; another takes its place."""
        killed = _kill(self.nanny.pid)
        self.nanny.wait()
        self._loop.check_left(killed)
        self.nanny = self._start_nanny()
        return killed

    def end(self) -> None:
        """End the cluster."""
        for process in (self.nanny, self._scheduler):
            process.terminate()
            process.wait(LEAVE_S)
            self._loop.check_left(process.pid)


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--victims", nargs="+", choices=VICTIMS, default=VICTIMS)
    asked = parser.parse_args()
    started = time.monotonic()
    loop = Loop(asked.work.resolve(), asked.seed)
    loop.prepare()
    counts: Counter[str] = Counter()
    for number in range(asked.rounds):
        victim = asked.victims[number % len(asked.victims)]
        shared = victim == "nanny" or number // len(asked.victims) % 2 == 0
        outcome = loop.round(victim, shared=shared)
        counts[f"{victim}: {'killed' if outcome['killed'] else 'too late'}"] += 1
        so_far = {"counts": counts, "n_broken": len(loop.broken)}
        print(json.dumps({"round": number} | outcome | so_far), flush=True)
    loop.complete(shared=True)
    loop.check_complete()
    loop.cluster.end()
    summary = {
        "rounds": asked.rounds,
        "counts": counts,
        "looks": loop.n_looks,
        "broken": loop.broken,
        "undisturbed_s": [round(length, 2) for length in loop.lengths_s.values()],
        "took_s": round(time.monotonic() - started, 1),
    }
    print(json.dumps(summary), flush=True)
    sys.exit(bool(loop.broken))


if __name__ == "__main__":
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=180):
        from prefect.settings import get_current_settings

        os.environ["PREFECT_API_URL"] = str(get_current_settings().api.url)
        main()
