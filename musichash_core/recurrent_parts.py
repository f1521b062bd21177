"""What can stand between the pyramid and the hash layer: LSTMs and their controls (METHOD 4.3).

Legend
------
B batch, L blocks, M maps per block, D points of a map, T frames of a map, W maps of the last block,
N hidden units.

Public: `StackedLSTM`, `HierarchicalLSTM`, `TimeLSTM`, `pooled_head`, `matched_head`,
`matched_width`.
"""
# ruff: noqa: N803, N806 - tensors carry their axes in capitals, as in crnn_hash.

from math import isqrt

import torch
from torch import Tensor, nn

from musichash_core.model_config import CRNNHashConfig


class StackedLSTM(nn.Module):
    """REC-STACK: two LSTMs over all L * M maps, shallow to deep."""

    def __init__(self, n_points: int, config: CRNNHashConfig) -> None:
        super().__init__()
        self.lstm = nn.LSTM(
            n_points, config.n_hidden, num_layers=2, dropout=config.dropout, batch_first=True
        )
        _initialise(self.lstm)

    def forward(self, x_BLMD: Tensor) -> Tensor:
        """Give the top output at the last step, ``(n_segments, n_hidden)``."""
        steps_BTN, _ = self.lstm(x_BLMD.flatten(1, 2))
        last_BN: Tensor = steps_BTN[:, -1]
        return last_BN


class HierarchicalLSTM(nn.Module):
    """REC-HIER: one LSTM over the maps of each block, another over the blocks.

    29 steps instead of 120 between the first map and the output, and half the multiplications.
    """

    def __init__(self, n_points: int, config: CRNNHashConfig) -> None:
        super().__init__()
        self.map_lstm = nn.LSTM(n_points, config.n_hidden, batch_first=True)
        self.layer_lstm = nn.LSTM(config.n_hidden, config.n_hidden, batch_first=True)
        self.dropout = nn.Dropout(config.dropout)
        _initialise(self.map_lstm)
        _initialise(self.layer_lstm)

    def forward(self, x_BLMD: Tensor) -> Tensor:
        """Give the upper LSTM's last output, ``(n_segments, n_hidden)``."""
        n_segments, n_layers = x_BLMD.shape[:2]
        steps, _ = self.map_lstm(x_BLMD.flatten(0, 1))
        layers_BLN = self.dropout(steps[:, -1]).unflatten(0, (n_segments, n_layers))
        layers_BLN, _ = self.layer_lstm(layers_BLN)
        last_BN: Tensor = layers_BLN[:, -1]
        return last_BN


class TimeLSTM(nn.Module):
    """CTRL-TIME: two LSTMs over the frames of the last block's maps, as in an ordinary CRNN.

    A step is what all maps of the block are at one frame, averaged over the bands (Choi, Fazekas,
    Sandler and Cho, ICASSP 2017, let convolutions use the bands up instead).

    Parameters
    ----------
    n_maps : >= 1
        Maps of the last block.
    """

    def __init__(self, n_maps: int, config: CRNNHashConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(n_maps)
        self.lstm = nn.LSTM(
            n_maps, config.n_hidden, num_layers=2, dropout=config.dropout, batch_first=True
        )
        _initialise(self.lstm)

    def forward(self, x_BWT: Tensor) -> Tensor:
        """Give the top output at the last frame, ``(n_segments, n_hidden)``."""
        steps_BTN, _ = self.lstm(self.norm(x_BWT.transpose(1, 2)))
        last_BN: Tensor = steps_BTN[:, -1]
        return last_BN


def pooled_head(n_in: int, n_out: int) -> nn.Sequential:
    """Build the skip: means of all maps, put on one scale, through one layer."""
    return nn.Sequential(nn.BatchNorm1d(n_in), nn.Linear(n_in, n_out), nn.ReLU())


def matched_head(n_in: int, n_out: int, dropout: float) -> nn.Sequential:
    """Build CTRL-GAP: the same means through two layers; `matched_width` gives `n_out`."""
    return nn.Sequential(
        nn.BatchNorm1d(n_in),
        nn.Linear(n_in, n_out),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(n_out, n_out),
        nn.ReLU(),
    )


def matched_width(n_in: int, n_blocks: int, config: CRNNHashConfig) -> int:
    """Give CTRL-GAP as many parameters as the hierarchical network of the same settings has.

    Parameters
    ----------
    n_in : >= 1
        Means of maps.
    n_blocks : >= 1
        Blocks whose maps the hierarchical network would read.

    Returns
    -------
    int
        Units of each layer of `matched_head`.
    """
    n_points = config.map_shape[0] * config.map_shape[1]
    hidden, pooled, bits = config.n_hidden, config.n_pooled, config.n_bits
    n_wanted = (
        (2 + n_blocks) * n_points  # scale and shift of the maps, embedding of the blocks
        + 4 * hidden * (n_points + hidden + 2)
        + 4 * hidden * (2 * hidden + 2)
        + (pooled and (2 + pooled) * n_in + pooled)
        + (hidden + pooled) * bits
    )
    # width^2 + width * linear + 2 * n_in = n_wanted, the hash layer's weights included
    linear = n_in + 2 + bits
    root = isqrt(linear**2 + 4 * max(0, n_wanted - 2 * n_in))
    return max(1, (root - linear) // 2)


def _initialise(lstm: nn.LSTM) -> None:
    """Orthogonal recurrent weights, and forget gates that start open (bias 1)."""
    for name, parameter in lstm.named_parameters():
        if name.startswith("weight_hh"):
            nn.init.orthogonal_(parameter)
        elif name.startswith("bias"):
            nn.init.zeros_(parameter)
        if name.startswith("bias_ih"):
            with torch.no_grad():
                parameter[lstm.hidden_size : 2 * lstm.hidden_size] = 1.0
