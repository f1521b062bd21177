"""The state of a training on disk: equal when read back, refused when other bytes lie there."""

import json
import struct

import numpy as np
import pytest
import torch

from musichash_core.training_state import TrainingState
from storage.errors import ArtefactMissingError, DamagedArtefactError, FormatVersionError
from storage.layout import StoreLayout
from storage.training_state_store import (
    read_training_state,
    remove_training_state,
    training_state_path,
    write_training_state,
)


@pytest.fixture
def layout(tmp_path):
    return StoreLayout(tmp_path)


def state(epoch=3):
    generator = np.random.default_rng(epoch)
    return TrainingState(
        identity="some tracks",
        stage="hash",
        epoch=epoch,
        tensors={
            "weights": torch.linspace(-1, 1, 12).reshape(3, 4) / 3,
            "generator": torch.arange(7, dtype=torch.uint8),
            "step": torch.tensor(float(epoch)),
        },
        facts={"losses": [0.1, 1 / 3], "generator": generator.bit_generator.state},
    )


def test_what_is_read_is_what_was_written(layout):
    write_training_state(layout, state())
    found = read_training_state(layout)
    assert (found.identity, found.stage, found.epoch) == ("some tracks", "hash", 3)
    assert found.facts == state().facts  # 128-bit integers and floats to the last bit
    assert found.tensors.keys() == state().tensors.keys()
    for name, tensor in state().tensors.items():
        assert found.tensors[name].dtype == tensor.dtype
        assert torch.equal(found.tensors[name], tensor)


def test_a_state_takes_the_place_of_the_last_one(layout):
    write_training_state(layout, state(1))
    write_training_state(layout, state(2))
    assert read_training_state(layout).epoch == 2
    assert list(layout.work_root.iterdir()) == [training_state_path(layout)]
    remove_training_state(layout)
    remove_training_state(layout)
    with pytest.raises(ArtefactMissingError):
        read_training_state(layout)


def test_any_changed_or_missing_byte_is_noticed(layout):
    write_training_state(layout, state())
    path = training_state_path(layout)
    whole = path.read_bytes()
    for position in range(0, len(whole), 7):
        damaged = bytearray(whole)
        damaged[position] ^= 1
        path.write_bytes(damaged)
        with pytest.raises((DamagedArtefactError, FormatVersionError)):
            read_training_state(layout)
    for length in range(0, len(whole), 50):
        path.write_bytes(whole[:length])
        with pytest.raises(DamagedArtefactError):
            read_training_state(layout)


def test_another_format_is_refused_with_both_numbers(layout):
    write_training_state(layout, state())
    path = training_state_path(layout)
    whole = path.read_bytes()
    (length,) = struct.unpack("<Q", whole[:8])
    header = json.loads(whole[8 : 8 + length])
    header["__metadata__"]["format"] = "7"
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + whole[8 + length :])
    with pytest.raises(FormatVersionError, match="format 7, this version reads format 1"):
        read_training_state(layout)
