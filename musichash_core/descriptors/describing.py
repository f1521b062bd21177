"""Describe a track, and its halves: patches under the network, cepstra of the same patches, rhythm.

A vector is, side by side: mean and standard deviation over patches of the pooled layers
(`musichash_core.descriptors.timbre`), mean and standard deviation over patches of the cepstra
(`musichash_core.descriptors.cepstra`), and the rhythm (`musichash_core.descriptors.rhythm`).
Deviations have one degree of freedom less than patches; of a single patch they are 0.

A track's gain changes the first coefficient of its cepstra, and, as the network heard recordings at
the level they came with, the pooled layers and the tags. It changes neither the other cepstra nor
the rhythm, as long as no band falls below the stored bytes' floor.

At most 16 patches of 3 s and 60 s for the rhythm are read, whatever the length of the track.

Public: `description_patches`, `describe_track`, `describe_with_halves`.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from musichash_core.descriptors.cepstra import describe_cepstra
from musichash_core.descriptors.description import TrackDescription
from musichash_core.descriptors.frame_parts import (
    TAGGER_FRAMES_PER_S,
    check_frames,
    duration_of_track,
    part_of_track,
)
from musichash_core.descriptors.rhythm import describe_rhythm
from musichash_core.descriptors.timbre import N_POOLED, describe_timbre
from musichash_core.musicnn.log_mel import MAX_PATCHES, PATCH_FRAMES, cut_patches, patch_starts
from musichash_core.segments import FrameSource, SegmentConfig, TrackFrames, segment_starts

if TYPE_CHECKING:  # importing it loads torch, which reading tables does not need
    from musichash_core.musicnn.networks import MusiCNN

MIN_PATCHES = 6
"""Shorter tracks get patches that overlap, so that deviations over patches mean something."""

SMALLEST_HOP = PATCH_FRAMES // 4

MIN_SHARED_PATCHES = 3
"""So many patches of the whole must lie in a half to describe it."""

MIN_HALVED_S = 12.0
"""Halves of shorter tracks would be too short to compare."""


@dataclass(frozen=True, slots=True, eq=False)
class _Patches:
    """What is known of each patch of a track.

    Attributes
    ----------
    starts : (n_patches,) int64
        Tagger frames.
    pooled : (n_patches, 512) float32
    cepstra : (n_patches, 257) float32
    tag_probabilities : (n_patches, n_tags) float32
    """

    starts: NDArray[np.int64]
    pooled: NDArray[np.float32]
    cepstra: NDArray[np.float32]
    tag_probabilities: NDArray[np.float32]

    def between(self, first: int, stop: int) -> "_Patches":
        """Pick the patches that lie wholly in a range of tagger frames."""
        inside = (self.starts >= first) & (self.starts + PATCH_FRAMES <= stop)
        return _Patches(
            self.starts[inside],
            self.pooled[inside],
            self.cepstra[inside],
            self.tag_probabilities[inside],
        )


def description_patches(n_tagger_frames: int) -> NDArray[np.int64]:
    """Give the first frames of the patches that describe a track: from its start to its end.

    As many as fit side by side, at most 16. Where fewer than 6 fit, up to 6 that overlap by three
    quarters at most.

    Parameters
    ----------
    n_tagger_frames : >= 1

    Returns
    -------
    (n_patches,) int64
    """
    side_by_side = patch_starts(n_tagger_frames, MAX_PATCHES)
    if len(side_by_side) >= MIN_PATCHES:
        return side_by_side
    overlapping = SegmentConfig(
        n_frames=PATCH_FRAMES, hop_frames=SMALLEST_HOP, max_per_track=MIN_PATCHES
    )
    return segment_starts(n_tagger_frames, overlapping)


def describe_track(
    network: "MusiCNN", track: TrackFrames, tagger_frames: FrameSource
) -> TrackDescription:
    """Describe a track.

    Parameters
    ----------
    network : MusiCNN
        ``load_musicnn(DESCRIPTION_NETWORK)``, on any device.
    track : TrackFrames
        Frames ``(n_frames, 3, 128)`` uint8, at the default settings of features.
    tagger_frames : (n_tagger_frames, 96) uint8
        Of the same track.

    Returns
    -------
    TrackDescription
        Finite for any frames, silence included.

    Raises
    ------
    ParameterError
        If frames have another shape, there are none, the two kinds differ in length, or this is
        another network.
    """
    check_frames(track, tagger_frames)
    return _joined(_describe_patches(network, track, tagger_frames), describe_rhythm(track.frames))


def describe_with_halves(
    network: "MusiCNN", track: TrackFrames, tagger_frames: FrameSource
) -> list[TrackDescription]:
    """Describe a track, its first half and its second half.

    A half is described by those patches of the whole that lie in it, if there are at least 3, else
    by patches of its own; its rhythm is always its own.

    Returns
    -------
    list of 3 TrackDescription
        Of a track under 12 s the whole, three times.

    Raises
    ------
    ParameterError
        See `describe_track`.
    """
    check_frames(track, tagger_frames)
    patches = _describe_patches(network, track, tagger_frames)
    whole = _joined(patches, describe_rhythm(track.frames))
    if duration_of_track(tagger_frames) < MIN_HALVED_S:
        return [whole] * 3

    middle = len(tagger_frames) // 2
    described = [whole]
    for first, stop in ((0, middle), (middle, len(tagger_frames))):
        start_s, stop_s = first / TAGGER_FRAMES_PER_S, stop / TAGGER_FRAMES_PER_S
        half, of_tagger = part_of_track(track, tagger_frames, start_s, stop_s)
        shared = patches.between(first, stop)
        if len(shared.starts) < MIN_SHARED_PATCHES:
            shared = _describe_patches(network, half, of_tagger)
        described.append(_joined(shared, describe_rhythm(half.frames)))
    return described


def _describe_patches(
    network: "MusiCNN", track: TrackFrames, tagger_frames: FrameSource
) -> _Patches:
    starts = description_patches(len(tagger_frames))
    timbre = describe_timbre(network, cut_patches(tagger_frames, starts))
    cepstra = describe_cepstra(track.frames, starts)
    return _Patches(starts, timbre.pooled, cepstra, timbre.tag_probabilities)


def _joined(patches: _Patches, rhythm: NDArray[np.float32]) -> TrackDescription:
    """Take mean and deviation over patches, and lay everything side by side."""
    values = np.hstack([patches.pooled, patches.cepstra], dtype=np.float64)
    means = values.mean(axis=0)
    deviations = values.std(axis=0, ddof=1) if len(values) > 1 else np.zeros_like(means)
    parts = [
        part
        for of_kind in (slice(0, N_POOLED), slice(N_POOLED, None))
        for part in (means[of_kind], deviations[of_kind])
    ]
    tags = patches.tag_probabilities.mean(axis=0, dtype=np.float64)
    return TrackDescription(
        vector=np.concatenate([*parts, rhythm]).astype(np.float32),
        tag_probabilities=tags.astype(np.float32),
        n_patches=len(values),
    )
