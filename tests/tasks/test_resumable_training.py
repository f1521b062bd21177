"""A training whose process is killed goes on, and ends with the model of one that was not."""

import json
import shutil
import signal
import subprocess
import sys

import pytest

from musichash_core.config import PipelineConfig
from storage.store import open_store
from storage.training_state_store import read_training_state, training_state_path
from tasks.extract import extract_partition
from tasks.train import train

N_EPOCHS = 4

KILLED = """
import os, signal, sys
import tasks.resumable_training as resumable
from musichash_core.config import PipelineConfig
from tasks.train import train

store, config, stage, epoch = sys.argv[1:]
resumable.train_resumably.__kwdefaults__["seconds_between_states"] = 0.0

def kill(event):
    if (event.stage, event.epoch) == (stage, int(epoch)):
        os.kill(os.getpid(), signal.SIGKILL)

train(store, PipelineConfig.model_validate_json(config), device="cpu", on_event=kill)
"""


@pytest.fixture
def network_config(config):
    """The two networks, with some epochs."""
    values = config.model_dump(mode="json")
    values["models"]["encoder"] = "hpss-cnn"
    for stage in ("genre_stage", "hash_stage"):
        values["models"]["training"][stage]["epochs"] = N_EPOCHS
    return PipelineConfig.model_validate_json(json.dumps(values))


@pytest.fixture
def extracted(store, catalogue, network_config, partitions_below):
    """Two labels with two tracks each."""
    for path, hz in (("high/a", 1760), ("high/b", 1600), ("low/a", 220), ("low/b", 240)):
        catalogue.add(f"{path}.wav", hz)
    for partition in partitions_below(store, catalogue.root, network_config):
        extract_partition(store, partition, network_config)
    return store


def train_until(store, config, stage, epoch):
    """Train in a process of its own that is killed after an epoch."""
    arguments = [store, config.model_dump_json(), stage, str(epoch)]
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, *arguments],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr


def train_and_listen(store, config):
    """Train to the end; give the generation, the epochs that were run, and what was said."""
    events, said = [], []
    trained = train(store, config, device="cpu", on_event=events.append, say=said.append)
    return trained.generation, [(event.stage, event.epoch) for event in events], said


def test_a_killed_training_goes_on_to_the_generation_of_an_undisturbed_one(
    extracted, network_config, tmp_path
):
    undisturbed = str(shutil.copytree(extracted, tmp_path / "undisturbed"))
    expected, epochs, said = train_and_listen(undisturbed, network_config)
    assert len(epochs) == 2 * N_EPOCHS
    assert said == []

    train_until(extracted, network_config, "genre", 2)
    train_until(extracted, network_config, "hash", 2)  # goes on, and is killed once more
    found, rest, said = train_and_listen(extracted, network_config)
    assert found == expected
    assert rest == epochs[-2:]
    assert said == ["going on with a training that was stopped after epoch 2 of the hash network"]
    assert not training_state_path(open_store(extracted)).exists()


def test_a_state_of_no_use_is_named_and_left_aside(extracted, network_config, tmp_path):
    undisturbed = str(shutil.copytree(extracted, tmp_path / "undisturbed"))
    expected, epochs, _ = train_and_listen(undisturbed, network_config)
    train_until(extracted, network_config, "genre", 2)
    layout = open_store(extracted)
    path = training_state_path(layout)
    whole = path.read_bytes()

    path.write_bytes(whole[:-1])
    found, run, said = train_and_listen(extracted, network_config)
    assert (found, run) == (expected, epochs)
    (sentence,) = said
    assert sentence.startswith("the state of a stopped training is of no use, training begins anew")

    path.write_bytes(whole)
    assert read_training_state(layout).epoch == 2
    values = network_config.model_dump(mode="json")
    values["models"]["training"]["seed"] = 5
    other = PipelineConfig.model_validate_json(json.dumps(values))
    found, run, said = train_and_listen(extracted, other)
    assert found != expected
    assert run[0] == ("genre", 1)
    assert said == [
        "the state of a stopped training is of other tracks, labels or settings; training begins "
        "anew"
    ]
