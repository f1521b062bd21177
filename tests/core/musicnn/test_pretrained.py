"""The shipped networks against what the original package said about the same patches."""

import hashlib
import json

import numpy as np
import pytest
import torch

from musichash_core.errors import MusicHashError, ParameterError
from musichash_core.musicnn import pretrained
from musichash_core.musicnn.log_mel import (
    PATCH_FRAMES,
    bytes_to_log_mel,
    cut_patches,
    extract_mel_power,
    power_to_bytes,
    power_to_log_mel,
)
from musichash_core.musicnn.pretrained import (
    NETWORKS,
    WEIGHTS_FOLDER,
    EncodedPatches,
    encode_patches,
    load_musicnn,
    summarise_patches,
)

OF_ORIGINAL = 1e-5
"""Promised agreement of a probability with TensorFlow's; measured 5e-7."""

OF_POOL_MEAN = 2e-4
"""Relative to the largest; TensorFlow's own mean of 13,000 numbers is that rough. Measured 6e-5."""

OF_BATCH = 1e-5
"""Promised agreement between batch sizes, of the largest value; measured 2e-6."""

OF_FLOAT16 = 1e-4
"""What the original's rounding of mel power to float16 changes at most; measured 5e-5."""

OF_BYTES = 0.01
"""What rounding mel power to half a decibel may change in a mean probability; measured .004."""


@pytest.fixture(scope="module", params=list(NETWORKS))
def name(request):
    return request.param


@pytest.fixture(scope="module")
def network(name):
    return load_musicnn(name)


def test_tags_are_the_original_packages(network, name, reference):
    encoded = encode_patches(network, reference["patches_log_mel"])
    expected = reference[f"{name}_tags"]
    assert encoded.probabilities.dtype == encoded.embeddings.dtype == np.float32
    assert encoded.embeddings.shape == (3, network.embedding_width)
    np.testing.assert_allclose(encoded.probabilities, expected, rtol=0, atol=OF_ORIGINAL)


@pytest.mark.parametrize("vgg", ["MSD_vgg", "MTT_vgg"])
@torch.no_grad()
def test_pooled_maps_are_the_original_packages(vgg, reference):
    """Maps that were left out are constants; the others stand in their order."""
    maps = load_musicnn(vgg).feature_maps(torch.from_numpy(reference["patches_log_mel"]))
    for level, map_BWFT in enumerate(maps, 1):
        ours = map_BWFT.double().mean(dim=(0, 2, 3)).numpy()
        theirs = reference[f"{vgg}_pool{level}_mean"]
        close = np.abs(ours[:, None] - theirs) < OF_POOL_MEAN * np.abs(theirs).max()
        at = -1
        for candidates in close:
            at += 1 + int(np.argmax(candidates[at + 1 :]))
            assert candidates[at]
        assert level < 5 or len(ours) == len(theirs)


def test_msd_musicnn_hears_metal(reference_samples):
    power = extract_mel_power(reference_samples)
    patches = cut_patches(power_to_log_mel(power), PATCH_FRAMES * np.arange(3))
    network = load_musicnn()
    summary = summarise_patches(encode_patches(network, patches))
    assert network.tags[summary.probabilities.argmax()] == "metal"
    assert summary.probabilities.max() == pytest.approx(0.66, abs=0.005)
    assert summary.embedding.shape == (200,)
    assert summary.n_patches == 3


def test_neither_float16_nor_bytes_change_what_is_heard(network, name, reference_samples):
    power = cut_patches(extract_mel_power(reference_samples), PATCH_FRAMES * np.arange(3))
    exact = encode_patches(network, power_to_log_mel(power))
    half = encode_patches(network, power_to_log_mel(power.astype(np.float16).astype(np.float32)))
    np.testing.assert_allclose(half.probabilities, exact.probabilities, rtol=0, atol=OF_FLOAT16)
    stored = np.stack([power_to_bytes(patch) for patch in power])
    coarse = encode_patches(network, bytes_to_log_mel(stored))
    means = summarise_patches(coarse).probabilities, summarise_patches(exact).probabilities
    np.testing.assert_allclose(*means, rtol=0, atol=OF_BYTES)


