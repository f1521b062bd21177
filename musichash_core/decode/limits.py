"""The limits that an audio file must keep, and those of the process that decodes it.

Public: `DecodeConfig`, `Sandbox`.
"""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Sandbox = Literal["off", "unshare", "bwrap"]
"""What surrounds the decoder process beside its resource limits: nothing, a user and network
namespace of util-linux, or bubblewrap's read-only view of the system without a network."""


class DecodeConfig(BaseModel):
    """Limits that an audio file must keep; they bound time and memory per track."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_duration_s: float = Field(
        default=1.0, gt=0, allow_inf_nan=False, description="shorter audio is refused, seconds"
    )
    max_duration_s: float = Field(
        default=4 * 3600.0,
        gt=0,
        allow_inf_nan=False,
        description="longer audio is refused, seconds",
    )
    min_sr_hz: int = Field(default=4_000, ge=1_000, description="lowest sample rate accepted, Hz")
    max_sr_hz: int = Field(
        default=768_000, le=2_000_000, description="highest sample rate accepted, Hz"
    )
    max_channels: int = Field(default=32, ge=1, le=1024, description="most channels accepted")
    max_file_mb: int = Field(
        default=16_000, ge=1, description="larger files are refused unread, megabytes"
    )
    deadline_s: float = Field(
        default=60.0,
        gt=0,
        allow_inf_nan=False,
        description="time to wait for a file's decoder before it is stopped, seconds",
    )
    deadline_per_audio_s: float = Field(
        default=0.1,
        ge=0,
        allow_inf_nan=False,
        description="further time for each second of audio that came out, seconds",
    )
    memory_mb: int = Field(
        default=1_000, ge=300, description="address space of the decoder process, megabytes"
    )
    sandbox: Sandbox = Field(
        default="off",
        description="what surrounds the decoder process beside its limits: off, unshare, bwrap",
    )

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.min_duration_s > self.max_duration_s:
            raise ValueError(
                f"min_duration_s={self.min_duration_s} exceeds max_duration_s={self.max_duration_s}"
            )
        if self.min_sr_hz > self.max_sr_hz:
            raise ValueError(f"min_sr_hz={self.min_sr_hz} exceeds max_sr_hz={self.max_sr_hz}")
        return self
