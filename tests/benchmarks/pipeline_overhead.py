"""What a night's bookkeeping costs, and what the pipeline adds to extraction.

    python tests/benchmarks/pipeline_overhead.py --music DIR --tracks 28 200 [--rounds 2]
    python tests/benchmarks/pipeline_overhead.py --music DIR --tracks 28 200 --server
    python tests/benchmarks/pipeline_overhead.py --music DIR --tracks 200 --extraction

Without `--extraction`: runs ``musichash run`` on the first N tracks in a new store, and again when
nothing has changed. CPU time is that of every process that the command started, Prefect's server
and the decoders too, as the kernel counts it; bookkeeping is all of it but what the stages extract,
describe and encode count for themselves. By role it is sampled, so a process' last half second is
missing there. With `--server` the nights use a server that runs already, as scheduled nights do;
what it spends on a night counts, its start does not.

With `--extraction`: extracts the same files three times: in a plain loop, through Dask and Zarr
with one worker, and with two. Start-up of the workers is left out. CPU time counts this process
(with the scheduler in it), the workers and their decoder processes. Prints one JSON object.
"""

import argparse
import ctypes
import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from itertools import islice
from pathlib import Path
from statistics import median
from urllib.request import urlopen

import psutil

from flows.cluster import Workers
from flows.cluster_settings import ClusterSettings
from musichash_core.config import PipelineConfig
from musichash_core.decode import AudioStream, open_beneath
from musichash_core.errors import DecodeError
from musichash_core.features import FeatureExtractor
from musichash_core.kernel_warmup import warm_kernels
from storage.catalogue import Catalogue, CatalogueRow, check_roots, scan_catalogue
from storage.store import create_store
from tasks.extract import extract_partition
from tasks.plan import make_plan

ROUNDS = 3
"""Plain and pipeline take turns, so that both meet the same other load."""

MUSICHASH = (sys.executable, "-c", "from flows.cli import main; main()")
COMPUTING_STAGES = ("extract", "describe", "encode")
PR_SET_CHILD_SUBREAPER = 36
SAMPLE_S = 0.5
SETTLED_S = 10.0
"""After which a server that has started has done what it does at its start."""

# --- a whole night -------------------------------------------------------------------------------


def nights(
    music: str, n_tracks: int, n_workers: int, server: subprocess.Popen[bytes] | None
) -> dict[str, object]:
    """Run a night on the first tracks of a folder in a new store, and one with nothing to do."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
        catalogue, store = Path(folder, "music"), Path(folder, "store")
        link_tracks(music, n_tracks, catalogue)
        command = [*MUSICHASH, "run", "--catalogue", str(catalogue), "--store", str(store)]
        command += ["--labels", "none", "--workers", str(n_workers), "--json"]
        return {
            "tracks": n_tracks,
            "first_night": night(command, server),
            "night_of_no_change": night(command, server),
        }


@contextmanager
def running_server() -> Iterator[subprocess.Popen[bytes]]:
    """Start a server that the nights find, and wait until it answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as home:
        os.environ |= {"MUSICHASH_SERVER_HOME": home, "MUSICHASH_SERVER": "on"}
        process = subprocess.Popen(
            [*MUSICHASH, "server", "--port", str(port)], stdout=subprocess.DEVNULL
        )
        try:
            while True:
                assert process.poll() is None, "the server has ended"
                with suppress(OSError), urlopen(f"http://127.0.0.1:{port}/api/health"):
                    break
                time.sleep(SAMPLE_S)
            time.sleep(SETTLED_S)
            yield process
        finally:
            process.terminate()
            process.wait()


def link_tracks(music: str, n_tracks: int, folder: Path) -> None:
    """Put the first tracks of a folder into another, as hard links where that is possible."""
    folder.mkdir()
    files = list(islice(scan_catalogue(check_roots([music])).files, n_tracks))
    assert len(files) == n_tracks, f"{music} has only {len(files)} tracks"
    for number, file in enumerate(files):
        source, target = (
            Path(file.root, file.path),
            folder / f"{number:05d}{Path(file.path).suffix}",
        )
        try:
            os.link(source, target)
        except OSError:
            shutil.copyfile(source, target)


def night(command: list[str], server: subprocess.Popen[bytes] | None) -> dict[str, object]:
    """Run a command and give the CPU seconds of all processes that came of it, and the server's."""
    before, served = children_cpu_s(), tree_cpu_s(server)
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    by_role: dict[int, tuple[str, float]] = {}
    while True:
        sample_tree(process.pid, by_role)
        try:
            printed, _ = process.communicate(timeout=SAMPLE_S)
            break
        except subprocess.TimeoutExpired:
            continue
    wall_s = time.perf_counter() - started
    wait_for_orphans(server)
    served = tree_cpu_s(server) - served
    stages = {one["stage"]: one for one in json.loads(printed)["stages"]}
    total_s = children_cpu_s() - before + served
    computing_s = sum(stages[name]["cpu_s"] for name in COMPUTING_STAGES if name in stages)
    roles: dict[str, float] = {}
    for role, cpu_s in by_role.values():
        roles[role] = roles.get(role, 0.0) + cpu_s
    if server is not None:
        roles["server"] = served
    return {
        "done": stages["extract"]["n_done"],
        "wall_s": round(wall_s, 1),
        "cpu_s": round(total_s, 2),
        "computing_cpu_s": round(computing_s, 2),
        "bookkeeping_cpu_s": round(total_s - computing_s, 2),
        "bookkeeping_share": round(1 - computing_s / total_s, 4),
        "cpu_s_by_role": {role: round(cpu_s, 2) for role, cpu_s in sorted(roles.items())},
        "stage_cpu_s": {name: round(stages[name]["cpu_s"], 2) for name in stages},
    }


