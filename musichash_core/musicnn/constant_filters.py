"""Leave out the filters that give a constant: the same function in a tenth of the arithmetic.

Weight decay pressed most filters of the published networks to zero: their weights sum to less than
1e-10, those of the others to more than 1. Such a filter's map is the same number everywhere, that
of its bias. What it adds to the next layer is a sum of that layer's weights, except at the borders,
where those weights lie on padding: so the next layer reads one more map, of ones, whose weights are
those sums. What it adds to a pooled maximum or mean is a constant, which goes into a bias.

Networks before and after are given as dictionaries from names of `musichash_core.musicnn.networks`
to float64 arrays, with torch's order of axes.

Public: `MAX_INFLUENCE`, `without_constant_filters_musicnn`, `without_constant_filters_vgg`.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

State = dict[str, NDArray[np.float64]]

MAX_INFLUENCE = 1e-6
"""A filter whose output moves by at most this, per unit of input, counts as constant."""


class _Layer(NamedTuple):
    """Which filters of a layer look at their input, and what the others give instead."""

    is_live: NDArray[np.bool_]
    constants: NDArray[np.float64]


def without_constant_filters_musicnn(state: State) -> State:
    """Leave out constant filters of the front end; its readers are the middle and the dense layer.

    Parameters
    ----------
    state : dict
        Of a `MusiCNN` of any widths.

    Returns
    -------
    dict
        Of one of smaller ``front_widths`` (at least 1) that computes the same.
    """
    pruned = dict(state)
    layers = [_prune(pruned, f"front.{i}") for i in range(5)]
    is_live = np.concatenate([layer.is_live for layer in layers])
    constants = np.concatenate([layer.constants for layer in layers])
    pruned["middle.0.conv.weight"] = _read_ones(
        state["middle.0.conv.weight"], _Layer(is_live, constants)
    )

    # Two columns per map: its maximum and its mean, both the constant.
    dense = state["dense.weight"]
    is_front = np.arange(dense.shape[1]) < 2 * len(is_live)
    by_map = dense[:, is_front].reshape(len(dense), len(is_live), 2)
    pruned["dense.bias"] = state["dense.bias"] + by_map.sum(axis=2) @ np.where(
        is_live, 0, constants
    )
    kept = by_map[:, is_live].reshape(len(dense), -1)
    pruned["dense.weight"] = np.concatenate([kept, dense[:, ~is_front]], axis=1)
    return pruned


def without_constant_filters_vgg(state: State) -> State:
    """Leave out constant filters of all blocks but the last; a block's reader is the next one.

    Parameters
    ----------
    state : dict
        Of a `VGG` of any widths.

    Returns
    -------
    dict
        Of one of smaller ``widths`` (at least 1) that computes the same.
    """
    pruned = dict(state)
    for i in range(4):
        layer = _prune(pruned, f"blocks.{i}")
        following = f"blocks.{i + 1}.conv.weight"
        pruned[following] = _read_ones(pruned[following], layer)
    return pruned


def _prune(state: State, block: str) -> _Layer:
    """Leave out a block's constant filters, but not its last filter; change the state."""
    names = [f"{block}.{name}" for name in ("conv.weight", "conv.bias", "norm.scale", "norm.shift")]
    weight, bias, scale, shift = (state[name] for name in names)
    influence = np.abs(scale) * np.abs(weight).reshape(len(weight), -1).sum(axis=1)
    is_live = influence > min(MAX_INFLUENCE, influence.max() / 2)
    for name in names:
        state[name] = state[name][is_live]
    return _Layer(is_live, scale * np.maximum(bias, 0) + shift)


def _read_ones(weight: NDArray[np.float64], layer: _Layer) -> NDArray[np.float64]:
    """Let the map of ones, which is read last, stand for the constants."""
    maps, ones = weight[:, :-1], weight[:, -1:]
    by_constants = np.tensordot(maps[:, ~layer.is_live], layer.constants[~layer.is_live], (1, 0))
    return np.concatenate([maps[:, layer.is_live], ones + by_constants[:, np.newaxis]], axis=1)
