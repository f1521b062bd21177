"""What the report says of the hash codes beside their health: labels, distances, neighbours.

Pairs and queries are sampled where there are many tracks; samples are evenly spaced in the
order of track_id, which is a hash, so they are fair and the same every time.

Public: `CodesGatherer`, `CodedTracks`, `pair_rows`, `PairRows`, `separation`,
`Separation`, `neighbourhoods`, `Neighbourhood`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from musichash_core.codes import hamming_distance
from storage.indexes import HashIndex, Neighbours, rank
from storage.packed_codes import packed_codes

MAX_PAIR_QUERIES = 400
MAX_PAIR_CODES = 4_000
"""400 x 4,000 pairs take 13 MB of distances and settle every bar of the histogram."""

MAX_QUERIES = 12
N_NEIGHBOURS = 5
MAX_CANDIDATES = 10_000
"""Collapsed codes tie by the hundred thousand; so many are ranked, the rest is left out."""


@dataclass(frozen=True, slots=True)
class CodedTracks:
    """The codes of a snapshot with the labels of their tracks, row by row.

    Attributes
    ----------
    packed : (n_codes, code_bytes) uint8
    label_numbers : (n_codes,) int32
        Places in `label_names`; -1 where the label is unknown.
    label_names : tuple of str
        In the order in which they occur.
    is_held_out : (n_codes,) bool
        Whether the models never saw the track, and it has a label to judge them by.
    """

    packed: NDArray[np.uint8]
    label_numbers: NDArray[np.int32]
    label_names: tuple[str, ...]
    is_held_out: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.packed)


class CodesGatherer:
    """Takes the codes of a snapshot in, a few rows at a time.

    Parameters
    ----------
    held_out_ids : sequence of str
        Tracks that training did not see.
    code_bytes : int
        Length of a code.
    """

    def __init__(self, held_out_ids: Sequence[str], *, code_bytes: int) -> None:
        self._held_out_ids = pa.array(held_out_ids, pa.string())
        self._numbers: dict[str, int] = {}
        self._packed = [np.empty((0, code_bytes), np.uint8)]
        self._labels = [np.empty(0, np.int32)]
        self._held_out = [np.empty(0, bool)]

    def add(self, codes: pa.Table, tracks: pa.Table) -> None:
        """Take some rows in.

        Parameters
        ----------
        codes : pyarrow.Table
            With track_id and code, in their order.
        tracks : pyarrow.Table
            With track_id and label: at least the tracks of these codes.
        """
        ids = codes["track_id"].combine_chunks()
        labels = tracks["label"].take(pc.index_in(ids, value_set=tracks["track_id"]))
        encoded = labels.combine_chunks().dictionary_encode()
        names = encoded.dictionary.to_pylist()
        numbers = [self._numbers.setdefault(name, len(self._numbers)) for name in names]
        number_of = np.array([*numbers, -1], np.int32)  # the last one stands for no label
        is_held_out = pc.is_in(ids, value_set=self._held_out_ids)
        self._labels.append(number_of[np.asarray(encoded.indices.fill_null(-1))])
        self._held_out.append(is_held_out.to_numpy(zero_copy_only=False))
        self._packed.append(packed_codes(codes))

    def tracks(self) -> CodedTracks:
        """Give what was taken in."""
        return CodedTracks(
            np.concatenate(self._packed),
            np.concatenate(self._labels),
            tuple(self._numbers),
            np.concatenate(self._held_out),
        )


def sampled_rows(rows: NDArray[np.int64], limit: int) -> NDArray[np.int64]:
    """Take at most `limit` of some rows, evenly spaced."""
    if len(rows) <= limit:
        return rows
    return rows[np.linspace(0, len(rows) - 1, limit).astype(np.int64)]


@dataclass(frozen=True, slots=True)
class Separation:
    """Distances of pairs of tracks of different groups.

    Attributes
    ----------
    within, between : (n_bits + 1,) int64
        Pairs of one label, and of two labels, per Hamming distance. Without labels every pair is
        in `between`.
    has_labels, is_held_out : bool
        Whether pairs are told apart, and whether each has at least one held-out track.
    n_queries, n_codes : int
        Tracks that were compared with how many.
    """

    within: NDArray[np.int64]
    between: NDArray[np.int64]
    has_labels: bool
    is_held_out: bool
    n_queries: int
    n_codes: int


@dataclass(frozen=True, slots=True)
class PairRows:
    """The tracks whose distances are counted.

    Attributes
    ----------
    queries, items : (n,) int64
        Rows: each of the first is compared with each of the second.
    has_labels, is_held_out : bool
        As of `Separation`.
    """

    queries: NDArray[np.int64]
    items: NDArray[np.int64]
    has_labels: bool
    is_held_out: bool


def pair_rows(tracks: CodedTracks) -> PairRows:
    """Choose tracks to compare: those with a label, and held-out ones, where there are some.

    Codes of training tracks are learnt by heart.
    """
    is_labelled = tracks.label_numbers >= 0
    has_labels = len(np.unique(tracks.label_numbers[is_labelled])) > 1
    wanted = np.flatnonzero(is_labelled) if has_labels else np.arange(len(tracks))
    is_held_out = has_labels and bool(tracks.is_held_out[wanted].any())
    candidates = wanted[tracks.is_held_out[wanted]] if is_held_out else wanted
    return PairRows(
        sampled_rows(candidates, MAX_PAIR_QUERIES),
        sampled_rows(wanted, MAX_PAIR_CODES),
        has_labels,
        is_held_out,
    )


def separation(
    tracks: CodedTracks, rows: PairRows, groups: Mapping[int, str | None]
) -> Separation | None:
    """Count Hamming distances within and between labels; None when there is no pair.

    Tracks of one group (artist) are never compared: they are alike for other reasons.

    Parameters
    ----------
    rows : PairRows
        The tracks.
    groups : mapping
        Row -> group; None where unknown.
    """
    queries, items = rows.queries, rows.items
    group_of = np.array([groups[row] for row in items.tolist()], dtype=object)
    n_bits = tracks.packed.shape[1] * 8
    within = np.zeros(n_bits + 1, dtype=np.int64)
    between = np.zeros(n_bits + 1, dtype=np.int64)
    for query in queries:
        is_other = (items > query) | ~np.isin(items, queries)  # each pair once
        group = groups[int(query)]
        if group is not None:
            is_other &= np.asarray(group_of != group, dtype=bool)
        others = items[is_other]
        distances = hamming_distance(tracks.packed[query], tracks.packed[others])
        is_within = rows.has_labels & (tracks.label_numbers[others] == tracks.label_numbers[query])
        within += np.bincount(distances[is_within], minlength=n_bits + 1)
        between += np.bincount(distances[~is_within], minlength=n_bits + 1)
    if not within.sum() + between.sum():
        return None
    return Separation(within, between, rows.has_labels, rows.is_held_out, len(queries), len(items))


@dataclass(frozen=True, slots=True)
class Neighbour:
    """One answer: a row of the codes table at a Hamming distance, in bits."""

    row: int
    distance: int


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """A track and those nearest to it, itself left out."""

    row: int
    neighbours: list[Neighbour]


def neighbourhoods(
    tracks: CodedTracks, index: HashIndex, logits_of: Callable[[int], NDArray[np.float32]]
) -> list[Neighbourhood]:
    """Find the neighbours of one track per label, held-out ones where there are any.

    Parameters
    ----------
    logits_of : callable
        Gives the real-valued code of a row, ``(n_bits,)`` float32, which ranks the ties.
    """
    found = []
    for row in _query_rows(tracks):
        (nearest,) = index.candidates(tracks.packed[row][None], N_NEIGHBOURS + 1)
        kept = nearest.rows != row
        candidates = Neighbours(
            nearest.rows[kept][:MAX_CANDIDATES], nearest.distances[kept][:MAX_CANDIDATES]
        )
        best = rank(candidates, logits_of(row), tracks.packed[candidates.rows], N_NEIGHBOURS)
        pairs = zip(best.rows.tolist(), best.distances.tolist(), strict=True)
        found.append(Neighbourhood(row, [Neighbour(*pair) for pair in pairs]))
    return found


def _query_rows(tracks: CodedTracks) -> list[int]:
    """Choose one track of each of the largest labels; without labels, a few of all tracks."""
    if not tracks.label_names:
        return [int(row) for row in sampled_rows(np.arange(len(tracks)), MAX_QUERIES // 2)]
    numbers = tracks.label_numbers
    held_out_first = np.argsort(~tracks.is_held_out, kind="stable")
    labels, first = np.unique(numbers[held_out_first], return_index=True)
    rows = held_out_first[first]
    rows, labels = rows[labels >= 0], labels[labels >= 0]
    counts = np.bincount(numbers[numbers >= 0])[labels]
    largest = rows[np.argsort(-counts, kind="stable")[:MAX_QUERIES]]
    return sorted((int(row) for row in largest), key=lambda row: tracks.label_names[numbers[row]])
