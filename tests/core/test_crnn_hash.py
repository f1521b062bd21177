"""The hashing network: shapes, selected maps, learning, and outputs that stay what they are."""

import numpy as np
import pytest
import torch

from musichash_core.crnn_hash import CRNNHash
from musichash_core.errors import ParameterError
from musichash_core.hash_baselines.hash_centres import hash_centres
from musichash_core.model_config import CRNNHashConfig

WIDTHS = (5, 6, 7)
FLOAT32 = 1e-5  # absolute, on logits below 1
VARIANTS = [
    {"recurrent": "hierarchical", "n_pooled": 12},
    {"recurrent": "hierarchical", "n_pooled": 0},
    {"recurrent": "stack", "n_pooled": 12},
    {"recurrent": "stack", "n_pooled": 0},
]

CONTROLS = [
    {"recurrent": "none"},
    {"recurrent": "none", "blocks": "last"},
    {"recurrent": "time", "n_pooled": 0},
    {"recurrent": "time", "n_pooled": 12},
    {"recurrent": "stack", "blocks": "last", "n_pooled": 0},
    {"recurrent": "hierarchical", "blocks": "last"},
    {"recurrent": "stack", "shuffled_steps": True},
    {"recurrent": "hierarchical", "shuffled_steps": True, "n_pooled": 0},
    {"recurrent": "hierarchical", "head": "centres"},
    {"recurrent": "none", "head": "centres"},
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


@pytest.mark.parametrize("variant", VARIANTS + CONTROLS)
def test_every_parameter_gets_a_gradient(variant):
    model = build(**variant)
    output = model(model.pyramid(feature_maps(6)))
    (output.genre_logits.square().sum() + output.relaxed.square().sum()).backward()
    silent = {name for name, one in model.named_parameters() if not (one.grad != 0).any()}
    is_single_step = variant == {"recurrent": "hierarchical", "blocks": "last"}
    assert silent == ({"recurrent.layer_lstm.weight_hh_l0"} if is_single_step else set())


@pytest.mark.parametrize("variant", VARIANTS + CONTROLS)
def test_eight_segments_can_be_learned_by_heart(variant):
    model = build(**variant, n_hidden=32)
    if variant.get("head") == "centres":
        model.set_centres(torch.from_numpy(hash_centres(3, 16, seed=0)))
    pyramid, truth = model.pyramid(feature_maps(8)), torch.arange(8) % 3
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-2)
    for _ in range(150):
        loss = torch.nn.functional.cross_entropy(model(pyramid).genre_logits, truth)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimiser.step()
    assert float(loss.detach()) < 0.1


@pytest.mark.parametrize("variant", VARIANTS + CONTROLS)
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


def sizes(**changes) -> int:
    return sum(parameter.numel() for parameter in build(**changes).parameters())


@pytest.mark.parametrize("blocks", ["all", "last"])
@pytest.mark.parametrize("n_pooled", [0, 40])
@pytest.mark.parametrize("head", ["tanh", "centres"])
def test_the_pooled_control_has_as_many_parameters_as_the_hierarchical_network(
    head, n_pooled, blocks
):
    shape = {"head": head, "n_pooled": n_pooled, "blocks": blocks, "n_hidden": 64}
    control, network = (sizes(recurrent=name, **shape) for name in ("none", "hierarchical"))
    assert 0.99 < control / network < 1.01


def test_the_control_over_time_has_about_as_many_parameters_at_the_method_s_sizes():
    networks = [
        CRNNHash(
            CRNNHashConfig(n_pooled=0, recurrent=name), widths=(32, 64, 128, 128, 128), n_genres=10
        )
        for name in ("time", "hierarchical")
    ]
    control, network = (sum(one.numel() for one in net.parameters()) for net in networks)
    assert 0.95 < control / network < 1.05


def test_the_pooled_control_reads_means_only():
    model = build(recurrent="none").eval()
    maps = feature_maps(2)
    pyramid = model.pyramid(maps)
    assert pyramid.maps.shape[:2] == (2, 0)
    turned = [block.flip(3) for block in maps]
    torch.testing.assert_close(model(model.pyramid(turned)).logits, model(pyramid).logits)


