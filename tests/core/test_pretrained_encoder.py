"""A musicnn network in the genre network's place: its input, its genre layer, vectors per track."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from musichash_core.crnn_hash import Pyramid
from musichash_core.errors import ParameterError, TrainingError
from musichash_core.model_config import ModelConfig
from musichash_core.musicnn.log_mel import bytes_to_log_mel, cut_patches, patch_starts
from musichash_core.musicnn.pretrained import load_musicnn
from musichash_core.pretrained_encoder import (
    GENRE_WEIGHT_DECAY,
    PretrainedEncoder,
    VectorCRNNHash,
    VectorPyramids,
    fit_genre_head,
    pooled_maps,
    settings_for_encoder,
    standardise_vectors,
    tagger_track,
)
from musichash_core.segments import cut_segments, segment_starts


@pytest.fixture(scope="module", params=["MSD_musicnn", "MSD_vgg"])
def network(request):
    return load_musicnn(request.param)


def stored(n_frames=600, seed=0):
    return np.random.default_rng(seed).integers(0, 200, (n_frames, 96), dtype=np.uint8)


@pytest.mark.parametrize("n_frames", [40, 187, 600])
def test_segments_are_the_patches_of_the_network_transposed(network, n_frames):
    frames = stored(n_frames)
    settings = settings_for_encoder(ModelConfig(), network)
    track = tagger_track("a", frames)
    starts = segment_starts(n_frames, settings.segments)
    np.testing.assert_array_equal(starts, patch_starts(n_frames, settings.segments.max_per_track))
    segments = cut_segments(track, starts, settings.segments)
    patches = bytes_to_log_mel(cut_patches(frames, starts))
    np.testing.assert_array_equal(segments[:, 0].transpose(0, 2, 1), patches)
    encoder = PretrainedEncoder(network, n_genres=3)
    assert (encoder.n_channels, encoder.n_mels) == track.frames.shape[1:]
    with torch.inference_mode():
        own = encoder.feature_maps(torch.from_numpy(segments))
        expected = network.feature_maps(torch.from_numpy(patches))
    assert encoder.widths == tuple(one.shape[1] for one in own)
    for one, other in zip(own, expected, strict=True):
        assert torch.equal(one, other)


def test_settings_fit_the_network_and_are_valid(network):
    wide = ModelConfig(
        genre_cnn={"widths": (128,) * 5}, crnn_hash={"n_maps": 128}, loss={"kind": "ortho"}
    )
    settings = settings_for_encoder(wide, network)
    assert ModelConfig.model_validate(settings.model_dump()) == settings
    assert settings.genre_cnn.widths == network.widths
    assert settings.crnn_hash.n_maps == min(128, *network.widths)
    assert settings.segments.n_frames == settings.segments.hop_frames == 187
    assert settings.loss == wide.loss


def test_only_the_genre_layer_can_learn(network):
    encoder = PretrainedEncoder(network, n_genres=3)
    trained = {name for name, one in encoder.named_parameters() if one.requires_grad}
    assert trained == {"genre_head.weight", "genre_head.bias"}


def test_the_genre_layer_is_the_logistic_regression_of_scikit_learn(network):
    rng = np.random.default_rng(1)
    width = 2 * network.widths[-1]
    genres = np.repeat(np.arange(3), (20, 35, 50))
    x = (3 * rng.standard_normal((3, width))[genres] / 8 + rng.standard_normal((105, width))) * 5
    x[:, 7] = 2.0  # never varies
    pooled = torch.from_numpy(x.astype(np.float32))
    encoder = fit_genre_head(PretrainedEncoder(network, n_genres=3), pooled, genres)
    deviation = x.std(axis=0)
    z = (x - x.mean(axis=0)) / np.where(deviation > 1e-9, deviation, np.inf)
    model = LogisticRegression(
        C=1 / (len(x) * GENRE_WEIGHT_DECAY), class_weight="balanced", tol=1e-10, max_iter=5000
    )
    expected = model.fit(z, genres).predict_log_proba(z)
    with torch.inference_mode():
        found = encoder.genre_head(pooled).log_softmax(dim=1).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_classify_reads_mean_and_maximum_of_the_last_maps(network):
    encoder = PretrainedEncoder(network, n_genres=2)
    maps = torch.randn(4, network.widths[-1], 2, 3)
    torch.nn.init.normal_(encoder.genre_head.weight)
    expected = np.concatenate([maps.numpy().mean((2, 3)), maps.numpy().max((2, 3))], axis=1)
    np.testing.assert_allclose(pooled_maps(maps).numpy(), expected, atol=1e-6)
    with torch.inference_mode():
        logits = encoder.classify(maps).numpy()
    np.testing.assert_allclose(logits, expected @ encoder.genre_head.weight.detach().numpy().T,
                               atol=1e-4)  # fmt: skip


def test_vectors_are_standardised_by_training_tracks_alone():
    rng = np.random.default_rng(2)
    vectors = rng.normal(3, 2, (40, 5)).astype(np.float32)
    vectors[:, 4] = 1.5
    vectors[30:] *= 100
    is_training = np.arange(40) < 30
    found = standardise_vectors(vectors, is_training)
    np.testing.assert_allclose(found[:30, :4].mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(found[:30, :4].std(axis=0), 1, atol=1e-5)
    assert (found[:, 4] == 0).all()
    assert np.abs(found).max() == 5.0


class Constant:
    """Pyramids of three segments whose numbers say which segment they are of."""

    def __len__(self):
        return 3

    def read(self, rows, device):
        values = torch.from_numpy(rows).float().to(device)
        return Pyramid(values[:, None, None, None].expand(-1, 1, 2, 4), values[:, None])


def test_each_segment_gets_the_vector_of_its_track():
    vectors = np.array([[1.0, 2.0], [3.0, 4.0]], dtype=np.float32)
    joined = VectorPyramids(Constant(), vectors, np.array([1, 0, 1]))
    pyramid = joined.read(np.array([2, 1]), torch.device("cpu"))
    assert len(joined) == 3
    assert pyramid.pooled.tolist() == [[2, 3, 4], [1, 1, 2]]
    assert pyramid.maps[:, 0, 0, 0].tolist() == [2, 1]


def test_the_skip_sees_the_vector():
    config = ModelConfig(
        crnn_hash={"n_maps": 2, "map_shape": (1, 4), "pooled_bands": 1, "n_hidden": 4},
        loss={"kind": "ortho"},
    ).crnn_hash
    model = VectorCRNNHash(config, widths=(3, 2), n_genres=2, n_vector=6).eval()
    maps, means = torch.randn(5, 2, 2, 4), torch.randn(5, 5)
    vectors = torch.randn(5, 6)
    with torch.inference_mode():
        one = model(Pyramid(maps, torch.cat([means, vectors], dim=1)))
        other = model(Pyramid(maps, torch.cat([means, -vectors], dim=1)))
    assert one.logits.shape == (5, config.n_bits)
    assert (one.logits != other.logits).any(dim=1).all()


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (lambda net: PretrainedEncoder(net, n_genres=0), ParameterError, "n_genres=0"),
        (lambda net: tagger_track("a", stored()[:, :95]), ParameterError, r"\(600, 95\)"),
        (
            lambda net: PretrainedEncoder(net, n_genres=1).feature_maps(torch.zeros(1, 3, 96, 187)),
            ParameterError,
            r"\(1, 3, 96, 187\)",
        ),
        (
            lambda net: fit_genre_head(
                PretrainedEncoder(net, n_genres=3), torch.zeros(4, 2), np.array([0, 0, 1, 1])
            ),
            TrainingError,
            r"\[2, 2, 0\]",
        ),
        (
            lambda net: VectorCRNNHash(
                ModelConfig(crnn_hash={"n_pooled": 0}).crnn_hash,
                widths=(64,),
                n_genres=2,
                n_vector=4,
            ),
            ParameterError,
            "n_pooled=0",
        ),
        (
            lambda net: VectorPyramids(Constant(), np.zeros((2, 1), np.float32), np.zeros(2, int)),
            ParameterError,
            "tracks of 2 segments: want 3",
        ),
    ],
)
def test_wrong_arguments_are_refused(network, wrong, error, message):
    with pytest.raises(error, match=message):
        wrong(network)
