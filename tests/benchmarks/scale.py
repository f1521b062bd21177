"""What scan, plan and publish cost for a large catalogue, and what a night costs after the first.

    python tests/benchmarks/scale.py --tracks 100000 --folder DIR
    python tests/benchmarks/scale.py --entries 1000000 --folder DIR

`--tracks` cuts the music below tests/data/music into one-second WAV files, gives each other tags
and another sample, and lives through three nights: the first, one with 1 % of the tracks changed,
added, moved and removed, and one with nothing changed. Features and codes are made up and written
with the store's own writers; what a night would spend on computing them is measured on one
partition.
`--entries` scans a tree of that many names twice: nine in ten are audio by name, of a few bytes.

Every step runs in a process of its own, so that its peak memory is its own. Prints one JSON object.
DIR must have room: 24 kB per track, 4 kB per entry; what lies there already is used again.
"""

import argparse
import json
import os
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import soundfile

from musichash_core.config import PipelineConfig
from musichash_core.kernel_warmup import warm_kernels
from musichash_core.process_memory import peak_memory_bytes
from musichash_core.segment_codes import WindowCodes
from storage.catalogue import Catalogue
from storage.encoded_store import write_encoded
from storage.feature_store import FeaturePartitionWriter, StoredTrack
from storage.generations import select_generation, selected_generation
from storage.store import create_store, open_store
from tasks.default_model import install_default_model
from tasks.describe import describe_partition
from tasks.encode import encode_partition
from tasks.extract import extract_partition
from tasks.index import publish
from tasks.ledger import begin_run
from tasks.plan import make_plan
from tasks.resources import tagging_network
from tasks.scan import look, record, recorded

MUSIC = Path(__file__).parent.parent / "data" / "music"
SR = 11_025
PER_FOLDER = 100
FRAMES_PER_TRACK = 8
WINDOWS_PER_TRACK = 48
"""Windows with codes that a track of four minutes has."""
GENRES = tuple(f"genre-{number}" for number in range(10))
CHANGED_SHARE = 0.01
AUDIO_IN_TEN = 9

# --- the catalogue -------------------------------------------------------------------------------


def make_tracks(root: Path, n_tracks: int) -> None:
    """Cut music into `n_tracks` one-second WAV files that all differ."""
    pieces = _pieces()
    for number in range(n_tracks):
        path = _track_path(root, number)
        if number % PER_FOLDER == 0:
            path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_bytes(_wav(pieces[number % len(pieces)], number))


def _track_path(root: Path, number: int) -> Path:
    folder = number // PER_FOLDER
    return root / GENRES[folder % len(GENRES)] / f"album-{folder}" / f"track-{number}.wav"


