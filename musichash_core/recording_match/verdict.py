"""What the evidence about two tracks amounts to: a tier, what they share, and how sure that is.

Thresholds were chosen on half of the tracks of a benchmark of real music and its re-encoded,
resampled, cut and louder versions, and on all pairs of 941 different tracks, and hold on the
other half of the versions (``tests/benchmarks/duplicates.py``). Copies differ in 0 to 14 % of the
bits, at 24 kbit/s in up to 22 %; another master or mix of a piece in 16 to 30 %, other pieces of
a style in 35 % and more, most of them in 45 to 49 %.

Public: `Tier`, `TIERS`, `Relation`, `Evidence`, `Verdict`, `judge`.
"""

from dataclasses import dataclass
from typing import Literal

from musichash_core.recording_match.alignment import Alignment

Tier = Literal["exact", "same-recording", "likely-same", "similar-only"]

TIERS: tuple[Tier, ...] = ("exact", "same-recording", "likely-same", "similar-only")
"""From certain to merely alike."""

Relation = Literal["whole", "excerpt", "part", "none"]
"""What two tracks share: all but their ends, all of the shorter one, a part of both, or nothing."""

SAME_RATE = 0.15
"""Share of wrong bits up to which two tracks may be one recording."""

SURE_RATE = 0.1
"""Up to here nothing else is asked for."""

SURE_LANDMARKS = 2
"""Landmarks that must be shared beyond `SURE_RATE`. Renderings of one score with instruments that
sound alike differ in 12 to 15 % of the bits, and share one at most."""

LIKELY_RATE = 0.35
"""Up to here they may be: another master, heavy processing. (Haitsma and Kalker's threshold.)"""

RELATIVE_TO_EXPECTED = 0.6
"""Nor may the rate exceed this share of what unrelated tracks with such bits would have."""

WORST_RATE = 0.23
"""Nor may any five seconds differ in more of their bits: then they were replaced, or cut out. Of
copies 199 in 200 stay below 0.22; two pieces of a game that go apart for five seconds have 0.25."""

VARIED_RATE = 0.3
"""Bits that vary so little that unrelated tracks would differ in fewer say nothing: music has 0.46
to 0.5, a pure tone much less."""

SAME_COMPARED_S = 3.0
"""Less sound than this proves nothing, however well it fits (Haitsma and Kalker: 3.3 s)."""

MATCHED_SHARE = 0.9
"""Of what is compared, this must match piece by piece."""

CUT_S = 6.0
"""Audible seconds that one track may have beyond the other at either end."""

OVERLAP_SHARE = 0.45
"""Of the longer track, this must be compared."""

PART_S = 8.0
"""A shared part shorter than this is not spoken of: a sample, a jingle, a beat."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known about a pair of tracks.

    Attributes
    ----------
    duration_s : (float, float)
        Decoded lengths of both.
    n_landmarks : int
        Landmarks that both have.
    code_distance : int or None
        Differing bits of their hash codes; None where one has none.
    code_cosine : float or None
        Cosine of their real-valued codes.
    alignment : Alignment or None
        How their fingerprints fit; None where there is nothing to compare.
    """

    duration_s: tuple[float, float]
    n_landmarks: int
    code_distance: int | None
    code_cosine: float | None
    alignment: Alignment | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows from the evidence.

    Attributes
    ----------
    tier : Tier
        Never ``exact``: that is one track in several places, and no pair.
    relation : Relation
        What the two share.
    confidence : float
        0 to 1, to order pairs of a tier by; not a probability.
    reason : str
        The deciding fact, for people.
    """

    tier: Tier
    relation: Relation
    confidence: float
    reason: str


def judge(evidence: Evidence) -> Verdict:
    """Decide what two tracks are to one another."""
    fit = evidence.alignment
    if fit is None:
        return Verdict("similar-only", "none", 0.0, "silence or too short: nothing to compare")
    if fit.expected_rate < VARIED_RATE:
        return Verdict("similar-only", "none", 0.0, "nothing changes in them: nothing to compare")
    closeness = max(0.0, 1.0 - fit.bit_error_rate / max(fit.expected_rate, 1e-9))
    matched_share = fit.matched_s / fit.compared_s
    is_close = fit.bit_error_rate <= min(LIKELY_RATE, RELATIVE_TO_EXPECTED * fit.expected_rate)
    if is_close and matched_share >= MATCHED_SHARE:
        return _one_sound(fit, closeness, evidence.n_landmarks)
    if fit.matched_s >= PART_S and closeness > 1.0 - RELATIVE_TO_EXPECTED:
        reason = f"{fit.matched_s:.0f} of {fit.compared_s:.0f} s match"
        return Verdict("likely-same", "part", closeness * matched_share, reason)
    reason = f"{fit.bit_error_rate:.0%} of the bits differ"
    return Verdict("similar-only", "none", closeness * matched_share, reason)


def _one_sound(fit: Alignment, closeness: float, n_landmarks: int) -> Verdict:
    """Judge two tracks that agree wherever both are heard."""
    wrong = f"{fit.bit_error_rate:.0%} of the bits differ"
    ends_s = max(*fit.before_s, *fit.after_s)
    is_whole = ends_s <= CUT_S and fit.compared_s >= OVERLAP_SHARE * max(fit.audible_s)
    if not is_whole:
        if fit.compared_s < PART_S:
            reason = f"only {fit.compared_s:.1f} s match"
            return Verdict("similar-only", "none", closeness, reason)
        beyond = min(
            fit.before_s[0] + fit.after_s[0],
            fit.before_s[1] + fit.after_s[1],
        )
        relation: Relation = "excerpt" if beyond <= CUT_S else "part"
        reason = f"{fit.compared_s:.0f} s match, {wrong} there; {ends_s:.0f} s lie beyond"
        return Verdict("likely-same", relation, closeness, reason)
    if fit.compared_s < SAME_COMPARED_S:
        reason = f"all fits, but {fit.compared_s:.1f} s are too little to be sure"
        return Verdict("likely-same", "whole", closeness, reason)
    if fit.bit_error_rate > SAME_RATE or (
        fit.bit_error_rate > SURE_RATE and n_landmarks < SURE_LANDMARKS
    ):
        return Verdict("likely-same", "whole", closeness, f"{wrong}: another master or version?")
    if fit.worst_rate > WORST_RATE:
        reason = f"{wrong}, but {fit.worst_rate:.0%} in some seconds: an edit?"
        return Verdict("likely-same", "whole", closeness, reason)
    return Verdict("same-recording", "whole", closeness, f"{wrong} over {fit.compared_s:.0f} s")
