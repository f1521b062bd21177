"""Whether two tracks are one recording: fingerprints of sound, how they align, what follows.

Public: `FingerprintPlan`, `RecordingFingerprint`, `FrameWords`, `plan_fingerprint`,
`fingerprint_frames`, `FINGERPRINT_FORMAT`, `N_LANDMARKS`, `Landmarks`, `find_landmarks`,
`shared_landmarks`, `align`, `Alignment`, `error_curve`, `SAME_RATE`, `Evidence`, `Verdict`,
`judge`, `Tier`, `TIERS`, `join_pairs`, `Copy`, `rank_copies`, `is_lossless`.
"""

from musichash_core.recording_match.alignment import Alignment, align, error_curve
from musichash_core.recording_match.copies import Copy, is_lossless, rank_copies
from musichash_core.recording_match.fingerprint import (
    FINGERPRINT_FORMAT,
    FingerprintPlan,
    FrameWords,
    RecordingFingerprint,
    fingerprint_frames,
    plan_fingerprint,
)
from musichash_core.recording_match.groups import join_pairs
from musichash_core.recording_match.landmarks import (
    N_LANDMARKS,
    Landmarks,
    find_landmarks,
    shared_landmarks,
)
from musichash_core.recording_match.verdict import SAME_RATE, TIERS, Evidence, Tier, Verdict, judge

__all__ = [
    "FINGERPRINT_FORMAT",
    "N_LANDMARKS",
    "SAME_RATE",
    "TIERS",
    "Alignment",
    "Copy",
    "Evidence",
    "FingerprintPlan",
    "FrameWords",
    "Landmarks",
    "RecordingFingerprint",
    "Tier",
    "Verdict",
    "align",
    "error_curve",
    "find_landmarks",
    "fingerprint_frames",
    "is_lossless",
    "join_pairs",
    "judge",
    "plan_fingerprint",
    "rank_copies",
    "shared_landmarks",
]
