"""What the pipeline adds to extraction, and what a second worker brings.

    python tests/benchmarks/pipeline_overhead.py MUSIC_FOLDER [MAX_TRACKS]

Extracts the same files three times: in a plain loop, through Dask and Zarr with one worker, and
with two. Start-up of the workers is left out. CPU time counts this process (with the scheduler in
it), the workers and their decoder processes. Prints one JSON object.
"""

import json
import sys
import tempfile
import time
from collections import deque
from itertools import islice
from pathlib import Path
from statistics import median

import psutil

from flows.cluster import ClusterSettings, Workers
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


def main(folder: str, max_tracks: int = 200) -> dict[str, object]:
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
            done = [outcome for _, outcome in workers.fan_out(extract_partition, queue, {})]
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


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], *map(int, sys.argv[2:3])), indent=2))
