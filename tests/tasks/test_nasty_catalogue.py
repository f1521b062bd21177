"""Real music mixed with the whole nasty corpus: a bad file costs one row, and no other a byte."""

import multiprocessing
import shutil
import sys
from collections import Counter, defaultdict
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from musichash_core.decode import DecodeConfig
from storage.catalogue import read_catalogue
from storage.feature_store import FeaturePartition
from storage.file_identities import path_for_people
from storage.store import create_store, open_store
from tasks.extract import extract_partition

sys.path.append(str(Path(__file__).parents[1] / "data"))

from nasty.registry import CASES, write_corpus

SCANNED = [case for case in CASES if case.is_scanned and not case.is_heavy]
N_CLIPS = 12
MOST_MEMORY_BYTES = 700_000_000
"""Resident, of the worker: libraries and compiled kernels are most of it."""


def copy_clips(music_root, root):
    """Put a dozen clips of several formats below a root; give their paths there."""
    clips = sorted(
        path
        for path in music_root.rglob("*.*")
        if path.suffix in {".ogg", ".opus", ".mp3", ".flac", ".wav", ".aiff"}
        and "truncated" not in path.stem
    )
    by_suffix = sorted(clips, key=lambda path: (clips_before(clips, path), path.suffix))
    chosen = by_suffix[:N_CLIPS]
    (root / "music").mkdir(parents=True)
    for path in chosen:
        shutil.copy(path, root / "music" / path.name)
    return {f"music/{path.name}" for path in chosen}


def clips_before(clips, path):
    """Count the clips of the same format before one: few of each format come first."""
    return sum(other.suffix == path.suffix and other < path for other in clips)


@pytest.fixture
def worker():
    """A process of its own, as a worker has: its memory is nobody else's."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


def extracted(worker, store, partition, config):
    """Extract a partition; give summary and results."""
    summary = worker.submit(extract_partition, store, partition, config).result()
    folder = open_store(store).feature_partition_path(
        config.feature_fingerprint, partition.partition_id
    )
    return summary, FeaturePartition(folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("catalogue")


@pytest.fixture
def patient(config):
    """The settings of these tests with the limits that are the default."""
    return config.model_copy(update={"decode": DecodeConfig()})


def test_the_corpus_costs_rows_and_nothing_else(
    folder, music_root, patient, partition_below, worker
):
    root = write_corpus(folder, [case for case in CASES if not case.is_heavy])
    clips = copy_clips(music_root, root)
    assert copy_clips(music_root, folder / "clean") == clips
    mixed_store, clean_store = (str(create_store(folder / name).root) for name in ("a", "b"))

    mixed = partition_below(mixed_store, root, patient)
    clean = partition_below(clean_store, folder / "clean", patient)
    summary, results = extracted(worker, mixed_store, mixed, patient)
    _, clean_results = extracted(worker, clean_store, clean, patient)

    catalogue = read_catalogue(open_store(mixed_store))
    places = {row.file.path_raw: row.file.track_id for row in catalogue.rows}
    check_frames(results, clean_results, {places[clip.encode()] for clip in clips})
    failures = results.failures().to_pylist()
    done = {track.track_id for track in results.tracks()}
    assert (summary.n_done, summary.n_failed) == (len(done), len(failures))
    assert len(done) + len(failures) == len(mixed.items) == len(set(places.values()))
    found = {*(row.file.path for row in catalogue.rows), *below(root, catalogue.failures)}
    scanned = {path_for_people(case.path_raw) for case in SCANNED}
    assert found == scanned | clips | {"linked"}
    assert summary.peak_memory_bytes < MOST_MEMORY_BYTES
    check_rows(root, places, done, [*failures, *scan_rows(catalogue)])


def below(root, failures):
    """Give the paths of failures below the root."""
    return [failure.path.removeprefix(f"{root}/") for failure in failures]


def check_frames(results, clean_results, clips):
    """Good files have the same bytes as in a run without the nasty ones."""
    frames = frames_by_track(results)
    clean_frames = frames_by_track(clean_results)
    assert clean_frames.keys() == clips
    for track_id, wanted in clean_frames.items():
        assert frames[track_id].tobytes() == wanted.tobytes()
    facts = {row["track_id"]: row for row in results.facts().to_pylist()}
    for row in clean_results.facts().to_pylist():
        found = facts[row["track_id"]]
        places = {"first_frame": 0, "first_tagger_frame": 0}
        assert row | places == found | places


def frames_by_track(results):
    return {
        facts.track_id: np.asarray(track.frames[0 : len(track.frames)])
        for facts, track in results.track_frames()
    }


def scan_rows(catalogue):
    return [
        {"track_id": "", "path": failure.path, "code": failure.code, "message": failure.message}
        for failure in catalogue.failures
    ]


def check_rows(root, places, done, failures):
    """Compare the outcome of every case with what is right, and the number of its rows with 1."""
    by_track = defaultdict(list)
    by_path = defaultdict(list)
    for row in failures:
        (by_track[row["track_id"]] if row["track_id"] else by_path[row["path"]]).append(row)
    wrong = []
    for case in SCANNED:
        track_id = places.get(case.path_raw)
        path = f"{root}/{path_for_people(case.path_raw)}"
        rows = by_track[track_id] if track_id else by_path[path]
        if track_id in done:
            is_right = case.sound is not None and not rows
        else:
            is_right = len(rows) == 1 and rows[0]["code"] in case.codes
        if not is_right:
            wrong.append((case.name, [(row["code"], row["message"]) for row in rows]))
    assert not wrong, f"{len(wrong)} of {len(SCANNED)}, {Counter(name for name, _ in wrong)}"
