"""`musichash plan` and `run --dry-run`: what they say, and that they write nothing."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from tasks.encode import encode_partition, partitions_to_encode
from tasks.extract import extract_partition
from tasks.index import publish
from tasks.ledger import begin_run
from tasks.plan import make_plan
from tasks.scan import look, record
from tasks.status import store_status
from tasks.train import train

KEYS = {
    *("seen", "new", "changed", "retried", "to_extract", "reused", "kept_failed", "unreadable"),
    *("removed", "replaced", "moved", "relabelled", "duplicates", "published", "partitions"),
    *("estimated_audio_s", "labels", "model", "installs_default_model", "refused", "scanned_at"),
    *("workers", "eta_s", "core_s", "gpu_s", "bytes", "guessed_stages"),
}
STAGES = ("extract", "describe", "train", "encode", "index", "report")


class Store(NamedTuple):
    """A store with a snapshot of the six tracks below a root."""

    root: Path
    store: Path


def write_tone(path, hz):
    """Write three seconds of a tone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = 0.3 * np.sin(2 * np.pi * hz * np.arange(3 * 16_000) / 16_000)
    soundfile.write(path, samples.astype(np.float32), 16_000, subtype="PCM_16")


@pytest.fixture
def published(tmp_path, tiny_config):
    """Do in this process what a night does, and record its numbers."""
    root, store = tmp_path / "published", str(tmp_path / "store")
    for number in range(6):
        write_tone(root / ("low" if number < 3 else "high") / f"{number}.wav", 110 + 90 * number)
    found = look(store, [str(root)]).catalogue
    with begin_run(store, create=True) as run:
        record(store, found)
        partitions = make_plan(store, found, tiny_config).partitions
        done = [extract_partition(store, partition, tiny_config) for partition in partitions]
        fingerprint = tiny_config.feature_fingerprint
        generation = train(store, tiny_config).generation
        for name in partitions_to_encode(store, fingerprint, generation)[0]:
            encode_partition(store, name, fingerprint, generation)
        numbers = {"wall_s": 9.0, "cpu_s": 9.0, "n_done": 6, "audio_s": 18.0}
        stages = dict.fromkeys(("extract", "encode", "index", "report"), numbers)
        run.record = replace(run.record, stages=stages)
        n_done = sum(summary.n_done for summary in done)
        publish(store, tiny_config, run.record, n_done=n_done, n_reused=0)
    return Store(root, Path(store))


def plan_json(musichash, *arguments):
    spoken = musichash("plan", *arguments, "--json")
    assert spoken.code == 0, spoken.err
    return json.loads(spoken.out)


def test_a_plan_of_a_new_catalogue_writes_nothing_and_calls_its_guesses_so(
    musichash, tones, tiny_config_path, tmp_path
):
    settings = ["--store", tmp_path / "new", "--catalogue", tones, "--config", tiny_config_path]
    spoken = musichash("plan", *settings, "--workers", 1)
    assert spoken.code == 0, spoken.err
    assert re.search(
        r"plan +6 new, 0 changed, 0 to retry: about \d+ minutes of audio in \d partitions; 0 "
        r"reused, .*; done in about \d+ s on 1 worker \(a guess for extract, train, encode, index, "
        r"report: not measured in this store yet\)",
        spoken.out,
    )
    assert re.search(r"extract +6 .* s of audio .* a guess", spoken.out)
    assert "describe" not in spoken.out  # this encoder needs none
    assert not (tmp_path / "new").exists()

    found = plan_json(musichash, *settings)
    assert (found["new"], found["seen"], found["scanned_at"]) == (6, 6, None)
    assert found["guessed_stages"] == "extract train encode index report"


def test_json_has_the_same_flat_keys_before_and_after_the_first_run(
    musichash, published, tiny_config_path, tmp_path
):
    settings = ["--config", tiny_config_path]
    catalogue = ["--catalogue", published.root]
    new = plan_json(musichash, "--store", tmp_path / "new", *catalogue, *settings)
    known = plan_json(musichash, "--store", published.store, *settings)
    assert new.keys() == known.keys()
    assert new.keys() > KEYS
    assert {key.partition("_")[0] for key in new.keys() - KEYS} == set(STAGES)
    assert not any(isinstance(value, (dict, list)) for value in new.values())


