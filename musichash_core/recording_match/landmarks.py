"""Landmarks: a few moments of a recording that any copy of it shares, for finding copies at scale.

A key is made of a fingerprint word and a quarter of the bits of the word 0.74 s later. Of the keys
of the most certain quarter of a track those with the smallest mixed value are kept (Broder, "On the
resemblance and containment of documents", 1997): which moments these are depends on the sound
alone, so copies keep the same ones wherever they begin, as far as coding leaves their bits alone.
Different recordings hardly ever share two landmarks.

Public: `Landmarks`, `find_landmarks`, `shared_landmarks`, `SharedLandmarks`, `N_LANDMARKS`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from musichash_core.recording_match.fingerprint import MAX_BITS, FingerprintPlan, FrameWords

N_LANDMARKS = 192
"""Kept of each track: 2.3 kB."""

CERTAIN_SHARE = 0.25
"""Of the moments of a track, those among which landmarks are chosen. Without it, twice as many
copies at 24 kbit/s shared fewer than two."""

SECOND_WORD_BITS = 0x11111111
"""Which bits of the second word are part of a key. A word alone is shared by one pair of different
recordings in 600, with these bits by one in 8,000."""

MAX_SHARING = 48
"""A key of more tracks joins neighbours in order of their numbers only, instead of all pairs."""


@dataclass(frozen=True, slots=True, eq=False)
class Landmarks:
    """Landmarks of one track.

    Attributes
    ----------
    keys : (n_landmarks,) uint64
        Ascending, each once.
    frames : (n_landmarks,) int32
        Where each is first met.
    """

    keys: NDArray[np.uint64]
    frames: NDArray[np.int32]

    def offsets_to(self, other: "Landmarks") -> NDArray[np.int64]:
        """Give, for each landmark of both, how many frames later `other` has it."""
        _, mine, theirs = np.intersect1d(
            self.keys, other.keys, assume_unique=True, return_indices=True
        )
        return other.frames[theirs].astype(np.int64) - self.frames[mine]


def find_landmarks(
    fingerprint: FrameWords, plan: FingerprintPlan, *, n_landmarks: int = N_LANDMARKS
) -> Landmarks:
    """Choose the landmarks of a track.

    Parameters
    ----------
    n_landmarks : >= 1
        At most so many; a short track has fewer.
    """
    gap = plan.compared_frames
    if len(fingerprint) <= gap:
        return Landmarks(np.empty(0, np.uint64), np.empty(0, np.int32))
    words = fingerprint.words.astype(np.uint64)
    joined = words[:-gap] | ((words[gap:] & np.uint64(SECOND_WORD_BITS)) << np.uint64(MAX_BITS))
    frames = _certain_frames(fingerprint, gap, n_landmarks)
    keys, first = np.unique(_mixed(joined[frames]), return_index=True)
    kept = slice(0, n_landmarks)
    return Landmarks(keys[kept], frames[first[kept]].astype(np.int32))


def _certain_frames(fingerprint: FrameWords, gap: int, n_least: int) -> NDArray[np.int64]:
    """Give the most certain of the audible frames, ascending."""
    is_audible = fingerprint.is_audible[:-gap] & fingerprint.is_audible[gap:]
    frames = np.flatnonzero(is_audible)
    certainty = np.minimum(fingerprint.certainty[:-gap], fingerprint.certainty[gap:])[frames]
    n_chosen = max(n_least, round(CERTAIN_SHARE * len(frames)))
    return np.sort(frames[np.argsort(-certainty, kind="stable")[:n_chosen]])


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Spread values over all 64 bits, one to one (the finaliser of Steele's SplitMix64)."""
    mixed = values ^ (values >> np.uint64(30))
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(27)
    mixed *= np.uint64(0x94D049BB133111EB)
    return np.asarray(mixed ^ (mixed >> np.uint64(31)))


@dataclass(frozen=True, slots=True, eq=False)
class SharedLandmarks:
    """Pairs of tracks that share landmarks.

    Attributes
    ----------
    pairs : (n_pairs, 2) int64
        Numbers of tracks, the smaller first, ascending, each pair once.
    counts : (n_pairs,) int32
        Landmarks that they share.
    n_crowded : int
        Keys of more than `MAX_SHARING` tracks.
    """

    pairs: NDArray[np.int64]
    counts: NDArray[np.int32]
    n_crowded: int


def shared_landmarks(keys: NDArray[np.uint64], owners: NDArray[np.int64]) -> SharedLandmarks:
    """Count the landmarks that each pair of tracks shares.

    Parameters
    ----------
    keys : (n,) uint64
        Landmarks of all tracks; a track has each key once at most.
    owners : (n,) int64
        Number of the track that each is of, 0 to 2**31 - 1.
    """
    order = np.lexsort((owners, keys))
    keys, owners = keys[order], owners[order]
    begins = np.flatnonzero(np.r_[True, keys[1:] != keys[:-1]]) if len(keys) else order
    sizes = np.diff(np.r_[begins, len(keys)])
    found = [np.empty(0, np.int64)]
    for size in np.unique(sizes[(sizes > 1) & (sizes <= MAX_SHARING)]).tolist():
        sharing = owners[begins[sizes == size][:, None] + np.arange(size)]
        first, second = np.triu_indices(size, 1)
        found.append(_pair_numbers(sharing[:, first].ravel(), sharing[:, second].ravel()))
    crowded = np.flatnonzero(sizes > MAX_SHARING)
    for begin, size in zip(begins[crowded].tolist(), sizes[crowded].tolist(), strict=True):
        sharing = owners[begin : begin + size]
        found.append(_pair_numbers(sharing[:-1], sharing[1:]))
    numbers, counts = np.unique(np.concatenate(found), return_counts=True)
    pairs = np.stack([numbers >> 32, numbers & 0xFFFFFFFF], axis=1)
    return SharedLandmarks(pairs, counts.astype(np.int32), len(crowded))


def _pair_numbers(first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.int64]:
    return (first << 32) | second
