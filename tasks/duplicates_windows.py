"""Which pairs of tracks to compare because windows of ten seconds agree: by their codes.

A window's code tells how loud its bands are. One window may agree by chance, or because both tracks
begin in silence; of copies, several do, wherever the copy was cut.

Measured on 20 tracks of real music, 289 copies of them and 265 other tracks: at 12 of 64 bits two
windows agree in 95 % of 2271 pairs of copies, and in 385 others. That is 30 of the 60 that neither
landmarks nor codes propose. At 10 bits it is 92 % and 313, at 14 bits 97 % and 682; one window
at 12 bits 97 % and 717.

Public: `propose_by_windows`, `read_windows`.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from storage.layout import StoreLayout
from storage.published import read_table
from storage.snapshots import Snapshot
from tasks.duplicates_proposals import Proposals, best_of_either, numbers_of, pairs_of

if TYPE_CHECKING:  # importing it loads a compiler, which kept answers do not need
    from storage.segment_codes import SegmentCodes, SegmentPairs

COLUMNS = ("code", "segment_codes", "segment_starts_s")

RADIUS_SHARE = 0.1875
"""Of the bits of a window's code: 12 of 64."""

MIN_WINDOWS = 2
"""Windows of each of two tracks that must agree with one of the other."""

CROWDED = 1000
"""A window that agrees with more windows of others says nothing: silence, or one held note."""

WINDOWS_AT_ONCE = 1024
MAX_ANSWERS = 16_000_000
"""Answers, of 28 bytes each, that a batch of windows has at most; those of a track stay together,
and may have more where they are like all others."""

MAX_COMPARISONS = 2_000_000_000_000
"""Windows times windows: 200 s, and all of 43,000 tracks of three minutes. Of a larger catalogue
those that are new are asked for first, and those beyond not at all, which is counted."""

MAX_TRACKS = 1_000_000
"""Of more tracks windows are not even read: they take 0.5 GB for each million, and those of a
thousand tracks only could be asked for."""


class _Agreement(NamedTuple):
    """Pairs of rows, the smaller first, how many windows agree, and by how many bits at best."""

    pairs: NDArray[np.int64]
    n_windows: NDArray[np.int64]
    distances: NDArray[np.int64]


def read_windows(layout: StoreLayout, snapshot: Snapshot) -> "SegmentCodes | None":
    """Read the windows of a snapshot's tracks; none where its tables are of before they had any.

    Returns
    -------
    SegmentCodes or None
        None where there are more than `MAX_TRACKS` tracks.

    Raises
    ------
    StoreError
        If the table cannot be read.
    """
    from storage.segment_codes import SegmentCodes

    if snapshot.counts["tracks"] > MAX_TRACKS:
        return None
    return SegmentCodes.from_table(read_table(layout, snapshot, "codes", columns=COLUMNS))


