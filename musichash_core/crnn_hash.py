"""CRNNHash: the encoder's feature maps -> pyramid -> LSTM -> hash layer -> softmax (METHOD 4).

A reconstruction of CRNNH from its published descriptions, with an optional pooled skip beside the
recurrent part ("CRNNH+").

Legend
------
B batch, L blocks of the encoder, M maps selected per block, D points of an interpolated map,
W means of all maps of all blocks, N hidden units, K bits, G genres.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from musichash_core.errors import ParameterError
from musichash_core.model_config import CRNNHashConfig


class Pyramid(NamedTuple):
    """What the hashing network reads of a frozen encoder; small enough to be kept.

    Attributes
    ----------
    maps : (n_segments, n_blocks, n_maps, n_points) float32
        Selected maps, interpolated to one size and flattened.
    pooled : (n_segments, sum of widths * pooled_bands) float32
        Means of every map of every block over time and a few ranges of bands.
    """

    maps: Tensor
    pooled: Tensor


class HashOutput(NamedTuple):
    """What the hashing network computes.

    Attributes
    ----------
    logits : (n_segments, n_bits) float32
        ``u``, whose signs are the code (`musichash_core.codes.logits_to_bits`).
    relaxed : (n_segments, n_bits) float32
        ``v = tanh(u)``.
    genre_logits : (n_segments, n_genres) float32
        Before softmax.
    """

    logits: Tensor
    relaxed: Tensor
    genre_logits: Tensor


class CRNNHash(nn.Module):
    """LSTM over the selected feature maps of all blocks, then hash layer and softmax layer.

    Parameters
    ----------
    config : CRNNHashConfig
    widths : sequence of int
        Maps of each block of the encoder.
    n_genres : >= 1
    """

    selected: Tensor

    def __init__(self, config: CRNNHashConfig, *, widths: Sequence[int], n_genres: int) -> None:
        super().__init__()
        if config.n_maps > min(widths):
            raise ParameterError(
                f"n_maps={config.n_maps}: the encoder's blocks have {tuple(widths)} feature maps"
            )
        self.map_shape = config.map_shape
        self.pooled_bands = config.pooled_bands
        self.n_layers = len(widths)
        n_points = config.map_shape[0] * config.map_shape[1]
        first_maps_LM = torch.arange(config.n_maps).repeat(self.n_layers, 1)
        self.register_buffer("selected", first_maps_LM)
        self.map_norm = nn.LayerNorm(n_points)
        self.layer_embedding = nn.Parameter(torch.zeros(self.n_layers, n_points))
        nn.init.normal_(self.layer_embedding, std=0.1)
        if config.recurrent == "stack":
            self.recurrent: nn.Module = _StackedLSTM(n_points, config)
        else:
            self.recurrent = _HierarchicalLSTM(n_points, config)
        self.pooled_head = (
            _pooled_head(sum(widths) * config.pooled_bands, config) if config.n_pooled else None
        )
        self.hash_head = nn.Linear(config.n_hidden + config.n_pooled, config.n_bits)
        self.genre_head = nn.Linear(config.n_bits, n_genres)

    def set_selected_maps(self, selected_LM: Tensor) -> None:
        """Store which maps of each block are read, and in which order.

        Parameters
        ----------
        selected_LM : (n_blocks, n_maps) int64
            See `musichash_core.map_selection.select_maps`.
        """
        if selected_LM.shape != self.selected.shape:
            raise ParameterError(
                f"selected maps of shape {tuple(selected_LM.shape)}: "
                f"want {tuple(self.selected.shape)}"
            )
        self.selected.copy_(selected_LM)

    def interpolate(self, maps_BCFT: Tensor) -> Tensor:
        """Bring one block's maps to the common size, ``(n_segments, n_maps, n_points)``."""
        resized = functional.interpolate(
            maps_BCFT, size=self.map_shape, mode="bilinear", align_corners=False
        )
        return resized.flatten(start_dim=2)

    def pyramid(self, feature_maps: Sequence[Tensor]) -> Pyramid:
        """Select and interpolate the encoder's maps.

        Parameters
        ----------
        feature_maps : sequence of (n_segments, widths[l], bands, steps) float32
            `musichash_core.genre_cnn.GenreCNN.feature_maps`.
        """
        if len(feature_maps) != self.n_layers:
            raise ParameterError(f"{len(feature_maps)} blocks of maps: want {self.n_layers}")
        layers = [
            self.interpolate(maps_BCFT[:, selected_M])
            for maps_BCFT, selected_M in zip(feature_maps, self.selected, strict=True)
        ]
        pooled = [
            functional.adaptive_avg_pool2d(maps_BCFT, (self.pooled_bands, 1)).flatten(1)
            for maps_BCFT in feature_maps
        ]
        return Pyramid(torch.stack(layers, dim=1), torch.cat(pooled, dim=1))

    def forward(self, pyramid: Pyramid) -> HashOutput:
        """Compute hash logits, relaxed codes and genre logits of a batch of segments."""
        x_BLMD = self.map_norm(pyramid.maps) + self.layer_embedding[:, None]
        h_BN = self.recurrent(x_BLMD)
        if self.pooled_head is not None:
            h_BN = torch.cat([h_BN, self.pooled_head(pyramid.pooled)], dim=1)
        logits_BK = self.hash_head(h_BN)
        relaxed_BK = torch.tanh(logits_BK)
        return HashOutput(logits_BK, relaxed_BK, self.genre_head(relaxed_BK))


class _StackedLSTM(nn.Module):
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


class _HierarchicalLSTM(nn.Module):
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


def _pooled_head(n_in: int, config: CRNNHashConfig) -> nn.Sequential:
    """Build the skip: means of all maps, put on one scale, through one layer."""
    return nn.Sequential(nn.BatchNorm1d(n_in), nn.Linear(n_in, config.n_pooled), nn.ReLU())


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
