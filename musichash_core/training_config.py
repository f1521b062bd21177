"""Settings of training: random changes, the two stages, seed and threads.

Like `musichash_core.model_config`, which contains them, they import no torch.

Public: `TrainingConfig`, `GenreStageConfig`, `HashStageConfig`, `AugmentationConfig`.
"""

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


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
        default=0.1, ge=0, lt=1, description="share spread over all genres; not for tags"
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
        description="torch threads of the networks; here because it changes the order of sums",
    )
    mixed_precision: bool = Field(
        default=True, description="bfloat16 on CUDA devices that have it; CPUs stay in float32"
    )
    validation_share: float = Field(
        default=0.2, ge=0, le=0.5, description="share of each genre's tracks, in whole groups"
    )
    augmentation: AugmentationConfig = AugmentationConfig()
    genre_stage: GenreStageConfig = GenreStageConfig()
    hash_stage: HashStageConfig = HashStageConfig()
