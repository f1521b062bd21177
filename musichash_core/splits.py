"""Which tracks are trained on, and which are kept to judge by: whole groups (artists) on one side.

A group's place depends on the hash of its name and the seed, never on the order of the tracks.

* `split_by_group` takes a share off for validation: what ordinary training needs.
* `divide_by_group` makes the sides of an evaluation (METHOD 1): training, validation, a database
  that was never trained on, queries, and the same two for genres that were never trained on.
* `divide_as_published` takes a data set's own sides.

Public: `split_by_group`, `Split`, `divide_by_group`, `divide_as_published`, `DividedTracks`.
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


SHARES = {"train": 0.5, "val": 0.1, "db": 0.3, "query": 0.1}
"""Of each genre's groups (METHOD 1)."""

FIRST_SERVED = ("train", "db", "query", "val")
"""Who gets a genre's groups when there are fewer than four: to be judged, a genre must be learned,
be in the database and be asked for."""

HELD_OUT_SHARES = {"db": 0.75, "query": 0.25}
"""Of the groups that are not trained on: 30 to 10."""

UNSEEN = "unseen_"
"""Begins the names of the sides of genres that are not trained on."""

LEFT_OUT = "left_out"
"""The side of tracks that are not used."""

SIDES = (*SHARES, *(UNSEEN + side for side in HELD_OUT_SHARES), LEFT_OUT)

PUBLISHED_SIDES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
    "db": "db",
    "query": "query",
    "": LEFT_OUT,
}
"""How data sets name their sides; `test` is divided into database and queries."""


@dataclass(frozen=True, slots=True)
class DividedTracks:
    """The side of each track.

    Attributes
    ----------
    sides : tuple of str
        One of `SIDES` per track.
    """

    sides: tuple[str, ...]

    def positions(self, *sides: str) -> NDArray[np.int64]:
        """Give the positions of the tracks on one side or several, ascending."""
        unknown = sorted(set(sides) - set(SIDES))
        if unknown:
            raise ParameterError(f"sides {unknown}: want some of {list(SIDES)}")
        return np.flatnonzero(np.isin(np.array(self.sides, dtype=np.str_), sides))


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


def divide_by_group(
    genres: Sequence[str],
    groups: Sequence[str],
    *,
    unseen_genres: Sequence[str] = (),
    seed: int = 0,
) -> DividedTracks:
    """Divide tracks into the sides of an evaluation, genre by genre, whole groups at a time.

    Of each genre's groups `SHARES` go to each side; a genre with four groups or more is on all
    four sides. A group counts as one of the genre that most of its tracks have.

    Parameters
    ----------
    genres, groups : sequence of str
        One entry per track.
    unseen_genres : sequence of str
        Held out whole, as database and queries. Other tracks of groups that have a track of such a
        genre are left out: their artist is on the unseen side.
    seed : >= 0

    Raises
    ------
    ParameterError
        Lengths differ, or an unseen genre does not occur.
    TrainingError
        Fewer than two genres are left to train on.
    """
    if len(genres) != len(groups):
        raise ParameterError(f"{len(genres)} genres but {len(groups)} groups; give one per track")
    unseen = set(unseen_genres)
    if unseen - set(genres):
        raise ParameterError(f"unseen_genres {sorted(unseen - set(genres))} have no tracks")
    if len(set(genres) - unseen) < 2:
        raise TrainingError(
            f"genres {sorted(set(genres) - unseen)} are left to train on; want at least two: label "
            "more tracks or hold fewer genres out"
        )
    held_out = {group for genre, group in zip(genres, groups, strict=True) if genre in unseen}
    sizes = Counter(zip(genres, groups, strict=True))
    seen = Counter({pair: size for pair, size in sizes.items() if pair[1] not in held_out})
    kept = Counter({pair: size for pair, size in sizes.items() if pair[0] in unseen})
    side_of = _deal_groups(seen, SHARES, FIRST_SERVED, seed)
    for group, side in _deal_groups(kept, HELD_OUT_SHARES, tuple(HELD_OUT_SHARES), seed).items():
        side_of[group] = UNSEEN + side
    return DividedTracks(
        tuple(
            LEFT_OUT if group in held_out and genre not in unseen else side_of[group]
            for genre, group in zip(genres, groups, strict=True)
        )
    )


def divide_as_published(
    published: Sequence[str], genres: Sequence[str], groups: Sequence[str], *, seed: int = 0
) -> DividedTracks:
    """Take a data set's own sides; its test side becomes database and queries, by group.

    Parameters
    ----------
    published : sequence of str
        One of the names in `PUBLISHED_SIDES` per track, in any case.
    genres, groups : sequence of str
        One entry per track.
    seed : >= 0
        Decides which test groups are queries.

    Raises
    ------
    ParameterError
        Lengths differ or a side has an unknown name.
    """
    if not len(published) == len(genres) == len(groups):
        raise ParameterError(
            f"{len(published)} sides, {len(genres)} genres, {len(groups)} groups: give one of each "
            "per track"
        )
    unknown = sorted({side for side in published if side.lower() not in PUBLISHED_SIDES})
    if unknown:
        raise ParameterError(f"sides {unknown[:3]}: want some of {list(PUBLISHED_SIDES)}")
    sides = [PUBLISHED_SIDES[side.lower()] for side in published]
    rows = list(zip(sides, genres, groups, strict=True))
    tested = Counter((genre, group) for side, genre, group in rows if side == "test")
    side_of = _deal_groups(tested, HELD_OUT_SHARES, tuple(HELD_OUT_SHARES), seed)
    return DividedTracks(tuple(side_of[g] if side == "test" else side for side, _, g in rows))


def _deal_groups(
    sizes: Counter[tuple[str, str]],
    shares: dict[str, float],
    first_served: tuple[str, ...],
    seed: int,
) -> dict[str, str]:
    """Give each group to a side, in each genre by share.

    Parameters
    ----------
    sizes : tracks by (genre, group)
    """
    by_group: dict[str, list[tuple[int, str]]] = {}
    for (genre, group), size in sizes.items():
        by_group.setdefault(group, []).append((-size, genre))
    by_genre: dict[str, dict[str, int]] = {}
    for group, counted in by_group.items():
        by_genre.setdefault(min(counted)[1], {})[group] = -min(counted)[0]
    side_of: dict[str, str] = {}
    for group_sizes in by_genre.values():
        dealt = _deal(len(group_sizes), shares, first_served)
        side_of.update(zip(_candidates(group_sizes, seed), dealt, strict=True))
    return side_of


def _deal(n_groups: int, shares: dict[str, float], first_served: tuple[str, ...]) -> list[str]:
    """Name the sides of a genre's groups: one to each as far as they go, then where most lacks."""
    dealt = list(first_served[:n_groups])
    counts = {side: dealt.count(side) for side in shares}
    while len(dealt) < n_groups:
        side = max(shares, key=lambda name: shares[name] * n_groups - counts[name])
        counts[side] += 1
        dealt.append(side)
    return dealt


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
