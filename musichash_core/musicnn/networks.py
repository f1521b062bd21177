"""The two architectures of musicnn, as they are at inference: log-mel patches -> tags, maps.

`MusiCNN` (Pons and Serra, "musicnn: pre-trained convolutional neural networks for music audio
tagging", ISMIR 2019 late-breaking demos; Pons et al., ISMIR 2018) looks at a patch with filters as
high as timbres and as long as rhythms, then at their maxima over frequency. `VGG` is its baseline:
five blocks of 3 x 3 filters after Choi et al. (ISMIR 2016), whose pooled maps are what
`musichash_core.crnn_hash` builds its pyramid from.

Legend
------
B batch (patches), T frames, M mel bands, W maps, F bands of a map, D width of the embedding,
G tags. Inputs are ``x_BTM`` from `musichash_core.musicnn.log_mel`; maps are given out as
``(B, W, F, T)``, the order that `musichash_core.genre_cnn.GenreCNN.feature_maps` has.

Weight decay drove most filters of the published networks to exact constants: of MSD_musicnn's 561
front filters, 62 look at their input. The others are no part of these networks: how many remain is
given to the constructors, and what the constants add to the next layer, which differs at the
borders of a patch, comes in as one more map, of ones (`musichash_core.musicnn.constant_filters`).

There is no dropout, and batch normalisation is the fixed scale and shift that it is at inference:
train mode and evaluation mode give the same.

Public: `MusiCNN`, `VGG`, `TaggerOutput`, `MUSICNN_FRONT_WIDTHS`, `VGG_WIDTHS`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from musichash_core.errors import ParameterError
from musichash_core.musicnn.log_mel import N_MELS, PATCH_FRAMES

FRONT_SIZES = ((7, 38), (7, 67), (128, 1), (64, 1), (32, 1))
"""Frames and bands of the filters of timbre (two) and rhythm (three)."""

MUSICNN_FRONT_WIDTHS = (204, 204, 51, 51, 51)
"""How many of each the authors began with."""

MIDDLE_WIDTH, MIDDLE_LAYERS, MIDDLE_FRAMES = 64, 3, 7
EMBEDDING_WIDTH = 200

VGG_WIDTHS = (128,) * 5
Pool = tuple[tuple[int, int], int]
"""Size, in frames and bands, and step."""

VGG_POOLS: tuple[Pool, ...] = (((4, 1), 2), *[((2, 2), 2)] * 3, ((4, 4), 4))

VGG_LAST_FRAMES = 2
"""Of a patch of 187 frames, the last pooling leaves two positions in time, one in frequency."""


class TaggerOutput(NamedTuple):
    """What a network says about a batch of patches.

    Attributes
    ----------
    logits : (n_patches, n_tags) float32
        Before the sigmoid: tags do not exclude one another.
    embedding : (n_patches, embedding_width) float32
        What the last layer reads.
    maps : list of (n_patches, widths[l], F, T) float32
        Shallow to deep.
    """

    logits: Tensor
    embedding: Tensor
    maps: list[Tensor]


class MusiCNN(nn.Module):
    """Timbre and rhythm filters, three residual layers over time, mean and maximum, two dense.

    Parameters
    ----------
    tags : sequence of str
        Names of the outputs, in order; kept as the attribute ``tags``.
    front_widths : five of >= 1
        Number of filters of each size in `FRONT_SIZES`.
    """

    embedding_width = EMBEDDING_WIDTH

    def __init__(
        self, tags: Sequence[str], front_widths: Sequence[int] = MUSICNN_FRONT_WIDTHS
    ) -> None:
        super().__init__()
        _check_widths(front_widths, len(FRONT_SIZES))
        self.tags = tuple(tags)
        self.widths = (sum(front_widths), *[MIDDLE_WIDTH] * MIDDLE_LAYERS)
        self.input_norm = _ScaleShift(1)
        self.front = nn.ModuleList(
            _FilterBlock(1, width, size)
            for width, size in zip(front_widths, FRONT_SIZES, strict=True)
        )
        n_read = (self.widths[0] + 1, *self.widths[1:-1])
        self.middle = nn.ModuleList(_TimeLayer(n_in, MIDDLE_WIDTH) for n_in in n_read)
        self.dense = nn.Linear(2 * sum(self.widths), EMBEDDING_WIDTH)
        self.dense_norm = _ScaleShift(EMBEDDING_WIDTH)
        self.tag_head = nn.Linear(EMBEDDING_WIDTH, len(self.tags))

    def feature_maps(self, x_BTM: Tensor) -> list[Tensor]:
        """Compute the front end's maps and those of the three layers after it.

        Parameters
        ----------
        x_BTM : (n_patches, n_frames, 96) float32
            Patches may be shorter or longer than 187 frames, but were not in training.

        Returns
        -------
        list of (n_patches, widths[l], 1, n_frames) float32
            Frequency is pooled away at once.
        """
        _check_patches(x_BTM)
        x_B1TM = _one_map(self.input_norm(x_BTM[:, None]))
        front_BWT = torch.cat([block(x_B1TM)[..., 0] for block in self.front], dim=1)
        ones_B1T = torch.ones_like(front_BWT[:, :1])
        maps = [front_BWT]
        for layer in self.middle:
            if len(maps) == 1:
                maps.append(layer(torch.cat([front_BWT, ones_B1T], dim=1)))
            else:
                maps.append(maps[-1] + layer(maps[-1]))
        return [map_BWT[:, :, None] for map_BWT in maps]

    def embed(self, maps: list[Tensor]) -> Tensor:
        """Turn the maps of `feature_maps` into the embedding, ``(n_patches, 200)``."""
        all_BWT = torch.cat([map_BWFT[:, :, 0] for map_BWFT in maps], dim=1)
        # Maximum and mean of each map lie side by side in the authors' vector.
        pooled_BW = torch.stack([all_BWT.amax(dim=2), all_BWT.mean(dim=2)], dim=2).flatten(1)
        embedding_BD: Tensor = self.dense_norm(torch.relu(self.dense(pooled_BW)))
        return embedding_BD

    def forward(self, x_BTM: Tensor) -> TaggerOutput:
        """Compute tag logits, embedding and maps of ``(n_patches, n_frames, 96)`` float32."""
        maps = self.feature_maps(x_BTM)
        embedding_BD = self.embed(maps)
        return TaggerOutput(self.tag_head(embedding_BD), embedding_BD, maps)


class VGG(nn.Module):
    """Five blocks of filters of 3 x 3 and pooling, one dense layer.

    Parameters
    ----------
    tags : sequence of str
        Names of the outputs, in order; kept as the attribute ``tags``.
    widths : five of >= 1
        Number of filters of each block; kept as an attribute.
    """

    def __init__(self, tags: Sequence[str], widths: Sequence[int] = VGG_WIDTHS) -> None:
        super().__init__()
        _check_widths(widths, len(VGG_POOLS))
        self.tags = tuple(tags)
        self.widths = tuple(widths)
        self.embedding_width = VGG_LAST_FRAMES * self.widths[-1]
        self.input_norm = _ScaleShift(1)
        n_read = (1, *(width + 1 for width in self.widths[:-1]))
        self.blocks = nn.ModuleList(
            _FilterBlock(n_in, n_out, (3, 3), pool)
            for n_in, n_out, pool in zip(n_read, self.widths, VGG_POOLS, strict=True)
        )
        self.tag_head = nn.Linear(self.embedding_width, len(self.tags))

    def feature_maps(self, x_BTM: Tensor) -> list[Tensor]:
        """Compute the maps after each of the five poolings.

        Parameters
        ----------
        x_BTM : (n_patches, 187, 96) float32

        Returns
        -------
        list of (n_patches, widths[l], F, T) float32
            F and T are 48 x 92, 24 x 46, 12 x 23, 6 x 11 and 1 x 2.
        """
        _check_patches(x_BTM, n_frames=PATCH_FRAMES)
        read_BWTF = _one_map(self.input_norm(x_BTM[:, None]))
        maps = []
        for block in self.blocks:
            x_BWTF = block(read_BWTF)
            read_BWTF = torch.cat([x_BWTF, torch.ones_like(x_BWTF[:, :1])], dim=1)
            maps.append(x_BWTF.transpose(2, 3))
        return maps

    def embed(self, maps: list[Tensor]) -> Tensor:
        """Flatten the deepest of the maps of `feature_maps`: time, then maps."""
        return maps[-1].permute(0, 3, 2, 1).flatten(1)

    def forward(self, x_BTM: Tensor) -> TaggerOutput:
        """Compute tag logits, embedding and maps of ``(n_patches, 187, 96)`` float32."""
        maps = self.feature_maps(x_BTM)
        embedding_BD = self.embed(maps)
        return TaggerOutput(self.tag_head(embedding_BD), embedding_BD, maps)


class _ScaleShift(nn.Module):
    """Batch normalisation at inference: one factor and one summand for each place of axis 1."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))
        self.shift = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        shape = (-1, *[1] * (x.ndim - 2))
        return torch.addcmul(self.shift.view(shape), x, self.scale.view(shape))