def propose_by_windows(
    windows: "SegmentCodes | None",
    is_new: NDArray[np.bool_],
    *,
    per_track: int,
    on_progress: Callable[[int, int], None] | None,
) -> Proposals:
    """Propose the pairs of which at least `MIN_WINDOWS` windows agree within `RADIUS_SHARE`.

    Parameters
    ----------
    windows : SegmentCodes or None
        None proposes nothing, and counts all tracks as not asked for.
    is_new : (n_tracks,) bool
        Tracks that were not there when pairs were compared last: they are asked for first.
    per_track : >= 1
        A pair stays if it is among so many best ones of either of its tracks: those of which most
        windows agree, then those of the nearest.
    """
    if windows is None:
        return Proposals(np.empty((0, 2), np.int64), _counts(n_not_asked=len(is_new)))
    having = np.flatnonzero(windows.counts)
    ordered = having[np.argsort(~is_new[having], kind="stable")]
    cost = np.cumsum(windows.counts[ordered]) * windows.n_windows
    asked = ordered[cost <= MAX_COMPARISONS]
    nothing = np.empty(0, np.int64)
    found = [_Agreement(np.empty((0, 2), np.int64), nothing, nothing)]
    n_crowded, n_asked = 0, 0
    for rows in _batches(windows, asked):
        agreement, n_more = _agreeing(windows, rows)
        found.append(agreement)
        n_crowded += n_more
        n_asked += len(rows)
        if on_progress is not None:
            on_progress(n_asked, len(asked))
    pairs, n_windows, distances = (np.concatenate(parts) for parts in zip(*found, strict=True))
    # Most pairs are found from both of their tracks; a crowded window counts from one side only.
    order = np.lexsort((distances, -n_windows, numbers_of(pairs)))
    numbers, firsts = np.unique(numbers_of(pairs)[order], return_index=True)
    pairs, best = pairs_of(numbers), order[firsts]
    is_kept = best_of_either(pairs, [-n_windows[best], distances[best]], per_track)
    return Proposals(
        pairs[is_kept],
        _counts(
            n_kept=int(is_kept.sum()),
            n_cut=int((~is_kept).sum()),
            n_crowded=n_crowded,
            n_not_asked=len(having) - len(asked),
        ),
    )


def _counts(
    *, n_kept: int = 0, n_cut: int = 0, n_crowded: int = 0, n_not_asked: int = 0
) -> dict[str, int]:
    return {
        "proposed_by_windows": n_kept,
        "cut_off_by_windows": n_cut,
        "crowded_windows": n_crowded,
        "windows_not_asked": n_not_asked,
    }


def _batches(windows: "SegmentCodes", rows: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Divide rows so that the windows of a batch are few enough, and those of a row together."""
    room = max(1, min(WINDOWS_AT_ONCE, MAX_ANSWERS // max(1, windows.n_windows)))
    batch = np.cumsum(windows.counts[rows]) // room
    yield from np.split(rows, np.flatnonzero(np.diff(batch)) + 1) if len(rows) else ()


def _agreeing(windows: "SegmentCodes", rows: NDArray[np.int64]) -> tuple[_Agreement, int]:
    """Find what agrees with some tracks; count their windows that agree with too many."""
    codes = np.concatenate([windows.windows_of(row)[0] for row in rows.tolist()])
    answer = windows.within(codes, round(RADIUS_SHARE * windows.n_bits))
    owners = np.repeat(rows, windows.counts[rows])
    mine = owners[answer.query_windows]
    is_other = mine != answer.rows
    answers = np.bincount(answer.query_windows[is_other], minlength=len(codes))
    is_crowded = answers > CROWDED
    chosen = is_other & ~is_crowded[answer.query_windows]
    return _counted(mine[chosen], answer, chosen), int(is_crowded.sum())


def _counted(
    mine: NDArray[np.int64], answer: "SegmentPairs", chosen: NDArray[np.bool_]
) -> _Agreement:
    """Count, for each pair of tracks, the windows of each that agree with one of the other."""
    asked_and_other = np.stack([mine, answer.rows[chosen]], axis=1)
    numbers, places = np.unique(numbers_of(asked_and_other), return_inverse=True)
    n_windows = np.minimum(
        _distinct(places, answer.query_windows[chosen], len(numbers)),
        _distinct(places, answer.windows[chosen], len(numbers)),
    )
    nearest = np.full(len(numbers), np.iinfo(np.int64).max)
    np.minimum.at(nearest, places, answer.distances[chosen].astype(np.int64))
    is_enough = n_windows >= MIN_WINDOWS
    ends = np.sort(pairs_of(numbers[is_enough]), axis=1)
    return _Agreement(ends, n_windows[is_enough], nearest[is_enough])


def _distinct(
    places: NDArray[np.int64], values: NDArray[np.int64], n_places: int
) -> NDArray[np.int64]:
    """Count the distinct values at each place."""
    both = np.unique(numbers_of(np.stack([places, values], axis=1)))
    return np.bincount(both >> 32, minlength=n_places)
