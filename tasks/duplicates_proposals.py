"""Which pairs of tracks to compare: by shared landmarks of their sound, and by near hash codes.

`tasks.duplicates_windows` proposes more, by codes of windows.

Codes of networks that were trained on genres fall into few buckets, so a radius around a code
proposes whole genres in a large catalogue: each track keeps its few nearest only. Landmarks do
not grow with the catalogue: different recordings hardly ever share two. What is cut off is counted.

Public: `Proposals`, `CodedTracks`, `propose_by_landmarks`, `propose_by_codes`, `propose_again`,
`join_proposals`, `numbers_of`, `pairs_of`, `best_of_either`.
"""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from musichash_core.codes import asymmetric_distance
from musichash_core.recording_match import N_LANDMARKS, shared_landmarks
from tasks.duplicates_fingerprints import FingerprintShelf, LandmarkKeys

if TYPE_CHECKING:  # importing it loads FAISS
    from storage.indexes import HashIndex, Neighbours

MIN_LANDMARKS = 2
"""A pair that shares so many is always proposed."""

SINGLES_PER_TRACK = 10
"""Pairs that share one landmark are proposed too, as long as there are no more of them than this
for each track: in catalogues of a few hundred thousand tracks, where chance makes few of them."""

KEYS_PER_PART = 50_000_000
"""Landmarks sorted at once: those of 260,000 tracks, 3 GB while it lasts."""

DURATION_TOLERANCE_S = 12.0
"""Tracks whose lengths differ by more are not proposed for their codes: a cut of six seconds at
each end."""

QUERIES_AT_ONCE = 256
MAX_ANSWERS = 16_000_000
"""Answers, of 12 bytes each and some copies of them, that so many queries have at most; those of
one query stay together. Codes that fall into few buckets have whole genres for an answer."""

MAX_CODE_COMPARISONS = 200_000_000_000
"""Queries times codes: some minutes with an index that compares all. Tracks beyond are not asked
for, and counted."""


@dataclass(frozen=True, slots=True)
class CodedTracks:
    """The rows of the codes table, as far as proposals need them.

    Attributes
    ----------
    packed : (n, code_bytes) uint8
    logits : (n, n_bits) float32
    duration_s : (n,) float64
    is_new : (n,) bool
        Tracks that were not there when pairs were compared last: they are asked for first.
    """

    packed: NDArray[np.uint8]
    logits: NDArray[np.float32]
    duration_s: NDArray[np.float64]
    is_new: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Proposals:
    """Pairs to compare.

    Attributes
    ----------
    pairs : (n_pairs, 2) int64
        Rows of the codes table, the smaller first, ascending, each pair once.
    counts : dict
        How many were proposed, and what was cut off.
    sources : list of str
        Of joined proposals: for each pair the names of what proposed it, joined by plus signs.
    """

    pairs: NDArray[np.int64]
    counts: dict[str, int]
    sources: list[str] = field(default_factory=list)


