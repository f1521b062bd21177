"""What the report says of the hash codes beside their health: labels, distances, neighbours.

Pairs and queries are sampled where there are many tracks; samples are evenly spaced in the
order of track_id, which is a hash, so they are fair and the same every time.

Public: `separation`, `Separation`, `neighbourhoods`, `Neighbourhood`, `coded_tracks`,
`CodedTracks`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from musichash_core.codes import hamming_distance
from storage.indexes import HashIndex, Neighbours, rank

MAX_PAIR_QUERIES = 400
MAX_PAIR_CODES = 4_000
"""400 x 4,000 pairs take 13 MB of distances and settle every bar of the histogram."""

MAX_QUERIES = 12
N_NEIGHBOURS = 5
MAX_CANDIDATES = 10_000
"""Collapsed codes tie by the hundred thousand; so many are ranked, the rest is left out."""


@dataclass(frozen=True, slots=True)
class CodedTracks:
    """The codes of a snapshot with what is known of their tracks, row by row.

    Attributes
    ----------
    track_ids, paths : (n_codes,) object
        Identity, and first location below its catalogue root.
    labels, groups : (n_codes,) object
        None where unknown.
    genres : (n_codes,) object
        Predicted.
    probabilities : (n_codes,) float64
        Of the predicted genre.
    is_held_out : (n_codes,) bool
        Whether the models never saw the track, and it has a label to judge them by.
    packed : (n_codes, code_bytes) uint8
    """

    track_ids: NDArray[np.object_]
    paths: NDArray[np.object_]
    labels: NDArray[np.object_]
    groups: NDArray[np.object_]
    genres: NDArray[np.object_]
    probabilities: NDArray[np.float64]
    is_held_out: NDArray[np.bool_]
    packed: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.track_ids)


def coded_tracks(
    codes: pa.Table,
    tracks: pa.Table,
    predictions: pa.Table,
    packed: NDArray[np.uint8],
    held_out_ids: Sequence[str],
) -> CodedTracks:
    """Bring the rows of three tables, each sorted by track_id, into the order of the codes.

    Parameters
    ----------
    packed : (n_codes, code_bytes) uint8
        The codes, in row order.
    held_out_ids : sequence of str
        Tracks that training did not see.
    """
    ids = codes["track_id"].combine_chunks()
    track = tracks.take(pc.index_in(ids, value_set=tracks["track_id"].combine_chunks()))
    known = pc.index_in(ids, value_set=predictions["track_id"].combine_chunks())
    prediction = predictions.select(["genre", "probability"]).take(known)
    held_out = pc.is_in(ids, value_set=pa.array(held_out_ids, pa.string()))
    return CodedTracks(
        track_ids=_objects(ids),
        paths=_objects(track["path"]),
        labels=_objects(track["label"]),
        groups=_objects(track["group"]),
        genres=_objects(prediction["genre"]),
        probabilities=np.asarray(prediction["probability"].to_numpy(), dtype=np.float64),
        is_held_out=np.asarray(held_out.to_numpy(zero_copy_only=False), dtype=bool),
        packed=packed,
    )


def _objects(column: pa.Array | pa.ChunkedArray) -> NDArray[np.object_]:
    return np.asarray(column.to_numpy(zero_copy_only=False), dtype=object)


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


def separation(tracks: CodedTracks) -> Separation | None:
    """Count Hamming distances within and between labels; None when there is no pair.

    Tracks of one group (artist) are never compared: they are alike for other reasons. Where there
    are held-out tracks only their pairs count, for codes of training tracks are learnt by heart.
    """
    has_label = np.array([label is not None for label in tracks.labels], dtype=bool)
    has_labels = len(set(tracks.labels[has_label])) > 1
    wanted = np.flatnonzero(has_label) if has_labels else np.arange(len(tracks))
    is_held_out = has_labels and bool(tracks.is_held_out[wanted].any())
    candidates = wanted[tracks.is_held_out[wanted]] if is_held_out else wanted
    queries = sampled_rows(candidates, MAX_PAIR_QUERIES)
    items = sampled_rows(wanted, MAX_PAIR_CODES)
    n_bits = tracks.packed.shape[1] * 8
    within = np.zeros(n_bits + 1, dtype=np.int64)
    between = np.zeros(n_bits + 1, dtype=np.int64)
    for query in queries:
        others = items[(items > query) | ~np.isin(items, queries)]  # each pair once
        others = others[~_is_same_group(tracks, query, others)]
        distances = hamming_distance(tracks.packed[query], tracks.packed[others])
        is_within = has_labels & (tracks.labels[others] == tracks.labels[query])
        within += np.bincount(distances[is_within], minlength=n_bits + 1)
        between += np.bincount(distances[~is_within], minlength=n_bits + 1)
    if not within.sum() + between.sum():
        return None
    return Separation(within, between, has_labels, is_held_out, len(queries), len(items))


def _is_same_group(
    tracks: CodedTracks, query: np.int64, others: NDArray[np.int64]
) -> NDArray[np.bool_]:
    group = tracks.groups[query]
    if group is None:
        return np.zeros(len(others), dtype=bool)
    return np.asarray(tracks.groups[others] == group, dtype=bool)


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
    tracks: CodedTracks, index: HashIndex, logits: pa.ChunkedArray
) -> list[Neighbourhood]:
    """Find the neighbours of one track per label, held-out ones where there are any.

    Parameters
    ----------
    logits : (n_codes,) lists of n_bits float32
        Real-valued codes, which rank the ties.
    """
    found = []
    for row in _query_rows(tracks):
        (nearest,) = index.candidates(tracks.packed[row][None], N_NEIGHBOURS + 1)
        kept = nearest.rows != row
        candidates = Neighbours(
            nearest.rows[kept][:MAX_CANDIDATES], nearest.distances[kept][:MAX_CANDIDATES]
        )
        query = np.asarray(logits[row].as_py(), dtype=np.float32)
        best = rank(candidates, query, tracks.packed[candidates.rows], N_NEIGHBOURS)
        pairs = zip(best.rows.tolist(), best.distances.tolist(), strict=True)
        found.append(Neighbourhood(row, [Neighbour(*pair) for pair in pairs]))
    return found


def _query_rows(tracks: CodedTracks) -> list[int]:
    """Choose one track of each of the largest labels; without labels, a few of all tracks."""
    encoded = pa.array(tracks.labels, pa.string()).dictionary_encode()
    if not len(encoded.dictionary):
        return [int(row) for row in sampled_rows(np.arange(len(tracks)), MAX_QUERIES // 2)]
    label_of_row = np.asarray(encoded.indices.fill_null(-1), dtype=np.int64)
    held_out_first = np.argsort(~tracks.is_held_out, kind="stable")
    labels, first = np.unique(label_of_row[held_out_first], return_index=True)
    rows = held_out_first[first]
    rows, labels = rows[labels >= 0], labels[labels >= 0]
    counts = np.bincount(label_of_row[label_of_row >= 0])[labels]
    largest = rows[np.argsort(-counts, kind="stable")[:MAX_QUERIES]]
    return sorted((int(row) for row in largest), key=lambda row: str(tracks.labels[row]))
