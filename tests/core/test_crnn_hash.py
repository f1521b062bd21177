"""The hashing network: shapes, selected maps, learning, and outputs that stay what they are."""

import numpy as np
import pytest
import torch

from musichash_core.crnn_hash import CRNNHash
from musichash_core.errors import ParameterError
from musichash_core.model_config import CRNNHashConfig

WIDTHS = (5, 6, 7)
FLOAT32 = 1e-5  # absolute, on logits below 1
VARIANTS = [
    {"recurrent": "hierarchical", "n_pooled": 12},
    {"recurrent": "hierarchical", "n_pooled": 0},
    {"recurrent": "stack", "n_pooled": 12},
    {"recurrent": "stack", "n_pooled": 0},
]

GOLDEN_LOGITS = {
    ("hierarchical", 12): [0.506441, 0.654759, 0.017192, -0.641012],
    ("hierarchical", 0): [-0.140815, -0.261879, -0.049023, 0.249174],
    ("stack", 12): [0.523279, 0.644335, -0.008575, -0.65266],
    ("stack", 0): [-0.179814, -0.282544, -0.027581, 0.288056],
}


@pytest.fixture(autouse=True)
def one_thread():
    """Keep torch from waiting for busy cores: on these sizes more threads only cost."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def small_config(**changes) -> CRNNHashConfig:
    values = {"n_bits": 16, "n_maps": 4, "map_shape": (3, 4), "n_hidden": 10, "dropout": 0.0}
    return CRNNHashConfig(**{**values, "n_pooled": 12, "pooled_bands": 2, **changes})


def build(seed: int = 0, **changes) -> CRNNHash:
    torch.manual_seed(seed)
    return CRNNHash(small_config(**changes), widths=WIDTHS, n_genres=3)


def feature_maps(n: int, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.rand((n, width, 16 >> level, 8 >> level), generator=generator)
        for level, width in enumerate(WIDTHS)
    ]


@pytest.mark.parametrize("n_bits", [16, 64, 256])
@pytest.mark.parametrize("variant", VARIANTS)
def test_outputs_have_the_shapes_of_the_configuration(variant, n_bits):
    model = build(n_bits=n_bits, **variant).eval()
    pyramid = model.pyramid(feature_maps(5))
    assert pyramid.maps.shape == (5, 3, 4, 12)
    assert pyramid.pooled.shape == (5, 18 * 2)
    output = model(pyramid)
    assert output.logits.shape == output.relaxed.shape == (5, n_bits)
    assert output.genre_logits.shape == (5, 3)
    torch.testing.assert_close(output.relaxed, output.logits.tanh())


def test_the_pyramid_reads_the_selected_maps_in_their_order():
    model, maps = build(), feature_maps(2)
    selected = torch.tensor([[4, 0, 2, 1], [5, 3, 1, 0], [6, 5, 4, 3]])
    model.set_selected_maps(selected)
    pyramid = model.pyramid(maps)
    for layer, (chosen, block) in enumerate(zip(selected, maps, strict=True)):
        torch.testing.assert_close(pyramid.maps[:, layer], model.interpolate(block)[:, chosen])


def test_interpolation_is_bilinear_between_pixel_centres():
    model = build(map_shape=(1, 2))
    ramp = torch.arange(8.0).reshape(1, 1, 1, 8)
    np.testing.assert_allclose(model.interpolate(ramp).ravel(), [1.5, 5.5])


def test_pooled_values_are_means_over_time_and_ranges_of_bands():
    maps = feature_maps(2)
    pooled = build().pyramid(maps).pooled
    halves = [maps[0][:, :, :8].mean(dim=(2, 3)), maps[0][:, :, 8:].mean(dim=(2, 3))]
    torch.testing.assert_close(pooled[:, :10].unflatten(1, (5, 2)), torch.stack(halves, dim=2))


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_parameter_gets_a_gradient(variant):
    model = build(**variant)
    output = model(model.pyramid(feature_maps(6)))
    (output.genre_logits.square().sum() + output.relaxed.square().sum()).backward()
    assert all((parameter.grad != 0).any() for parameter in model.parameters())


@pytest.mark.parametrize("variant", VARIANTS)
def test_eight_segments_can_be_learned_by_heart(variant):
    model = build(**variant, n_hidden=32)
    pyramid, truth = model.pyramid(feature_maps(8)), torch.arange(8) % 3
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-2)
    for _ in range(150):
        loss = torch.nn.functional.cross_entropy(model(pyramid).genre_logits, truth)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimiser.step()
    assert float(loss.detach()) < 0.1


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_segment_is_hashed_alone_in_evaluation(variant):
    model = build(**variant).eval()
    whole = model(model.pyramid(feature_maps(5))).logits
    alone = model(model.pyramid([maps[2:3] for maps in feature_maps(5)])).logits
    torch.testing.assert_close(whole[2:3], alone, atol=FLOAT32, rtol=0)


def test_forget_gates_start_open_and_recurrent_weights_orthogonal():
    lstm = build().recurrent.map_lstm
    bias = (lstm.bias_ih_l0 + lstm.bias_hh_l0).detach()
    assert (bias[10:20] == 1).all()
    assert (bias[:10] == 0).all()
    gate = lstm.weight_hh_l0.detach()
    torch.testing.assert_close(gate.T @ gate, torch.eye(10), atol=1e-5, rtol=0)


def test_the_default_has_the_size_of_the_method():
    model = CRNNHash(CRNNHashConfig(n_pooled=0), widths=(32, 64, 128, 128, 128), n_genres=10)
    n_parameters = sum(parameter.numel() for parameter in model.parameters())
    assert abs(n_parameters - 950_000) < 20_000  # METHOD 4.7: about 0.95 million


@pytest.mark.parametrize("variant", VARIANTS)
def test_golden_logits(variant):
    model = build(**variant).eval()
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            ramp = torch.linspace(-1, 1, parameter.numel()).reshape(parameter.shape)
            parameter.copy_(0.3 * torch.sin(9 * ramp + number))
        maps = [
            torch.cos(30 * torch.linspace(0, 1, block.numel())).reshape(block.shape)
            for block in feature_maps(1)
        ]
        logits = model(model.pyramid(maps)).logits
    expected = GOLDEN_LOGITS[variant["recurrent"], variant["n_pooled"]]
    np.testing.assert_allclose(logits[0, :4].numpy(), expected, atol=1e-4)


def test_more_maps_than_a_block_has_are_refused():
    with pytest.raises(ParameterError, match="n_maps=6"):
        build(n_maps=6)


def test_another_number_of_blocks_is_refused():
    with pytest.raises(ParameterError, match="2 blocks of maps: want 3"):
        build().pyramid(feature_maps(1)[:2])


def test_a_selection_of_another_shape_is_refused():
    with pytest.raises(ParameterError, match=r"want \(3, 4\)"):
        build().set_selected_maps(torch.zeros(3, 5, dtype=torch.int64))
