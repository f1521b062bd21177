"""What a query should find, what that is worth, and what its ranking must not contain (METHOD 7).

Relevant is an item of the same genre, or one that shares a tag; it is worth the overlap of the two
sets of tags (Jaccard). Out of the ranking are the query's own track and everything of its group.

Public: `JudgedTracks`, `Judgement`, `judge`, `number_names`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from musichash_core.errors import ParameterError


@dataclass(frozen=True, slots=True)
class JudgedTracks:
    """Tracks, or segments of tracks, with what is known of them.

    Attributes
    ----------
    track_ids, groups : (n,) str or integer
        Rows of the same track (its segments) have the same id. A track whose group is unknown
        forms a group of its own: give its id.
    labels : (n,) str or integer, or (n, n_tags) bool
        One genre each, or the tags each one has.
    """

    track_ids: NDArray[np.generic]
    groups: NDArray[np.generic]
    labels: NDArray[np.generic]

    def __post_init__(self) -> None:
        n_rows = len(self.track_ids)
        if self.track_ids.shape != (n_rows,) or self.groups.shape != (n_rows,):
            raise ParameterError(
                f"track_ids {self.track_ids.shape} and groups {self.groups.shape}: want (n,) both"
            )
        if self.labels.ndim not in (1, 2) or len(self.labels) != n_rows:
            raise ParameterError(
                f"labels of shape {self.labels.shape} for {n_rows} tracks: want ({n_rows},) genres "
                f"or ({n_rows}, n_tags) bool"
            )
        if self.labels.ndim == 2 and self.labels.dtype != np.bool_:
            raise ParameterError(f"tags of dtype {self.labels.dtype}: want bool, (n, n_tags)")

    def __len__(self) -> int:
        return len(self.track_ids)


@dataclass(frozen=True, slots=True)
class Judgement:
    """Queries against items, names replaced by numbers that are quick to compare.

    Attributes
    ----------
    query_tracks, query_groups, item_tracks, item_groups : (n,) int32
    query_labels, item_labels : (n,) int32 or (n, n_tags) float32
    """

    query_tracks: NDArray[np.int32]
    item_tracks: NDArray[np.int32]
    query_groups: NDArray[np.int32]
    item_groups: NDArray[np.int32]
    query_labels: NDArray[np.int32] | NDArray[np.float32]
    item_labels: NDArray[np.int32] | NDArray[np.float32]

    @property
    def has_tags(self) -> bool:
        """Whether items can be relevant by degrees."""
        return self.query_labels.ndim == 2

    def excluded(self, rows: slice) -> NDArray[np.bool_]:
        """Mark the items of the queries' own tracks and groups, ``(n_rows, n_items)`` bool."""
        return np.asarray(
            (self.query_tracks[rows, None] == self.item_tracks)
            | (self.query_groups[rows, None] == self.item_groups)
        )

    def relevant(self, rows: slice) -> NDArray[np.bool_]:
        """Mark the items of the same genre or with a tag in common, ``(n_rows, n_items)`` bool."""
        if self.has_tags:
            return np.asarray(self.query_labels[rows] @ self.item_labels.T > 0)
        return np.asarray(self.query_labels[rows, None] == self.item_labels)

    def gains(self, rows: slice) -> NDArray[np.float64]:
        """Give tags in common over tags of either, ``(n_rows, n_items)`` float64, 0 to 1."""
        if not self.has_tags:
            return self.relevant(rows).astype(np.float64)
        both = (self.query_labels[rows] @ self.item_labels.T).astype(np.float64)
        either = self.query_labels[rows].sum(axis=1)[:, None] + self.item_labels.sum(axis=1) - both
        return np.asarray(np.divide(both, either, out=np.zeros_like(both), where=either > 0))


def judge(queries: JudgedTracks, items: JudgedTracks) -> Judgement:
    """Prepare the comparison of queries with the items of a database.

    Raises
    ------
    ParameterError
        One has genres and the other tags, or their tags differ in number.
    """
    if queries.labels.shape[1:] != items.labels.shape[1:]:
        raise ParameterError(
            f"labels {queries.labels.shape} of queries and {items.labels.shape} of items cannot be "
            "compared: want genres (n,) or the same tags (n, n_tags) on both sides"
        )
    labels: tuple[NDArray[np.int32] | NDArray[np.float32], NDArray[np.int32] | NDArray[np.float32]]
    if queries.labels.ndim == 2:
        labels = queries.labels.astype(np.float32), items.labels.astype(np.float32)
    else:
        labels = number_names(queries.labels, items.labels)
    query_tracks, item_tracks = number_names(queries.track_ids, items.track_ids)
    query_groups, item_groups = number_names(queries.groups, items.groups)
    return Judgement(query_tracks, item_tracks, query_groups, item_groups, *labels)


def number_names(
    first: NDArray[np.generic], second: NDArray[np.generic]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Replace names by whole numbers from 0, the same name by the same number in both arrays."""
    if (first.dtype.kind in "iub") != (second.dtype.kind in "iub"):
        raise ParameterError(f"names of dtype {first.dtype} and {second.dtype} cannot be compared")
    numbers = np.unique(np.concatenate([first, second]), return_inverse=True)[1].astype(np.int32)
    return numbers[: len(first)], numbers[len(first) :]
