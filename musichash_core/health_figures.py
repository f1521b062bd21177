"""The health of a snapshot's codes in numbers that can be kept as JSON.

Public: `HealthFigures`, `CodeFigures`, `DriftFigures`, `NewFigures`, `CanaryFigures`.
"""

from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from musichash_core.code_drift import CodeDrift
from musichash_core.code_health import CodeMeasures

DECIMALS = 6
"""Of the figures: sums of another order, on another machine, give the same."""


@dataclass(frozen=True, slots=True)
class CodeFigures:
    """The codes of one snapshot in numbers; see `musichash_core.code_health`."""

    n_codes: int
    n_bits: int
    worst_bit: int
    worst_bit_mean: float
    mean_bias: float
    n_constant_bits: int
    mean_bit_entropy: float
    most_correlated_bits: tuple[int, int]
    largest_correlation: float
    mean_correlation: float
    entropy: float
    entropy_share: float
    n_distinct: int
    largest_bucket: int
    largest_bucket_share: float
    tracks_by_bucket_size: tuple[int, ...]
    unsure_bit_share: float
    unsure_code_share: float

    @classmethod
    def of(cls, measures: CodeMeasures, *, unsure: tuple[float, float]) -> Self:
        """Take the figures of what was measured.

        Parameters
        ----------
        unsure : float, float
            Shares of bits and of codes, as `musichash_core.code_health.unsure_shares` gives them.
        """
        pair = measures.most_correlated
        return cls(
            n_codes=measures.n_codes,
            n_bits=measures.n_bits,
            worst_bit=measures.worst_bit,
            worst_bit_mean=_rounded(measures.bit_means[measures.worst_bit]),
            mean_bias=_rounded(measures.mean_bias),
            n_constant_bits=measures.n_constant,
            mean_bit_entropy=_rounded(measures.mean_bit_entropy),
            most_correlated_bits=pair,
            largest_correlation=_rounded(measures.correlation[pair]),
            mean_correlation=_rounded(measures.mean_correlation),
            entropy=_rounded(measures.buckets.entropy),
            entropy_share=_rounded(measures.entropy_share),
            n_distinct=measures.buckets.n_distinct,
            largest_bucket=measures.buckets.largest,
            largest_bucket_share=_rounded(measures.largest_share),
            tracks_by_bucket_size=measures.buckets.tracks_by_size,
            unsure_bit_share=_rounded(unsure[0]),
            unsure_code_share=_rounded(unsure[1]),
        )


@dataclass(frozen=True, slots=True)
class NewFigures:
    """The codes of new tracks in numbers; see `musichash_core.code_drift.NewCodes`.

    ``mean_shift_of_others`` is that of the bits that are not stuck.
    """

    stuck_bits: tuple[int, ...]
    mean_shift: float
    mean_shift_of_others: float
    largest_shift: float
    largest_shift_bit: int
    largest_bucket_share: float
    code_distance: float
    code_distance_by_chance: float
    genre_distance: float
    genre_distance_by_chance: float


@dataclass(frozen=True, slots=True)
class DriftFigures:
    """What became of the codes since the snapshot before, in numbers.

    Attributes
    ----------
    is_same_model : bool
        Whether both are of one generation; else nothing is said of bits.
    n_common, n_new, n_removed : int
        Tracks with codes that are in both, only in this one, only in the one before.
    n_changed : int
        Common tracks whose codes differ, in `n_changed_bits` bits.
    largest_bit_change, mean_bit_change : float
        Of the bits' shares of ones over all tracks.
    largest_bit_change_bit : int
    genre_distance : float
        Of the genres of all tracks.
    new : NewFigures or None
        None without new tracks.
    """

    is_same_model: bool
    n_common: int
    n_new: int
    n_removed: int
    n_changed: int = 0
    n_changed_bits: int = 0
    largest_bit_change: float = 0.0
    largest_bit_change_bit: int = 0
    mean_bit_change: float = 0.0
    genre_distance: float = 0.0
    new: NewFigures | None = None

    @classmethod
    def of(
        cls, drift: CodeDrift, *, tracks: tuple[int, int, int], changed: tuple[int, int]
    ) -> Self:
        """Take the figures of what was compared within one generation.

        Parameters
        ----------
        tracks : int, int, int
            Common, new and removed ones.
        changed : int, int
            Common tracks whose codes differ, and the bits in which they do.
        """
        size = abs(drift.bit_change)
        new = drift.new
        return cls(
            True,
            *tracks,
            *changed,
            largest_bit_change=_rounded(drift.bit_change[size.argmax()]),
            largest_bit_change_bit=int(size.argmax()),
            mean_bit_change=_rounded(size.mean()),
            genre_distance=_rounded(drift.genre_distance),
            new=None
            if new is None
            else NewFigures(
                stuck_bits=new.stuck_bits,
                mean_shift=_rounded(new.shifts.mean()),
                mean_shift_of_others=_rounded(_mean(np.delete(new.shifts, new.stuck_bits))),
                largest_shift=_rounded(new.shifts.max()),
                largest_shift_bit=int(new.shifts.argmax()),
                largest_bucket_share=_rounded(new.largest_share),
                code_distance=_rounded(new.code_distance),
                code_distance_by_chance=_rounded(new.code_distance_by_chance),
                genre_distance=_rounded(new.genre_distance),
                genre_distance_by_chance=_rounded(new.genre_distance_by_chance),
            ),
        )


@dataclass(frozen=True, slots=True)
class CanaryFigures:
    """What searches for the same tracks, night after night, found.

    Attributes
    ----------
    n_asked, n_found_themselves : int
        Tracks that were searched for, and those that found themselves at distance 0.
    n_answers_before : int
        Answers of the snapshot before, to the same tracks, that still exist.
    n_answers_again : int
        Those of them that are answers now too.
    n_answers_kept : int
        Those, and the ones that only nearer or equally near tracks have pushed out.
    """

    n_asked: int
    n_found_themselves: int
    n_answers_before: int = 0
    n_answers_again: int = 0
    n_answers_kept: int = 0


@dataclass(frozen=True, slots=True)
class HealthFigures:
    """All figures of a snapshot; None where there is nothing to measure or compare with."""

    codes: CodeFigures | None
    drift: DriftFigures | None = None
    canaries: CanaryFigures | None = None

    def as_dict(self) -> dict[str, Any]:
        """Give the JSON form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Self:
        """Read the JSON form; raises TypeError or KeyError for anything else."""
        codes, drift, canaries = (content[name] for name in ("codes", "drift", "canaries"))
        new = None if drift is None else drift["new"]
        return cls(
            codes=None if codes is None else CodeFigures(**_with_tuples(codes)),
            drift=None
            if drift is None
            else DriftFigures(
                **drift | {"new": None if new is None else NewFigures(**_with_tuples(new))}
            ),
            canaries=None if canaries is None else CanaryFigures(**canaries),
        )


def _with_tuples(content: dict[str, Any]) -> dict[str, Any]:
    """Undo what JSON makes of tuples."""
    return {
        name: tuple(value) if isinstance(value, list) else value for name, value in content.items()
    }


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else 0.0


def _rounded(value: float) -> float:
    return round(float(value), DECIMALS)
