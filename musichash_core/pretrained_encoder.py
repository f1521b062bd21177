"""A musicnn network in the place of the genre network: the "pre-trained CNN" of CRNNH (METHOD 4.1).

`PretrainedEncoder` gives the hashing networks the maps of `musichash_core.musicnn` and is never
trained, but for a linear genre layer on the pooled maps of its last block. Tracks are given to it
as any others, see `tagger_track`.

`VectorCRNNHash` is CRNNH+ whose skip also sees one vector per track, such as
`musichash_core.descriptors` gives. A vector belongs to a track and the maps to a segment:
`VectorPyramids` puts the two together.

Public: `PretrainedEncoder`, `tagger_track`, `settings_for_encoder`, `fit_genre_head`,
`VectorCRNNHash`, `VectorPyramids`, `standardise_vectors`.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from musichash_core.crnn_hash import CRNNHash, Pyramid
from musichash_core.errors import ParameterError, TrainingError
from musichash_core.model_config import CRNNHashConfig, ModelConfig
from musichash_core.musicnn.log_mel import N_MELS, PATCH_FRAMES
from musichash_core.musicnn.networks import MusiCNN
from musichash_core.musicnn.pretrained import Tagger
from musichash_core.pyramid_cache import PyramidSource
from musichash_core.segments import FrameSource, TrackFrames

FLAT_MAP_SHAPE = (1, 24)
"""Of interpolated maps that have no bands but one: as many points as METHOD's 24 x 1 has."""

GENRE_WEIGHT_DECAY = 1e-2
"""Of the genre layer, which sees standardised numbers and a mean loss."""

MAX_STEPS = 500
"""Of L-BFGS, which stops by itself long before."""

LARGEST_DEVIATION = 5.0
"""Standard deviations beyond which a number of a vector is cut."""

VECTOR_DROPOUT = 0.3
"""Share of a vector's numbers, and of the skip's units, that is dropped in training."""


class PretrainedEncoder(nn.Module):
    """A frozen musicnn network behind the interface of `musichash_core.genre_cnn.GenreCNN`.

    Parameters
    ----------
    network : MusiCNN or VGG
        From `musichash_core.musicnn.pretrained.load_musicnn`; its weights are frozen here.
    n_genres : >= 1
        Of the genre layer, whose weights are 0 until `fit_genre_head` sets them.

    Attributes
    ----------
    widths : tuple of int
        Maps of each block.
    input_mean : (1, 96) float32
        Zeros: the network standardises its input itself. They tell the device.
    """

    input_mean: Tensor

    n_channels = 1
    n_mels = N_MELS

    def __init__(self, network: Tagger, *, n_genres: int) -> None:
        super().__init__()
        if n_genres < 1:
            raise ParameterError(f"n_genres={n_genres}: want at least 1")
        self.widths = network.widths
        self.network = network.requires_grad_(False)
        self.register_buffer("input_mean", torch.zeros(self.n_channels, self.n_mels))
        self.genre_head = nn.Linear(2 * self.widths[-1], n_genres)
        nn.init.zeros_(self.genre_head.weight)
        nn.init.zeros_(self.genre_head.bias)

    def feature_maps(self, segments: Tensor, /) -> list[Tensor]:
        """Compute the output of each block, shallow to deep.

        Parameters
        ----------
        segments : (n_segments, 1, 96, 187) float32
            From `musichash_core.segments.cut_segments`.

        Returns
        -------
        list of (n_segments, widths[l], F, T) float32
            A MusiCNN has one band; see `musichash_core.musicnn.networks`.
        """
        if segments.ndim != 4 or segments.shape[1:3] != self.input_mean.shape:
            raise ParameterError(
                f"input of shape {tuple(segments.shape)}: want (n_segments, {self.n_channels}, "
                f"{self.n_mels}, {PATCH_FRAMES})"
            )
        return self.network.feature_maps(segments[:, 0].transpose(1, 2).contiguous())

    def classify(self, deepest: Tensor) -> Tensor:
        """Turn the last block's maps into genre logits, ``(n_segments, n_genres)``."""
        logits: Tensor = self.genre_head(pooled_maps(deepest))
        return logits

    def forward(self, segments: Tensor) -> Tensor:
        """Compute genre logits of segments, as `feature_maps` takes them."""
        return self.classify(self.feature_maps(segments)[-1])


