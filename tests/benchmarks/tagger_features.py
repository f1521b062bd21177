"""What the tagger's frames add to extraction: CPU time, bytes on disk, memory.

    python tests/benchmarks/tagger_features.py tests/data/music

Extracts the same ten files (the largest of every fifth part of the folder, sorted by path) without
and with ``features.tagger_mel`` in turn, decoding and writing included, then an hour of them in one
file in a fresh process each. Prints one JSON object.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import soundfile

from musichash_core.config import PipelineConfig
from musichash_core.errors import DecodeError
from musichash_core.feature_config import FeatureConfig
from musichash_core.kernel_warmup import warm_kernels
from musichash_core.records import partition_of
from storage.catalogue import Catalogue, CatalogueRow, check_roots, scan_catalogue
from storage.store import create_store, open_store
from tasks.extract import extract_partition
from tasks.plan import make_plan

N_FILES = 10
ROUNDS = 15
"""Without and with take turns, so that both meet the same other load."""
LONG_S = 3600
SHORT_S = 180


def main(folder: str) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as place:
        files = list(scan_catalogue(check_roots([folder])).files)
        step = len(files) // N_FILES
        chosen = [
            max(files[start : start + step], key=lambda file: file.n_bytes)
            for start in range(0, step * N_FILES, step)
        ]
        rounds = [
            [extract(chosen, place, f"{number}-{on}", with_tagger=on) for on in (False, True)]
            for number in range(ROUNDS)
        ]
        off_s, on_s = (median(each[n]["cpu_s"] for each in rounds) for n in (0, 1))
        audio_s, stored = rounds[0][1]["audio_s"], rounds[0][1]["stored"]
        return {
            "files": [file.path for file in chosen],
            "audio_s": round(audio_s, 1),
            "cpu_ms_per_30_s": [round(s / audio_s * 30_000, 2) for s in (off_s, on_s)],
            "ratio": round(median(on["cpu_s"] / off["cpu_s"] for off, on in rounds), 3),
            "ratios": [round(on["cpu_s"] / off["cpu_s"], 3) for off, on in rounds],
            "mb_per_audio_hour": {
                name: round(n_bytes / 1e6 / audio_s * 3600, 1) for name, n_bytes in stored.items()
            },
            "peak_mb": {
                f"{seconds} s": [peak_mb(folder, chosen, place, seconds, on) for on in (0, 1)]
                for seconds in (SHORT_S, LONG_S)
            },
        }


def extract(files, place, name, *, with_tagger):
    config = PipelineConfig(front_end="numba", features=FeatureConfig(tagger_mel=with_tagger))
    warm_kernels(config.features)
    store = str(create_store(Path(place, name)).root)
    plan = make_plan(store, Catalogue(tuple(CatalogueRow(file) for file in files), ()), config)
    partition = partition_of([item for part in plan.partitions for item in part.items])
    summary = extract_partition(store, partition, config)
    if summary.n_failed:
        raise DecodeError("damaged", f"{summary.n_failed} of the files cannot be decoded")
    array = (
        open_store(store).feature_partition_path(config.feature_fingerprint, partition.partition_id)
        / "features.zarr"
    )
    return {
        "cpu_s": summary.cpu_s,
        "audio_s": summary.audio_s,
        "peak_mb": summary.peak_memory_bytes / 1e6,
        "stored": {
            path.name: sum(part.stat().st_size for part in path.rglob("*") if part.is_file())
            for path in sorted(array.iterdir())
            if path.is_dir()
        },
    }


def peak_mb(folder, chosen, place, seconds, on):
    """Give the peak of a fresh process, its decoder included, over one file of some length."""
    root = Path(place, f"long-{seconds}")
    if not root.is_dir():
        root.mkdir()
        write_long(root / "long.flac", [Path(folder, file.path) for file in chosen], seconds)
    command = [sys.executable, __file__, "--peak", str(root), str(on)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return round(float(printed))


def write_long(path, sources, seconds):
    sr, n_left = 44_100, seconds * 44_100
    with soundfile.SoundFile(path, "w", sr, 2) as file:
        while n_left:
            for source in sources:
                y, _ = soundfile.read(source, dtype="float32", always_2d=True)
                y = y[:n_left, [0, -1]]
                file.write(y)
                n_left -= len(y)


def peak_alone(root, on):
    with tempfile.TemporaryDirectory() as place:
        files = list(scan_catalogue(check_roots([root])).files)
        return extract(files, place, "store", with_tagger=bool(int(on)))["peak_mb"]


if __name__ == "__main__":
    if sys.argv[1] == "--peak":
        print(peak_alone(*sys.argv[2:4]))
    else:
        print(json.dumps(main(sys.argv[1]), indent=2))
