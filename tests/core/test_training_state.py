"""A training that is stopped and goes on ends with the weights of one that was not."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from musichash_core.errors import ParameterError
from musichash_core.inference import models_to_tensors
from musichash_core.model_config import ModelConfig
from musichash_core.segments import TrackFrames
from musichash_core.training import train_prepared
from musichash_core.training_data import prepare_training_data
from musichash_core.training_state import TrainingState, training_identity

N_EPOCHS = 3
CONFIG = ModelConfig(
    segments={"n_frames": 32, "hop_frames": 16, "max_per_track": 4},
    genre_cnn={"widths": (6, 8), "dropout": 0.3},
    crnn_hash={"n_bits": 16, "n_maps": 4, "map_shape": (4, 4), "n_hidden": 8, "n_pooled": 8},
    loss={"kind": "ortho"},
    training={
        "n_threads": 1,
        "genre_stage": {"epochs": N_EPOCHS, "batch_size": 8},
        "hash_stage": {"epochs": N_EPOCHS, "cached_crops": 4, "tracks_per_batch": 4},
    },
)


class StoppedError(Exception):
    """What these tests stop a training with."""


def make_data(config: ModelConfig = CONFIG):
    rng = np.random.default_rng(0)
    tracks = [
        TrackFrames(f"{i:02d}", rng.integers(60, 90 + 20 * (i % 2), (60, 2, 8), np.uint8), 1.0)
        for i in range(12)
    ]
    genres = ["rock" if i % 2 else "jazz" for i in range(12)]
    return prepare_training_data(tracks, genres, list("abcdefghijkl"), config.training)


def through_files(state: TrainingState) -> TrainingState:
    """Give what comes back from safetensors and JSON."""
    return TrainingState(
        **{
            **json.loads(json.dumps({**asdict_without_tensors(state)})),
            "tensors": load(save(state.tensors)),
        }
    )


def asdict_without_tensors(state: TrainingState) -> dict:
    return asdict(replace(state, tensors={}))


@pytest.fixture(scope="module")
def uninterrupted():
    """Train at once; keep the state after each epoch."""
    states = []
    models = train_prepared(
        make_data(), CONFIG, on_state=lambda state: states.append(through_files(state))
    )
    return models, states


def test_taking_states_changes_no_weight(uninterrupted):
    models, _ = uninterrupted
    assert_same(models, train_prepared(make_data(), CONFIG))


def test_there_is_a_state_after_each_epoch(uninterrupted):
    _, states = uninterrupted
    told = [(state.stage, state.epoch) for state in states]
    assert told == [(stage, epoch) for stage in ("genre", "hash") for epoch in range(1, 4)]


@pytest.mark.parametrize("number", range(2 * N_EPOCHS))
def test_going_on_from_any_epoch_gives_the_same_models(uninterrupted, number):
    models, states = uninterrupted
    events = []
    torch.manual_seed(number)  # what went on before must not matter
    resumed = train_prepared(make_data(), CONFIG, on_event=events.append, resume=states[number])
    assert_same(models, resumed)
    assert len(events) == 2 * N_EPOCHS - number - 1


def test_a_training_may_be_stopped_and_go_on_after_every_epoch(uninterrupted):
    models, _ = uninterrupted
    state, n_stops = None, 0
    while True:
        states = []

        def stop(one, states=states):
            states.append(through_files(one))
            raise StoppedError

        try:
            resumed = train_prepared(make_data(), CONFIG, on_state=stop, resume=state)
            break
        except StoppedError:
            (state,) = states
            n_stops += 1
    assert n_stops == 2 * N_EPOCHS
    assert_same(models, resumed)


def test_early_stopping_goes_on_where_it_stood():
    values = CONFIG.model_dump()
    values["training"]["genre_stage"].update(epochs=30, patience=2, learning_rate=0.5)
    config, states = ModelConfig(**values), []
    models = train_prepared(make_data(), config, on_state=states.append)
    in_genre_stage = [state for state in states if state.stage == "genre"]
    assert len(in_genre_stage) < 30
    for state in in_genre_stage[-2:]:
        assert_same(models, train_prepared(make_data(), config, resume=state))


def test_a_state_is_a_copy(uninterrupted):
    _, states = uninterrupted
    kept = []
    train_prepared(make_data(), CONFIG, on_state=kept.append)
    for one, other in zip(kept, states, strict=True):
        assert asdict_without_tensors(through_files(one)) == asdict_without_tensors(other)
        assert all(torch.equal(one.tensors[name], other.tensors[name]) for name in other.tensors)


def test_a_state_of_other_settings_or_tracks_is_refused(uninterrupted):
    _, states = uninterrupted
    data = make_data()
    other = ModelConfig(**{**CONFIG.model_dump(), "loss": {"kind": "ortho", "cosine_margin": 0.3}})
    with pytest.raises(ParameterError, match="other tracks or settings"):
        train_prepared(data, other, resume=states[0])
    swapped = replace(data, targets=data.targets[:, ::-1])
    with pytest.raises(ParameterError, match="other tracks or settings"):
        train_prepared(swapped, CONFIG, resume=states[0])
    assert training_identity(swapped, CONFIG) != training_identity(data, CONFIG)


def assert_same(one, other):
    tensors, others = models_to_tensors(one), models_to_tensors(other)
    assert tensors.keys() == others.keys()
    assert all(torch.equal(tensors[name], others[name]) for name in tensors)
    assert one.summary == other.summary
