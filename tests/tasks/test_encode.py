"""Encoding a partition: rows that do not depend on their neighbours, written once."""

import shutil

import numpy as np
import pytest

from musichash_core.codes import logits_to_codes
from musichash_core.descriptor_models import encode_description
from musichash_core.descriptors import describe_track, description_fingerprint
from musichash_core.inference import encode_track
from musichash_core.musicnn.pretrained import load_musicnn
from musichash_core.records import partition_of
from musichash_core.segment_codes import encode_windows
from musichash_core.segments import TrackFrames, WindowConfig, window_starts
from storage.atomic import digest_tree
from storage.encoded_store import read_encoded
from storage.errors import ArtefactMissingError, DamagedArtefactError, FingerprintMismatchError
from storage.feature_store import FeaturePartition
from storage.generations import model_settings, read_model_card
from storage.published import read_table, require_snapshot
from storage.receipts import finished_partitions
from storage.store import open_store
from tasks.encode import encode_partition, partitions_to_encode
from tasks.extract import extract_partition
from tasks.resources import loaded_models

N_BITS = 32


@pytest.fixture
def extracted(store, catalogue, config, partition_below, with_model):
    """A partition of four tracks, extracted, and a model to encode it with."""
    for hz in (220, 440, 880, 1760):
        catalogue.add(f"low/{hz}.wav", hz)
    partition = partition_below(store, catalogue.root, config)
    extract_partition(store, partition, config)
    return partition, with_model(store)


def encoded(store, partition, config, generation):
    summary = encode_partition(
        store, partition.partition_id, config.feature_fingerprint, generation
    )
    folder = open_store(store).encoded_partition_path(generation, partition.partition_id)
    return summary, folder


def test_rows_are_what_the_models_say_of_each_track_alone(store, extracted, config):
    partition, generation = extracted
    summary, folder = encoded(store, partition, config, generation)
    assert summary.n_done == 4
    assert summary.audio_s == pytest.approx(6.0)
    predictions, codes = (table.to_pylist() for table in read_encoded(folder, N_BITS))
    models = loaded_models(store, generation, config.feature_fingerprint)
    path = open_store(store).feature_partition_path(
        config.feature_fingerprint, partition.partition_id
    )
    tracks = list(FeaturePartition(path).track_frames())
    for (facts, track), prediction, code in zip(tracks, predictions, codes, strict=True):
        alone = encode_track(models, track)
        assert prediction["track_id"] == code["track_id"] == facts.track_id
        assert prediction["genre"] == models.genres[alone.genre]
        np.testing.assert_array_equal(np.float32(code["logits"]), alone.hash_logits)
        assert code["code"] == logits_to_codes(alone.hash_logits).tobytes()
        assert prediction["generation"] == code["generation"] == generation


def test_a_row_does_not_depend_on_the_partition_it_is_in(store, extracted, config):
    partition, generation = extracted
    _, whole = encoded(store, partition, config, generation)
    half = partition_of(partition.items[2:])
    extract_partition(store, half, config)
    _, part = encoded(store, half, config, generation)
    for all_rows, some_rows in zip(
        read_encoded(whole, N_BITS), read_encoded(part, N_BITS), strict=True
    ):
        assert all_rows.slice(2).to_pylist() == some_rows.to_pylist()


def test_what_is_encoded_is_not_to_do_and_encoding_again_changes_nothing(store, extracted, config):
    partition, generation = extracted
    fingerprint = config.feature_fingerprint
    assert partitions_to_encode(store, fingerprint, generation) == ([partition.partition_id], 0)
    _, folder = encoded(store, partition, config, generation)
    assert partitions_to_encode(store, fingerprint, generation) == ([], 1)
    before = digest_tree(folder)
    encoded(store, partition, config, generation)
    assert digest_tree(folder) == before
    with pytest.raises(ArtefactMissingError, match="has no model g-other"):
        partitions_to_encode(store, fingerprint, "g-other")


def test_a_partition_of_failures_only_has_no_rows(
    store, catalogue, config, partition_below, with_model
):
    catalogue.add_text("low/a.wav")
    partition = partition_below(store, catalogue.root, config)
    extract_partition(store, partition, config)
    summary, folder = encoded(store, partition, config, with_model(store))
    assert summary.n_done == 0
    assert [len(table) for table in read_encoded(folder, N_BITS)] == [0, 0]


def test_a_model_of_other_features_is_refused(store, extracted, config):
    _, generation = extracted
    with pytest.raises(FingerprintMismatchError, match="use the configuration it was trained"):
        encode_partition(store, "any", "0" * 12, generation)
    with pytest.raises(FingerprintMismatchError, match="use the configuration it was trained"):
        partitions_to_encode(store, "0" * 12, generation)


