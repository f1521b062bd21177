"""The pipeline's configuration: composed of its owners' models, read from one TOML file.

Only settings that may change results stand here; workers, memory and addresses belong to the run.
Public: `PipelineConfig`, `PartitionConfig`, `load_config`, `parse_config`.
"""

import difflib
import tomllib
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from musichash_core.decode import DecodeConfig
from musichash_core.errors import ConfigError
from musichash_core.feature_config import FEATURE_FORMAT, FeatureConfig
from musichash_core.health_config import HealthConfig
from musichash_core.identity import fingerprint_of
from musichash_core.index_config import IndexConfig
from musichash_core.model_config import ModelConfig

FrontEndName = Literal["auto", "numba", "torch"]


class PartitionConfig(BaseModel):
    """Size of the units of work: one feature store each."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_tracks: int = Field(default=128, ge=1, le=4096, description="most tracks in a partition")
    max_audio_s: float = Field(
        default=4000.0,
        gt=0,
        allow_inf_nan=False,
        description="estimated audio in a partition, seconds; one track may exceed it",
    )


class PipelineConfig(BaseModel):
    """Everything that decides what a run computes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    decode: DecodeConfig = DecodeConfig()
    features: FeatureConfig = FeatureConfig()
    models: ModelConfig = ModelConfig()
    partitions: PartitionConfig = PartitionConfig()
    index: IndexConfig = IndexConfig()
    health: HealthConfig = HealthConfig()
    front_end: FrontEndName = Field(
        default="auto",
        description="what computes features: numba, torch, or on a CUDA machine the faster one; "
        "not in the fingerprint, because bytes differ by one step in one of a thousand at most",
    )
    max_failed_share: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="a run whose share of failed tracks is larger publishes nothing",
    )
    min_kept_share: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="a scan that finds a smaller share of the published tracks is refused",
    )

    @model_validator(mode="after")
    def _check_encoder_has_its_input(self) -> Self:
        if self.models.encoder == "musicnn" and not self.features.tagger_mel:
            raise ValueError(
                "models.encoder='musicnn' reads the mel bands that features.tagger_mel=false "
                "leaves out; set features.tagger_mel=true, or models.encoder='hpss-cnn'"
            )
        default = FeatureConfig()
        for name in ("sr", "hop_length", "n_mels"):
            value, wanted = getattr(self.features, name), getattr(default, name)
            if self.models.encoder == "musicnn" and value != wanted:
                raise ValueError(
                    f"models.encoder='musicnn' reads features of {name}={wanted}, and features."
                    f"{name}={value}; leave it out, or set models.encoder='hpss-cnn'"
                )
        return self

    @property
    def feature_fingerprint(self) -> str:
        """Identity of the feature settings, 12 hex digits."""
        return fingerprint_of("features", FEATURE_FORMAT, self.features)


def load_config(path: Path | None) -> PipelineConfig:
    """Read a TOML file; None gives the defaults.

    Raises
    ------
    ConfigError
        If the file is missing or no TOML, has an unknown key, or a value out of range.
    """
    if path is None:
        return PipelineConfig()
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"the configuration {path} does not exist; check --config") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the configuration {path} cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error
    return parse_config(content, source=str(path))


def parse_config(content: dict[str, Any], *, source: str) -> PipelineConfig:
    """Check the content of a configuration file.

    Raises
    ------
    ConfigError
        Naming every wrong key with its value, what is allowed, and the nearest known key.
    """
    try:
        return PipelineConfig.model_validate(content)
    except ValidationError as error:
        problems = "; ".join(_sentence(entry) for entry in error.errors(include_url=False))
        raise ConfigError(f"{source}: {problems}") from error


def _sentence(entry: Any) -> str:  # noqa: ANN401 - pydantic's error dictionaries
    location = [str(part) for part in entry["loc"]]
    key = ".".join(location) or "the file"
    if entry["type"] == "extra_forbidden":
        known = _known_keys(location[:-1])
        nearest = difflib.get_close_matches(location[-1], known, n=1, cutoff=0.0)
        hint = f"did you mean {nearest[0]!r}? " if nearest else ""
        return f"unknown key {key!r}; {hint}known here are {', '.join(known)}"
    message: str = entry["msg"].removeprefix("Value error, ")
    if not location:  # a check of several keys, which the message names
        return message
    return f"{key} = {entry['input']!r}: {message[:1].lower()}{message[1:]}"


def _known_keys(location: list[str]) -> list[str]:
    model: Any = PipelineConfig
    for part in location:
        model = model.model_fields[part].annotation
    return sorted(model.model_fields)
