"""``musichash train`` and ``bench robustness``: what goes wrong is one sentence and the right code.

No worker processes are started: features are extracted in this process.
"""

import json

import pytest
import torch

from musichash_core.config import load_config
from storage.runs import start_run
from storage.store import create_store, open_store
from tasks.encode import encode_partition, partitions_to_encode
from tasks.extract import extract_partition
from tasks.index import publish
from tasks.plan import make_plan
from tasks.scan import look, record
from tasks.train import train

EXPLODING = """
[models.training.genre_stage]
epochs = 80
patience = 80
learning_rate = 1.0
weight_decay = 10.0
"""
"""Each step multiplies the weights by -9."""


@pytest.fixture
def extracted(tones, tmp_path, tiny_config):
    """A store with the features of some of the tones, one or both labels."""

    def extract(*labels):
        store = str(tmp_path / "store")
        create_store(store)
        for label in {"hiss", "hum"} - set(labels):
            (tones / label).rename(tmp_path / label)
        catalogue = look(store, [str(tones)]).catalogue
        record(store, catalogue)
        for partition in make_plan(store, catalogue, tiny_config).partitions:
            extract_partition(store, partition, tiny_config)
        return store

    return extract


@pytest.fixture
def published_tones(extracted, tiny_config):
    """A published store of the tones, made without workers."""
    store = extracted("hiss", "hum")
    fingerprint = tiny_config.feature_fingerprint
    generation = train(store, tiny_config, device="cpu").generation
    for name in partitions_to_encode(store, fingerprint, generation)[0]:
        encode_partition(store, name, fingerprint, generation)
    publish(store, tiny_config, start_run(open_store(store)), n_done=6, n_reused=0)
    return store


def one_sentence(spoken):
    """Give the complaint; there must be no traceback beside it."""
    (line,) = [line for line in spoken.err.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in spoken.err
    return line


def test_the_sentence_names_the_device(musichash, extracted, tiny_config_path):
    store = extracted("hiss", "hum")
    spoken = musichash("train", "--store", store, "--config", tiny_config_path, "--device", "cpu")
    assert spoken.code == 0
    assert "computed on cpu" in spoken.out


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_a_gpu_that_is_not_there_is_noticed_before_any_work(musichash, tmp_path):
    spoken = musichash("train", "--store", tmp_path / "none", "--device", "cuda")
    assert spoken.code == 2
    assert one_sentence(spoken).startswith("error: device='cuda': this machine has the CPU only")


def test_other_devices_are_wrong_usage(musichash, tmp_path):
    spoken = musichash("train", "--store", tmp_path / "none", "--device", "tpu")
    assert spoken.code == 2
    assert "--device" in spoken.err


def test_one_class_alone_is_wrong_input(musichash, extracted, tiny_config_path):
    spoken = musichash("train", "--store", extracted("hum"), "--config", tiny_config_path)
    assert spoken.code == 2
    assert "1 label(s) with at least 2 decoded tracks (hum); two are needed" in one_sentence(spoken)


def test_a_loss_that_is_not_a_number_says_where(musichash, extracted, tiny_config_path, tmp_path):
    text = tiny_config_path.read_text(encoding="utf-8")
    stage = text.index("[models.training.genre_stage]")
    rest = text.index("[models.training.hash_stage]")
    path = tmp_path / "exploding.toml"
    path.write_text(text[:stage] + EXPLODING.lstrip() + text[rest:], encoding="utf-8")
    assert load_config(path).models.training.genre_stage.weight_decay == 10.0
    store = extracted("hiss", "hum")
    spoken = musichash("train", "--store", store, "--config", path, "--device", "cpu")
    assert spoken.code == 1
    sentence = one_sentence(spoken)
    assert "the loss became" in sentence
    assert "in genre stage, epoch" in sentence


def test_robustness_needs_a_published_snapshot(musichash, extracted, tiny_config_path):
    store = extracted("hum")
    spoken = musichash("bench", "robustness", "--store", store, "--config", tiny_config_path)
    assert spoken.code == 1  # as for everything that is missing
    assert "'musichash run" in one_sentence(spoken)


def test_robustness_prints_its_figures(musichash, published_tones, tiny_config_path):
    arguments = ["bench", "robustness", "--store", published_tones, "--config", tiny_config_path]
    spoken = musichash(*arguments, "--tracks", 2, "--json")
    assert spoken.code == 0
    figures = json.loads(spoken.out)
    assert figures["n_tracks"] == 2
    spoken = musichash(*arguments, "--tracks", 2)
    for row in figures["rows"]:
        (line,) = [line for line in spoken.out.splitlines() if row["version"] in line]
        assert line.split()[-1] == f"{row['found_first_share']:.1%}"
