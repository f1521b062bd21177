"""What Prefect and Dask take of the CPU time of a night, once everything has started.

    python tests/benchmarks/orchestration_share.py --music DIR --tracks 200 [--workers 2]

Runs the nightly flow in this process, as ``musichash run`` does, on the first N tracks of a folder
in a new store. From the moment at which the workers are ready to the end of the stage "encode" the
kernel's CPU times of all processes are compared with what the stages extract, describe and encode
count for themselves. What is left is orchestration: client, scheduler and nannies, Prefect with its
server and artifacts (all of them in this process), and whatever a worker does beside its calls.
Prints one JSON object.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import threading
import time
from itertools import islice
from pathlib import Path

from flows.environment import prepare_environment

prepare_environment(quiet=True)  # before Prefect and Dask are imported

import psutil  # noqa: E402
from rich.console import Console  # noqa: E402

from flows.cluster import Workers  # noqa: E402
from flows.cluster_settings import ClusterSettings  # noqa: E402
from flows.nightly import nightly  # noqa: E402
from flows.progress import RichReporter, reporting  # noqa: E402
from storage.catalogue import check_roots, scan_catalogue  # noqa: E402

COMPUTING_STAGES = ("extract", "describe", "encode")
LEAST_S = 0.05
"""Threads that took less are left out."""


class Watch:
    """Takes the CPU times of this process and of all that came of it, by role."""

    def __init__(self):
        self.workers: set[int] = set()
        self.taken: dict[str, tuple[float, dict[str, float]]] = {}
        self._threads: dict[str, dict[str, float]] = {}

    def take(self, moment):
        """Remember the times of now; only the first time for each moment."""
        if moment not in self.taken:
            self.taken[moment] = time.time(), self._by_role()
            self._threads[moment] = by_thread()

    def of_threads(self, first, last):
        """Give the CPU seconds of this process between two moments, by thread; ended ones miss."""
        before, after = self._threads[first], self._threads[last]
        return {name: after[name] - before.get(name, 0.0) for name in after}

    def between(self, first, last):
        """Give seconds by the clock, and CPU seconds by role."""
        (began, before), (ended, after) = self.taken[first], self.taken[last]
        return ended - began, {role: after[role] - before.get(role, 0.0) for role in after}

    def _by_role(self):
        me = psutil.Process()
        sums = {"this process": 0.0, "workers": 0.0, "decoders": 0.0, "others": 0.0}
        for process in (me, *me.children(recursive=True)):
            try:
                times = process.cpu_times()
                parents = {parent.pid for parent in process.parents()}
            except psutil.NoSuchProcess:
                continue
            if process.pid == me.pid:
                role = "this process"
            elif process.pid in self.workers:
                role = "workers"
            else:
                role = "decoders" if parents & self.workers else "others"
            sums[role] += times.user + times.system
            # Of those that have ended; this process' own were there before the workers.
            ended = times.children_user + times.children_system
            sums["decoders" if role == "workers" else "others"] += ended
        return sums


def by_thread():
    """Give the CPU seconds of each thread of this process that Python knows."""
    names = {thread.native_id: thread.name for thread in threading.enumerate()}
    sums: dict[str, float] = {}
    for thread in psutil.Process().threads():
        name = names.get(thread.id, "libraries")
        sums[name] = sums.get(name, 0.0) + thread.user_time + thread.system_time
    return sums


class WatchingReporter(RichReporter):
    """Takes the times as stages begin and end."""

    def __init__(self, watch):
        super().__init__(Console(file=sys.stderr))
        self._watch = watch

    def start(self, stage, total, unit):
        """Take the times at the begin of the first stage of a name."""
        self._watch.take(f"{stage} begins")
        super().start(stage, total, unit)

    def finish(self, stage, sentence):
        """Take the times at the end of a stage."""
        super().finish(stage, sentence)
        self._watch.take(f"{stage} ends")


def watch_workers(watch):
    """Take the times when the workers have started, once."""
    start = Workers.client.fget

    def client(self):
        started = self.have_started
        found = start(self)
        if not started:
            watch.workers = set(found.run(os.getpid).values())
            watch.take("workers are ready")
        return found

    Workers.client = property(client)


def link_tracks(music, n_tracks, folder):
    """Put the first tracks of a folder into another, as hard links where that is possible."""
    folder.mkdir()
    files = list(islice(scan_catalogue(check_roots([music])).files, n_tracks))
    assert len(files) == n_tracks, f"{music} has only {len(files)} tracks"
    for number, file in enumerate(files):
        source = Path(file.root, file.path)
        target = folder / f"{number:05d}{source.suffix}"
        try:
            target.hardlink_to(source)
        except OSError:
            shutil.copyfile(source, target)


def measure(music, n_tracks, n_workers):
    """Run a night and give its CPU seconds."""
    watch = Watch()
    watch_workers(watch)
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
        catalogue = Path(folder, "music")
        link_tracks(music, n_tracks, catalogue)
        watch.take("flow is called")
        with reporting(WatchingReporter(watch)):
            account = nightly(
                catalogues=[str(catalogue)],
                store=str(Path(folder, "store")),
                labels="none",
                cluster=ClusterSettings(n_workers=n_workers),
            )
    stages = {one["stage"]: one for one in account["stages"]}
    wall_s, by_role = watch.between("workers are ready", "encode ends")
    total_s = sum(by_role.values())
    computing_s = sum(stages[name]["cpu_s"] for name in COMPUTING_STAGES)
    imports_s = watch.taken["flow is called"][0] - psutil.Process().create_time()
    flow_s, flow_cpu = watch.between("flow is called", "scan begins")
    workers_s, workers_cpu = watch.between("extract begins", "workers are ready")
    return {
        "tracks": stages["extract"]["n_done"],
        "load_average": round(os.getloadavg()[0], 1),
        "from_ready_to_encoded": {
            "wall_s": round(wall_s, 1),
            "cpu_s": round(total_s, 2),
            "computing_cpu_s": round(computing_s, 2),
            "orchestration_cpu_s": round(total_s - computing_s, 2),
            "orchestration_share": round(1 - computing_s / total_s, 4),
            "cpu_s_by_role": {role: round(cpu_s, 2) for role, cpu_s in by_role.items()},
            "this_process_by_thread": {
                name: round(cpu_s, 2)
                for name, cpu_s in watch.of_threads("workers are ready", "encode ends").items()
                if cpu_s >= LEAST_S
            },
        },
        "start": {
            "imports_s": round(imports_s, 1),
            "flow_and_server_s": round(flow_s, 1),
            "flow_and_server_cpu_s": round(sum(flow_cpu.values()), 2),
            "workers_s": round(workers_s, 1),
            "workers_cpu_s": round(sum(workers_cpu.values()), 2),
        },
    }


def main(arguments):
    """Read the arguments and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--music", required=True, help="folder of music")
    parser.add_argument("--tracks", type=int, default=200, help="length of the catalogue")
    parser.add_argument("--workers", type=int, default=2, help="worker processes")
    given = parser.parse_args(arguments)
    return measure(given.music, given.tracks, given.workers)


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1:]), indent=2))
