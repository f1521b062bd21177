"""The settings of the front end, and the version of what it gives.

Public: `FEATURE_FORMAT`, `FeatureConfig`.
"""

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from musichash_core.spectrogram import mel_filter_bank

FEATURE_FORMAT = 1
"""Raised whenever the same samples and settings would give other bytes."""


class FeatureConfig(BaseModel):
    """Settings of the front end; every one of them changes the features."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sr: int = Field(default=22050, ge=4000, le=192_000, description="sample rate, Hz")
    n_fft: int = Field(default=2048, ge=64, le=32_768, description="frame length, samples; even")
    hop_length: int = Field(default=512, ge=16, description="samples between two frames")
    n_mels: int = Field(default=128, ge=8, le=512, description="mel bands")
    fmin_hz: float = Field(default=0.0, ge=0, description="lower edge of the first mel band, Hz")
    fmax_hz: float | None = Field(
        default=None, gt=0, description="upper edge of the last mel band, Hz; sr / 2 if not given"
    )
    kernel_size: int = Field(
        default=31, ge=1, le=1023, description="median lengths, frames and bins; odd"
    )
    power: float = Field(default=2.0, gt=0, le=16, description="exponent of the soft masks")
    margin: float = Field(
        default=1.0, ge=1, le=100, description="how much one part must exceed the other"
    )
    tagger_mel: bool = Field(
        default=True,
        description="also keep the mel bands that the musicnn networks read; models.encoder = "
        "'musicnn' needs them",
    )

    @model_validator(mode="after")
    def _check_relations(self) -> "FeatureConfig":
        if self.n_fft % 2:
            raise ValueError(f"n_fft={self.n_fft} must be even")
        if self.hop_length > self.n_fft:
            raise ValueError(f"hop_length={self.hop_length} exceeds n_fft={self.n_fft}")
        if self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size={self.kernel_size} must be odd")
        self.mel_filter_bank()
        return self

    def mel_filter_bank(self) -> NDArray[np.float32]:
        """Give the mel filters, ``(n_mels, n_bins)`` float32."""
        return mel_filter_bank(
            sr=self.sr,
            n_fft=self.n_fft,
            n_mels=self.n_mels,
            fmin_hz=self.fmin_hz,
            fmax_hz=self.fmax_hz,
        )

    @property
    def n_bins(self) -> int:
        """Frequency bins of a frame, from 0 Hz to ``sr / 2``."""
        return self.n_fft // 2 + 1

    @property
    def frame_rate_hz(self) -> float:
        """Frames per second."""
        return self.sr / self.hop_length
