"""Settings of the two models, their losses and their training, gathered in `ModelConfig`.

They stand together, apart from the networks they describe, so that reading a configuration does
not import torch: workers that only extract features never pay for it (about 200 MB and a second).

Legend: METHOD sections are those of the project's method description; a default that differs from
it names the measurement.
"""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from musichash_core.segments import SegmentConfig

SelectionRule = Literal["rep", "cons", "div", "var", "rand"]


class GenreCNNConfig(BaseModel):
    """Shape of the genre network (METHOD 3)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    widths: tuple[int, ...] = Field(
        default=(32, 64, 128, 128, 128),
        min_length=1,
        max_length=6,
        description="feature maps of each convolution block, shallow to deep; each >= 4",
    )
    kernel_size: Literal[3, 5, 7] = Field(default=3, description="side of the convolution kernels")
    pooling: Literal["max", "avg"] = Field(
        default="max", description="2 x 2 pooling after each block"
    )
    dropout: float = Field(
        default=0.3, ge=0, le=0.9, description="share dropped before the output layer"
    )

    @model_validator(mode="after")
    def _check_widths(self) -> Self:
        if min(self.widths) < 4:
            raise ValueError(f"widths={self.widths}: each block needs at least 4 feature maps")
        return self


class CRNNHashConfig(BaseModel):
    """Shape of the hashing network: pyramid, recurrent part, hash layer (METHOD 4).

    The defaults that METHOD leaves open were chosen on 62 clips of 16 artists (4 seeds), by the
    share of 10 s excerpts that find their track among the first 3 and by validation mAP: no pooled
    skip .75 and .32, one of global means .92 and .37, one of means over 8 ranges of bands .96 and
    .45. Beside the skip both recurrent parts gave the same; the hierarchical one costs half.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_bits: int = Field(default=64, ge=16, le=256, multiple_of=8, description="bits per code")
    n_maps: int = Field(
        default=24, ge=1, le=512, description="feature maps selected from each block"
    )
    map_shape: tuple[int, int] = Field(
        default=(12, 12), description="bands x time steps of the interpolated maps; each 1 to 64"
    )
    selection: SelectionRule = Field(
        default="rep", description="rule that selects the maps (METHOD 4.2)"
    )
    recurrent: Literal["stack", "hierarchical"] = Field(
        default="hierarchical",
        description="two stacked LSTMs over all maps, or one per block and one over the blocks",
    )
    n_hidden: int = Field(default=256, ge=4, le=2048, description="units of each LSTM")
    n_pooled: int = Field(
        default=256,
        ge=0,
        le=2048,
        description="units that see the maps' means beside the LSTM; 0 = none",
    )
    pooled_bands: int = Field(
        default=8,
        ge=1,
        le=16,
        description="ranges of bands that those means are taken over; 1 is METHOD's global mean",
    )
    dropout: float = Field(
        default=0.2, ge=0, le=0.9, description="share dropped between the two LSTMs"
    )

    @property
    def code_bytes(self) -> int:
        """Bytes of one packed code."""
        return self.n_bits // 8

    @model_validator(mode="after")
    def _check_map_shape(self) -> Self:
        if not all(1 <= side <= 64 for side in self.map_shape):
            raise ValueError(f"map_shape={self.map_shape}: each side must be 1 to 64")
        return self


class LossConfig(BaseModel):
    """Weights of the parts of the hashing loss (METHOD 4.5); classification has weight 1.

    The instance part is not METHOD's: genre alone leaves the tracks of a genre little to be told
    apart by. On 62 clips of 16 artists (4 seeds), without it 64-bit codes of 10 s excerpts found
    their track among the first 3 in .86 of the cases, at a validation mAP of .51; with it in .96,
    at .45 (chance .17).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    similarity_weight: float = Field(default=0.3, ge=0, le=100, description="pairs of one genre")
    quantisation_weight: float = Field(
        default=0.1, ge=0, le=100, description="distance of tanh from +-1"
    )
    balance_weight: float = Field(
        default=1.0, ge=0, le=100, description="each bit set half of the time"
    )
    instance_weight: float = Field(
        default=1.0, ge=0, le=100, description="two segments of one track; 0 is METHOD's loss T"
    )
    instance_temperature: float = Field(
        default=0.1, gt=0, le=10, description="cosine difference that counts as one nat"
    )


class AugmentationConfig(BaseModel):
    """Strength of the random changes made to training segments (METHOD 2)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    gain_db: float = Field(
        default=6.0, ge=0, le=24, description="dB; gain drawn from -gain_db..+gain_db"
    )
    mask_bands: int = Field(default=16, ge=0, le=64, description="widest masked range, mel bands")
    mask_frames: int = Field(default=16, ge=0, le=256, description="longest masked range, frames")