def _pieces() -> list[np.ndarray]:
    pieces = []
    for path in sorted(MUSIC.rglob("*.flac")) + sorted(MUSIC.rglob("*.ogg")):
        try:
            y, sr = soundfile.read(path, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError:
            continue
        mono = y.mean(axis=1)[:: max(1, sr // SR)]
        pieces += [mono[start : start + SR] for start in range(0, len(mono) - SR, SR)]
    return [(32_000 * piece.clip(-1, 1)).astype("<i2") for piece in pieces]


def _wav(piece: np.ndarray, number: int) -> bytes:
    """Give a WAV file with its number in a sample and in its title."""
    changed = piece.copy()
    changed[number % len(piece)] ^= 1 + number // len(piece) % 64
    title = f"Track {number:09d}\0".encode()
    info = b"INFOINAM" + struct.pack("<I", len(title)) + title
    form = struct.pack("<HHIIHH", 1, 1, SR, 2 * SR, 2, 16)
    chunks = b"".join(
        name + struct.pack("<I", len(data)) + data
        for name, data in ((b"fmt ", form), (b"LIST", info), (b"data", changed.tobytes()))
    )
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def change_tracks(root: Path, n_tracks: int) -> int:
    """Change, add, move and remove tracks, 1 % in all; give how many."""
    pieces = _pieces()
    n_each = max(1, int(n_tracks * CHANGED_SHARE / 4))
    step = n_tracks // n_each
    for place in range(n_each):
        number = place * step
        _track_path(root, number).write_bytes(_wav(pieces[0], n_tracks + number))
        new = root / "new" / f"track-{number}.wav"
        new.parent.mkdir(exist_ok=True)
        new.write_bytes(_wav(pieces[1], 2 * n_tracks + number))
        moved = _track_path(root, number + 1)
        moved.rename(moved.with_name(f"moved-{number}.wav"))
        _track_path(root, number + 2).unlink()
    return 4 * n_each


def make_entries(root: Path, n_entries: int) -> None:
    """Make a tree of `n_entries` small files, nine in ten of them audio by name."""
    for start in range(0, n_entries, 1000):
        folder = root / f"{start // 100_000:04d}" / f"{start // 1000:06d}"
        if folder.exists():
            continue
        folder.mkdir(parents=True)
        for number in range(start, min(start + 1000, n_entries)):
            is_audio = number % 10 < AUDIO_IN_TEN
            name = f"{number:08d} a name of usual length.{'flac' if is_audio else 'jpg'}"
            descriptor = os.open(folder / name, os.O_WRONLY | os.O_CREAT, 0o644)
            os.write(descriptor, b"%d" % number)
            os.close(descriptor)


# --- steps, each in its own process --------------------------------------------------------------


def scan_step(folder: Path) -> dict[str, object]:
    store = str(folder / "store")
    create_store(store)
    found = look(store, [str(folder / "music")])
    record(store, found.catalogue)
    return found.counts


def plan_step(folder: Path) -> dict[str, object]:
    store = str(folder / "store")
    plan = make_plan(store, recorded(store), PipelineConfig())
    return plan.counts


def fill_step(folder: Path) -> dict[str, object]:
    """Write features and codes of what is planned, made up but of the right shape."""
    store, config = str(folder / "store"), PipelineConfig()
    layout = open_store(store)
    plan = make_plan(store, recorded(store), config)
    generation = selected_generation(layout) or install_default_model(layout, config)[0]
    select_generation(layout, generation)
    for partition in plan.partitions:
        _fill(layout, config, generation, partition)
    return {"partitions": len(plan.partitions), "tracks": plan.n_to_extract}


def _fill(layout, config, generation, partition) -> None:
    from musichash_core.inference import EncodedTrack

    rng = np.random.default_rng(int(partition.partition_id, 16))
    mels, n_bits = config.features.n_mels, config.models.crnn_hash.n_bits
    path = layout.feature_partition_path(config.feature_fingerprint, partition.partition_id)
    encoded = []
    with FeaturePartitionWriter(
        path,
        fingerprint=config.feature_fingerprint,
        n_mels=mels,
        with_tagger_mel=config.features.tagger_mel,
    ) as writer:
        for item in partition.items:
            extents = writer.n_frames, writer.n_tagger_frames
            writer.append_frames(rng.integers(0, 99, (FRAMES_PER_TRACK, 3, mels), dtype=np.uint8))
            if config.features.tagger_mel:
                writer.append_tagger_frames(
                    rng.integers(0, 99, (FRAMES_PER_TRACK, 96), dtype=np.uint8)
                )
            writer.finish_track(_stored(item.file.track_id, *extents))
            encoded.append((item.file.track_id, _encoded(EncodedTrack, rng, n_bits)))
    write_encoded(
        layout.encoded_partition_path(generation, partition.partition_id),
        encoded,
        generation=generation,
        genres=GENRES,
        n_bits=n_bits,
    )


def _stored(track_id: str, first_frame: int, first_tagger_frame: int | None) -> StoredTrack:
    return StoredTrack(
        track_id=track_id,
        first_frame=first_frame,
        n_frames=FRAMES_PER_TRACK,
        duration_s=1.0,
        sr=SR,
        n_channels=1,
        container="wav",
        codec="PCM_16",
        peak=0.5,
        rms_db=-20.0,
        warnings=[],
        tag_title=f"Track {track_id[:8]}",
        first_tagger_frame=first_tagger_frame,
        n_tagger_frames=None if first_tagger_frame is None else FRAMES_PER_TRACK,
    )


def _encoded(kind, rng, n_bits):
    probabilities = rng.dirichlet(np.ones(len(GENRES))).astype(np.float32)
    logits = rng.standard_normal((1 + WINDOWS_PER_TRACK, n_bits)).astype(np.float32)
    starts_s = np.arange(WINDOWS_PER_TRACK, dtype=np.float32) * np.float32(4.98)
    return kind(probabilities, logits[0], 3, windows=WindowCodes(starts_s, logits[1:]))


def publish_step(folder: Path, n_done: int, n_reused: int) -> dict[str, object]:
    store = str(folder / "store")
    with begin_run(store) as run:
        published = publish(store, PipelineConfig(), run.record, n_done=n_done, n_reused=n_reused)
        run.record = published.record
    return {"digest": published.snapshot.digest, **published.snapshot.counts}


def compute_step(folder: Path) -> dict[str, object]:
    """Extract, describe and encode one partition, for what a night would really spend on it."""
    store, config = str(folder / "computed"), PipelineConfig()
    layout = create_store(store)
    warm_kernels(config.features)
    tagging_network()
    rows = recorded(str(folder / "store")).rows[: config.partitions.max_tracks]
    generation = install_default_model(layout, config)[0]
    select_generation(layout, generation)
    cpu_s = 0.0
    for partition in make_plan(store, Catalogue(rows, ()), config).partitions:
        done = extract_partition(store, partition, config)
        fingerprint = config.feature_fingerprint
        described = describe_partition(store, partition.partition_id, fingerprint)
        encoded = encode_partition(store, partition.partition_id, fingerprint, generation)
        cpu_s += done.cpu_s + described.cpu_s + encoded.cpu_s
    return {"tracks": len(rows), "cpu_s_per_track": cpu_s / len(rows)}


def entries_step(folder: Path) -> dict[str, object]:
    """Scan a tree of many names as the scan stage does, and record what was found."""
    store = str(folder / "entries-store")
    create_store(store)
    found = look(store, [str(folder / "entries")])
    record(store, found.catalogue)
    return found.counts


STEPS = {
    "scan": scan_step,
    "plan": plan_step,
    "fill": fill_step,
    "publish": publish_step,
    "compute": compute_step,
    "entries": entries_step,
}


def run_step(name: str, folder: Path, *numbers: int) -> dict[str, object]:
    """Run a step in a process of its own; give its result with CPU, time and peak memory."""
    command = [sys.executable, __file__, "--folder", str(folder), "--step", name]
    printed = subprocess.run(
        [*command, *map(str, numbers)], check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    outcome = json.loads(printed)
    print(name, json.dumps(outcome), file=sys.stderr)
    return outcome


def measured_here(name: str, folder: Path, numbers: list[int]) -> dict[str, object]:
    """Run a step in this process, start-up and imports not counted."""
    before_mb = peak_memory_bytes() / 1e6
    cpu, clock = time.process_time(), time.perf_counter()
    result = STEPS[name](folder, *numbers)
    return {
        "cpu_s": round(time.process_time() - cpu, 2),
        "wall_s": round(time.perf_counter() - clock, 2),
        "peak_mb": round(peak_memory_bytes() / 1e6, 1),
        "peak_mb_before": round(before_mb, 1),
        **result,
    }


# --- the measurements ----------------------------------------------------------------------------


def nights(folder: Path, n_tracks: int) -> dict[str, object]:
    """Live through three nights on `n_tracks` tracks."""
    make_tracks(folder / "music", n_tracks)
    first = _night(folder)
    computed = run_step("compute", folder)
    n_changed = change_tracks(folder / "music", n_tracks)
    second, third = _night(folder), _night(folder)
    computing_s = computed["cpu_s_per_track"] * n_tracks
    return {
        "tracks": n_tracks,
        "changed": n_changed,
        "computing_cpu_s_per_track": round(computed["cpu_s_per_track"], 5),
        "first_night": first,
        "second_night": second,
        "night_of_no_change": third,
        "bookkeeping_of_second_to_first": _ratio(second["cpu_s"], first["cpu_s"]),
        "second_to_first": _ratio(
            second["cpu_s"] + computed["cpu_s_per_track"] * second["plan"]["to_extract"],
            first["cpu_s"] + computing_s,
        ),
        "bookkeeping_of_first_to_computing": _ratio(first["cpu_s"], computing_s),
    }


def _night(folder: Path) -> dict[str, object]:
    scan, plan = run_step("scan", folder), run_step("plan", folder)
    fill = run_step("fill", folder)
    published = run_step("publish", folder, plan["to_extract"], plan["reused"])
    steps = {"scan": scan, "plan": plan, "publish": published}
    return {
        "cpu_s": round(sum(step["cpu_s"] for step in steps.values()), 2),
        "wall_s": round(sum(step["wall_s"] for step in steps.values()), 2),
        "peak_mb": max(step["peak_mb"] for step in steps.values()),
        **steps,
        "fill": fill,
    }


def _ratio(part: float, whole: float) -> float:
    return round(part / whole, 4)


def entries(folder: Path, n_entries: int) -> dict[str, object]:
    """Scan a tree of `n_entries` names, and again when nothing has changed."""
    make_entries(folder / "entries", n_entries)
    return {
        "entries": n_entries,
        "first_scan": run_step("entries", folder),
        "second_scan": run_step("entries", folder),
    }


def main(arguments: list[str]) -> dict[str, object]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="where files are made")
    parser.add_argument("--tracks", type=int, default=0, help="length of the catalogue")
    parser.add_argument("--entries", type=int, default=0, help="names in the tree to scan")
    parser.add_argument("--step", choices=STEPS, help="one step alone, as the others do it")
    parser.add_argument("numbers", type=int, nargs="*")
    given = parser.parse_args(arguments)
    if given.step:
        return measured_here(given.step, given.folder, given.numbers)
    measured: dict[str, object] = {}
    if given.tracks:
        measured["nights"] = nights(given.folder, given.tracks)
    if given.entries:
        measured["entries"] = entries(given.folder, given.entries)
    return measured


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1:]), indent=2 if "--step" not in sys.argv else None))
