"""Settings of the two models and their losses, gathered with those of training in `ModelConfig`.

They stand together, apart from the networks they describe, so that reading a configuration does
not import torch: workers that only extract features never pay for it (about 200 MB and a second).

Legend: METHOD sections are those of the project's method description; a default that differs from
it names the measurement.

Public: `ModelConfig`, `GenreCNNConfig`, `CRNNHashConfig`, `LossConfig`, `DescriptorHeadsConfig`,
`COSINE_SCALE`, and the choices `SelectionRule`, `LossKind`, `LabelKind`, `Fusion`, `EncoderName`.
"""

from itertools import pairwise
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from musichash_core.segments import SegmentConfig, WindowConfig
from musichash_core.training_config import TrainingConfig

SelectionRule = Literal["rep", "cons", "div", "var", "rand"]
LossKind = Literal["t0", "t", "ortho"]
LabelKind = Literal["genre", "tags"]
Fusion = Literal["early", "towers"]
EncoderName = Literal["musicnn", "hpss-cnn"]

COSINE_SCALE = 8.0
"""What cosines to fixed centres are multiplied by to make logits (METHOD 4.6)."""


def _is_early(fusion: Fusion) -> bool:
    return fusion == "early"


class GenreCNNConfig(BaseModel):
    """Shape of the genre network (METHOD 3)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    widths: tuple[int, ...] = Field(
        default=(32, 64, 128, 128, 128),
        min_length=1,
        max_length=6,
        description="feature maps of each convolution block, shallow to deep, of all towers "
        "together; each >= 4",
    )
    kernel_size: Literal[3, 5, 7] = Field(default=3, description="side of the convolution kernels")
    pooling: Literal["max", "avg"] = Field(
        default="max", description="2 x 2 pooling after each block"
    )
    dropout: float = Field(
        default=0.3, ge=0, le=0.9, description="share dropped before the output layer"
    )
    # Left out of the dump as it always was, so that fingerprints of older models stay.
    fusion: Fusion = Field(
        default="early",
        description="O, H and P as channels of one network; or one tower each, whose last maps are "
        "joined (METHOD 3, a study); widths are then divided between the towers",
        exclude_if=_is_early,
    )

    def n_parameters(self, n_channels: int, n_genres: int) -> int:
        """Count the weights that are trained: convolutions, batch norms, output layer."""
        n_towers = n_channels if self.fusion == "towers" else 1
        sizes = (n_channels, *self.widths)
        convolutions = sum(
            n_in * n_out // n_towers * self.kernel_size**2 for n_in, n_out in pairwise(sizes)
        )
        return convolutions + 2 * sum(self.widths) + (2 * self.widths[-1] + 1) * n_genres

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
    recurrent: Literal["stack", "hierarchical", "time", "none"] = Field(
        default="hierarchical",
        description="two stacked LSTMs over all maps; one per block and one over the blocks; over "
        "the frames of the last block's maps; or none: the maps' means only, through as many "
        "parameters as the hierarchical network has (the last two are controls)",
    )
    blocks: Literal["all", "last"] = Field(
        default="all", description="blocks of the encoder that are read; the last is a control"
    )
    shuffled_steps: bool = Field(
        default=False, description="read the maps in one random order, a control"
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
    head: Literal["tanh", "centres"] = Field(
        default="tanh",
        description="hash layer with tanh and softmax layer, or with batch norm and one fixed code "
        "per genre; follows loss.kind",
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

    @model_validator(mode="after")
    def _check_steps(self) -> Self:
        if self.shuffled_steps and self.recurrent in ("time", "none"):
            raise ValueError(
                f"shuffled_steps=true with recurrent={self.recurrent!r}, which reads no selected "
                "maps; want 'stack' or 'hierarchical'"
            )
        return self


class LossConfig(BaseModel):
    """The hashing loss: its kind and the weights of its parts; classification has weight 1.

    "t" is METHOD 4.5 and "t0" the same without pairs; "ortho" draws codes to fixed centres (METHOD
    4.6) and needs no quantisation and balance.

    The instance part is not METHOD's: genre alone leaves the tracks of a genre little to be told
    apart by. On 62 clips of 16 artists (4 seeds), without it 64-bit codes of 10 s excerpts found
    their track among the first 3 in .86 of the cases, at a validation mAP of .51; with it in .96,
    at .45 (chance .17).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: LossKind = Field(
        default="t", description="classification and pairs, without pairs, or fixed centres"
    )
    similarity_weight: float = Field(
        default=0.3, ge=0, le=100, description="pairs of one genre; kind t"
    )
    centre_similarity_weight: float = Field(
        default=0.0, ge=0, le=100, description="the same beside fixed centres; kind ortho"
    )
    quantisation_weight: float = Field(
        default=0.1, ge=0, le=100, description="distance of tanh from +-1; kinds t0 and t"
    )
    balance_weight: float = Field(
        default=1.0, ge=0, le=100, description="each bit set half of the time; kinds t0 and t"
    )
    cosine_margin: float = Field(
        default=0.2,
        ge=0,
        lt=1,
        description="cosine that the true genre must be ahead by; kind ortho",
    )
    instance_weight: float = Field(
        default=1.0, ge=0, le=100, description="two segments of one track; 0 is METHOD's loss T"
    )
    instance_temperature: float = Field(
        default=0.1, gt=0, le=10, description="cosine difference that counts as one nat"
    )