@pytest.mark.parametrize("recurrent", ["none", "stack", "hierarchical"])
def test_a_control_of_the_last_block_ignores_the_others(recurrent):
    model, maps = build(recurrent=recurrent, blocks="last").eval(), feature_maps(2)
    others = [torch.zeros_like(block) for block in maps[:2]] + maps[2:]
    logits = model(model.pyramid(maps)).logits
    torch.testing.assert_close(model(model.pyramid(others)).logits, logits)
    assert model.pyramid(maps).pooled.shape == (2, WIDTHS[-1] * 2)


def test_the_control_over_time_reads_frames_of_the_last_block_in_order():
    model, maps = build(recurrent="time", n_pooled=0).eval(), feature_maps(2)
    pyramid = model.pyramid(maps)
    torch.testing.assert_close(pyramid.maps[:, 0], maps[2].mean(dim=2))
    turned = model.pyramid([block.flip(3) for block in maps])
    assert not torch.allclose(model(turned).logits, model(pyramid).logits)


def test_shuffled_steps_are_one_permutation_that_is_kept_with_the_weights():
    model = build(recurrent="stack", shuffled_steps=True, n_pooled=0).eval()
    order = model.state_dict()["step_order"]
    assert sorted(order.tolist()) == list(range(12))
    assert order.tolist() != list(range(12))
    steps = model.map_norm(model.pyramid(feature_maps(2)).maps) + model.layer_embedding[:, None]
    in_order = steps.reshape(2, 12, 12)
    expected = torch.stack([in_order[:, one] for one in order.tolist()], dim=1)
    seen = []
    model.recurrent.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model(model.pyramid(feature_maps(2)))
    torch.testing.assert_close(seen[0].reshape(2, 12, 12), expected)
    assert "step_order" not in build(recurrent="stack").state_dict()


def test_codes_before_fixed_centres_are_balanced_and_their_genres_are_cosines():
    model = build(head="centres", n_pooled=12)
    centres = torch.from_numpy(hash_centres(3, 16, seed=1))
    model.set_centres(centres)
    output = model(model.pyramid(feature_maps(40)))
    assert float(output.logits.detach().mean(dim=0).abs().max()) < 1e-5
    assert torch.equal(output.relaxed, output.logits)
    code, genre = output.logits.detach().numpy().astype(float), centres.numpy().astype(float)
    lengths = np.linalg.norm(code, axis=1)[:, None] * np.linalg.norm(genre, axis=1)
    np.testing.assert_allclose(
        output.genre_logits.detach().numpy(), 8 * code @ genre.T / lengths, atol=1e-4
    )
    assert "genre_head.weight" not in model.state_dict()
    assert torch.equal(model.state_dict()["centres"], centres)


def test_equal_segments_before_fixed_centres_have_finite_gradients():
    model = build(head="centres", n_pooled=0)
    model.set_centres(torch.from_numpy(hash_centres(3, 16, seed=1)))
    same = [block.expand(6, -1, -1, -1) for block in feature_maps(1)]
    output = model(model.pyramid(same))
    torch.nn.functional.cross_entropy(output.genre_logits, torch.arange(6) % 3).backward()
    assert all(torch.isfinite(one.grad).all() for one in model.parameters())


def test_the_weights_of_the_default_keep_their_names():
    # Those of checkpoints written before there were controls.
    names = {"layer_embedding", "selected", "map_norm.weight", "map_norm.bias"}
    for lstm in ("map_lstm", "layer_lstm"):
        names |= {
            f"recurrent.{lstm}.{kind}_{end}_l0"
            for kind in ("weight", "bias")
            for end in ("ih", "hh")
        }
    names |= {f"pooled_head.{i}.{kind}" for i in (0, 1) for kind in ("weight", "bias")}
    names |= {
        f"pooled_head.0.{kind}" for kind in ("running_mean", "running_var", "num_batches_tracked")
    }
    names |= {
        f"{head}.{kind}" for head in ("hash_head", "genre_head") for kind in ("weight", "bias")
    }
    assert set(build().state_dict()) == names


def test_centres_that_do_not_fit_are_refused():
    with pytest.raises(ParameterError, match="head='tanh' has no centres"):
        build().set_centres(torch.ones(3, 16))
    with pytest.raises(ParameterError, match=r"want \(3, 16\)"):
        build(head="centres").set_centres(torch.ones(3, 8))