def test_a_plan_after_a_night_is_measured_and_names_the_recorded_scan(
    musichash, published, tiny_config_path, file_times
):
    before = file_times(published.store)
    settings = ["--store", published.store, "--config", tiny_config_path]
    spoken = musichash("plan", *settings)
    assert re.search(r"scan +recorded \d{4}-\d\d-\d\d \d\d:\d\d UTC; --catalogue", spoken.out)
    assert "nothing new to decode; 6 reused, 0 failed before, 0 moved, 0 removed" in spoken.out
    assert "a guess for" not in spoken.out
    assert re.search(r"index +6 .* measured, 1 run", spoken.out)
    assert file_times(published.store) == before


def test_a_fresh_scan_tells_new_changed_moved_and_removed_apart(
    musichash, published, tiny_config_path, file_times
):
    write_tone(published.root / "low/new.wav", 3000)
    write_tone(published.root / "low/0.wav", 4000)
    (published.root / "low/1.wav").rename(published.root / "high/moved.wav")
    (published.root / "high/5.wav").unlink()
    settings = ["--store", published.store, "--config", tiny_config_path]
    before = file_times(published.store)
    spoken = musichash("plan", *settings, "--catalogue", published.root)
    assert "1 new, 1 changed, 0 to retry: about 0 minutes of audio" in spoken.out
    assert "4 reused, 0 failed before, 1 moved, 2 removed (1 by changed files)" in spoken.out
    assert file_times(published.store) == before
    recorded = plan_json(musichash, *settings)
    assert (recorded["new"], recorded["removed"]) == (0, 0)
    assert recorded["scanned_at"] is not None


@pytest.mark.parametrize("command", [["plan"], ["run", "--dry-run"]])
def test_a_plan_says_that_the_run_would_stop(
    musichash, published, tiny_config_path, tmp_path, command
):
    write_tone(tmp_path / "other/a/1.wav", 3000)
    settings = ["--store", published.store, "--config", tiny_config_path]
    settings += ["--catalogue", tmp_path / "other"]
    spoken = musichash(*command, *settings)
    assert spoken.code == 0
    assert (
        "a run would stop here: the scan finds none of the 6 published tracks of the catalogue "
        f"{published.root} (no file below it in this scan); " in spoken.out
    )
    said = json.loads(musichash(*command, *settings, "--json").out)
    assert "finds none of the 6" in said["refused"]
    assert said["removed"] == 6


def test_a_dry_run_that_accepts_the_loss_would_not_stop(
    musichash, published, tiny_config_path, tmp_path
):
    write_tone(tmp_path / "other/a/1.wav", 3000)
    settings = ["--store", published.store, "--config", tiny_config_path]
    settings += ["--catalogue", tmp_path / "other", "--allow-shrink", "--json"]
    assert json.loads(musichash("run", "--dry-run", *settings).out)["refused"] is None


@pytest.mark.parametrize("option", ["--labels", "--manifest"])
def test_labels_and_manifest_need_a_catalogue(musichash, tmp_path, option):
    spoken = musichash("plan", "--store", tmp_path / "any", option, "x.csv")
    assert spoken.code == 2
    assert "need --catalogue" in spoken.err


def test_the_help_of_plan_has_examples(musichash):
    spoken = musichash("plan", "--help")
    assert "musichash plan --store ~/music.store --catalogue ~/Music" in spoken.out


def test_a_night_with_other_labels_decodes_and_encodes_nothing(
    run_night, published, tiny_config, tmp_path
):
    labels = tmp_path / "labels.csv"
    labels.write_text("track path,label\nlow/0.wav,chip\n")
    night = run_night(published.root, published.store, tiny_config, labels=str(labels))
    assert night.stages["extract"]["n_done"] == 0
    assert night.stages["encode"]["n_done"] == 0
    assert night.account["is_new_snapshot"]
    (path,) = store_status(str(published.store))["tables"]["tracks"]
    rows = pq.read_table(path, columns=["path", "label"]).to_pylist()
    assert {row["path"]: row["label"] for row in rows if row["label"]} == {"low/0.wav": "chip"}
