"""The authors' names and orders of axes -> those of `musichash_core.musicnn.networks`.

TensorFlow numbers layers in the order of their making and puts the axes of a kernel as frames,
bands, in, out. Batch normalisation becomes the scale and shift that it is at inference, and the one
between pooling and dense layer of MusiCNN becomes part of the dense layer.

Public: `musicnn_state`, `vgg_state`.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from musichash_core.errors import ParameterError

Checkpoint = Mapping[str, NDArray[np.float32]]
State = dict[str, NDArray[np.float64]]

VARIANCE_FLOOR = 1e-3
"""What TensorFlow's batch normalisation adds to a variance."""


def musicnn_state(checkpoint: Checkpoint) -> State:
    """Give the weights of a `MusiCNN` of the widths that the authors began with.

    Raises
    ------
    ParameterError
        If a tensor is missing, or has another number of axes.
    """
    reader = _Reader(checkpoint)
    kernels = [reader.kernel(_numbered("conv2d", i), n_axes=4) for i in range(8)]
    norms = [_scale_and_shift(reader, i) for i in range(11)]
    front = [np.moveaxis(kernel, (3, 2), (0, 1)) for kernel in kernels[:5]]
    # Layers over time: their second axis holds maps, their third has length 1.
    middle = [np.moveaxis(kernel[:, :, 0], (2, 1), (0, 1)) for kernel in kernels[5:]]
    middle[0] = _with_column_of_ones(middle[0])

    layers = [*(f"front.{i}" for i in range(5)), *(f"middle.{i}" for i in range(3))]
    state: State = {}
    for i, (layer, weight) in enumerate(zip(layers, front + middle, strict=True)):
        state[f"{layer}.conv.weight"] = weight
        state[f"{layer}.conv.bias"] = reader.bias(_numbered("conv2d", i))
    places = ["input_norm", *(f"{layer}.norm" for layer in layers), "pooled_norm", "dense_norm"]
    for place, (scale, shift) in zip(places, norms, strict=True):
        state |= {f"{place}.scale": scale, f"{place}.shift": shift}

    dense = reader.kernel("dense", n_axes=2).T
    state["dense.weight"] = dense * state.pop("pooled_norm.scale")
    state["dense.bias"] = reader.bias("dense") + dense @ state.pop("pooled_norm.shift")
    state["tag_head.weight"] = reader.kernel("dense_1", n_axes=2).T
    state["tag_head.bias"] = reader.bias("dense_1")
    return state


def vgg_state(checkpoint: Checkpoint) -> State:
    """Give the weights of a `VGG` of the widths that the authors began with.

    Raises
    ------
    ParameterError
        As for `musicnn_state`.
    """
    reader = _Reader(checkpoint)
    state: State = {}
    for i in range(5):
        kernel = np.moveaxis(reader.kernel(f"{i + 1}CNN", n_axes=4), (3, 2), (0, 1))
        state[f"blocks.{i}.conv.weight"] = _with_column_of_ones(kernel) if i else kernel
        state[f"blocks.{i}.conv.bias"] = reader.bias(f"{i + 1}CNN")
    for i, place in enumerate(["input_norm", *(f"blocks.{i}.norm" for i in range(5))]):
        scale, shift = _scale_and_shift(reader, i)
        state |= {f"{place}.scale": scale, f"{place}.shift": shift}
    state["tag_head.weight"] = reader.kernel("dense", n_axes=2).T
    state["tag_head.bias"] = reader.bias("dense")
    return state


class _Reader:
    """Looks tensors up, in double precision, and says which one is missing."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint

    def kernel(self, layer: str, *, n_axes: int) -> NDArray[np.float64]:
        return self.tensor(f"{layer}/kernel", n_axes=n_axes)

    def bias(self, layer: str) -> NDArray[np.float64]:
        return self.tensor(f"{layer}/bias")

    def tensor(self, name: str, *, n_axes: int = 1) -> NDArray[np.float64]:
        found = self._checkpoint.get(name)
        if found is None or found.ndim != n_axes:
            what = "no tensor" if found is None else f"a tensor of shape {found.shape} as"
            raise ParameterError(f"the checkpoint has {what} {name}; want one of {n_axes} axes")
        return found.astype(np.float64)


def _scale_and_shift(reader: _Reader, i: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    gamma, beta, mean, variance = (
        reader.tensor(f"{_numbered('batch_normalization', i)}/{key}")
        for key in ("gamma", "beta", "moving_mean", "moving_variance")
    )
    scale = gamma / np.sqrt(variance + VARIANCE_FLOOR)
    return scale, beta - mean * scale


def _with_column_of_ones(weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give a layer weights of zero for the map of ones that it will read last."""
    return np.concatenate([weight, np.zeros_like(weight[:, :1])], axis=1)


def _numbered(name: str, i: int) -> str:
    return f"{name}_{i}" if i else name