class GenreStageConfig(BaseModel):
    """Training of the genre network."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(default=60, ge=1, le=10_000, description="passes over the tracks, at most")
    patience: int = Field(
        default=15, ge=1, le=10_000, description="epochs without a better validation"
    )
    batch_size: int = Field(default=64, ge=2, le=4096, description="segments per step")
    segments_per_track: int = Field(
        default=2, ge=1, le=1024, description="random segments per epoch"
    )
    validation_segments: int = Field(
        default=4, ge=1, le=1024, description="evenly spaced, per track"
    )
    learning_rate: float = Field(
        default=1e-3, gt=0, le=1, description="AdamW, cosine to a hundredth"
    )
    weight_decay: float = Field(default=1e-4, ge=0, le=10, description="AdamW")
    label_smoothing: float = Field(
        default=0.1, ge=0, lt=1, description="share spread over all genres"
    )


class HashStageConfig(BaseModel):
    """Training of the hashing network on the frozen genre network."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(default=40, ge=1, le=10_000, description="passes over the tracks, at most")
    patience: int = Field(
        default=15, ge=1, le=10_000, description="epochs without a better validation"
    )
    tracks_per_batch: int = Field(default=16, ge=2, le=1024, description="tracks per step")
    crops_per_batch: int = Field(
        default=4, ge=2, le=64, description="segments of each track per step"
    )
    cached_crops: int = Field(
        default=12, ge=2, le=1024, description="random segments per track whose pyramids are kept"
    )
    max_cached: int = Field(
        default=20_000,
        ge=64,
        le=10_000_000,
        description="segments kept in memory, at most; 42 kB each in the default networks",
    )
    selection_segments: int = Field(
        default=2000, ge=1, le=100_000, description="segments that map selection looks at, at most"
    )
    validation_segments: int = Field(
        default=6, ge=1, le=1024, description="evenly spaced, per track"
    )
    learning_rate: float = Field(
        default=1e-3, gt=0, le=1, description="AdamW, cosine to a hundredth"
    )
    weight_decay: float = Field(default=1e-4, ge=0, le=10, description="AdamW")
    max_gradient_norm: float = Field(
        default=5.0, gt=0, le=1000, description="longer gradients are cut"
    )

    @model_validator(mode="after")
    def _check_crops(self) -> Self:
        if self.crops_per_batch > self.cached_crops:
            raise ValueError(
                f"crops_per_batch={self.crops_per_batch} exceeds cached_crops={self.cached_crops}; "
                "keep more crops or use fewer per step"
            )
        return self


class TrainingConfig(BaseModel):
    """Everything about training that changes the weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(
        default=0, ge=0, lt=2**31, description="of the split, the weights and the crops"
    )
    n_threads: int = Field(
        default=2,
        ge=1,
        le=256,
        description="torch threads; here because it changes the order of sums",
    )
    validation_share: float = Field(
        default=0.2, ge=0, le=0.5, description="share of each genre's tracks, in whole groups"
    )
    augmentation: AugmentationConfig = AugmentationConfig()
    genre_stage: GenreStageConfig = GenreStageConfig()
    hash_stage: HashStageConfig = HashStageConfig()


class ModelConfig(BaseModel):
    """Both models, the segments they read, and how they are trained."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    segments: SegmentConfig = SegmentConfig()
    genre_cnn: GenreCNNConfig = GenreCNNConfig()
    crnn_hash: CRNNHashConfig = CRNNHashConfig()
    loss: LossConfig = LossConfig()
    training: TrainingConfig = TrainingConfig()

    @model_validator(mode="after")
    def _check_shapes(self) -> Self:
        if self.crnn_hash.n_maps > min(self.genre_cnn.widths):
            raise ValueError(
                f"crnn_hash.n_maps={self.crnn_hash.n_maps} exceeds the narrowest block of "
                f"genre_cnn.widths={self.genre_cnn.widths}; select fewer maps or widen the block"
            )
        if self.segments.n_frames < 2 ** len(self.genre_cnn.widths):
            raise ValueError(
                f"segments.n_frames={self.segments.n_frames} is too short for "
                f"{len(self.genre_cnn.widths)} halvings; use longer segments or fewer blocks"
            )
        return self