def pooled_maps(maps: Tensor) -> Tensor:
    """Give mean and maximum of each map, ``(n_segments, 2 * W)``."""
    return torch.cat([maps.mean(dim=(2, 3)), maps.amax(dim=(2, 3))], dim=1)


def tagger_track(track_id: str, tagger_frames: NDArray[np.uint8]) -> TrackFrames:
    """Give tagger frames ``(n, 96)`` uint8 as a track of one channel, at the level they came with.

    With segments of 187 frames, `musichash_core.segments.cut_segments` then gives the networks'
    own input, its axes exchanged.
    """
    if tagger_frames.ndim != 2 or tagger_frames.shape[1] != N_MELS:
        raise ParameterError(
            f"tagger frames of shape {tagger_frames.shape}: want (n_frames, {N_MELS})"
        )
    frames: FrameSource = tagger_frames[:, np.newaxis]
    return TrackFrames(track_id, frames, peak=1.0)


def settings_for_encoder(config: ModelConfig, network: Tagger) -> ModelConfig:
    """Give settings whose segments and maps are those of the network; the rest as configured.

    Segments lie side by side. Fewer maps are selected where the narrowest block has fewer. Maps of
    a MusiCNN, which have one band, are interpolated to `FLAT_MAP_SHAPE`.
    """
    segments = {"n_frames": PATCH_FRAMES, "hop_frames": PATCH_FRAMES}
    crnn_hash: dict[str, object] = {"n_maps": min(config.crnn_hash.n_maps, *network.widths)}
    if isinstance(network, MusiCNN):
        crnn_hash |= {"map_shape": FLAT_MAP_SHAPE, "pooled_bands": 1}
    update = {
        "segments": config.segments.model_copy(update=segments),
        "genre_cnn": config.genre_cnn.model_copy(update={"widths": network.widths}),
        "crnn_hash": config.crnn_hash.model_copy(update=crnn_hash),
    }
    return config.model_copy(update=update)