def test_windows_are_encoded_from_the_frames_of_each_track_alone(
    store, catalogue, config, partition_below, with_model
):
    """Two of them read from a window's own mean spectrum, by hand; one track is a window long."""
    for hz, duration_s in ((220, 17.0), (440, 10.0), (880, 1.5)):
        catalogue.add(f"low/{hz}.wav", hz, duration_s=duration_s)
    partition = partition_below(store, catalogue.root, config)
    extract_partition(store, partition, config)
    _, folder = encoded(store, partition, config, with_model(store))
    rows = {row["track_id"]: row for row in read_encoded(folder, N_BITS)[1].to_pylist()}
    path = open_store(store).feature_partition_path(
        config.feature_fingerprint, partition.partition_id
    )
    n_windows = {}
    for facts, track in FeaturePartition(path).track_frames():
        row = rows[facts.track_id]
        n_windows[facts.duration_s] = len(row["segment_codes"])
        starts = window_starts(len(track.frames), WindowConfig())
        seconds = starts * facts.duration_s / len(track.frames)
        np.testing.assert_allclose(row["segment_starts_s"], seconds, rtol=1e-6)
        for start, code in zip(starts, row["segment_codes"], strict=True):
            window = TrackFrames("other", track.frames[start : start + 431], 1.0)
            alone = encode_windows(window, WindowConfig(), n_bits=N_BITS, frames_per_s=43.0)
            assert [code] == [one.tobytes() for one in alone.codes]
    assert n_windows == {17.0: 3, 10.0: 1, 1.5: 1}


def test_generations_of_before_windows_had_codes_never_get_any(store, extracted, config):
    """So that the rows of a generation do not depend on when they were made."""
    _, generation = extracted
    card = read_model_card(open_store(store), generation)
    assert model_settings(card).windows == WindowConfig()
    del card["config"]["windows"]
    settings = model_settings(card)
    assert settings.windows.max_per_track == 0
    assert settings.model_copy(update={"windows": WindowConfig()}) == config.models


# --- the default encoder ---


def published_rows(published):
    layout = open_store(published.store)
    snapshot = require_snapshot(layout)
    tables = (read_table(layout, snapshot, name) for name in ("predictions", "codes"))
    return [{row["track_id"]: row for row in table.to_pylist()} for table in tables]


def test_rows_of_the_default_encoder_are_those_of_the_description_of_each_track_alone(
    publish_described, four_tones, described_config
):
    published = publish_described(four_tones.root)
    fingerprint = described_config.feature_fingerprint
    predictions, codes = published_rows(published)
    models = loaded_models(published.store, published.generation, fingerprint)
    network = load_musicnn()
    layout = open_store(published.store)
    n_seen = 0
    for partition_id in finished_partitions(layout.features_root(fingerprint)):
        partition = FeaturePartition(layout.feature_partition_path(fingerprint, partition_id))
        for (facts, track), (_, tagger) in zip(
            partition.track_frames(), partition.tagger_frames(), strict=True
        ):
            alone = encode_description(models, describe_track(network, track, tagger))
            prediction, code = predictions[facts.track_id], codes[facts.track_id]
            assert prediction["genre"] == models.genres[alone.genre]
            assert prediction["n_segments"] == alone.n_segments
            np.testing.assert_array_equal(np.float32(code["logits"]), alone.hash_logits)
            assert code["code"] == logits_to_codes(alone.hash_logits).tobytes()
            assert code["segment_starts_s"] == [0.0]
            (window,) = encode_windows(
                track, WindowConfig(), n_bits=len(alone.hash_logits), frames_per_s=43.0
            ).codes
            assert code["segment_codes"] == [window.tobytes()]
            n_seen += 1
    assert n_seen == len(predictions) == len(codes) == 4


def test_descriptions_of_other_tracks_are_not_encoded(
    publish_described, four_tones, described_config
):
    published = publish_described(four_tones.root)
    fingerprint = described_config.feature_fingerprint
    layout = open_store(published.store)
    root = layout.descriptions_root(fingerprint, description_fingerprint())
    first, second = finished_partitions(root)
    shutil.rmtree(root / first)
    encoded = layout.encoded_partition_path(published.generation, first)
    shutil.rmtree(encoded)
    with pytest.raises(ArtefactMissingError, match="run 'musichash describe' first"):
        encode_partition(published.store, first, fingerprint, published.generation)
    shutil.copytree(root / second, root / first)
    with pytest.raises(DamagedArtefactError, match="does not describe the tracks of"):
        encode_partition(published.store, first, fingerprint, published.generation)
    assert not encoded.exists()


@pytest.fixture
def four_tones(catalogue):
    for path, hz in (("high/a", 1760), ("high/b", 1600), ("low/a", 220), ("low/b", 240)):
        catalogue.add(f"{path}.wav", hz)
    return catalogue
