"""Canaries: the same tracks are searched for in every snapshot, so that a bad index is noticed.

They are the tracks with the smallest ids of each predicted genre, so that who they are follows
from the snapshot alone; ids are hashes, so they are a fair sample and hardly change from night to
night.

Public: `ask_canaries`, `compare_answers`.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from musichash_core.codes import hamming_distance
from musichash_core.health_figures import CanaryFigures
from storage.code_health import CanaryRecord
from storage.coded_tracks import CodedTracks, rows_of
from storage.indexes import HashIndex

N_ANSWERS = 10


def canary_rows(tracks: CodedTracks, n_canaries: int) -> list[int]:
    """Choose rows: the first of each genre, then the second of each, ..., the largest genre first.

    Parameters
    ----------
    n_canaries : >= 1
        Fewer are chosen where there are fewer tracks.
    """
    counts = np.bincount(tracks.genres, minlength=len(tracks.genre_names))
    names = np.array(tracks.genre_names, dtype=object)
    largest_first = sorted(range(len(names)), key=lambda genre: (-counts[genre], names[genre]))
    rows_by_genre = [_first_rows(tracks.genres, genre, n_canaries) for genre in largest_first]
    chosen: list[int] = []
    for rank in range(n_canaries):
        chosen += [int(rows[rank]) for rows in rows_by_genre if rank < len(rows)]
        if len(chosen) >= n_canaries:
            break
    return sorted(chosen[:n_canaries])


def _first_rows(genres: NDArray[np.int64], genre: int, n_wanted: int) -> NDArray[np.int64]:
    """Find the first rows of a genre; looks no further than it needs to."""
    length = 64 * n_wanted
    while True:
        rows = np.flatnonzero(genres[:length] == genre)[:n_wanted]
        if len(rows) == n_wanted or length >= len(genres):
            return rows
        length *= 8


def ask_canaries(
    tracks: CodedTracks, index: HashIndex, *, n_canaries: int
) -> tuple[CanaryRecord, ...]:
    """Search for the canaries; one at a time, because collapsed codes tie by the million."""
    if not len(tracks.codes):
        return ()
    return tuple(_asked(tracks, index, row) for row in canary_rows(tracks, n_canaries))


def _asked(tracks: CodedTracks, index: HashIndex, row: int) -> CanaryRecord:
    (found,) = index.candidates(tracks.codes[row][None], N_ANSWERS + 1)
    is_itself = found.rows == row
    rows, distances = found.rows[~is_itself], found.distances[~is_itself]
    return CanaryRecord(
        track_id=_text(tracks.track_ids[row]),
        genre=tracks.genre_names[tracks.genres[row]],
        finds_itself=bool((found.distances[is_itself] == 0).any()),
        neighbours=tuple(
            (_text(tracks.track_ids[answer]), int(distance))
            for answer, distance in zip(rows[:N_ANSWERS], distances[:N_ANSWERS], strict=True)
        ),
    )


def _text(track_id: bytes) -> str:
    return bytes(track_id).decode()


def compare_answers(
    tracks: CodedTracks, canaries: Sequence[CanaryRecord], before: Sequence[CanaryRecord]
) -> CanaryFigures:
    """Compare answers with those of the snapshot before, to the same canaries.

    An earlier answer that is none now is kept all the same if it is as far as the last of those
    found or further: nearer tracks came, and pushed it out.

    Parameters
    ----------
    before : sequence of CanaryRecord
        Empty where nothing is known of them.
    """
    known = {canary.track_id: canary for canary in before}
    n_before = n_again = n_kept = 0
    for canary in canaries:
        if canary.track_id not in known:
            continue
        names = [name for name, _ in known[canary.track_id].neighbours]
        rows = rows_of(tracks.track_ids, np.array([name.encode() for name in names], "S"))
        exists = rows >= 0
        found = {name for name, _ in canary.neighbours}
        is_again = np.array([name in found for name in names], dtype=bool) & exists
        own = tracks.codes[rows_of(tracks.track_ids, np.array([canary.track_id.encode()]))[0]]
        furthest = canary.neighbours[-1][1] if canary.neighbours else 0
        is_outdone = hamming_distance(own, tracks.codes[rows]) >= furthest
        n_before += int(exists.sum())
        n_again += int(is_again.sum())
        n_kept += int((exists & (is_again | is_outdone)).sum())
    return CanaryFigures(
        n_asked=len(canaries),
        n_found_themselves=sum(canary.finds_itself for canary in canaries),
        n_answers_before=n_before,
        n_answers_again=n_again,
        n_answers_kept=n_kept,
    )