def fit_genre_head(
    encoder: PretrainedEncoder, pooled: Tensor, genres: NDArray[np.int64]
) -> PretrainedEncoder:
    """Set the genre layer's weights: logistic regression, every genre weighing the same.

    The mean loss plus half of `GENRE_WEIGHT_DECAY` times the squared weights of standardised
    inputs is convex; L-BFGS finds its minimum, so no seed is involved.

    Parameters
    ----------
    encoder : PretrainedEncoder
        Changed in place, and given back.
    pooled : (n_segments, 2 * widths[-1]) float32
        From `pooled_maps`.
    genres : (n_segments,) int64
        Every genre occurs.

    Raises
    ------
    TrainingError
        A genre has no segment.
    """
    n_genres = encoder.genre_head.out_features
    counts = np.bincount(genres, minlength=n_genres)
    if len(counts) != n_genres or not counts.all():
        raise TrainingError(
            f"segments per genre {counts.tolist()}: want at least one of each of {n_genres}"
        )
    x = pooled.detach().double().cpu()
    mean, deviation = x.mean(dim=0), x.std(dim=0, correction=0)
    scale = torch.where(deviation > 0, deviation, torch.inf).reciprocal()
    z, truth = (x - mean) * scale, torch.from_numpy(genres)
    weights = torch.from_numpy(len(genres) / (n_genres * counts))
    w = torch.zeros(n_genres, z.shape[1], dtype=torch.float64, requires_grad=True)
    b = torch.zeros(n_genres, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [w, b],
        max_iter=MAX_STEPS,
        tolerance_grad=1e-8,
        tolerance_change=1e-14,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = functional.cross_entropy(z @ w.T + b, truth, weight=weights)
        loss = loss + 0.5 * GENRE_WEIGHT_DECAY * w.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        encoder.genre_head.weight.copy_(w * scale)
        encoder.genre_head.bias.copy_(b - (w * scale) @ mean)
    return encoder


def standardise_vectors(
    vectors: NDArray[np.float32], is_training: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Standardise vectors by the training tracks among them; cut what is far out.

    Parameters
    ----------
    vectors : (n_tracks, n_numbers) float32
    is_training : (n_tracks,) bool

    Returns
    -------
    (n_tracks, n_numbers) float32
        Within ``LARGEST_DEVIATION``; 0 where all training tracks have the same number.
    """
    known = vectors[is_training].astype(np.float64)
    deviation = known.std(axis=0)
    varies = np.ptp(known, axis=0) > 0
    scale = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=varies)
    standard: NDArray[np.float64] = (vectors - known.mean(axis=0)) * scale
    return np.clip(standard, -LARGEST_DEVIATION, LARGEST_DEVIATION).astype(np.float32)


class VectorCRNNHash(CRNNHash):
    """CRNNH+ with a vector per track beside the means of its pooled skip.

    Parameters
    ----------
    config : CRNNHashConfig
        With a recurrent part and ``n_pooled`` of at least 1.
    widths : sequence of int
        Maps of each block of the encoder.
    n_genres, n_vector : >= 1
        `Pyramid.pooled` has `n_vector` more columns than the means (`VectorPyramids`).
    """

    def __init__(
        self, config: CRNNHashConfig, *, widths: Sequence[int], n_genres: int, n_vector: int
    ) -> None:
        if config.recurrent == "none" or not config.n_pooled:
            raise ParameterError(
                f"recurrent={config.recurrent!r}, n_pooled={config.n_pooled}: a vector needs a "
                "recurrent part and a pooled skip"
            )
        super().__init__(config, widths=widths, n_genres=n_genres)
        n_means = sum(widths[self.first_block :]) * config.pooled_bands
        self.pooled_head = _VectorSkip(n_means, n_vector, config.n_pooled)


class _VectorSkip(nn.Module):
    """One layer over means, which are put on one scale, and a vector that is on one already."""

    def __init__(self, n_means: int, n_vector: int, n_out: int) -> None:
        super().__init__()
        self.n_means = n_means
        self.norm = nn.BatchNorm1d(n_means)
        self.dropout = nn.Dropout(VECTOR_DROPOUT)
        self.linear = nn.Linear(n_means + n_vector, n_out)

    def forward(self, pooled: Tensor) -> Tensor:
        means = self.norm(pooled[:, : self.n_means])
        read = self.dropout(torch.cat([means, pooled[:, self.n_means :]], dim=1))
        units: Tensor = self.dropout(functional.relu(self.linear(read)))
        return units


class VectorPyramids:
    """Pyramids whose means are followed by the vector of the track that the segment is from.

    Parameters
    ----------
    source : PyramidSource
    vectors : (n_tracks, n_vector) float32
    track_of_row : (n_segments,) int64
        Row of `vectors` of each segment.
    """

    def __init__(
        self,
        source: PyramidSource,
        vectors: NDArray[np.float32],
        track_of_row: NDArray[np.int64],
    ) -> None:
        if len(track_of_row) != len(source):
            raise ParameterError(f"tracks of {len(track_of_row)} segments: want {len(source)}")
        self._source = source
        self._vectors = torch.from_numpy(vectors)
        self._track_of_row = track_of_row

    def __len__(self) -> int:
        return len(self._source)

    def read(self, rows: NDArray[np.int64], device: torch.device) -> Pyramid:
        """Give some segments' pyramids as float32 on a device."""
        maps, pooled = self._source.read(rows, device)
        vectors = self._vectors[torch.from_numpy(self._track_of_row[rows])].to(device)
        return Pyramid(maps, torch.cat([pooled, vectors], dim=1))
