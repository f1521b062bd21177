"""Search by codes of windows: which tracks have windows like those of an excerpt, and where.

All windows lie in memory, 8 bytes each at 64 bits and the second they begin at in 4 more, in the
order of the codes table's rows and of time: 1.9 GB for 160 million windows, those of 3.5 million
tracks of four minutes. Every one is looked at, by the same compiled scan that serves exact search
of track codes, on the thread that asks. Among 160 million windows one processor finds the nearest
ten tracks in 0.07 s; query windows that come together share what is read, and 64 of them find what
is within 6 bits in 0.7 s.

Codes of windows and codes of tracks are of two kinds and are never compared with one another.

Public: `SegmentCodes`, `SegmentTracks`, `SegmentPairs`.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from musichash_core.code_scan import FoundCodes, codes_within, nearest_codes
from musichash_core.codes import asymmetric_distance, hamming_distance
from musichash_core.errors import ParameterError
from storage.packed_codes import packed_column

FIRST_WINDOWS, WINDOWS_PER_TRACK = 256, 8
"""Nearest windows looked for first, at least and for each track asked for: those of one track come
together, as music repeats itself."""

COMPARED_AT_ONCE = 16_384

SHORTLIST = 256
"""Tracks that several query windows propose together at least; those they share count twice."""


@dataclass(frozen=True, slots=True, eq=False)
class SegmentTracks:
    """Tracks that an excerpt may be from, best first.

    Attributes
    ----------
    rows : (n,) int64
        Rows of the codes table.
    distances : (n,) float64
        Mean over the query's windows of the Hamming distance to the nearest window of the track;
        whole bits where there is one query window.
    starts_s : (n,) float64
        Where the track's best window begins, seconds: the nearest to any window of the query.
    query_windows : (n,) int64
        Which window of the query that is.
    misses_none : bool
        Whether no track that was left uncompared can be as near.
    """

    rows: NDArray[np.int64]
    distances: NDArray[np.float64]
    starts_s: NDArray[np.float64]
    query_windows: NDArray[np.int64]
    misses_none: bool


@dataclass(frozen=True, slots=True, eq=False)
class SegmentPairs:
    """Windows within a radius of query windows, by query window, distance, row and time.

    Attributes
    ----------
    query_windows : (n,) int64
    rows : (n,) int64
        Rows of the codes table.
    windows : (n,) int64
        Which window of the track, from 0.
    distances : (n,) int32
        Hamming distances, bits.
    """

    query_windows: NDArray[np.int64]
    rows: NDArray[np.int64]
    windows: NDArray[np.int64]
    distances: NDArray[np.int32]


class SegmentCodes:
    """The windows of a codes table, ready to be searched; read-only, safe under threads.

    Parameters
    ----------
    codes : (n_windows, code_bytes) uint8
        Of all tracks, one after the other.
    starts_s : (n_windows,) float32
        Where each begins, seconds.
    limits : (n_tracks + 1,) int64
        The windows of row i are those from ``limits[i]`` to ``limits[i + 1]``.

    Raises
    ------
    ParameterError
        If the three do not belong together.
    """

    def __init__(
        self, codes: NDArray[np.uint8], starts_s: NDArray[np.float32], limits: NDArray[np.int64]
    ) -> None:
        are_limits = len(limits) and limits[0] == 0 and (np.diff(limits) >= 0).all()
        if not are_limits or not len(codes) == len(starts_s) == limits[-1]:
            raise ParameterError(
                f"{len(codes)} codes of windows, {len(starts_s)} starts, and limits of "
                f"{len(limits) - 1} tracks that end at {limits[-1:]}: want as many of each"
            )
        self._codes = np.ascontiguousarray(codes)
        self._starts_s = starts_s
        self._limits = limits
        self._n_having_windows = int(np.count_nonzero(np.diff(limits)))

    @classmethod
    def from_table(cls, codes: pa.Table) -> Self:
        """Take the windows of a codes table; one of before windows had codes has none.

        Parameters
        ----------
        codes : pyarrow.Table
            With ``segment_codes`` and ``segment_starts_s`` of `storage.schemas.codes_schema`;
            other columns are not looked at, but ``code`` where these are missing.

        Raises
        ------
        ParameterError
            If a track has more or fewer codes than starts.
        """
        if "segment_codes" not in codes.column_names:
            width = codes.schema.field("code").type.byte_width
            nothing = np.empty((0, width), np.uint8)
            return cls(nothing, np.empty(0, np.float32), np.zeros(len(codes) + 1, np.int64))
        packed, limits = _flattened(codes["segment_codes"])
        starts, limits_of_starts = _flattened(codes["segment_starts_s"])
        if not np.array_equal(limits, limits_of_starts):
            row = int(np.argmax(np.diff(limits) != np.diff(limits_of_starts)))
            raise ParameterError(
                f"row {row} of the codes table has {np.diff(limits)[row]} codes of windows and "
                f"{np.diff(limits_of_starts)[row]} starts; 'musichash verify' looks for more"
            )
        return cls(packed_column(packed), starts.to_numpy(zero_copy_only=False), limits)

    @property
    def n_windows(self) -> int:
        """Number of windows."""
        return len(self._codes)

    @property
    def n_tracks(self) -> int:
        """Number of rows of the codes table, those without windows too."""
        return len(self._limits) - 1

    @property
    def counts(self) -> NDArray[np.int64]:
        """Number of windows of each row of the codes table, ``(n_tracks,)``."""
        return np.diff(self._limits)

    @property
    def n_bits(self) -> int:
        """Length of a code in bits."""
        return int(8 * self._codes.shape[1])

    def windows_of(self, row: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Give the codes of a track's windows, ``(n, code_bytes)``, and their starts, seconds."""
        place = slice(self._limits[row], self._limits[row + 1])
        return self._codes[place], self._starts_s[place]

    def nearest_tracks(
        self, codes: NDArray[np.uint8], logits: NDArray[np.float32] | None, k: int
    ) -> SegmentTracks:
        """Find the tracks that an excerpt may be from.

        Of one query window the answer is exact: the `k` tracks whose nearest windows are nearest.
        Of several, tracks are compared exactly by all of them, and those compared are the ones
        that any of them alone finds among its first `k`, or more where there are few of them.

        Parameters
        ----------
        codes : (n_query_windows, code_bytes) uint8
            Of the excerpt, from `musichash_core.segment_codes.encode_windows`.
        logits : (n_query_windows, n_bits) float32, optional
            What the codes are signs of; orders what has the same Hamming distance. Without it, and
            where that ties too, the order is that of rows.
        k : >= 1
            Number of tracks; fewer come where fewer have windows.

        Raises
        ------
        ParameterError
            If codes or logits have another width, or `k` is less than 1.
        """
        self._check_query(codes)
        if k < 1:
            raise ParameterError(f"k={k}: ask for at least one track")
        if logits is not None and logits.shape != (len(codes), self.n_bits):
            raise ParameterError(
                f"logits of shape {logits.shape} with {len(codes)} codes of {self.n_bits} bits"
            )
        if not len(codes) or not self.n_windows:
            nothing = np.empty(0, np.int64)
            none = nothing.astype(float)
            return SegmentTracks(nothing, none, none, nothing, misses_none=True)
        n_proposed = k if len(codes) == 1 else max(k, -(-SHORTLIST // len(codes)))
        rows = self._candidates(codes, n_proposed)
        best = [
            self._best_windows(rows, code, None if logits is None else logits[number])
            for number, code in enumerate(codes)
        ]
        distances, asymmetric, windows = (np.stack(parts) for parts in zip(*best, strict=True))
        order = np.lexsort((rows, asymmetric.sum(axis=0), distances.sum(axis=0)))[:k]
        # The first of equals, as lexsort is stable.
        nearest = np.lexsort((asymmetric[:, order], distances[:, order]), axis=0)[0]
        return SegmentTracks(
            rows[order],
            distances[:, order].mean(axis=0),
            self._starts_s[windows[nearest, order]].astype(np.float64),
            nearest,
            misses_none=len(codes) == 1 or len(rows) == self._n_having_windows,
        )

    def within(self, codes: NDArray[np.uint8], radius: int) -> SegmentPairs:
        """Find every window at a distance of at most `radius` bits from each query window.

        Parameters
        ----------
        codes : (n_query_windows, code_bytes) uint8
            May be windows of the table itself, which then find themselves too.

        Raises
        ------
        ParameterError
            If the codes have another width, or the radius is negative.
        """
        self._check_query(codes)
        if radius < 0:
            raise ParameterError(f"radius={radius}: give 0 bits or more")
        found = codes_within(self._codes, codes, radius)
        rows = self._rows_of(found.rows)
        return SegmentPairs(
            np.repeat(np.arange(len(codes)), np.diff(found.limits)),
            rows,
            found.rows - self._limits[rows],
            found.distances,
        )

    def _check_query(self, codes: NDArray[np.uint8]) -> None:
        if codes.ndim != 2 or codes.dtype != np.uint8 or 8 * codes.shape[1] != self.n_bits:
            raise ParameterError(
                f"codes of shape {codes.shape}, {codes.dtype}; want (n, {self.n_bits // 8}) uint8: "
                "encode the query with the model of the snapshot"
            )

    def _rows_of(self, windows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Give the row of the codes table that each window belongs to."""
        return np.asarray(np.searchsorted(self._limits, windows, side="right") - 1)

    def _candidates(self, codes: NDArray[np.uint8], k: int) -> NDArray[np.int64]:
        """Give the `k` tracks nearest to each query window and those that tie, each once, sorted.

        The windows nearest to a query window may be of few tracks; then more are asked for.
        """
        rows, n_asked = [], max(FIRST_WINDOWS, WINDOWS_PER_TRACK * k)
        todo = np.arange(len(codes))
        while len(todo):
            found = nearest_codes(self._codes, codes[todo], n_asked)
            of_each = [self._tracks_found(found, number) for number in range(len(todo))]
            is_done = np.array([len(one) >= k or n_asked >= self.n_windows for one in of_each])
            rows += [one for one, done in zip(of_each, is_done, strict=True) if done]
            todo = todo[~is_done]
            n_asked *= 8
        return np.unique(np.concatenate(rows))

    def _tracks_found(self, found: FoundCodes, number: int) -> NDArray[np.int64]:
        windows, _ = found.of_query(number)
        return np.unique(self._rows_of(windows))

    def _best_windows(
        self, rows: NDArray[np.int64], code: NDArray[np.uint8], logits: NDArray[np.float32] | None
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
        """Give the distance, the asymmetric one and the place of each row's nearest window."""
        counts = self._limits[rows + 1] - self._limits[rows]
        firsts = np.cumsum(counts) - counts
        windows = np.repeat(self._limits[rows] - firsts, counts) + np.arange(counts.sum())
        distances = hamming_distance(code, self._codes[windows])
        nearest = np.minimum.reduceat(distances, firsts)
        is_nearest = distances == np.repeat(nearest, counts)
        # Only these may win, and they are few.
        ties, tracks = windows[is_nearest], np.repeat(np.arange(len(rows)), counts)[is_nearest]
        asymmetric = np.zeros(len(ties))
        if logits is not None:
            for start in range(0, len(ties), COMPARED_AT_ONCE):
                some = slice(start, start + COMPARED_AT_ONCE)
                compared = asymmetric_distance(logits[None], self._codes[ties[some]])
                asymmetric[some] = compared[0]
        order = np.lexsort((ties, asymmetric, tracks))
        best = order[np.searchsorted(tracks, np.arange(len(rows)))]
        return nearest, asymmetric[best], ties[best]


def _flattened(column: pa.ChunkedArray) -> tuple[pa.Array, NDArray[np.int64]]:
    """Give the elements of a column of lists, and where the list of each row begins and ends."""
    chunks = column.chunks
    lengths = [pc.list_value_length(chunk).to_numpy(zero_copy_only=False) for chunk in chunks]
    limits = np.concatenate([np.zeros(1, np.int64), *lengths]).cumsum(dtype=np.int64)
    elements = [chunk.flatten() for chunk in chunks]
    if not elements:
        return pa.array([], column.type.value_type), limits
    return elements[0] if len(elements) == 1 else pa.concat_arrays(elements), limits
