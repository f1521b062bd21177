"""How two fingerprints fit upon one another: at which offset, with how many wrong bits, how long.

An offset is the number of words that the second track has a sound later than the first (negative:
earlier). All offsets of up to ten seconds are tried, and those that shared landmarks point at.

Public: `Alignment`, `align`, `error_curve`, `SEARCHED_S`.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from musichash_core.recording_match.fingerprint import (
    MAX_BITS,
    FingerprintPlan,
    RecordingFingerprint,
)

SEARCHED_S = 10.0
"""Offsets up to this are tried whatever the landmarks say."""

COARSE_OFFSETS, COARSE_WORDS = 2, 4
"""Words are smoothed over eight steps: every second offset and every fourth word will find it."""

N_REFINED = 3
"""Best coarse offsets that are looked at closely."""

N_HINTS = 4
"""Offsets most often pointed at by landmarks that are looked at."""

SHORTEST_S = 1.0
"""Offsets at which less than this can be compared are not considered."""

BLOCK_S = 5.0
"""Length of the pieces that are said to match or not."""

MATCHING_RATE = 0.35
"""Share of wrong bits up to which a piece matches (the threshold of Haitsma and Kalker)."""


@dataclass(frozen=True, slots=True)
class Alignment:
    """The best fit of two tracks. Only moments at which both are audible are compared.

    Attributes
    ----------
    offset_s : float
        Seconds that the second track has a sound later than the first.
    bit_error_rate : float
        Share of differing bits; about one half for different recordings.
    expected_rate : float
        What unrelated tracks with as many ones in each bit would have: less than one half where
        bits hardly vary, and then a low error rate means less.
    compared_s : float
        Seconds compared.
    matched_s : float
        Of these, seconds in pieces of five that match.
    worst_rate : float
        Share of differing bits in the worst of these pieces.
    before_s, after_s : (float, float)
        Audible seconds of the first and of the second track before and after what both have.
    audible_s : (float, float)
        Audible seconds of the first and of the second track.
    """

    offset_s: float
    bit_error_rate: float
    expected_rate: float
    compared_s: float
    matched_s: float
    worst_rate: float
    before_s: tuple[float, float]
    after_s: tuple[float, float]
    audible_s: tuple[float, float]


def align(
    first: RecordingFingerprint,
    second: RecordingFingerprint,
    plan: FingerprintPlan,
    *,
    hints: NDArray[np.int64] | None = None,
) -> Alignment | None:
    """Find the offset at which two tracks agree most.

    Parameters
    ----------
    first, second : RecordingFingerprint
        Thinned to a word every ``plan.step_frames`` frames.
    hints : (n,) int64, optional
        Offsets in frames that shared landmarks point at (`Landmarks.offsets_to`).

    Returns
    -------
    Alignment or None
        None where there is nothing to compare: silence, or tracks of less than about a second.
    """
    shortest = max(1, round(SHORTEST_S / plan.word_s))
    candidates = set(_near_zero(first, second, plan, shortest))
    if hints is not None and len(hints):
        candidates.update(_hinted(hints, plan))
    best: tuple[float, int] | None = None
    for offset in sorted(candidates, key=lambda offset: (abs(offset), offset)):
        wrong, is_compared = _errors_at(first, second, offset)
        n_compared = int(is_compared.sum())
        if n_compared < shortest:
            continue
        fit = (0.5 - wrong.sum() / (n_compared * plan.n_bits)) * n_compared**0.5
        if best is None or fit > best[0] + 1e-9:  # of equal fits, as loops have, the nearest counts
            best = (float(fit), offset)
    return None if best is None else _describe(first, second, plan, best[1])


def _near_zero(
    first: RecordingFingerprint, second: RecordingFingerprint, plan: FingerprintPlan, shortest: int
) -> Iterable[int]:
    """Give the offsets around the best coarse ones within `SEARCHED_S`."""
    reach = round(SEARCHED_S / plan.word_s)
    n_words = len(first)
    room = max(0, n_words - len(second)) + reach
    words = np.pad(second.words, (reach, room))
    is_audible = np.pad(second.is_audible, (reach, room))
    if not n_words or len(words) < n_words:
        return ()
    shifted = sliding_window_view(words, n_words)[: 2 * reach + 1 : COARSE_OFFSETS, ::COARSE_WORDS]
    heard = sliding_window_view(is_audible, n_words)[
        : 2 * reach + 1 : COARSE_OFFSETS, ::COARSE_WORDS
    ]
    is_compared = heard & first.is_audible[::COARSE_WORDS]
    wrong = np.bitwise_count(shifted ^ first.words[::COARSE_WORDS]) * is_compared
    n_compared = is_compared.sum(axis=1)
    rate = wrong.sum(axis=1) / np.maximum(1, n_compared * plan.n_bits)
    fit = np.where(
        n_compared * COARSE_WORDS >= shortest, (0.5 - rate) * np.sqrt(n_compared), -np.inf
    )
    # A stable order: of equal fits the smaller shift, so that equal loops align at zero.
    shifts = np.arange(len(fit)) * COARSE_OFFSETS - reach
    order = np.lexsort((np.abs(shifts), -np.round(fit, 6)))[:N_REFINED]
    return {
        int(shifts[place]) + delta
        for place in order
        if np.isfinite(fit[place])
        for delta in range(-COARSE_OFFSETS, COARSE_OFFSETS + 1)
    }


def _hinted(hints: NDArray[np.int64], plan: FingerprintPlan) -> set[int]:
    """Give the offsets, in words, that most landmarks point at, and their neighbours."""
    offsets, counts = np.unique(
        np.rint(hints / plan.step_frames).astype(np.int64), return_counts=True
    )
    often = offsets[np.lexsort((np.abs(offsets), -counts))[:N_HINTS]]
    return {int(offset) + delta for offset in often for delta in (-1, 0, 1)}


def _errors_at(
    first: RecordingFingerprint, second: RecordingFingerprint, offset: int
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Count the wrong bits of each pair of words at an offset, 0 where one is not audible."""
    mine, theirs = _overlap(len(first), len(second), offset)
    is_compared = first.is_audible[mine] & second.is_audible[theirs]
    wrong = np.bitwise_count(first.words[mine] ^ second.words[theirs])
    return np.asarray(wrong * is_compared, dtype=np.uint8), is_compared


