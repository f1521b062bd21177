"""Exact search by looking at every code: compiled, and as fast as memory is read.

Codes are compared 64 at a time in vector instructions; only where one of them is near enough is
any of them looked at by itself. Blocks of codes stay in the first cache while all queries of a
group are compared with them.

Codes are packed as in `musichash_core.codes`; a whole number of 64-bit words needs no copy.

An index of lists has only some runs of the codes looked at, others for each query.

Public: `nearest_codes`, `codes_within`, `nearest_in_runs`, `codes_within_runs`, `FoundCodes`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from musichash_core.errors import ParameterError
from musichash_core.kernels_cache import kernel
from musichash_core.popcount_code import CHUNK, WORD_BYTES, least_distance, popcount

BLOCK = 4096
"""Codes that all queries of a group are compared with before the next ones: 32 KB at 64 bits."""

GROUP = 64
"""Queries in a group."""

Place = tuple[int, int, int]
T = TypeVar("T", bound=np.generic)


@dataclass(frozen=True, slots=True)
class FoundCodes:
    """Answers to some queries, one after the other.

    Attributes
    ----------
    limits : (n_queries + 1,) int64
        The answers to query i stand at ``limits[i]`` to ``limits[i + 1]``.
    rows : (n_answers,) int64
        Rows of the codes; by distance, then row.
    distances : (n_answers,) int32
        In bits.
    """

    limits: NDArray[np.int64]
    rows: NDArray[np.int64]
    distances: NDArray[np.int32]

    def of_query(self, query: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Give rows and distances of the answers to one query."""
        place = slice(self.limits[query], self.limits[query + 1])
        return self.rows[place], self.distances[place]


def nearest_codes(codes: NDArray[np.uint8], queries: NDArray[np.uint8], k: int) -> FoundCodes:
    """Find the nearest codes, and all that tie with the last of them.

    Parameters
    ----------
    codes : (n_codes, code_bytes) uint8
    queries : (n_queries, code_bytes) uint8
    k : >= 1

    Returns
    -------
    FoundCodes
        At least ``min(k, n_codes)`` answers to each query.

    Raises
    ------
    ParameterError
        If the codes have different lengths, or `k` is less than 1.
    """
    if k < 1:
        raise ParameterError(f"k={k}: ask for at least one neighbour")
    return _scan(codes, queries, k, codes.shape[-1] * 8)


def codes_within(codes: NDArray[np.uint8], queries: NDArray[np.uint8], radius: int) -> FoundCodes:
    """Find all codes at a distance of at most `radius` bits.

    Parameters
    ----------
    codes : (n_codes, code_bytes) uint8
    queries : (n_queries, code_bytes) uint8
    radius : int
        A negative one finds nothing.
    """
    return _scan(codes, queries, 0, min(radius, codes.shape[-1] * 8))


def nearest_in_runs(
    codes: NDArray[np.uint8], queries: NDArray[np.uint8], k: int, runs: NDArray[np.int64]
) -> FoundCodes:
    """Find the nearest of some of the codes, and all of those that tie with the last of them.

    Parameters
    ----------
    codes : (n_codes, code_bytes) uint8
    queries : (n_queries, code_bytes) uint8
    k : >= 1
    runs : (n_queries, n_runs, 2) int64
        For each query the first row, and that after the last, of each run that is looked at; no
        row in two of them.

    Returns
    -------
    FoundCodes
        Equal distances in the order of the runs; fewer than `k` where the runs have fewer codes.

    Raises
    ------
    ParameterError
        If lengths or shapes do not fit, rows are not there, or `k` is less than 1.
    """
    if k < 1:
        raise ParameterError(f"k={k}: ask for at least one neighbour")
    return _scan(codes, queries, k, codes.shape[-1] * 8, runs)


def codes_within_runs(
    codes: NDArray[np.uint8], queries: NDArray[np.uint8], radius: int, runs: NDArray[np.int64]
) -> FoundCodes:
    """Find all of some codes at a distance of at most `radius` bits; as `nearest_in_runs`."""
    return _scan(codes, queries, 0, min(radius, codes.shape[-1] * 8), runs)


def _scan(
    codes: NDArray[np.uint8],
    queries: NDArray[np.uint8],
    k: int,
    bound: int,
    runs: NDArray[np.int64] | None = None,
) -> FoundCodes:
    """Find what is within a bound; with `k`, one that falls while nearer codes are found."""
    if codes.ndim != 2 or queries.ndim != 2 or codes.shape[1] != queries.shape[1]:
        raise ParameterError(
            f"queries of shape {queries.shape} and codes of shape {codes.shape} cannot be "
            "compared; want (n, code_bytes) of the same length"
        )
    if runs is not None:
        _check_runs(runs, len(queries), len(codes))
    words, asked = _words(codes), _words(queries)
    room = _room_for(min(GROUP, len(asked)), words.shape[1])
    ordered = [(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int32))]
    for start in range(0, len(asked), GROUP):
        group = slice(start, start + GROUP)
        room.bounds[:] = bound
        room = _scan_group(words, asked[group], k, None if runs is None else runs[group], room)
        ordered.append(_in_order(room, len(asked[group])))
    counts, rows, distances = (np.concatenate(parts) for parts in zip(*ordered, strict=True))
    limits = np.zeros(len(counts) + 1, dtype=np.int64)
    np.cumsum(counts, out=limits[1:])
    return FoundCodes(limits, rows, distances)


