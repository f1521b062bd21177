"""Ids, codes and genres of the tracks of a snapshot, as arrays: ten million take 500 MB.

Public: `CodedTracks`, `coded_tracks`, `read_coded_tracks`, `rows_of`, `sampled_logits`,
`read_sampled_logits`, `MAX_SAMPLED_LOGITS`.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from storage.errors import DamagedArtefactError
from storage.fixed_ids import ID_BYTES, fixed_ids
from storage.layout import StoreLayout
from storage.packed_codes import packed_column
from storage.published import read_batches
from storage.snapshots import Snapshot

MAX_SAMPLED_LOGITS = 20_000
"""Rows of which the real-valued codes are looked at: 5 MB at 64 bits."""


class CodedTracks(NamedTuple):
    """The codes of a snapshot, row by row, sorted by track id.

    Attributes
    ----------
    track_ids : (n_tracks,) bytes of fixed length
    codes : (n_tracks, code_bytes) uint8
    genres : (n_tracks,) int64
        Numbers of the predicted genres in `genre_names`.
    genre_names : tuple of str
    """

    track_ids: NDArray[np.bytes_]
    codes: NDArray[np.uint8]
    genres: NDArray[np.int64]
    genre_names: tuple[str, ...]


def coded_tracks(
    codes: Iterable[pa.RecordBatch], predictions: Iterable[pa.RecordBatch], *, code_bytes: int
) -> CodedTracks:
    """Take what is measured from a codes table and the predictions of the same tracks.

    Parameters
    ----------
    codes, predictions : iterable of RecordBatch
        The tables, a few rows at a time.
    code_bytes : int
        Length of a code.

    Raises
    ------
    DamagedArtefactError
        If the tables have different numbers of rows.
    """
    ids: list[NDArray[np.bytes_]] = [np.empty(0, f"S{ID_BYTES}")]
    packed = [np.empty((0, code_bytes), np.uint8)]
    for batch in codes:
        ids.append(fixed_ids(batch["track_id"]))
        packed.append(packed_column(batch["code"]))
    numbers: dict[str, int] = {}
    genres = [np.empty(0, np.int64)]
    for batch in predictions:
        encoded = batch["genre"].dictionary_encode()
        names = encoded.dictionary.to_pylist()
        number_of = np.array([numbers.setdefault(name, len(numbers)) for name in names], np.int64)
        genres.append(number_of[np.asarray(encoded.indices)])
    found = CodedTracks(_joined(ids), _joined(packed), _joined(genres), genre_names=tuple(numbers))
    if len(found.codes) != len(found.genres):
        raise DamagedArtefactError(
            f"there are {len(found.codes)} codes and {len(found.genres)} predictions; 'musichash "
            "reconcile' makes the tables anew"
        )
    return found


def _joined(parts: list[NDArray[Any]]) -> NDArray[Any]:
    """Put parts together, and forget them."""
    joined = np.concatenate(parts)
    parts.clear()
    return joined


def read_coded_tracks(layout: StoreLayout, snapshot: Snapshot) -> CodedTracks:
    """Read what is measured of a snapshot, and no more."""
    schema, codes = read_batches(layout, snapshot, "codes", columns=["track_id", "code"])
    _, predictions = read_batches(layout, snapshot, "predictions", columns=["genre"])
    return coded_tracks(codes, predictions, code_bytes=schema.field("code").type.byte_width)


def rows_of(track_ids: NDArray[np.bytes_], wanted: NDArray[np.bytes_]) -> NDArray[np.int64]:
    """Find tracks by id.

    Parameters
    ----------
    track_ids : (n_tracks,) bytes
        Sorted.
    wanted : (n_wanted,) bytes

    Returns
    -------
    (n_wanted,) int64
        Their rows; -1 where there is no such track.
    """
    if not len(track_ids):
        return np.full(len(wanted), -1)
    rows = np.minimum(np.searchsorted(track_ids, wanted), len(track_ids) - 1)
    return np.where(track_ids[rows] == wanted, rows, -1)


def sampled_logits(columns: Iterable[pa.Array], n_codes: int) -> NDArray[np.float32]:
    """Take at most `MAX_SAMPLED_LOGITS` rows, evenly spaced.

    Parameters
    ----------
    columns : iterable of Array
        Pieces of the column ``logits``, in order.
    n_codes : int
        Rows of all pieces together.

    Returns
    -------
    (n_sampled, n_bits) float32
    """
    wanted = np.unique(
        np.linspace(0, max(0, n_codes - 1), min(n_codes, MAX_SAMPLED_LOGITS)).astype(np.int64)
    )
    taken, start = [], 0
    for column in columns:
        rows = wanted[(wanted >= start) & (wanted < start + len(column))] - start
        start += len(column)
        if len(rows):
            values = column.take(pa.array(rows)).flatten().to_numpy(zero_copy_only=False)
            taken.append(values.reshape(len(rows), -1))
    return np.concatenate(taken) if taken else np.empty((0, 0), np.float32)


def read_sampled_logits(layout: StoreLayout, snapshot: Snapshot) -> NDArray[np.float32]:
    """Read what `sampled_logits` takes, a few rows of the table at a time."""
    _, batches = read_batches(layout, snapshot, "codes", columns=["logits"])
    return sampled_logits((batch.column(0) for batch in batches), snapshot.counts["codes"])
