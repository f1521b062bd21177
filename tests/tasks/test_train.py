"""Training on what the catalogue labels, and which generation is in use."""

import pytest

from musichash_core.config import PipelineConfig, parse_config
from musichash_core.descriptors import description_fingerprint
from musichash_core.errors import TrainingError
from musichash_core.segments import WindowConfig
from storage.errors import ArtefactMissingError
from storage.generations import read_model_card
from storage.store import open_store
from tasks.describe import describe_partition, partitions_to_describe
from tasks.extract import extract_partition
from tasks.model_in_force import (
    NoModelError,
    OtherFeaturesError,
    check_can_have_model,
    check_model_reads,
    current_generation,
    uses_default_model,
    was_trained_with,
)
from tasks.train import train


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


# --- the default encoder ---


def extract_and_describe(store, catalogue, config, partitions_below):
    for partition in partitions_below(store, catalogue.root, config):
        extract_partition(store, partition, config)
    for name in partitions_to_describe(store, config.feature_fingerprint)[0]:
        describe_partition(store, name, config.feature_fingerprint)


@pytest.fixture
def described(store, catalogue, described_config, partitions_below):
    """Two labels with two tracks each, and one with a single track."""
    for path, hz in (("high/a", 1760), ("high/b", 1600), ("low/a", 220), ("low/b", 240)):
        catalogue.add(f"{path}.wav", hz)
    catalogue.add("odd/a.wav", 700)
    extract_and_describe(store, catalogue, described_config, partitions_below)
    return store


def test_the_default_encoder_trains_on_descriptions(described, described_config):
    trained = train(described, described_config)
    assert (trained.n_tracks, trained.left_out) == (4, ("odd",))
    assert trained.summary["genres"] == ["high", "low"]
    assert train(described, described_config).generation == trained.generation
    assert current_generation(described) == trained.generation
    assert not uses_default_model(described, trained.generation)
    card = read_model_card(open_store(described), trained.generation)
    assert card["encoder"] == "musicnn"
    assert card["description_fingerprint"] == description_fingerprint()


def test_the_default_encoder_needs_descriptions(
    store, catalogue, described_config, partitions_below
):
    for path, hz in (("high/a", 1760), ("high/b", 1600), ("low/a", 220), ("low/b", 240)):
        catalogue.add(f"{path}.wav", hz)
    for partition in partitions_below(store, catalogue.root, described_config):
        extract_partition(store, partition, described_config)
    with pytest.raises(ArtefactMissingError, match="run 'musichash describe' first"):
        train(store, described_config)


# --- the shipped default model ---


def with_bits(config, n_bits):
    network = config.models.crnn_hash.model_copy(update={"n_bits": n_bits})
    models = config.models.model_copy(update={"crnn_hash": network})
    return config.model_copy(update={"models": models})


@pytest.mark.parametrize("n_bits", [32, 64, 128])
def test_without_labels_the_default_model_becomes_a_generation(
    store, catalogue, described_config, partitions_below, n_bits
):
    catalogue.add("a.wav", 220)
    models = with_bits(described_config, n_bits).models
    windows = WindowConfig(max_per_track=n_bits)
    config = described_config.model_copy(
        update={"models": models.model_copy(update={"windows": windows})}
    )
    partitions_below(store, catalogue.root, config)
    trained = train(store, config)
    assert trained.n_tracks == 0
    assert trained.summary.keys() == {"default_model"}
    assert trained.generation == current_generation(store) == train(store, config).generation
    assert uses_default_model(store, trained.generation)
    card = read_model_card(open_store(store), trained.generation)
    assert card["config"]["crnn_hash"]["n_bits"] == n_bits
    assert card["config"]["windows"] == windows.model_dump()
    assert len(card["genres"]) > 1


def test_the_default_model_is_no_stand_in_for_labels_that_are_not_extracted_yet(
    store, catalogue, described_config, partitions_below
):
    for path, hz in (("high/a", 1760), ("low/a", 220)):
        catalogue.add(f"{path}.wav", hz)
    partitions_below(store, catalogue.root, described_config)
    with pytest.raises(TrainingError, match="0 label"):
        train(store, described_config)
    extract_and_describe(store, catalogue, described_config, partitions_below)
    assert train(store, described_config).left_out == ("high", "low")  # a single track each
    assert uses_default_model(store, current_generation(store))


def test_the_default_model_never_takes_the_place_of_one_that_was_trained(
    described, catalogue, described_config, partitions_below
):
    own = train(described, described_config).generation
    for path in ("high/a", "high/b"):
        (catalogue.root / f"{path}.wav").unlink()
    partitions_below(described, catalogue.root, described_config)
    with pytest.raises(TrainingError, match=r"1 label\(s\)"):
        train(described, described_config)
    assert current_generation(described) == own


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"models": {"encoder": "hpss-cnn"}}, "models.encoder='hpss-cnn' is always trained"),
        ({"features": {"kernel_size": 17}}, "it reads the default features"),
    ],
)
def test_a_configuration_that_the_default_model_does_not_fit_is_refused(
    store, catalogue, partitions_below, changed, reason
):
    config = parse_config(changed, source="the tests")
    catalogue.add("a.wav", 220)
    partitions_below(store, catalogue.root, config)
    with pytest.raises(TrainingError, match=f"default model cannot stand in: .*{reason}"):
        train(store, config)
    with pytest.raises(NoModelError, match=f"0 label.*default model cannot stand in: .*{reason}"):
        check_can_have_model(store, 0, config)
    check_can_have_model(store, 2, config)
    check_can_have_model(store, 0, PipelineConfig())