def test_the_batch_size_changes_next_to_nothing(network, reference):
    patches = np.concatenate([reference["patches_log_mel"]] * 2)[:5]
    exact = encode_patches(network, patches)
    for batch_size in (1, 2, 5, 100):
        other = encode_patches(network, patches, batch_size=batch_size)
        np.testing.assert_allclose(other.probabilities, exact.probabilities, rtol=0, atol=OF_BATCH)
        tolerance = OF_BATCH * np.abs(exact.embeddings).max()
        np.testing.assert_allclose(other.embeddings, exact.embeddings, rtol=0, atol=tolerance)


def test_the_order_of_patches_is_theirs(network, reference):
    patches = reference["patches_log_mel"]
    forward = encode_patches(network, patches, batch_size=1)
    backward = encode_patches(network, patches[::-1], batch_size=1)
    np.testing.assert_array_equal(forward.probabilities, backward.probabilities[::-1])


def test_a_summary_is_the_mean_over_patches():
    encoded = EncodedPatches(
        np.array([[0.25, 1.0], [0.75, 0.5]], np.float32), np.array([[-1.0], [4.0]], np.float32)
    )
    summary = summarise_patches(encoded)
    np.testing.assert_array_equal(summary.probabilities, np.array([0.5, 0.75], np.float32))
    np.testing.assert_array_equal(summary.embedding, np.array([1.5], np.float32))
    assert summary.n_patches == 2


def test_loading_draws_nothing_from_the_global_generator():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    load_musicnn("MSD_vgg")
    assert torch.rand(1) == expected


def test_an_unknown_name_is_refused():
    with pytest.raises(ParameterError, match="MSD_musicnn, MTT_musicnn, MSD_vgg, MTT_vgg"):
        load_musicnn("MSD_musicnn_big")


@pytest.mark.parametrize("place", [100, -1])
def test_a_changed_file_is_refused(tmp_path, monkeypatch, place):
    contents = bytearray((WEIGHTS_FOLDER / "MSD_vgg.safetensors").read_bytes())
    contents[place] ^= 1
    (tmp_path / "MSD_vgg.safetensors").write_bytes(contents)
    monkeypatch.setattr(pretrained, "WEIGHTS_FOLDER", tmp_path)
    with pytest.raises(MusicHashError, match="damaged or replaced"):
        load_musicnn("MSD_vgg")
    with pytest.raises(MusicHashError, match="cannot be read"):
        load_musicnn("MTT_vgg")


@pytest.mark.parametrize(
    ("patches", "batch_size", "message"),
    [
        (np.zeros((0, 187, 96), np.float32), 1, "at least one"),
        (np.zeros((1, 187, 96), np.float32), 0, "at least one"),
        (np.zeros((1, 187, 95), np.float32), 1, "patches of shape"),
        (np.full((1, 187, 96), np.nan, np.float32), 1, "NaN or infinity"),
    ],
)
def test_patches_that_are_none_are_refused(patches, batch_size, message):
    with pytest.raises(ParameterError, match=message):
        encode_patches(load_musicnn(), patches, batch_size=batch_size)


# --- the weights folder ---


def test_every_network_is_shipped_with_its_licence_and_card(name):
    licence = (WEIGHTS_FOLDER / "LICENSE").read_text(encoding="utf-8")
    assert "Music Technology Group, Universitat Pompeu Fabra 2019" in licence
    assert "this permission notice appear in all copies" in licence
    contents = (WEIGHTS_FOLDER / f"{name}.safetensors").read_bytes()
    header = json.loads(contents[8 : 8 + int.from_bytes(contents[:8], "little")])
    card = json.loads(header["__metadata__"]["musicnn"])
    assert card["name"] == name
    assert tuple(card["tags"]) == NETWORKS[name].tags
    readme = (WEIGHTS_FOLDER / "README.md").read_text(encoding="utf-8")
    digests = hashlib.sha256(contents).hexdigest(), card["sha256"][".data-00000-of-00001"]
    assert "| `{}` | {} | {} |".format(name, *digests) in readme
    assert hashlib.sha256(contents).hexdigest() == NETWORKS[name].sha256


def test_the_weights_are_small_enough_to_ship():
    assert sum(path.stat().st_size for path in WEIGHTS_FOLDER.iterdir()) < 6_000_000
