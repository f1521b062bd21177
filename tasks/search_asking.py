"""How a question is asked of a snapshot: by whole tracks, by windows, or by both.

Public: `Asking`, `Compared`, `is_excerpt`, `queries_at_once`.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from storage.row_filters import Filters
from storage.search_terms import Hits, Query, Reach, Windows
from storage.served_snapshot import ServedSnapshot
from tasks.search_answers import Answer, answer_of

Compared = Literal["track", "segments", "auto"]

SHORTEST_EXCERPT_S, LONGEST_EXCERPT_S = 9.5, 35.0
"""An excerpt is at least a window of ten seconds, but for what a cutter leaves out."""

SAME_SOUND_SHARE = 0.16
"""Of the bits of a window's code: what differs in no more is taken for the same sound. Of excerpts
of ten seconds of 39 real tracks, at another level and as Ogg, all are that near to their track;
what is that near of the 284 others are versions of the same piece."""

QUERIES_AT_ONCE = 64
"""Queries handed to the index together; thousands of rows may tie with the last answer of each."""

WIDE_QUERIES_AT_ONCE = 8
"""As many where a radius may hold most of the catalogue."""


def queries_at_once(reach: Reach) -> int:
    """Give how many queries are handed to the index together."""
    return QUERIES_AT_ONCE if reach.radius is None else WIDE_QUERIES_AT_ONCE


def is_excerpt(duration_s: float) -> bool:
    """Tell whether an audio file is more likely a piece of a track than a track."""
    return SHORTEST_EXCERPT_S <= duration_s <= LONGEST_EXCERPT_S


@dataclass(frozen=True, slots=True)
class Asking:
    """How a question is asked, whatever it is about.

    Attributes
    ----------
    reach : Reach
    filters : Filters
    by : str
        What is compared.
    is_explained : bool
        Whether each match says why it was found.
    """

    reach: Reach
    filters: Filters
    by: Compared
    is_explained: bool

    def answer(
        self,
        served: ServedSnapshot,
        name: str,
        query: Query,
        windows: Windows | None,
        about: dict[str, Any],
    ) -> Answer:
        """Ask, and bring together what is known of the matches.

        Parameters
        ----------
        name : str
            What was asked for, as it was asked.
        windows : Windows, optional
            Of the query; needed to search by segments.
        about : dict
            What is known of the query; empty of a code alone.
        """
        return answer_of(
            served,
            name,
            self._hits(served, query, windows),
            reach=self.reach,
            filters=self.filters,
            asked=(query, about) if self.is_explained else None,
        )

    def _hits(self, served: ServedSnapshot, query: Query, windows: Windows | None) -> Hits:
        if self.by == "segments" and windows is not None:
            return served.nearest_by_windows(query, windows, self.reach, self.filters)
        (alike,) = served.nearest([query], self.reach, self.filters)
        has_windows = windows is not None and len(windows.codes) and served.segments.n_windows
        if self.by == "track" or windows is None or not has_windows:
            return alike
        radius = int(SAME_SOUND_SHARE * 8 * served.code_bytes)
        if self.reach.radius is not None:
            radius = min(radius, self.reach.radius)
        same = replace(self.reach, radius=radius)
        return _one_after_the_other(
            served.nearest_by_windows(query, windows, same, self.filters), alike, self.reach.k
        )


def _one_after_the_other(same: Hits, alike: Hits, k: int) -> Hits:
    """Put the tracks with the same sound first, then the others that sound alike."""
    others = np.flatnonzero(~np.isin(alike.rows, same.rows))[: k - len(same.rows)]
    nowhere = np.full(len(others), np.nan)
    assert same.starts_s is not None
    assert same.window_distances is not None
    return Hits(
        np.concatenate([same.rows, alike.rows[others]]),
        np.concatenate([same.distances, alike.distances[others]]),
        None
        if same.asymmetric is None or alike.asymmetric is None
        else np.concatenate([same.asymmetric, alike.asymmetric[others]]),
        alike.n_within,
        np.concatenate([same.starts_s, nowhere]),
        np.concatenate([same.window_distances, nowhere]),
        same.misses_none,
    )
