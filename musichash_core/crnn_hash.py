"""CRNNHash: the encoder's feature maps -> pyramid -> LSTM -> hash layer -> softmax (METHOD 4).

A reconstruction of CRNNH from its published descriptions. With a pooled skip beside the recurrent
part and fixed centres instead of a softmax layer it is "CRNNH+"; `CRNNHashConfig` also builds the
controls of METHOD 4.3.

Legend
------
B batch, L blocks of the encoder, M maps selected per block, D points of an interpolated map,
N hidden units, K bits, G genres.

Public: `CRNNHash`, `Pyramid`, `HashOutput`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from musichash_core.errors import ParameterError
from musichash_core.model_config import COSINE_SCALE, CRNNHashConfig
from musichash_core.recurrent_parts import (
    HierarchicalLSTM,
    StackedLSTM,
    TimeLSTM,
    matched_head,
    matched_width,
    pooled_head,
)

SMALLEST_NORM = 1e-3
"""Shorter codes count as this long when a cosine is taken: a batch of equal segments has codes of
length 0 behind the batch norm, and their gradient would be endless."""


class Pyramid(NamedTuple):
    """What the hashing network reads of a frozen encoder; small enough to be kept.

    Attributes
    ----------
    maps : (n_segments, n_blocks, n_maps, n_points) float32
        Selected maps, interpolated to one size and flattened. Of a network over time: all maps of
        the last block, averaged over bands, one point per frame. No blocks without a recurrent
        part.
    pooled : (n_segments, sum of the read blocks' widths * pooled_bands) float32
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
        ``v``: tanh(u); ``u`` itself in front of fixed centres.
    genre_logits : (n_segments, n_genres) float32
        Before softmax; with fixed centres `COSINE_SCALE` times the cosines to them.
    """

    logits: Tensor
    relaxed: Tensor
    genre_logits: Tensor


class CRNNHash(nn.Module):
    """Recurrent part over the selected feature maps, then hash layer and softmax layer.

    Parameters
    ----------
    config : CRNNHashConfig
    widths : sequence of int
        Maps of each block of the encoder.
    n_genres : >= 1
    """

    selected: Tensor
    step_order: Tensor | None
    centres: Tensor

    def __init__(self, config: CRNNHashConfig, *, widths: Sequence[int], n_genres: int) -> None:
        super().__init__()
        if config.n_maps > min(widths):
            raise ParameterError(
                f"n_maps={config.n_maps}: the encoder's blocks have {tuple(widths)} feature maps"
            )
        self.map_shape = config.map_shape
        self.pooled_bands = config.pooled_bands
        self.n_layers = len(widths)
        self.first_block = 0 if config.blocks == "all" else len(widths) - 1
        self.reads = config.recurrent
        first_maps_LM = torch.arange(config.n_maps).repeat(self.n_layers, 1)
        self.register_buffer("selected", first_maps_LM)
        n_recurrent = self._build_recurrent(config, widths)
        n_pooled = self._build_pooled(config, widths)
        self._build_heads(config, n_recurrent + n_pooled, n_genres)

    def _build_recurrent(self, config: CRNNHashConfig, widths: Sequence[int]) -> int:
        """Build what reads the maps; give the size of its output."""
        n_blocks = self.n_layers - self.first_block
        n_points = config.map_shape[0] * config.map_shape[1]
        self.recurrent: nn.Module | None = None
        self.register_buffer("step_order", None)
        if config.recurrent == "none":
            return 0
        if config.recurrent == "time":
            self.recurrent = TimeLSTM(widths[-1], config)
            return config.n_hidden
        self.map_norm = nn.LayerNorm(n_points)
        self.layer_embedding = nn.Parameter(torch.zeros(n_blocks, n_points))
        nn.init.normal_(self.layer_embedding, std=0.1)
        if config.recurrent == "stack":
            self.recurrent = StackedLSTM(n_points, config)
        else:
            self.recurrent = HierarchicalLSTM(n_points, config)
        if config.shuffled_steps:
            self.step_order = torch.randperm(n_blocks * config.n_maps)
        return config.n_hidden

    def _build_pooled(self, config: CRNNHashConfig, widths: Sequence[int]) -> int:
        """Build what reads the maps' means; give the size of its output."""
        n_means = sum(widths[self.first_block :]) * config.pooled_bands
        self.pooled_head: nn.Module | None = None
        if config.recurrent == "none":
            n_units = matched_width(n_means, self.n_layers - self.first_block, config)
            self.pooled_head = matched_head(n_means, n_units, config.dropout)
            return n_units
        if config.n_pooled:
            self.pooled_head = pooled_head(n_means, config.n_pooled)
        return config.n_pooled

    def _build_heads(self, config: CRNNHashConfig, n_features: int, n_genres: int) -> None:
        """Build hash layer and softmax layer, or hash layer, batch norm and fixed centres."""
        self.hash_norm: nn.Module | None = None
        if config.head == "tanh":
            self.hash_head = nn.Linear(n_features, config.n_bits)
            self.genre_head = nn.Linear(config.n_bits, n_genres)
            return
        self.hash_head = nn.Linear(n_features, config.n_bits, bias=False)
        # Without shift: each bit is set in half of the training batches' segments.
        self.hash_norm = nn.BatchNorm1d(config.n_bits, affine=False)
        self.register_buffer("centres", torch.ones(n_genres, config.n_bits))

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

    def set_centres(self, centres_GK: Tensor) -> None:
        """Store the code that each genre is drawn to.

        Parameters
        ----------
        centres_GK : (n_genres, n_bits) float32
            -1 or +1 (`musichash_core.hash_baselines.hash_centres`).

        Raises
        ------
        ParameterError
            The network has no centres, or they have another shape.
        """
        if self.hash_norm is None:
            raise ParameterError("head='tanh' has no centres; want head='centres'")
        if centres_GK.shape != self.centres.shape:
            raise ParameterError(
                f"centres of shape {tuple(centres_GK.shape)}: want {tuple(self.centres.shape)}"
            )
        self.centres.copy_(centres_GK)

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
        pooled = [
            functional.adaptive_avg_pool2d(maps_BCFT, (self.pooled_bands, 1)).flatten(1)
            for maps_BCFT in feature_maps[self.first_block :]
        ]
        return Pyramid(self._maps_to_read(feature_maps), torch.cat(pooled, dim=1))

    def _maps_to_read(self, feature_maps: Sequence[Tensor]) -> Tensor:
        """Give `Pyramid.maps`."""
        if self.reads == "time":
            return feature_maps[-1].mean(dim=2)[:, None]
        if self.reads == "none":
            return feature_maps[-1].new_zeros((len(feature_maps[-1]), 0, 0, 0))
        read = slice(self.first_block, None)
        layers = [
            self.interpolate(maps_BCFT[:, selected_M])
            for maps_BCFT, selected_M in zip(feature_maps[read], self.selected[read], strict=True)
        ]
        return torch.stack(layers, dim=1)

    def forward(self, pyramid: Pyramid) -> HashOutput:
        """Compute hash logits, relaxed codes and genre logits of a batch of segments."""
        parts = []
        if self.recurrent is not None:
            parts.append(self.recurrent(self._steps(pyramid.maps)))
        if self.pooled_head is not None:
            parts.append(self.pooled_head(pyramid.pooled))
        logits_BK = self.hash_head(torch.cat(parts, dim=1))
        if self.hash_norm is None:
            relaxed_BK = torch.tanh(logits_BK)
            return HashOutput(logits_BK, relaxed_BK, self.genre_head(relaxed_BK))
        # Where half precision is on: not here, a cosine's third digit decides between genres.
        with torch.autocast(logits_BK.device.type, enabled=False):
            logits_BK = self.hash_norm(logits_BK.float())
            unit_BK = functional.normalize(logits_BK, dim=1, eps=SMALLEST_NORM)
            cosines_BG = unit_BK @ functional.normalize(self.centres, dim=1).T
        return HashOutput(logits_BK, logits_BK, COSINE_SCALE * cosines_BG)

    def _steps(self, maps_BLMD: Tensor) -> Tensor:
        """Bring the maps into the scale and the order in which the recurrent part reads them."""
        if self.reads == "time":
            return maps_BLMD[:, 0]
        x_BLMD: Tensor = self.map_norm(maps_BLMD) + self.layer_embedding[:, None]
        if self.step_order is None:
            return x_BLMD
        return x_BLMD.flatten(1, 2)[:, self.step_order].view_as(x_BLMD)
