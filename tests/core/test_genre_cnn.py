"""The genre network: shapes, standardisation, learning, and outputs that stay what they are."""

import numpy as np
import pytest
import torch

from musichash_core.errors import ParameterError
from musichash_core.genre_cnn import MIN_SCALE, GenreCNN
from musichash_core.model_config import GenreCNNConfig

SMALL = GenreCNNConfig(widths=(4, 6, 8), dropout=0.0)
GOLDEN_LOGITS = [
    [-3178.562, 4762.042, -5539.351, 5380.483],
    [-3154.262, 4728.205, -5501.694, 5345.367],
]
FLOAT32 = 1e-4  # absolute, on logits of order 1; kernels sum in different orders


@pytest.fixture(autouse=True)
def one_thread():
    """Keep torch from waiting for busy cores: on these sizes more threads only cost."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def build(config: GenreCNNConfig = SMALL, seed: int = 0, **sizes: int) -> GenreCNN:
    torch.manual_seed(seed)
    return GenreCNN(config, **{"n_channels": 3, "n_mels": 32, "n_genres": 4, **sizes})


def segments(n: int, n_mels: int = 32, n_frames: int = 32, seed: int = 0) -> torch.Tensor:
    return torch.rand((n, 3, n_mels, n_frames), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("pooling", ["max", "avg"])
@pytest.mark.parametrize("kernel_size", [3, 5])
@pytest.mark.parametrize("widths", [(4,), (4, 8), (8, 4, 6, 5, 7)])
@pytest.mark.parametrize(("n_mels", "n_frames"), [(32, 32), (40, 70)])
def test_maps_halve_at_every_block(widths, kernel_size, pooling, n_mels, n_frames):
    config = GenreCNNConfig(widths=widths, kernel_size=kernel_size, pooling=pooling)
    model = build(config, n_mels=n_mels).eval()
    x = segments(2, n_mels, n_frames)
    shapes = [tuple(maps.shape) for maps in model.feature_maps(x)]
    assert shapes == [
        (2, width, n_mels >> level, n_frames >> level) for level, width in enumerate(widths, 1)
    ]
    assert model(x).shape == (2, 4)


def test_the_default_has_the_size_that_the_method_states():
    model = GenreCNN(GenreCNNConfig(), n_channels=3, n_mels=128, n_genres=10)
    n_parameters = sum(parameter.numel() for parameter in model.parameters())
    assert abs(n_parameters - 391_466) < 1000  # METHOD 3 counts convolution biases


def test_the_default_draws_the_weights_that_it_always_drew():
    torch.manual_seed(7)
    expected = []
    for n_in, n_out in ((3, 4), (4, 6), (6, 8)):
        conv = torch.nn.Conv2d(n_in, n_out, 3, padding=1, bias=False)
        expected += [conv.weight, *torch.nn.BatchNorm2d(n_out).parameters()]
    expected += torch.nn.Linear(16, 4).parameters()
    found = list(build(seed=7).parameters())
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)
    # Older checkpoints and fingerprints do not know the setting.
    assert "fusion" not in GenreCNNConfig().model_dump()
    assert GenreCNNConfig(fusion="towers").model_dump()["fusion"] == "towers"


@pytest.mark.parametrize("fusion", ["early", "towers"])
@pytest.mark.parametrize("kernel_size", [3, 5])
@pytest.mark.parametrize(("n_channels", "n_genres"), [(1, 2), (3, 10)])
def test_parameters_are_counted_as_torch_has_them(fusion, kernel_size, n_channels, n_genres):
    config = GenreCNNConfig(widths=(6, 12, 9), kernel_size=kernel_size, fusion=fusion)
    model = GenreCNN(config, n_channels=n_channels, n_mels=32, n_genres=n_genres)
    expected = sum(parameter.numel() for parameter in model.parameters())
    assert config.n_parameters(n_channels, n_genres) == expected


def test_a_tower_is_a_network_of_its_channel_alone():
    towers = build(GenreCNNConfig(widths=(12, 15), fusion="towers")).eval()
    x = segments(2)
    found = towers.feature_maps(x)
    for channel in range(3):
        # The plain operations, with this tower's share of the kernels.
        alone = x[:, channel : channel + 1]
        for level, block in enumerate(towers.conv_blocks):
            share = len(block[0].weight) // 3
            own = slice(channel * share, (channel + 1) * share)
            alone = torch.nn.functional.conv2d(alone, block[0].weight[own], padding=1)
            alone = (alone / (1 + block[1].eps) ** 0.5).relu()  # a norm that has seen nothing
            alone = torch.nn.functional.max_pool2d(alone, 2)
            torch.testing.assert_close(found[level][:, own], alone, atol=FLOAT32, rtol=0)


def test_widths_that_cannot_be_divided_between_towers_are_refused():
    with pytest.raises(ParameterError, match=r"widths=\(6, 8\) cannot be divided between 3"):
        build(GenreCNNConfig(widths=(6, 8), fusion="towers"))


def test_input_is_standardised_per_channel_and_band():
    model = build().eval()
    mean, deviation = torch.rand(3, 32), 0.5 + torch.rand(3, 32)
    x = segments(2)
    expected = model(x)
    model.set_input_statistics(mean, deviation)
    shifted = x * deviation[:, :, None] + mean[:, :, None]
    torch.testing.assert_close(model(shifted), expected, atol=FLOAT32, rtol=0)


def test_a_band_that_never_changes_does_not_explode():
    model = build()
    model.set_input_statistics(torch.zeros(3, 32), torch.zeros(3, 32))
    assert float(model.input_scale.max()) == pytest.approx(1 / MIN_SCALE)


def test_statistics_are_part_of_the_saved_weights():
    model = build()
    model.set_input_statistics(torch.rand(3, 32), 0.5 + torch.rand(3, 32))
    other = build(seed=1)
    other.load_state_dict(model.state_dict())
    x = segments(3)
    torch.testing.assert_close(other.eval()(x), model.eval()(x), atol=0, rtol=0)


def test_every_parameter_gets_a_gradient():
    model = build()
    model(segments(4)).square().sum().backward()
    assert all((parameter.grad != 0).any() for parameter in model.parameters())


def test_eight_segments_can_be_learned_by_heart():
    model, x, truth = build(), segments(8), torch.arange(8) % 4
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(60):
        loss = torch.nn.functional.cross_entropy(model(x), truth)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < 0.05


def test_a_segment_is_judged_alone_in_evaluation():
    model, x = build().eval(), segments(5)
    torch.testing.assert_close(model(x)[3:4], model(x[3:4]), atol=FLOAT32, rtol=0)


def test_golden_logits():
    model = build().eval()
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            ramp = torch.linspace(-1, 1, parameter.numel()).reshape(parameter.shape)
            parameter.copy_(torch.sin(7 * ramp + number))
        ramp = torch.linspace(0, 1, 2 * 3 * 32 * 32).reshape(2, 3, 32, 32)
        logits = model(torch.cos(40 * ramp))
    np.testing.assert_allclose(logits.numpy(), GOLDEN_LOGITS, rtol=1e-3)


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 2, 32, 32), (1, 3, 16, 32)])
def test_input_of_another_shape_is_refused(shape):
    with pytest.raises(ParameterError, match=r"want \(n_segments, 3, 32, n_frames\)"):
        build()(torch.zeros(shape))


def test_statistics_of_another_shape_are_refused():
    with pytest.raises(ParameterError, match="statistics of shape"):
        build().set_input_statistics(torch.zeros(32), torch.ones(32))


def test_bands_too_few_for_the_blocks_are_refused():
    with pytest.raises(ParameterError, match="3 halvings"):
        build(n_mels=4)