def children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def tree_cpu_s(root: subprocess.Popen[bytes] | None) -> float:
    """Give the CPU time so far of a process and those below it; 0 without one."""
    if root is None:
        return 0.0
    process = psutil.Process(root.pid)
    times = [one.cpu_times() for one in (process, *process.children(recursive=True))]
    return sum(each.user + each.system for each in times)


def sample_tree(pid: int, by_role: dict[int, tuple[str, float]]) -> None:
    """Note the CPU time of each process that lives now."""
    try:
        processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for process in processes:
        try:
            times, command = process.cpu_times(), " ".join(process.cmdline())
        except psutil.Error:
            continue
        known, _ = by_role.get(process.pid, ("", 0.0))
        if process.pid == pid:
            role = "command"
        else:  # one that has ended and was not waited for has no command line any more
            role = role_of(command) if command else known or "others"
        by_role[process.pid] = role, times.user + times.system


def role_of(command: str) -> str:
    if "uvicorn" in command or "prefect" in command:
        return "server"
    if "decode" in command:
        return "decoders"
    if "multiprocessing" in command:
        return "workers"
    return "others"


def wait_for_orphans(server: subprocess.Popen[bytes] | None) -> None:
    """Wait for what the command left behind, so that it counts: its server, the server's watcher.

    This process is told to inherit them, see `main`.
    """
    stays = set() if server is None else {server.pid}
    while ended := {child.pid for child in psutil.Process().children()} - stays:
        for pid in ended:
            os.waitpid(pid, 0)


# --- extraction alone ----------------------------------------------------------------------------


def extraction(folder: str, max_tracks: int = 200) -> dict[str, object]:
    """Extract in a plain loop and through the pipeline, in turns."""
    config = PipelineConfig(front_end="numba")
    files = list(islice(scan_catalogue(check_roots([folder])).files, max_tracks))
    catalogue = Catalogue(tuple(CatalogueRow(file) for file in files), ())
    warm_kernels(config.features)
    rounds = [
        (
            plain_loop(files, config),
            through_pipeline(catalogue, config, 1),
            through_pipeline(catalogue, config, 2),
        )
        for _ in range(ROUNDS)
    ]
    audio_s = rounds[0][0][1]
    plain_cpu_s = median(plain for (plain, _), _, _ in rounds)
    one, two = (
        {key: median(each[n][key] for each in rounds) for key in rounds[0][n]} for n in (1, 2)
    )
    return {
        "tracks": len(files),
        "audio_hours": round(audio_s / 3600, 2),
        "plain_cpu_s": round(plain_cpu_s, 2),
        "pipeline_cpu_s": round(one["cpu_s"], 2),
        "pipeline_adds": round(one["cpu_s"] / plain_cpu_s - 1, 3),
        "wall_s_one_worker": round(one["wall_s"], 2),
        "wall_s_two_workers": round(two["wall_s"], 2),
        "two_workers_are_faster_by": round(one["wall_s"] / two["wall_s"], 2),
        "peak_memory_mb_per_worker": round(max(one["peak_mb"], two["peak_mb"]), 1),
    }


def plain_loop(files, config):
    started, audio_s = time.process_time(), 0.0
    for file in files:
        extractor = FeatureExtractor(config.features)
        try:
            with AudioStream(open_beneath(file.root, file.path_raw), config.decode) as stream:
                for block in stream.resampled(config.features.sr):
                    extractor.push(block)
                extractor.finish()
                audio_s += stream.n_frames / stream.info.sr
        except DecodeError:
            continue
    return time.process_time() - started, audio_s


def cpu_with_children_s():
    """Give the CPU time of a worker and of its decoder process, seconds."""
    worker = psutil.Process()
    times = [process.cpu_times() for process in (worker, *worker.children(recursive=True))]
    return sum(each.user + each.system for each in times)


def through_pipeline(catalogue, config, n_workers):
    with tempfile.TemporaryDirectory() as folder:
        store = str(Path(folder, "store"))
        create_store(store)
        plan = make_plan(store, catalogue, config)
        with Workers(ClusterSettings(n_workers=n_workers)) as workers:
            before = sum(workers.client.run(cpu_with_children_s).values())
            own, clock = time.process_time(), time.perf_counter()
            queue = deque((store, partition, config) for partition in plan.largest_first)
            done = [outcome for _, outcome in workers.fan_out(extract_partition, queue)]
            wall_s, own = time.perf_counter() - clock, time.process_time() - own
            spent = sum(workers.client.run(cpu_with_children_s).values()) - before
    peak_mb = max(summary.peak_memory_bytes for summary in done) / 1e6
    return {
        "cpu_s": own + spent,
        "own_s": own,
        "task_s": sum(s.cpu_s for s in done),
        "wall_s": wall_s,
        "peak_mb": peak_mb,
    }


def main(arguments: list[str]) -> dict[str, object]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--music", required=True, help="folder of music, long enough")
    parser.add_argument("--tracks", type=int, nargs="+", default=[200], help="lengths of catalogue")
    parser.add_argument("--rounds", type=int, default=1, help="nights in new stores per length")
    parser.add_argument("--workers", type=int, default=2, help="worker processes")
    parser.add_argument("--server", action="store_true", help="with a server that runs already")
    parser.add_argument("--extraction", action="store_true", help="extraction alone")
    given = parser.parse_args(arguments)
    if given.extraction:
        return {"extraction": [extraction(given.music, n) for n in given.tracks]}
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    with running_server() if given.server else nullcontext() as server:
        return {
            "nights": [
                nights(given.music, n_tracks, given.workers, server)
                for _ in range(given.rounds)
                for n_tracks in given.tracks
            ]
        }


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1:]), indent=2))
