"""Encoding a track, and models to tensors and back."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from musichash_core.errors import ParameterError
from musichash_core.inference import (
    build_models,
    encode_segments,
    encode_track,
    models_from_tensors,
    models_to_tensors,
)
from musichash_core.model_config import ModelConfig
from musichash_core.segments import TrackFrames, cut_segments, segment_starts

CONFIG = ModelConfig(
    segments={"n_frames": 32, "hop_frames": 16, "max_per_track": 6},
    genre_cnn={"widths": (4, 5, 6)},
    crnn_hash={"n_bits": 32, "n_maps": 3, "map_shape": (3, 3), "n_hidden": 8, "n_pooled": 8},
)
SIZES = {"n_channels": 3, "n_mels": 16}
FLOAT32 = 1e-5  # absolute, on probabilities and on logits below 1


@pytest.fixture(autouse=True)
def one_thread():
    """Keep torch from waiting for busy cores: on these sizes more threads only cost."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def models():
    torch.manual_seed(0)
    built = build_models(CONFIG, ["a", "b", "c"], **SIZES)
    for parameter in [*built.genre_cnn.parameters(), *built.crnn_hash.parameters()]:
        torch.nn.init.normal_(parameter, std=0.4)
    return built


def make_track(n_frames=200, seed=0):
    frames = np.random.default_rng(seed).integers(60, 200, (n_frames, 3, 16), dtype=np.uint8)
    return TrackFrames("4f1c", frames, 0.7)


def test_a_track_is_the_mean_of_its_segments(models):
    track = make_track()
    starts = segment_starts(200, CONFIG.segments)
    segments = torch.from_numpy(cut_segments(track, starts, CONFIG.segments))
    with torch.inference_mode():
        probabilities = models.genre_cnn(segments).softmax(dim=1).numpy()
        pyramid = models.crnn_hash.pyramid(models.genre_cnn.feature_maps(segments))
        logits = models.crnn_hash(pyramid).logits.numpy()
    geometric = np.exp(np.log(probabilities).mean(axis=0))
    encoded = encode_track(models, track)
    assert encoded.n_segments == 6
    np.testing.assert_allclose(encoded.probabilities, geometric / geometric.sum(), atol=FLOAT32)
    np.testing.assert_allclose(encoded.hash_logits, logits.mean(axis=0), atol=FLOAT32)
    assert encoded.genre == geometric.argmax()
    assert encoded.probabilities.dtype == encoded.hash_logits.dtype == np.float32
    assert encoded.probabilities.sum() == pytest.approx(1.0, abs=FLOAT32)


def test_tags_are_probable_each_for_itself(models):
    tagged = replace(models, config=CONFIG.model_copy(update={"label_kind": "tags"}))
    track = make_track()
    starts = segment_starts(200, CONFIG.segments)
    segments = torch.from_numpy(cut_segments(track, starts, CONFIG.segments))
    with torch.inference_mode():
        logits = models.genre_cnn(segments).double().numpy()
    geometric = np.exp(-np.log1p(np.exp(-logits)).mean(axis=0))
    encoded = encode_track(tagged, track)
    np.testing.assert_allclose(encoded.probabilities, geometric, atol=FLOAT32)
    assert np.array_equal(encoded.hash_logits, encode_track(models, track).hash_logits)


def test_encoding_again_gives_the_same_bits(models):
    one, other = encode_track(models, make_track()), encode_track(models, make_track())
    np.testing.assert_array_equal(one.hash_logits, other.hash_logits)
    np.testing.assert_array_equal(one.probabilities, other.probabilities)


def test_batches_of_segments_do_not_change_the_result(models, monkeypatch):
    whole = encode_track(models, make_track())
    monkeypatch.setattr("musichash_core.inference.SEGMENTS_PER_BATCH", 4)
    parts = encode_track(models, make_track())
    np.testing.assert_allclose(parts.hash_logits, whole.hash_logits, atol=FLOAT32)


def test_encoding_leaves_no_trace_on_models_left_in_training_mode(models):
    before = models_to_tensors(models)
    models.genre_cnn.train()
    models.crnn_hash.train()
    encode_track(models, make_track())
    after = models_to_tensors(models)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_short_and_silent_tracks_have_a_code(models):
    silent = TrackFrames("silence", np.zeros((5, 3, 16), dtype=np.uint8), 0.0)
    encoded = encode_track(models, silent)
    assert encoded.n_segments == 1
    assert np.isfinite(encoded.hash_logits).all()


def test_a_memory_map_gives_the_same_as_an_array(models, tmp_path):
    np.save(tmp_path / "frames.npy", make_track().frames)
    mapped = np.load(tmp_path / "frames.npy", mmap_mode="r")
    one = encode_track(models, make_track())
    other = encode_track(models, replace(make_track(), frames=mapped))
    np.testing.assert_array_equal(one.hash_logits, other.hash_logits)


def test_frames_of_another_shape_are_refused(models):
    frames = np.zeros((50, 3, 20), dtype=np.uint8)
    with pytest.raises(ParameterError, match="for track 4f1c"):
        encode_track(models, TrackFrames("4f1c", frames, 1.0))


def test_damaged_weights_are_noticed(models):
    tensors = models_to_tensors(models)
    tensors["crnn_hash.hash_head.bias"][0] = float("nan")
    damaged = models_from_tensors(tensors, CONFIG, models.genres, **SIZES)
    with pytest.raises(ParameterError, match="NaN or infinity for track 4f1c"):
        encode_track(damaged, make_track())


def test_tensors_and_config_as_json_give_identical_models(models):
    tensors = models_to_tensors(models)
    assert all(tensor.is_contiguous() for tensor in tensors.values())
    assert not any(name.split(".")[0] not in {"genre_cnn", "crnn_hash"} for name in tensors)
    config = ModelConfig.model_validate(json.loads(CONFIG.model_dump_json()))
    copy = models_from_tensors(tensors, config, models.genres, **SIZES)
    for track in (make_track(), make_track(20, seed=1)):
        one, other = encode_track(models, track), encode_track(copy, track)
        np.testing.assert_array_equal(one.hash_logits, other.hash_logits)
        np.testing.assert_array_equal(one.probabilities, other.probabilities)


def test_tensors_are_copies(models):
    before = encode_track(models, make_track()).hash_logits
    for tensor in models_to_tensors(models).values():
        tensor.zero_()
    np.testing.assert_array_equal(encode_track(models, make_track()).hash_logits, before)


@pytest.mark.parametrize("change", ["missing", "left over", "shape"])
def test_weights_that_do_not_fit_are_refused(models, change):
    tensors = models_to_tensors(models)
    if change == "missing":
        del tensors["genre_cnn.genre_head.bias"]
    elif change == "left over":
        tensors["genre_cnn.other"] = torch.zeros(1)
    else:
        tensors["genre_cnn.genre_head.bias"] = torch.zeros(7)
    with pytest.raises(ParameterError, match="weights do not fit the configuration"):
        models_from_tensors(tensors, CONFIG, models.genres, **SIZES)


def test_building_models_leaves_the_random_state_alone():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    build_models(CONFIG, ["a", "b"], **SIZES)
    assert torch.equal(torch.rand(1), expected)


def test_a_segment_batch_comes_back_on_the_cpu(models):
    log_p, logits = encode_segments(models, torch.zeros(2, 3, 16, 32))
    assert log_p.shape == (2, 3)
    assert logits.shape == (2, 32)
    assert log_p.device.type == logits.device.type == "cpu"