def _check_runs(runs: NDArray[np.int64], n_queries: int, n_codes: int) -> None:
    """Refuse runs that the compiled scan must not follow."""
    is_shaped = runs.dtype == np.int64 and runs.ndim == 3 and runs.shape[::2] == (n_queries, 2)
    if not is_shaped or (runs.size and (runs.min() < 0 or runs.max() > n_codes)):
        raise ParameterError(
            f"runs of shape {runs.shape}, {runs.dtype}: want ({n_queries}, n_runs, 2) int64, "
            f"within {n_codes} rows"
        )


def _words(codes: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Give codes as 64-bit words; bits that are added are equal everywhere, and count for none."""
    missing = -codes.shape[1] % WORD_BYTES
    if missing:
        codes = np.pad(codes, ((0, 0), (0, missing)))
    return np.ascontiguousarray(codes, dtype=np.uint8).view(np.uint64)


class _Answers(NamedTuple):
    """What is found for a group of queries; numba knows named tuples.

    Attributes
    ----------
    bounds : (n_queries,) int64
        What is farther is no answer; with `k` it falls while nearer codes are found.
    counts, near_counts : (n_queries,) int64
        Answers kept, and those of them within the bound.
    histograms : (n_queries, n_bits + 1) int64
        Answers by distance.
    rows, distances : (n_queries, room) int64, int32
        In the order of rows.
    """

    bounds: NDArray[np.int64]
    counts: NDArray[np.int64]
    near_counts: NDArray[np.int64]
    histograms: NDArray[np.int64]
    rows: NDArray[np.int64]
    distances: NDArray[np.int32]


def _room_for(n_queries: int, n_words: int) -> _Answers:
    """Give room for the answers of a group; it is filled again and again."""
    return _Answers(
        bounds=np.empty(n_queries, dtype=np.int64),
        counts=np.empty(n_queries, dtype=np.int64),
        near_counts=np.empty(n_queries, dtype=np.int64),
        histograms=np.empty((n_queries, n_words * WORD_BYTES * 8 + 1), dtype=np.int64),
        rows=np.empty((n_queries, 4 * BLOCK), dtype=np.int64),
        distances=np.empty((n_queries, 4 * BLOCK), dtype=np.int32),
    )


def _scan_group(
    words: NDArray[np.uint64],
    queries: NDArray[np.uint64],
    k: int,
    runs: NDArray[np.int64] | None,
    found: _Answers,
) -> _Answers:
    """Fill in the answers to a group of queries; gives them with as much room as they took."""
    for counted in (found.counts, found.near_counts, found.histograms):
        counted[:] = 0
    # The scan stops where the answers' room may not do, and goes on from there with more.
    place, is_done = (0, 0, 0), False
    while not is_done:
        if runs is None:
            place, is_done = _block_scan(words.shape[1])(words, queries, k, place, found)
        else:
            place, is_done = _run_scan(words.shape[1])(words, queries, k, place, found, runs)
        if not is_done:
            found = found._replace(rows=_doubled(found.rows), distances=_doubled(found.distances))
    return found


def _doubled(array: NDArray[T]) -> NDArray[T]:
    """Give room for twice as many answers."""
    wider = np.empty((array.shape[0], 2 * array.shape[1]), dtype=array.dtype)
    wider[:, : array.shape[1]] = array
    return wider


@cache
def _look_at(n_words: int) -> Callable[..., None]:
    """Make the kernel that looks at some codes of so many words."""
    least = least_distance(n_words)

    def look_at(
        words: NDArray[np.uint64],
        rows: tuple[int, int],
        asked: tuple[NDArray[np.uint64], int, int],
        found: _Answers,
    ) -> None:
        """Keep what is near of the rows from a first to a last; there is room for all."""
        queries, query, k = asked
        for first in range(rows[0], rows[1], CHUNK):
            last = first + CHUNK
            if last > rows[1]:
                _keep(words[first : rows[1]], queries[query], k, (query, first), found)
            elif least(words, first, queries, query) <= found.bounds[query]:
                _keep(words[first:last], queries[query], k, (query, first), found)

    return kernel(look_at, variant=f"{n_words}")


@cache
def _block_scan(n_words: int) -> Callable[..., tuple[Place, bool]]:
    """Make the kernel that looks at all codes; see `_scan_group`."""
    look = _look_at(n_words)

    def scan_blocks(
        words: NDArray[np.uint64],
        queries: NDArray[np.uint64],
        k: int,
        place: Place,
        found: _Answers,
    ) -> tuple[Place, bool]:
        """Go on from a place: a block, a query, and 0."""
        first_query = place[1]
        for block in range(place[0], len(words), BLOCK):
            end = min(len(words), block + BLOCK)
            for query in range(first_query, len(queries)):
                if not _has_room(found, query):
                    return (block, query, 0), False
                look(words, (block, end), (queries, query, k), found)
            first_query = 0
        return (len(words), 0, 0), True

    return kernel(scan_blocks, variant=f"{n_words}")


@cache
def _run_scan(n_words: int) -> Callable[..., tuple[Place, bool]]:
    """Make the kernel that looks at some runs of the codes; see `_scan_group`."""
    look = _look_at(n_words)

    def scan_runs(
        words: NDArray[np.uint64],
        queries: NDArray[np.uint64],
        k: int,
        place: Place,
        found: _Answers,
        runs: NDArray[np.int64],
    ) -> tuple[Place, bool]:
        """Go on from a place: a query, a run, and a row."""
        first_query, first_run, first_row = place
        for query in range(first_query, len(queries)):
            for run in range(first_run, runs.shape[1]):
                end = runs[query, run, 1]
                for block in range(max(first_row, runs[query, run, 0]), end, BLOCK):
                    if not _has_room(found, query):
                        return (query, run, block), False
                    look(words, (block, min(end, block + BLOCK)), (queries, query, k), found)
                first_row = 0
            first_run = 0
        return (len(queries), 0, 0), True

    return kernel(scan_runs, variant=f"{n_words}")


def _make_room(found: _Answers, query: int) -> bool:
    """Tell whether another block's answers have room; drop what was near once and no longer is."""
    room = found.rows.shape[1]
    if found.counts[query] + BLOCK <= room:
        return True
    kept = 0
    for i in range(found.counts[query]):
        if found.distances[query, i] <= found.bounds[query]:
            found.rows[query, kept] = found.rows[query, i]
            found.distances[query, kept] = found.distances[query, i]
            kept += 1
    found.counts[query] = kept
    has_room: bool = 2 * kept <= room
    return has_room


def _keep_near(
    words: NDArray[np.uint64],
    asked: NDArray[np.uint64],
    k: int,
    place: tuple[int, int],
    found: _Answers,
) -> None:
    """Keep those of a few codes that are within a query's bound.

    `place` is the query's place in the group, and the row of the first code.
    """
    query, first = place
    for row in range(len(words)):
        distance = 0
        for word in range(len(asked)):
            distance += popcount(words[row, word] ^ asked[word])
        if distance > found.bounds[query]:
            continue
        found.rows[query, found.counts[query]] = first + row
        found.distances[query, found.counts[query]] = distance
        found.counts[query] += 1
        if k == 0:
            continue
        histogram = found.histograms[query]
        histogram[distance] += 1
        found.near_counts[query] += 1
        while found.near_counts[query] - histogram[found.bounds[query]] >= k:
            found.near_counts[query] -= histogram[found.bounds[query]]
            found.bounds[query] -= 1


def _order(
    found: _Answers, n_queries: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]:
    """Give counts by query, and all answers by distance, then in the order they were found."""
    n_distances = found.histograms.shape[1]
    places = np.zeros((n_queries, n_distances + 1), dtype=np.int64)
    for query in range(n_queries):
        for i in range(found.counts[query]):
            places[query, found.distances[query, i] + 1] += 1
    counts = np.empty(n_queries, dtype=np.int64)
    first = 0
    for query in range(n_queries):
        counts[query] = places[query, 1 : found.bounds[query] + 2].sum()
        places[query, 0] = first
        for distance in range(n_distances):
            places[query, distance + 1] += places[query, distance]
        first += counts[query]
    rows = np.empty(first, dtype=np.int64)
    distances = np.empty(first, dtype=np.int32)
    for query in range(n_queries):
        _place_near(found, query, places[query], rows, distances)
    return counts, rows, distances


def _place(
    found: _Answers,
    query: int,
    places: NDArray[np.int64],
    rows: NDArray[np.int64],
    distances: NDArray[np.int32],
) -> None:
    """Put each answer within the bound where the next of its distance goes."""
    for i in range(found.counts[query]):
        distance = found.distances[query, i]
        if distance <= found.bounds[query]:
            rows[places[distance]] = found.rows[query, i]
            distances[places[distance]] = distance
            places[distance] += 1


_has_room = kernel(_make_room)
_keep = kernel(_keep_near)
_place_near = kernel(_place)
_in_order = kernel(_order)
