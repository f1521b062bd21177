"""Conversion: a checkpoint computed layer by layer with its own numbers gives the same tags."""

import json

import numpy as np
import pytest
import torch
from torch.nn import functional

from musichash_core.errors import ParameterError
from musichash_core.musicnn import convert
from musichash_core.musicnn.pretrained import network_from_tensors
from musichash_core.musicnn.tensorflow_checkpoint import DATA_NAME, INDEX_NAME

FLOAT32 = 2e-4
"""Relative to logits of order 1: constants are summed in another order."""

EPSILON = 1e-3
"""TensorFlow's default for batch normalisation."""

N_TAGS = 50
VGG_WIDTH = 128
FRONT = [(7, 38, 204), (7, 67, 204), (128, 1, 51), (64, 1, 51), (32, 1, 51)]


class Tensors(dict):
    """Random tensors under TensorFlow's names; four filters of five are nothing but their bias."""

    def __init__(self):
        super().__init__()
        self.rng = np.random.default_rng(0)
        self.n_norms = 0

    def random(self, *shape):
        return self.rng.standard_normal(shape).astype(np.float32)

    def layer(self, name, *shape, keep=1.0):
        kernel = self.random(*shape) / np.float32(np.sqrt(np.prod(shape[:-1]) * keep))
        kernel[..., self.rng.random(shape[-1]) > keep] *= 1e-12
        self[f"{name}/kernel"], self[f"{name}/bias"] = kernel, self.random(shape[-1])

    def norm(self, width):
        name = f"batch_normalization_{self.n_norms}".removesuffix("_0")
        self.n_norms += 1
        self[f"{name}/gamma"], self[f"{name}/beta"] = self.random(width), self.random(width)
        self[f"{name}/moving_mean"] = self.random(width)
        self[f"{name}/moving_variance"] = np.square(self.random(width)) + np.float32(0.5)


def vgg_tensors():
    made = Tensors()
    made.norm(1)
    for i in range(5):
        n_in = VGG_WIDTH if i else 1
        made.layer(f"{i + 1}CNN", 3, 3, n_in, VGG_WIDTH, keep=0.2 if i < 4 else 1.0)
        made.norm(VGG_WIDTH)
    made.layer("dense", 2 * VGG_WIDTH, N_TAGS)
    return made


def musicnn_tensors():
    made = Tensors()
    made.norm(1)
    for i, (n_frames, n_bands, width) in enumerate(FRONT):
        made.layer(f"conv2d_{i}".removesuffix("_0"), n_frames, n_bands, 1, width, keep=0.2)
        made.norm(width)
    for i, n_in in enumerate((561, 64, 64)):
        made.layer(f"conv2d_{5 + i}", 7, n_in, 1, 64)
        made.norm(64)
    made.norm(1506)
    made.layer("dense", 1506, 200)
    made.norm(200)
    made.layer("dense_1", 200, N_TAGS)
    return made


def norm(tensors, i, x):
    name = f"batch_normalization_{i}".removesuffix("_0")
    keys = ("moving_mean", "moving_variance", "gamma", "beta")
    values = (torch.from_numpy(tensors[f"{name}/{key}"]) for key in keys)
    return functional.batch_norm(x, *values, eps=EPSILON)


def conv(tensors, name, x, padding):
    kernel = torch.from_numpy(tensors[f"{name}/kernel"]).permute(3, 2, 0, 1)
    padded = functional.pad(x, padding)
    return torch.relu(functional.conv2d(padded, kernel, torch.from_numpy(tensors[f"{name}/bias"])))


def dense(tensors, name, x):
    return x @ torch.from_numpy(tensors[f"{name}/kernel"]) + torch.from_numpy(
        tensors[f"{name}/bias"]
    )


def vgg_logits(tensors, x):
    x = norm(tensors, 0, x[:, None])
    for i in range(5):
        x = norm(tensors, i + 1, conv(tensors, f"{i + 1}CNN", x, (1, 1, 1, 1)))
        kernel, stride = [((4, 1), 2), (2, 2), (2, 2), (2, 2), (4, 4)][i]
        x = functional.max_pool2d(x, kernel, stride)
    return dense(tensors, "dense", x.permute(0, 2, 3, 1).flatten(1))


