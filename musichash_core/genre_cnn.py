"""GenreCNN: segments of O, H and P mel spectrograms -> genre logits (METHOD 3).

Legend
------
B batch, C input channels (O, H, P), M mel bands, T frames, W maps of a block, F bands of a map,
G genres. A segment is ``x_BCMT``, compressed by `musichash_core.decibels.bytes_to_model_input`.

The blocks' outputs are the feature maps that `musichash_core.crnn_hash` builds its pyramid from.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from musichash_core.errors import ParameterError
from musichash_core.model_config import GenreCNNConfig

MIN_SCALE = 1e-3
"""Smallest standard deviation that input is divided by; a band that never changes has 0."""


class GenreCNN(nn.Module):
    """Convolution blocks (conv, batch norm, ReLU, pool), mean and maximum over each map, linear.

    With ``fusion="towers"`` each channel has blocks of its own, as many maps in each, and the
    linear layer is the first to see them together.

    Parameters
    ----------
    config : GenreCNNConfig
    n_channels, n_mels, n_genres : >= 1
        Sizes that the features and the labels decide.
    """

    input_mean: Tensor
    input_scale: Tensor

    def __init__(
        self, config: GenreCNNConfig, *, n_channels: int, n_mels: int, n_genres: int
    ) -> None:
        super().__init__()
        if min(n_channels, n_mels >> len(config.widths), n_genres) < 1:
            raise ParameterError(
                f"n_channels={n_channels}, n_mels={n_mels}, n_genres={n_genres}: each must be at "
                f"least 1, and n_mels must allow {len(config.widths)} halvings"
            )
        n_towers = n_channels if config.fusion == "towers" else 1
        if any(width % n_towers for width in config.widths):
            raise ParameterError(
                f"widths={config.widths} cannot be divided between {n_towers} towers; want "
                f"multiples of {n_towers}, or fusion='early'"
            )
        self.n_channels = n_channels
        self.n_mels = n_mels
        self.register_buffer("input_mean", torch.zeros(n_channels, n_mels))
        self.register_buffer("input_scale", torch.ones(n_channels, n_mels))
        sizes = (n_channels, *config.widths)
        self.conv_blocks = nn.ModuleList(
            _conv_block(n_in, n_out, n_towers, config) for n_in, n_out in pairwise(sizes)
        )
        self.dropout = nn.Dropout(config.dropout)
        self.genre_head = nn.Linear(2 * config.widths[-1], n_genres)

    def set_input_statistics(self, mean_CM: Tensor, deviation_CM: Tensor) -> None:
        """Store the training set's mean and standard deviation per channel and mel band.

        Parameters
        ----------
        mean_CM, deviation_CM : (n_channels, n_mels)
            Of compressed input; deviations below `MIN_SCALE` count as `MIN_SCALE`.
        """
        if mean_CM.shape != self.input_mean.shape or deviation_CM.shape != self.input_mean.shape:
            raise ParameterError(
                f"statistics of shape {tuple(mean_CM.shape)} and {tuple(deviation_CM.shape)}: "
                f"want {tuple(self.input_mean.shape)}"
            )
        self.input_mean.copy_(mean_CM)
        self.input_scale.copy_(deviation_CM.clamp(min=MIN_SCALE).reciprocal())

    def feature_maps(self, x_BCMT: Tensor) -> list[Tensor]:
        """Compute the output of each block, shallow to deep.

        Parameters
        ----------
        x_BCMT : (n_segments, n_channels, n_mels, n_frames) float32

        Returns
        -------
        list of (n_segments, widths[l], n_mels >> (l + 1), n_frames >> (l + 1)) float32
        """
        if x_BCMT.ndim != 4 or x_BCMT.shape[1:3] != self.input_mean.shape:
            raise ParameterError(
                f"input of shape {tuple(x_BCMT.shape)}: want (n_segments, {self.n_channels}, "
                f"{self.n_mels}, n_frames)"
            )
        x_BWFT = (x_BCMT - self.input_mean[:, :, None]) * self.input_scale[:, :, None]
        x_BWFT = x_BWFT.contiguous(memory_format=torch.channels_last)
        maps = []
        for block in self.conv_blocks:
            x_BWFT = block(x_BWFT)
            maps.append(x_BWFT)
        return maps

    def classify(self, deepest_BWFT: Tensor) -> Tensor:
        """Turn the last block's maps into genre logits, ``(n_segments, n_genres)``."""
        pooled_BW = torch.cat([deepest_BWFT.mean(dim=(2, 3)), deepest_BWFT.amax(dim=(2, 3))], dim=1)
        logits_BG: Tensor = self.genre_head(self.dropout(pooled_BW))
        return logits_BG

    def forward(self, x_BCMT: Tensor) -> Tensor:
        """Compute genre logits.

        Parameters
        ----------
        x_BCMT : (n_segments, n_channels, n_mels, n_frames) float32

        Returns
        -------
        (n_segments, n_genres) float32
            Before softmax.
        """
        return self.classify(self.feature_maps(x_BCMT)[-1])


def _conv_block(n_in: int, n_out: int, n_towers: int, config: GenreCNNConfig) -> nn.Sequential:
    """Build conv, batch norm, ReLU and 2 x 2 pooling; the norm makes a bias useless.

    Towers are groups of the convolution: maps of one are never mixed with those of another.
    """
    pool = nn.MaxPool2d(2) if config.pooling == "max" else nn.AvgPool2d(2)
    side = config.kernel_size
    conv = nn.Conv2d(n_in, n_out, side, padding=side // 2, groups=n_towers, bias=False)
    # Maps side by side in memory, not in planes: on a CPU 2.5 times faster, 1.5 times in training.
    conv.weight = nn.Parameter(conv.weight.detach().contiguous(memory_format=torch.channels_last))
    return nn.Sequential(conv, nn.BatchNorm2d(n_out), nn.ReLU(inplace=True), pool)
