"""Training on what the catalogue labels, and which generation is in use."""

import pytest

from musichash_core.config import PipelineConfig
from musichash_core.errors import TrainingError
from tasks.extract import extract_partition
from tasks.train import (
    OtherFeaturesError,
    check_model_reads,
    current_generation,
    train,
    was_trained_with,
)


@pytest.fixture
def extracted(store, catalogue, config, partitions_below):
    """Two labels with two tracks each, one with a single track, and a track without a label."""
    for path, hz in (("high/a", 1760), ("high/b", 1600), ("low/a", 220), ("low/b", 240)):
        catalogue.add(f"{path}.wav", hz)
    catalogue.add("odd/a.wav", 700)
    catalogue.add("loose.wav", 800)
    for partition in partitions_below(store, catalogue.root, config):
        extract_partition(store, partition, config)
    return store


def test_training_uses_labels_with_two_tracks_and_names_the_others(extracted, config):
    assert current_generation(extracted) is None
    events = []
    trained = train(extracted, config, on_event=events.append)
    assert trained.n_tracks == 4
    assert trained.left_out == ("odd",)
    assert trained.summary["genres"] == ["high", "low"]
    assert current_generation(extracted) == trained.generation
    assert {event.stage for event in events} == {"genre", "hash"}


def test_training_again_gives_the_same_generation(extracted, config):
    assert train(extracted, config).generation == train(extracted, config).generation


def test_too_few_labels_say_what_to_do(store, catalogue, config, partitions_below):
    for number in range(3):
        catalogue.add(f"low/{number}.wav", 200 + number)
    for partition in partitions_below(store, catalogue.root, config):
        extract_partition(store, partition, config)
    with pytest.raises(TrainingError, match=r"1 label\(s\) .*\(low\); two are needed: .*--labels"):
        train(store, config)


def test_a_duplicate_is_one_track_with_the_label_of_its_labelled_place(
    store, catalogue, config, partitions_below
):
    for path, hz in (("high/a", 1760), ("high/b", 1600), ("low/a", 220), ("low/b", 240)):
        catalogue.add(f"{path}.wav", hz)
    copy = (catalogue.root / "low/b.wav").read_bytes()
    (catalogue.root / "also.wav").write_bytes(copy)  # has no label, and comes first
    for partition in partitions_below(store, catalogue.root, config):
        extract_partition(store, partition, config)
    assert train(store, config).n_tracks == 4


def test_a_model_is_held_to_the_features_it_reads(store, config, with_model, tmp_path):
    check_model_reads(store, config.feature_fingerprint)  # no model: nothing to hold to
    check_model_reads(str(tmp_path / "none"), config.feature_fingerprint)
    generation = with_model(store)
    check_model_reads(store, config.feature_fingerprint)
    with pytest.raises(OtherFeaturesError, match=rf"{generation} .*0{{12}}; .*--retrain"):
        check_model_reads(store, "0" * 12)


def test_other_model_settings_are_noticed(store, config, with_model):
    generation = with_model(store)
    assert was_trained_with(store, generation, config.models)
    assert not was_trained_with(store, generation, PipelineConfig().models)
