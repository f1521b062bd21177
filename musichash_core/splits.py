"""Training and validation tracks: whole groups (artists) on one side, every genre on both.

A group's place depends on the hash of its name and the seed, never on the order of the tracks.

Public: `split_by_group`, `Split`.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from musichash_core.errors import ParameterError, TrainingError

MIN_TRAINING_SHARE = 0.5
"""Of each genre's tracks, in every case; a large artist is not worth a genre's training set."""


@dataclass(frozen=True, slots=True)
class Split:
    """Positions of the tracks on each side.

    Attributes
    ----------
    train, validation : (n,) int64
        Ascending; together each track once. No group is on both sides.
    """

    train: NDArray[np.int64]
    validation: NDArray[np.int64]


def split_by_group(
    genres: Sequence[str], groups: Sequence[str], *, validation_share: float = 0.2, seed: int = 0
) -> Split:
    """Divide tracks so that no group is on both sides, genre by genre.

    Each genre gives groups to validation until its share is reached, and at least one group if it
    can: a genre keeps half of its tracks for training, and a genre with one group stays in
    training whole. A group that occurs in several genres moves as a whole.

    Parameters
    ----------
    genres, groups : sequence of str
        One entry per track.
    validation_share : 0 to 0.5
        Share of each genre's tracks; whole groups make it approximate.
    seed : >= 0

    Raises
    ------
    TrainingError
        There are fewer than two genres.
    """
    if len(genres) != len(groups):
        raise ParameterError(f"{len(genres)} genres but {len(groups)} groups; give one per track")
    if not 0 <= validation_share <= 0.5:
        raise ParameterError(f"validation_share={validation_share}: want 0 to 0.5")
    counts = Counter(genres)
    if len(counts) < 2:
        raise TrainingError(
            f"the tracks have {len(counts)} genre(s) {sorted(counts)}; a genre model needs at "
            "least two: label more tracks"
        )
    chosen: set[str] = set()
    if validation_share > 0:
        chosen = _choose_groups(Counter(zip(genres, groups, strict=True)), validation_share, seed)
    is_validation = np.array([group in chosen for group in groups], dtype=bool)
    return Split(np.flatnonzero(~is_validation), np.flatnonzero(is_validation))


def _choose_groups(sizes: Counter[tuple[str, str]], share: float, seed: int) -> set[str]:
    """Choose the validation groups, genres with few groups first.

    Parameters
    ----------
    sizes : tracks by (genre, group)
    """
    by_genre: dict[str, dict[str, int]] = {}
    for (genre, group), size in sizes.items():
        by_genre.setdefault(genre, {})[group] = size
    chosen: set[str] = set()
    for genre in sorted(by_genre, key=lambda name: (len(by_genre[name]), name)):
        target = share * sum(by_genre[genre].values())
        for group in _candidates(by_genre[genre], seed):
            if sum(by_genre[genre][one] for one in chosen & by_genre[genre].keys()) >= target:
                break
            if _leaves_enough(by_genre, chosen | {group}):
                chosen.add(group)
    return chosen


def _candidates(group_sizes: dict[str, int], seed: int) -> list[str]:
    """Order a genre's groups by the hash of their names."""
    return sorted(
        group_sizes,
        key=lambda group: hashlib.sha256(f"{seed}:{group}".encode(errors="replace")).digest(),
    )


def _leaves_enough(by_genre: dict[str, dict[str, int]], chosen: set[str]) -> bool:
    """Say whether every genre keeps a group and `MIN_TRAINING_SHARE` of its tracks."""
    for group_sizes in by_genre.values():
        kept = sum(size for group, size in group_sizes.items() if group not in chosen)
        if kept < MIN_TRAINING_SHARE * sum(group_sizes.values()):
            return False
    return True