def propose_by_landmarks(
    shelf: FingerprintShelf, *, per_track: int, on_progress: Callable[[int, int], None] | None
) -> Proposals:
    """Propose the pairs that share `MIN_LANDMARKS` landmarks, or one where that tells them apart.

    Parameters
    ----------
    per_track : >= 1
        A pair stays if it is among so many best ones of either of its tracks.
    """
    n_tracks = len(shelf.partition_of_row)
    n_parts = max(1, -(-n_tracks * N_LANDMARKS // KEYS_PER_PART))
    pairs, counts, n_crowded = [], [], 0
    for number, part in enumerate(_divided(shelf, n_parts), 1):
        shared = shared_landmarks(part.keys, part.owners)
        pairs.append(shared.pairs)
        counts.append(shared.counts)
        n_crowded += shared.n_crowded
        if on_progress is not None:
            on_progress(number, n_parts)
    numbers, places = np.unique(numbers_of(np.concatenate(pairs)), return_inverse=True)
    total = np.bincount(places, np.concatenate(counts), len(numbers)).astype(np.int64)
    is_enough = total >= MIN_LANDMARKS
    n_singles = int((~is_enough).sum())
    if n_singles <= SINGLES_PER_TRACK * n_tracks:
        is_enough[:] = True
        n_singles = 0
    found, total = pairs_of(numbers[is_enough]), total[is_enough]
    is_kept = best_of_either(found, [-total], per_track)
    return Proposals(
        found[is_kept],
        {
            "proposed_by_landmarks": int(is_kept.sum()),
            "cut_off_by_landmarks": int((~is_kept).sum()),
            "cut_off_single_landmarks": n_singles,
            "crowded_landmarks": n_crowded,
        },
    )


def _divided(shelf: FingerprintShelf, n_parts: int) -> Iterator[LandmarkKeys]:
    """Divide the landmarks of all tracks by their keys, so that those of one key are together.

    More than one part goes through files in the folder for temporary ones: 3 kB for each track.
    """
    if n_parts == 1:
        parts = list(shelf.landmark_keys())
        yield LandmarkKeys(
            np.concatenate([np.empty(0, np.uint64), *(part.keys for part in parts)]),
            np.concatenate([np.empty(0, np.int64), *(part.owners for part in parts)]),
        )
        return
    with tempfile.TemporaryDirectory(prefix="musichash-landmarks-") as folder:
        paths = [Path(folder, str(part)) for part in range(n_parts)]
        for some in shelf.landmark_keys():
            part_of = (some.keys % np.uint64(n_parts)).astype(np.int64)
            for part in np.unique(part_of).tolist():
                chosen = part_of == part
                both = np.stack([some.keys[chosen], some.owners[chosen].astype(np.uint64)])
                with paths[part].open("ab") as file:
                    file.write(np.ascontiguousarray(both.T).tobytes())
        for path in paths:
            read = np.fromfile(path, np.uint64) if path.exists() else np.empty(0, np.uint64)
            columns = read.reshape(-1, 2)
            yield LandmarkKeys(columns[:, 0].copy(), columns[:, 1].astype(np.int64))
            path.unlink(missing_ok=True)


def propose_by_codes(
    index: "HashIndex",
    tracks: CodedTracks,
    *,
    radius: int,
    per_track: int,
    on_progress: Callable[[int, int], None] | None,
) -> Proposals:
    """Propose pairs of near codes and like durations: for each track its few nearest.

    Nearness is Hamming distance, then asymmetric distance, then difference of duration.

    Parameters
    ----------
    radius : >= 0
        Bits that two codes may differ by.
    """
    n_tracks = len(tracks.packed)
    room = MAX_CODE_COMPARISONS // max(1, n_tracks)
    asked = np.argsort(~tracks.is_new, kind="stable")[:room]
    found: list[NDArray[np.int64]] = [np.empty((0, 2), np.int64)]
    n_cut = 0
    at_once = max(1, min(QUERIES_AT_ONCE, MAX_ANSWERS // max(1, n_tracks)))
    for start in range(0, len(asked), at_once):
        rows = asked[start : start + at_once]
        answers = index.within(tracks.packed[rows], radius)
        for row, answer in zip(rows.tolist(), answers, strict=True):
            near, n_more = _nearest(tracks, row, answer, per_track)
            found.append(np.stack([np.minimum(near, row), np.maximum(near, row)], axis=1))
            n_cut += n_more
        if on_progress is not None:
            on_progress(start + len(rows), len(asked))
    pairs = pairs_of(np.unique(numbers_of(np.concatenate(found))))
    return Proposals(
        pairs,
        {
            "proposed_by_codes": len(pairs),
            "cut_off_by_codes": n_cut,
            "codes_not_asked": n_tracks - len(asked),
        },
    )


def _nearest(
    tracks: CodedTracks, row: int, answer: "Neighbours", per_track: int
) -> tuple[NDArray[np.int64], int]:
    """Keep the nearest rows of like duration, without the row itself; count the others."""
    difference_s = np.abs(tracks.duration_s[answer.rows] - tracks.duration_s[row])
    is_like = (answer.rows != row) & (difference_s <= DURATION_TOLERANCE_S)
    rows, difference_s = answer.rows[is_like], difference_s[is_like]
    if len(rows) <= per_track:
        return rows, 0
    asymmetric = asymmetric_distance(tracks.logits[row][None], tracks.packed[rows])[0]
    order = np.lexsort((rows, difference_s, asymmetric, answer.distances[is_like]))
    return rows[order[:per_track]], len(rows) - per_track


def propose_again(known: pa.Table, track_ids: list[str]) -> Proposals:
    """Propose what was found likely to be one recording before, of tracks that are still there.

    Parameters
    ----------
    known : pyarrow.Table
        `storage.duplicate_pairs.PAIRS`.
    track_ids : list of str
        Of the rows, ascending.
    """
    likely = known.filter(pc.not_equal(known["tier"], "similar-only"))
    ids = pa.array(track_ids, pa.string())
    ends = [pc.index_in(likely[name], value_set=ids) for name in ("first_id", "second_id")]
    are_there = pc.and_(*(pc.is_valid(end) for end in ends))
    rows = [end.filter(are_there).to_numpy().astype(np.int64) for end in ends]
    pairs = pairs_of(np.unique(numbers_of(np.stack(rows, axis=1))))
    return Proposals(pairs, {"proposed_before": len(pairs)})


def join_proposals(**proposals: Proposals) -> Proposals:
    """Bring the pairs of several sources together, which are given by their names."""
    numbers = [numbers_of(some.pairs) for some in proposals.values()]
    joined = np.unique(np.concatenate(numbers))
    is_from = np.stack([np.isin(joined, some) for some in numbers], axis=1)
    counts = {name: count for some in proposals.values() for name, count in some.counts.items()}
    return Proposals(
        pairs_of(joined),
        counts | {"proposed": len(joined)},
        ["+".join(compress(proposals, row)) for row in is_from.tolist()],
    )


def numbers_of(pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Write each pair as one number, in the order of the pairs: rows take ten times as long."""
    return (pairs[:, 0] << 32) | pairs[:, 1]


def pairs_of(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Undo `numbers_of`."""
    return np.stack([numbers >> 32, numbers & 0xFFFFFFFF], axis=1)


def best_of_either(
    pairs: NDArray[np.int64], keys: list[NDArray[np.int64]], per_track: int
) -> NDArray[np.bool_]:
    """Mark the pairs that are among the first `per_track` of one of their two tracks."""
    if not len(pairs):
        return np.zeros(0, np.bool_)
    ends = np.concatenate([pairs[:, 0], pairs[:, 1]])
    others = np.concatenate([pairs[:, 1], pairs[:, 0]])
    doubled = [np.concatenate([key, key]) for key in keys]
    order = np.lexsort((others, *doubled[::-1], ends))
    begins = np.flatnonzero(np.r_[True, np.diff(ends[order]) != 0])
    sizes = np.diff(np.r_[begins, len(order)])
    place = np.arange(len(order)) - np.repeat(begins, sizes)
    is_first = np.zeros(len(order), np.bool_)
    is_first[order] = place < per_track
    return np.asarray(is_first[: len(pairs)] | is_first[len(pairs) :])
