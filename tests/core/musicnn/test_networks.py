"""Both architectures against their layers written out, and what they refuse."""

import pytest
import torch
from torch.nn import functional

from musichash_core.errors import ParameterError
from musichash_core.musicnn.networks import VGG, MusiCNN

TAGS = ("one", "two", "three")
FLOAT32 = 1e-4
"""Relative; sums run in another order."""


def fill(network, seed=0):
    """Give every parameter a random value, and scales of either sign."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            n_summed = parameter[0].numel() if parameter.ndim > 1 else 4
            values = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(values / n_summed**0.5)
    return network


def patches(n=2, n_frames=187, seed=1):
    return 3 * torch.rand((n, n_frames, 96), generator=torch.Generator().manual_seed(seed))


def batch_norm(x, norm):
    """Normalise with the library's own layer at inference."""
    n = len(norm.scale)
    return functional.batch_norm(x, torch.zeros(n), torch.ones(n), norm.scale, norm.shift, eps=0.0)


def with_ones(x):
    return torch.cat([x, torch.ones_like(x[:, :1])], dim=1)


@torch.no_grad()
def vgg_by_layers(network, x):
    x = batch_norm(x[:, None], network.input_norm)
    maps = []
    for i, block in enumerate(network.blocks):
        x = functional.conv2d(x, block.conv.weight, block.conv.bias, padding=1)
        x = batch_norm(torch.relu(x), block.norm)
        kernel, stride = [((4, 1), 2), (2, 2), (2, 2), (2, 2), (4, 4)][i]
        x = functional.max_pool2d(x, kernel, stride)
        maps.append(x)
        x = with_ones(x)
    return network.tag_head(maps[-1].permute(0, 2, 3, 1).flatten(1)), maps


@torch.no_grad()
def musicnn_by_layers(network, x):
    x = batch_norm(x[:, None], network.input_norm)
    parts = []
    for i, block in enumerate(network.front):
        # Time is padded to keep its length; the odd zero comes last, as in TensorFlow.
        before, after = [(3, 3), (3, 3), (63, 64), (31, 32), (15, 16)][i]
        padded = functional.pad(x, (0, 0, before, after))
        filtered = functional.conv2d(padded, block.conv.weight, block.conv.bias)
        parts.append(batch_norm(torch.relu(filtered), block.norm).amax(dim=3))
    front = torch.cat(parts, dim=1)
    maps = [front]
    for i, layer in enumerate(network.middle):
        source = with_ones(front) if i == 0 else maps[-1]
        filtered = functional.conv1d(source, layer.conv.weight, layer.conv.bias, padding=3)
        y = batch_norm(torch.relu(filtered), layer.norm)
        maps.append(y if i == 0 else maps[-1] + y)
    every = torch.cat(maps, dim=1)
    pooled = torch.zeros(len(x), 2 * every.shape[1])
    pooled[:, 0::2], pooled[:, 1::2] = every.max(dim=2).values, every.mean(dim=2)
    embedding = batch_norm(torch.relu(network.dense(pooled)), network.dense_norm)
    return network.tag_head(embedding), maps


@pytest.mark.parametrize("widths", [(6, 5, 4, 3, 2), (1, 1, 1, 1, 1)])
def test_the_vgg_network_is_its_layers_one_after_another(widths):
    network = fill(VGG(TAGS, widths))
    assert any((block.norm.scale < 0).any() for block in network.blocks)
    logits, maps = vgg_by_layers(network, patches())
    output = network(patches())
    torch.testing.assert_close(output.logits, logits, rtol=FLOAT32, atol=FLOAT32)
    for ours, theirs in zip(output.maps, maps, strict=True):
        torch.testing.assert_close(ours, theirs.transpose(2, 3), rtol=FLOAT32, atol=FLOAT32)


@pytest.mark.parametrize("n_frames", [187, 60])
def test_the_musicnn_network_is_its_layers_one_after_another(n_frames):
    network = fill(MusiCNN(TAGS, (5, 4, 3, 2, 6)))
    assert any((block.norm.scale < 0).any() for block in network.front)
    logits, maps = musicnn_by_layers(network, patches(n_frames=n_frames))
    output = network(patches(n_frames=n_frames))
    torch.testing.assert_close(output.logits, logits, rtol=FLOAT32, atol=FLOAT32)
    for ours, theirs in zip(output.maps, maps, strict=True):
        torch.testing.assert_close(ours[:, :, 0], theirs, rtol=FLOAT32, atol=FLOAT32)


def test_shapes_are_those_that_the_networks_state():
    vgg = VGG(TAGS, (3, 4, 5, 6, 7))
    output = vgg(patches(3))
    sizes = [(48, 92), (24, 46), (12, 23), (6, 11), (1, 2)]
    assert [tuple(maps.shape) for maps in output.maps] == [
        (3, width, *size) for width, size in zip(vgg.widths, sizes, strict=True)
    ]
    assert output.embedding.shape == (3, vgg.embedding_width) == (3, 14)
    musicnn = MusiCNN(TAGS, (2, 2, 1, 1, 1))
    output = musicnn(patches(3))
    assert [tuple(maps.shape) for maps in output.maps] == [
        (3, width, 1, 187) for width in musicnn.widths
    ]
    assert output.embedding.shape == (3, musicnn.embedding_width) == (3, 200)
    assert output.logits.shape == (3, len(TAGS))


def test_the_networks_of_the_authors_have_their_numbers_of_parameters():
    """Counted in the files: 787,159 and 605,748, with a scale and a shift where they normalise."""
    n_pooled_norm, n_ones = 2 * 1506, 64 * 7
    musicnn = sum(parameter.numel() for parameter in MusiCNN(range(50)).parameters())
    assert musicnn == 787_159 - n_pooled_norm + n_ones
    assert sum(p.numel() for p in VGG(range(50)).parameters()) == 605_748 + 4 * 128 * 9


@pytest.mark.parametrize("build", [VGG, MusiCNN])
def test_the_mode_changes_nothing_and_gradients_reach_every_parameter(build):
    network = fill(build(TAGS, (3, 3, 3, 3, 3)))
    x = patches()
    training, evaluation = network.train()(x).logits, network.eval()(x).logits
    torch.testing.assert_close(training, evaluation, rtol=0, atol=0)
    training.square().sum().backward()
    without = [name for name, p in network.named_parameters() if p.grad is None]
    assert without == []


@pytest.mark.parametrize(
    ("build", "shape"),
    [
        (VGG, (2, 186, 96)),
        (VGG, (187, 96)),
        (MusiCNN, (2, 187, 95)),
        (MusiCNN, (2, 0, 96)),
        (MusiCNN, (1, 2, 187, 96)),
    ],
)
def test_patches_of_other_shapes_are_refused(build, shape):
    with pytest.raises(ParameterError, match="patches of shape"):
        build(TAGS, (1, 1, 1, 1, 1))(torch.zeros(shape))


@pytest.mark.parametrize("widths", [(1, 1, 1, 1), (1, 1, 1, 1, 0)])
def test_widths_out_of_range_are_refused(widths):
    for build in (VGG, MusiCNN):
        with pytest.raises(ParameterError, match="want 5 numbers"):
            build(TAGS, widths)
