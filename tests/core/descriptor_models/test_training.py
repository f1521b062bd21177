"""Both heads together on genres made by hand, and the shipped default model."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from musichash_core.codes import logits_to_codes
from musichash_core.descriptor_models import (
    DescribedTracks,
    build_models,
    encode_description,
    load_default_models,
    models_from_tensors,
    models_to_tensors,
    train_descriptor_models,
)
from musichash_core.descriptor_models import default_model as shipped
from musichash_core.descriptor_models.tag_genres import N_GENRE_TAGS, TAGS
from musichash_core.descriptors import N_DESCRIPTORS, TrackDescription
from musichash_core.errors import MusicHashError, ParameterError, TrainingError
from musichash_core.model_config import ModelConfig
from musichash_core.musicnn.tags import MSD_TAGS
from musichash_core.splits import Split


def _described(tracks, row):
    return TrackDescription(tracks.vectors[row, 0], np.zeros(50, np.float32), 7)


def _reordered(tracks, order):
    return DescribedTracks(
        tuple(tracks.track_ids[i] for i in order),
        tracks.vectors[order],
        tuple(tracks.genres[i] for i in order),
        tuple(tracks.groups[i] for i in order),
    )


@pytest.fixture(scope="module")
def trained(described, small_heads):
    return train_descriptor_models(described, small_heads)


def test_separable_genres_are_learned_and_judged_on_other_groups(described, trained):
    summary = trained.summary
    assert summary.genres == ("blues", "jazz", "metal")
    assert summary.validation_accuracy > 0.9
    assert summary.validation_map > summary.chance_map + 0.3
    group_of = dict(zip(described.track_ids, described.groups, strict=True))
    held_out = {group_of[track_id] for track_id in summary.validation_track_ids}
    training = set(described.groups) - held_out
    assert len(held_out) >= 3
    assert len(training) + len(held_out) == len(set(described.groups))
    right = [
        trained.models.genres[encode_description(trained.models, _described(described, i)).genre]
        == described.genres[i]
        for i in range(len(described.genres))
    ]
    assert np.mean(right) > 0.95


def test_shuffled_labels_give_chance(described, small_heads):
    rng = np.random.default_rng(0)
    shuffled = replace(described, genres=tuple(rng.permutation(described.genres)))
    summary = train_descriptor_models(shuffled, small_heads).summary
    n = len(summary.validation_track_ids)
    assert abs(summary.validation_accuracy - 1 / 3) < 3 * np.sqrt(2 / 9 / n)


def test_the_order_of_the_tracks_changes_no_weight(described, small_heads, trained):
    order = np.random.default_rng(1).permutation(len(described.genres))
    other = train_descriptor_models(_reordered(described, order), small_heads)
    first, second = (models_to_tensors(run.models) for run in (trained, other))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert trained.summary == other.summary


def test_weights_survive_as_tensors(described, small_heads, trained):
    tensors = models_to_tensors(trained.models)
    again = models_from_tensors(tensors, small_heads, trained.models.genres)
    one, other = (
        encode_description(models, _described(described, 4)) for models in (trained.models, again)
    )
    np.testing.assert_array_equal(one.hash_logits, other.hash_logits)
    np.testing.assert_array_equal(one.probabilities, other.probabilities)
    assert one.n_segments == 7
    with pytest.raises(ParameterError, match="missing"):
        models_from_tensors(
            {name: value for name, value in tensors.items() if "regression" not in name},
            small_heads,
            trained.models.genres,
        )
    with pytest.raises(ParameterError, match="do not fit"):
        models_from_tensors(tensors, small_heads, (*trained.models.genres, "rock"))


def test_a_given_split_is_kept(described, small_heads):
    train = np.array([i for i in range(72) if int(described.groups[i][-1]) % 2])
    validation = np.array([i for i in range(72) if described.groups[i][-1] == "0"])
    run = train_descriptor_models(described, small_heads, split=Split(train, validation))
    assert set(run.summary.validation_track_ids) == {described.track_ids[i] for i in validation}
    overlapping = Split(train, np.array([train[0]]))
    with pytest.raises(TrainingError, match="groups on both sides"):
        train_descriptor_models(described, small_heads, split=overlapping)


@pytest.mark.parametrize(
    ("genres", "message"),
    [
        (("jazz",) * 72, "two are needed"),
        (("rock", *("jazz",) * 71), "genres with a single track: rock"),
    ],
)
def test_too_few_labels_are_named(described, small_heads, genres, message):
    with pytest.raises(TrainingError, match=message):
        train_descriptor_models(replace(described, genres=genres), small_heads)


def test_tags_are_refused(described):
    with pytest.raises(ParameterError, match="hpss-cnn"):
        train_descriptor_models(described, ModelConfig(label_kind="tags"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vectors": np.zeros((72, 2, N_DESCRIPTORS), np.float32)}, "vectors of shape"),
        ({"groups": ("a",)}, "72 tracks, 72 genres, 1 groups"),
        ({"track_ids": ("000",) * 72}, "twice"),
    ],
)
def test_rows_that_do_not_fit_are_refused(described, change, message):
    with pytest.raises(ParameterError, match=message):
        replace(described, **change)


def test_the_default_model_names_genres_by_the_networks_tags():
    models, card = load_default_models(64)
    probabilities = np.full(50, 0.05, np.float32)
    probabilities[MSD_TAGS.index("female vocalists")] = 0.9
    probabilities[MSD_TAGS.index("jazz")] = 0.6
    description = TrackDescription(np.zeros(N_DESCRIPTORS, np.float32), probabilities, 3)
    encoded = encode_description(models, description)
    assert models.genres == TAGS
    assert sorted(TAGS) == sorted(MSD_TAGS)
    assert models.genres[encoded.genre] == "jazz"
    assert encoded.n_genres == N_GENRE_TAGS
    by_name = dict(zip(models.genres, encoded.probabilities.tolist(), strict=True))
    assert by_name["female vocalists"] == pytest.approx(0.9)
    assert len(logits_to_codes(encoded.hash_logits)) == 8
    assert card["n_tracks"] > 800


def test_the_default_model_is_small_and_its_card_stands_beside_it():
    files = list(shipped.DEFAULT_FOLDER.iterdir())
    assert sum(path.stat().st_size for path in files) < 1_000_000
    assert {"MODEL_CARD.md", "card.json", "detail_basis.safetensors"} <= {p.name for p in files}


def test_default_models_of_another_file_are_refused(tmp_path, monkeypatch):
    for path in shipped.DEFAULT_FOLDER.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(shipped, "DEFAULT_FOLDER", tmp_path)
    basis = tmp_path / shipped.BASIS_NAME
    basis.write_bytes(basis.read_bytes()[:-1] + b"\x01")
    with pytest.raises(MusicHashError, match="damaged or replaced; install again"):
        load_default_models(64)
    basis.unlink()
    with pytest.raises(MusicHashError, match="install again"):
        load_default_models(64)


def test_numbers_that_are_none_are_refused():
    models, _ = load_default_models(32)
    bad = TrackDescription(np.full(N_DESCRIPTORS, np.nan, np.float32), np.zeros(50, np.float32), 1)
    with pytest.raises(ParameterError, match="NaN or infinity"):
        encode_description(models, bad)
    with pytest.raises(ParameterError, match="want \\(2618,\\)"):
        encode_description(models, TrackDescription(bad.vector[:5], bad.tag_probabilities, 1))


def test_models_without_training_can_be_built():
    models = build_models(ModelConfig(), ("a", "b"))
    assert models.genre_head is not None
    assert not models.genre_head.training