def musicnn_logits(tensors, x):
    x = norm(tensors, 0, x[:, None])
    parts = []
    for i, (n_frames, n_bands, _) in enumerate(FRONT):
        before = (n_frames - 1) // 2
        padding = (0, 0, before, n_frames - 1 - before)
        filtered = conv(tensors, f"conv2d_{i}".removesuffix("_0"), x, padding)
        assert n_bands == 1 or filtered.shape[3] == 97 - n_bands
        parts.append(norm(tensors, i + 1, filtered).amax(dim=3))
    maps = [torch.cat(parts, dim=1)]
    for i in range(3):
        image = maps[-1].transpose(1, 2)[:, None]
        y = norm(tensors, 6 + i, conv(tensors, f"conv2d_{5 + i}", image, (0, 0, 3, 3)))[..., 0]
        maps.append(y + maps[-1] if i else y)
    every = torch.cat(maps, dim=1)
    pooled = torch.stack([every.amax(dim=2), every.mean(dim=2)], dim=2).flatten(1)
    hidden = torch.relu(dense(tensors, "dense", norm(tensors, 9, pooled)))
    return dense(tensors, "dense_1", norm(tensors, 10, hidden))


def write(folder, writer, tensors):
    index, data = writer.checkpoint(tensors)
    folder.mkdir(exist_ok=True)
    (folder / INDEX_NAME).write_bytes(index)
    (folder / DATA_NAME).write_bytes(data)
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory, writer):
    root = tmp_path_factory.mktemp("checkpoints")
    vgg = write(root / "MTT_vgg", writer, vgg_tensors())
    musicnn = write(root / "MSD_musicnn", writer, musicnn_tensors())
    return {"MTT_vgg": vgg, "MSD_musicnn": musicnn}


@pytest.mark.parametrize(
    ("name", "tensors", "compute"),
    [
        ("MTT_vgg", vgg_tensors(), vgg_logits),
        ("MSD_musicnn", musicnn_tensors(), musicnn_logits),
    ],
)
@torch.no_grad()
def test_the_converted_network_computes_what_the_checkpoint_says(folders, name, tensors, compute):
    network = network_from_tensors(name, convert.convert_checkpoint(folders[name], name))
    x = 3 * torch.rand((2, 187, 96), generator=torch.Generator().manual_seed(2))
    expected = compute(tensors, x)
    spread = expected.std().item()
    torch.testing.assert_close(network(x).logits, expected, rtol=0, atol=FLOAT32 * spread)
    assert network.widths[0] < 200  # of 561, or 128: constants were left out
    assert not name.endswith("vgg") or max(network.widths[:4]) < 50


def test_the_file_says_where_it_comes_from_and_is_the_same_each_time(folders, tmp_path, capsys):
    outputs = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    for output in outputs:
        assert convert.main([str(folders["MTT_vgg"]), str(output)]) == 0
    contents = outputs[0].read_bytes()
    assert contents == outputs[1].read_bytes()
    header = json.loads(contents[8 : 8 + int.from_bytes(contents[:8], "little")])
    card = json.loads(header["__metadata__"]["musicnn"])
    assert card["name"] == "MTT_vgg"
    assert card["licence"] == "ISC"
    assert card["version"] == "0.1.0"
    assert len(card["tags"]) == N_TAGS
    assert set(card["sha256"]) == {INDEX_NAME, DATA_NAME}
    assert "a.safetensors" in capsys.readouterr().out


def test_what_cannot_be_converted_is_said_on_the_command_line(folders, tmp_path, capsys):
    assert convert.main([str(tmp_path / "MTT_vgg"), str(tmp_path / "x")]) == 2
    assert "cannot be read" in capsys.readouterr().err
    assert convert.main([str(tmp_path), str(tmp_path / "x")]) == 2
    assert "no network" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_a_checkpoint_of_the_other_architecture_is_refused(folders):
    with pytest.raises(ParameterError, match="no tensor 1CNN/kernel"):
        convert.convert_checkpoint(folders["MSD_musicnn"], "MSD_vgg")


def test_a_checkpoint_of_other_widths_is_refused(tmp_path, writer):
    tensors = vgg_tensors()
    tensors["dense/kernel"] = tensors["dense/kernel"][:, :40]
    tensors["dense/bias"] = tensors["dense/bias"][:40]
    with pytest.raises(ParameterError, match="is not of MTT_vgg"):
        convert.convert_checkpoint(write(tmp_path, writer, tensors), "MTT_vgg")
