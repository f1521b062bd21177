"""Model generations: identical outputs after loading, and no loading of anything else."""

import json
import random

import numpy as np
import pytest
import torch

from musichash_core.inference import build_models, encode_track, models_to_tensors
from musichash_core.segments import TrackFrames
from storage.checkpoints import load_models, save_models
from storage.errors import (
    ArtefactMissingError,
    DamagedArtefactError,
    FingerprintMismatchError,
    FormatVersionError,
    StoreError,
)
from storage.generations import read_model_card, select_generation, selected_generation
from storage.receipts import read_receipt

SUMMARY = {"epochs": 3, "accuracy": 0.1 + 0.2, "genres": ["Fado", "Música"], "chance": None}


@pytest.fixture
def models(helpers):
    torch.manual_seed(1)
    return build_models(helpers.small_models, helpers.genres, n_channels=3, n_mels=helpers.n_mels)


@pytest.fixture
def generation(layout, models, helpers):
    return save_models(layout, models, feature_fingerprint=helpers.features, summary=SUMMARY)


def test_loaded_models_give_identical_outputs(layout, models, generation, helpers):
    loaded = load_models(layout, generation, feature_fingerprint=helpers.features)
    assert (loaded.genres, loaded.config) == (models.genres, models.config)
    for n_frames in (5, 32, 200):
        track = TrackFrames("t", helpers.random_frames(n_frames), 0.7)
        expected, got = encode_track(models, track), encode_track(loaded, track)
        assert np.array_equal(expected.probabilities, got.probabilities)
        assert np.array_equal(expected.hash_logits, got.hash_logits)
    for name, tensor in models_to_tensors(models).items():
        assert torch.equal(tensor, models_to_tensors(loaded)[name])


def test_the_card_says_what_was_trained(layout, generation, helpers):
    card = read_model_card(layout, generation)
    assert card["summary"] == SUMMARY
    assert card["genres"] == list(helpers.genres)
    assert card["feature_fingerprint"] == helpers.features
    assert card["config"]["crnn_hash"]["n_bits"] == helpers.n_bits


def test_the_same_models_are_the_same_generation(layout, models, generation, helpers):
    again = save_models(layout, models, feature_fingerprint=helpers.features, summary=SUMMARY)
    assert again == generation
    with torch.no_grad():
        next(models.genre_cnn.parameters()).add_(1)
    other = save_models(layout, models, feature_fingerprint=helpers.features, summary=SUMMARY)
    longer = save_models(layout, models, feature_fingerprint=helpers.features, summary={})
    assert len({generation, other, longer}) == 3


def test_features_of_other_settings_are_refused_with_both_fingerprints(layout, generation):
    with pytest.raises(
        FingerprintMismatchError, match=f"reads features {'f' * 12}, .* makes {'0' * 12}; use the"
    ):
        load_models(layout, generation, feature_fingerprint="0" * 12)


@pytest.mark.parametrize("name", ["weights.safetensors", "model.json"])
def test_a_flipped_bit_is_refused(layout, generation, helpers, name):
    path = layout.model_path(generation) / name
    whole = path.read_bytes()
    rng = random.Random(0)
    for _ in range(60):
        at = rng.randrange(len(whole))
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << rng.randrange(8)]) + whole[at + 1 :])
        with pytest.raises(StoreError):
            load_models(layout, generation, feature_fingerprint=helpers.features)


def test_a_changed_genre_name_is_refused(layout, generation, helpers):
    path = layout.model_path(generation) / "model.json"
    path.write_text(path.read_text().replace("blues", "Blues"))
    with pytest.raises(DamagedArtefactError, match=f"holds other bytes than {generation}"):
        load_models(layout, generation, feature_fingerprint=helpers.features)


def test_saving_again_mends_a_damaged_generation(layout, models, generation, helpers):
    path = layout.model_path(generation) / "weights.safetensors"
    for damage in (lambda: path.write_bytes(b"damaged"), path.unlink):
        damage()
        again = save_models(layout, models, feature_fingerprint=helpers.features, summary=SUMMARY)
        assert again == generation
        load_models(layout, generation, feature_fingerprint=helpers.features)
    assert [folder.name for folder in path.parent.parent.iterdir()] == [generation]


def test_missing_generations_and_weights_are_named(layout, generation, helpers):
    with pytest.raises(ArtefactMissingError, match="has no model g-none"):
        load_models(layout, "g-none", feature_fingerprint=helpers.features)
    (layout.model_path(generation) / "weights.safetensors").unlink()
    with pytest.raises(ArtefactMissingError, match=r"weights\.safetensors is missing; restore"):
        load_models(layout, generation, feature_fingerprint=helpers.features)


def test_a_card_of_another_version_is_refused(layout, generation, helpers):
    path = layout.model_path(generation) / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 9}))
    with pytest.raises(FormatVersionError, match="has format 9, this version reads format 1"):
        load_models(layout, generation, feature_fingerprint=helpers.features)


def test_settings_that_this_version_does_not_know_are_refused(layout, models, helpers, monkeypatch):
    known = type(models.config).model_dump
    monkeypatch.setattr(
        type(models.config), "model_dump", lambda self, **how: known(self, **how) | {"attention": 1}
    )
    generation = save_models(layout, models, feature_fingerprint=helpers.features, summary={})
    monkeypatch.undo()
    with pytest.raises(FormatVersionError, match="trained by another version of musichash"):
        load_models(layout, generation, feature_fingerprint=helpers.features)


def test_weights_are_plain_tensors_without_code(layout, generation):
    data = (layout.model_path(generation) / "weights.safetensors").read_bytes()
    header_bytes = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + header_bytes])
    ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    assert max(ends) == len(data) - 8 - header_bytes
    receipt = read_receipt(layout.model_path(generation))
    assert [entry.path for entry in receipt.files] == ["model.json", "weights.safetensors"]


# --- which generation is used --------------------------------------------------------------------


def test_no_generation_is_selected_before_the_first(layout):
    assert selected_generation(layout) is None


def test_the_selected_generation_stays_selected(layout):
    for name in ("g-1", "g-2"):
        select_generation(layout, name)
        assert selected_generation(layout) == name


@pytest.mark.parametrize("content", ["{}", '{"generation": null}', '{"generation": 3}', "x"])
def test_a_damaged_selection_is_refused(layout, content):
    select_generation(layout, "g-1")
    layout.generation_path.write_text(content)
    with pytest.raises(DamagedArtefactError, match=r"generation\.json"):
        selected_generation(layout)