def _overlap(n_first: int, n_second: int, offset: int) -> tuple[slice, slice]:
    begin = max(0, -offset)
    end = max(begin, min(n_first, n_second - offset))
    return slice(begin, end), slice(begin + offset, end + offset)


def _describe(
    first: RecordingFingerprint, second: RecordingFingerprint, plan: FingerprintPlan, offset: int
) -> Alignment:
    """Measure the fit at one offset."""
    mine, theirs = _overlap(len(first), len(second), offset)
    wrong, is_compared = _errors_at(first, second, offset)
    n_compared = int(is_compared.sum())
    ones = [
        _share_of_ones(track.words[part][is_compared])
        for track, part in ((first, mine), (second, theirs))
    ]
    expected = ones[0] * (1.0 - ones[1]) + ones[1] * (1.0 - ones[0])
    heard = (first.is_audible, second.is_audible)
    parts = (mine, theirs)
    before, after, audible = (
        tuple(float(is_heard[part].sum()) * plan.word_s for is_heard, part in chosen)
        for chosen in (
            [(is_heard, slice(0, part.start)) for is_heard, part in zip(heard, parts, strict=True)],
            [
                (is_heard, slice(part.stop, None))
                for is_heard, part in zip(heard, parts, strict=True)
            ],
            [(is_heard, slice(None)) for is_heard in heard],
        )
    )
    n_matched, worst_rate = _in_pieces(wrong, is_compared, plan)
    return Alignment(
        offset_s=offset * plan.word_s,
        bit_error_rate=float(wrong.sum() / (n_compared * plan.n_bits)),
        expected_rate=float(expected[: plan.n_bits].mean()),
        compared_s=n_compared * plan.word_s,
        matched_s=n_matched * plan.word_s,
        worst_rate=worst_rate,
        before_s=(before[0], before[1]),
        after_s=(after[0], after[1]),
        audible_s=(audible[0], audible[1]),
    )


def _share_of_ones(words: NDArray[np.uint32]) -> NDArray[np.float64]:
    bits = np.unpackbits(words.astype("<u4").view(np.uint8), bitorder="little")
    return np.asarray(bits.reshape(-1, MAX_BITS).mean(axis=0))


def _in_pieces(
    wrong: NDArray[np.uint8], is_compared: NDArray[np.bool_], plan: FingerprintPlan
) -> tuple[int, float]:
    """Look at pieces of about `BLOCK_S`: count the words in those that match; the worst rate.

    Pieces of which less than half can be compared have no part in the worst rate.
    """
    n_pieces = max(1, round(len(wrong) * plan.word_s / BLOCK_S))
    begins = np.arange(n_pieces) * len(wrong) // n_pieces
    n_compared = np.add.reduceat(is_compared.astype(np.int64), begins)
    rate = np.add.reduceat(wrong.astype(np.int64), begins) / np.maximum(1, plan.n_bits * n_compared)
    is_heard = 2 * n_compared * n_pieces >= len(wrong)
    worst_rate = float(rate[is_heard].max()) if is_heard.any() else float(rate.max())
    return int(n_compared[rate <= MATCHING_RATE].sum()), worst_rate


def error_curve(
    first: RecordingFingerprint,
    second: RecordingFingerprint,
    plan: FingerprintPlan,
    offset_s: float,
    *,
    smoothed_s: float = 1.0,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give the share of wrong bits over the time of the first track, at one offset.

    Parameters
    ----------
    offset_s : float
        `Alignment.offset_s`.
    smoothed_s : > 0
        Seconds that each value is a mean over.

    Returns
    -------
    time_s : (n,) float64
        Time in the first track.
    rate : (n,) float64
        NaN where one of them is silent.
    """
    offset = round(offset_s / plan.word_s)
    mine, _ = _overlap(len(first), len(second), offset)
    wrong, is_compared = _errors_at(first, second, offset)
    window = np.ones(max(1, min(len(wrong), round(smoothed_s / plan.word_s))))
    n_wrong = np.convolve(wrong.astype(np.float64), window, mode="same")
    n_bits = np.convolve(is_compared * float(plan.n_bits), window, mode="same")
    rate = np.full(len(wrong), np.nan)
    np.divide(n_wrong, n_bits, out=rate, where=n_bits > 0)
    return (mine.start + np.arange(len(wrong))) * plan.word_s, rate