class _FilterBlock(nn.Module):
    """Convolution over frames and bands, ReLU, scale and shift, maximum.

    Padding is TensorFlow's: the odd zero comes last. Filters as high as timbres get none in
    frequency, where each must lie inside the patch.

    Parameters
    ----------
    size : frames, bands
        Of the filters.
    pool : size and step, optional
        By default the maximum over all frequencies.
    """

    def __init__(
        self, n_in: int, n_out: int, size: tuple[int, int], pool: Pool | None = None
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(n_in, n_out, size)
        # Maps side by side in memory, not in planes: on a CPU three times faster.
        weight = self.conv.weight.detach().contiguous(memory_format=torch.channels_last)
        self.conv.weight = nn.Parameter(weight)
        self.norm = _ScaleShift(n_out)
        self.pool = pool
        n_frames, n_bands = size
        in_bands = n_bands // 2 if pool else 0
        before = (n_frames - 1) // 2
        self.padding = (in_bands, in_bands, before, n_frames - 1 - before)

    def forward(self, x_BWTF: Tensor) -> Tensor:
        """Take the maximum before all but the convolution, on far fewer numbers.

        ReLU and scale keep the order, or turn it round where a scale is negative. There the filter
        is negated for as long as the maximum is taken.
        """
        sign_W = torch.where(self.norm.scale < 0, -1.0, 1.0)
        weight = self.conv.weight * sign_W[:, None, None, None]
        bias = None if self.conv.bias is None else self.conv.bias * sign_W
        filtered = functional.conv2d(functional.pad(x_BWTF, self.padding), weight, bias)
        size, step = self.pool or ((1, filtered.shape[3]), 1)
        pooled = functional.max_pool2d(filtered, size, step)
        result: Tensor = self.norm(torch.relu(pooled * sign_W[:, None, None]))
        return result


class _TimeLayer(nn.Module):
    """Convolution over frames, ReLU, scale and shift."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(n_in, n_out, MIDDLE_FRAMES, padding=MIDDLE_FRAMES // 2)
        self.norm = _ScaleShift(n_out)

    def forward(self, x_BWT: Tensor) -> Tensor:
        result: Tensor = self.norm(torch.relu(self.conv(x_BWT)))
        return result


def _one_map(x_B1TM: Tensor) -> Tensor:
    """Give a single map the strides of many: torch chooses the faster kernels by them."""
    return x_B1TM.to(memory_format=torch.channels_last)


def _check_widths(widths: Sequence[int], n_layers: int) -> None:
    if len(widths) != n_layers or min(widths) < 1:
        raise ParameterError(f"widths {tuple(widths)}: want {n_layers} numbers from 1")


def _check_patches(x_BTM: Tensor, n_frames: int | None = None) -> None:
    is_fit = x_BTM.ndim == 3 and x_BTM.shape[2] == N_MELS and x_BTM.shape[1] > 0
    if not is_fit or n_frames not in (None, x_BTM.shape[1]):
        raise ParameterError(
            f"patches of shape {tuple(x_BTM.shape)}: want (n_patches, "
            f"{n_frames or 'n_frames'}, {N_MELS})"
        )
