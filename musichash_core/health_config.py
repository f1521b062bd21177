"""When the codes of a snapshot are worth a warning or an alarm.

The defaults were set beside figures of 946 real tracks, encoded by the default model and by a
trained one, of 1,800 rendered ones, and of codes that were spoiled on purpose; `storage/DESIGN.md`
has them.

Public: `HealthConfig`.
"""

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

PAIRS = (
    ("bit_share_warn", "bit_share_alarm"),
    ("correlation_warn", "correlation_alarm"),
    ("entropy_alarm", "entropy_warn"),
    ("bucket_warn", "bucket_alarm"),
    ("new_shift_warn", "new_shift_alarm"),
    ("new_bucket_warn", "new_bucket_alarm"),
)
"""Thresholds of which the first must not be above the second."""


def _share(default: float, description: str) -> float:
    threshold: float = Field(
        default=default, ge=0, le=1, allow_inf_nan=False, description=description
    )
    return threshold


class HealthConfig(BaseModel):
    """When the codes of a snapshot are worth a warning, or an alarm."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_tracks: int = Field(
        default=100,
        ge=2,
        description="shares of fewer codes, or of fewer new codes, are not judged",
    )
    bit_share_warn: float = _share(0.97, "largest share of codes in which a bit is the same")
    bit_share_alarm: float = _share(0.999, "the same: such a bit tells nothing")
    correlation_warn: float = _share(0.9, "largest absolute correlation of two bits")
    correlation_alarm: float = _share(0.99, "the same: two such bits are one")
    entropy_warn: float = _share(
        0.8, "smallest entropy of the codes, as a share of what so many could have"
    )
    entropy_alarm: float = _share(0.5, "the same: the codes have collapsed")
    bucket_warn: float = _share(0.05, "largest share of tracks with one code")
    bucket_alarm: float = _share(0.25, "the same")
    new_shift_warn: float = _share(
        0.15, "mean distance of the bits of new tracks from what their genres lead one to expect"
    )
    new_shift_alarm: float = _share(0.3, "the same")
    new_bucket_warn: float = _share(0.25, "largest share of new tracks with one code")
    new_bucket_alarm: float = _share(0.5, "the same")
    genre_distance_warn: float = _share(
        0.6, "largest Jensen-Shannon distance of the genres of new tracks from those known"
    )
    max_changed_share: float = _share(
        0.0, "largest share of known tracks whose codes differ though the model is the same"
    )
    min_kept_answers: float = _share(
        0.9, "smallest share of the canaries' earlier answers that are found or outdone"
    )
    n_canaries: int = Field(default=20, ge=1, le=1000, description="tracks that are searched for")
    block_on_alarm: bool = Field(
        default=False,
        description="publish nothing while there is an alarm; the last snapshot stays",
    )

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        for smaller, larger in PAIRS:
            if getattr(self, smaller) > getattr(self, larger):
                raise ValueError(
                    f"health.{smaller}={getattr(self, smaller)} is above health.{larger}="
                    f"{getattr(self, larger)}; an alarm must be the rarer of the two"
                )
        return self
