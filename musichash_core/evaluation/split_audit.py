"""The proof that a division of tracks cannot flatter: no group, track or audio on two sides.

`inspect_sides` reports, for a published split that is used as it is; `audit_splits` refuses.

Public: `inspect_sides`, `audit_splits`, `SplitAudit`.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from musichash_core.errors import TrainingError
from musichash_core.evaluation.near_duplicates import MAX_COSINE, near_duplicates
from musichash_core.splits import LEFT_OUT, DividedTracks

N_NAMED = 3
"""Offenders named in an error message."""


@dataclass(frozen=True, slots=True)
class SplitAudit:
    """What a division of tracks was found to be.

    Attributes
    ----------
    n_tracks, n_groups : dict of str to int
        By side, sides in use only, the tracks left out among them.
    shared_groups : tuple of str
        Groups on two sides or more; tracks that are left out do not count.
    shared_audio : (n_pairs, 2) int64, or None
        Positions of tracks of the same audio on different sides; None if nothing was compared.
    """

    n_tracks: dict[str, int]
    n_groups: dict[str, int]
    shared_groups: tuple[str, ...]
    shared_audio: NDArray[np.int64] | None

    @property
    def is_clean(self) -> bool:
        """Whether nothing is on two sides, as far as was compared."""
        return not self.shared_groups and (self.shared_audio is None or not len(self.shared_audio))

    def figures(self) -> dict[str, int]:
        """Give the row of a table."""
        rows = {f"n_{side}_tracks": count for side, count in self.n_tracks.items()}
        rows |= {f"n_{side}_groups": count for side, count in self.n_groups.items()}
        rows["n_shared_groups"] = len(self.shared_groups)
        if self.shared_audio is not None:
            rows["n_shared_audio_pairs"] = len(self.shared_audio)
        return rows


def inspect_sides(
    divided: DividedTracks,
    groups: Sequence[str],
    fingerprints: NDArray[np.floating] | None = None,
    *,
    max_cosine: float = MAX_COSINE,
) -> SplitAudit:
    """Look for groups and audio on two sides.

    Parameters
    ----------
    divided : DividedTracks
    groups : sequence of str, n_tracks
    fingerprints : (n_tracks, n_dimensions) float, optional
        From `mel_fingerprint`; without them audio is not compared.
    max_cosine : 0 to 1
    """
    sides = divided.sides
    used = [place for place, side in enumerate(sides) if side != LEFT_OUT]
    sides_of: dict[str, set[str]] = {}
    for place in used:
        sides_of.setdefault(groups[place], set()).add(sides[place])
    shared_audio = None
    if fingerprints is not None:
        found = near_duplicates(
            fingerprints[used], [sides[place] for place in used], max_cosine=max_cosine
        )
        shared_audio = np.array(used, dtype=np.int64)[found]
    return SplitAudit(
        n_tracks=dict(sorted(Counter(sides).items())),
        n_groups=dict(
            sorted(Counter(side for side, _ in set(zip(sides, groups, strict=True))).items())
        ),
        shared_groups=tuple(
            sorted(name for name, found_on in sides_of.items() if len(found_on) > 1)
        ),
        shared_audio=shared_audio,
    )


def audit_splits(
    divided: DividedTracks,
    groups: Sequence[str],
    fingerprints: NDArray[np.floating] | None = None,
    *,
    track_ids: Sequence[str] | None = None,
    max_cosine: float = MAX_COSINE,
) -> SplitAudit:
    """Refuse a division in which a group or the same audio is on two sides.

    Parameters
    ----------
    divided, groups, fingerprints, max_cosine
        See `inspect_sides`.
    track_ids : sequence of str, optional
        Name the tracks in the message; positions do otherwise.

    Raises
    ------
    TrainingError
        Names the first offenders and what to do about them.
    """
    audit = inspect_sides(divided, groups, fingerprints, max_cosine=max_cosine)
    if audit.shared_groups:
        raise TrainingError(
            f"{len(audit.shared_groups)} group(s) are on two sides of the split, among them "
            f"{list(audit.shared_groups[:N_NAMED])}; divide by group, or correct the list files"
        )
    if audit.shared_audio is not None and len(audit.shared_audio):
        names = [str(n) for n in range(len(groups))] if track_ids is None else track_ids
        pairs = [(names[a], names[b]) for a, b in audit.shared_audio[:N_NAMED]]
        raise TrainingError(
            f"{len(audit.shared_audio)} pair(s) of tracks on different sides have the same audio, "
            f"among them {pairs}; merge their groups before dividing, or leave one of each out"
        )
    return audit