class DescriptorHeadsConfig(BaseModel):
    """The heads on top of the pretrained encoder; the number of bits is `CRNNHashConfig.n_bits`.

    Measured on 1200 rendered tracks of ten genres, styles held out, three splits: logistic
    regression alone .615 of tracks right and mAP .471 at 64 bits, with perceptrons .639 and .490;
    twice the units, batch and steps gave .629 and .494 for four times the time. A detail weight of
    0.5 costs .015 mAP at 64 bits.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    regression_penalty: float = Field(
        default=300.0,
        gt=0,
        le=1e6,
        description="half of it times the squared weights joins the sum of the tracks' losses",
    )
    n_perceptrons: int = Field(
        default=3, ge=0, le=64, description="averaged beside the regression; 0 = none"
    )
    n_hidden: int = Field(default=128, ge=4, le=4096, description="units of each perceptron")
    epochs: int = Field(default=24, ge=1, le=10_000, description="passes over the tracks")
    min_steps: int = Field(default=250, ge=1, le=100_000, description="steps of small collections")
    batch_size: int = Field(default=64, ge=2, le=4096, description="tracks per step")
    learning_rate: float = Field(default=2e-3, gt=0, le=1, description="AdamW, cosine to zero")
    weight_decay: float = Field(default=0.05, ge=0, le=10, description="AdamW")
    input_dropout: float = Field(default=0.3, ge=0, le=0.9, description="share of descriptors")
    dropout: float = Field(default=0.5, ge=0, le=0.9, description="share of hidden units")
    mixup: float = Field(
        default=0.4, ge=0, le=10, description="Beta parameter of blending two tracks; 0 = never"
    )
    detail_weight: float = Field(
        default=0.5,
        ge=0,
        le=100,
        description="share in the codes of what tells tracks apart whatever their genre",
    )
    genre_power: float = Field(
        default=0.25,
        gt=0,
        le=1,
        description="probabilities are raised to it before they weigh the genres' codes: less than "
        "1 lets second choices count for more",
    )


class ModelConfig(BaseModel):
    """Both models, the segments they read, the windows with codes, and how they are trained."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    encoder: EncoderName = Field(
        default="musicnn",
        description="what listens: a network trained on the Million Song Dataset, under heads that "
        "learn from the catalogue's labels (seconds); or the HPSS-CNN and CRNNH, trained here from "
        "nothing (minutes to hours)",
    )
    label_kind: LabelKind = Field(
        default="genre",
        description="one genre per track (softmax), or any number of tags (sigmoid)",
    )
    heads: DescriptorHeadsConfig = DescriptorHeadsConfig()

    segments: SegmentConfig = SegmentConfig()
    windows: WindowConfig = WindowConfig()
    genre_cnn: GenreCNNConfig = GenreCNNConfig()
    crnn_hash: CRNNHashConfig = CRNNHashConfig()
    loss: LossConfig = LossConfig()
    training: TrainingConfig = TrainingConfig()

    @model_validator(mode="before")
    @classmethod
    def _let_head_follow_loss(cls, values: Any) -> Any:  # noqa: ANN401 - not validated yet
        loss = values.get("loss") if isinstance(values, dict) else None
        kind = loss.get("kind") if isinstance(loss, dict) else getattr(loss, "kind", None)
        crnn_hash = values.get("crnn_hash", {}) if isinstance(values, dict) else None
        if kind == "ortho" and isinstance(crnn_hash, dict):
            return {**values, "crnn_hash": {"head": "centres", **crnn_hash}}
        return values

    @model_validator(mode="after")
    def _check_head(self) -> Self:
        wanted = "centres" if self.loss.kind == "ortho" else "tanh"
        if self.crnn_hash.head != wanted:
            raise ValueError(
                f"crnn_hash.head={self.crnn_hash.head!r} with loss.kind={self.loss.kind!r}: want "
                f"{wanted!r}, or leave it out"
            )
        return self

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
