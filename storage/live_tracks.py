"""The tracks that the catalogue holds: their places, what their owner says, and their facts.

Public: `LiveTracks`, `PLACED`.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from storage.catalogue import Places, places_by_track
from storage.schemas import CATALOGUE, PUBLISHED_FACTS, TRACKS

PLACED = pa.schema(
    [
        CATALOGUE.field(name)
        for name in ("track_id", "root", "path", "n_bytes", "label", "group", "external_id")
    ]
)
"""Columns of the catalogue that the tracks table is made from."""


class LiveTracks:
    """Tracks of the catalogue, each once, sorted by track_id.

    Parameters
    ----------
    placed : pyarrow.Table
        Their places: rows of the catalogue, in its order, with the columns `PLACED`.
    facts, failures : pyarrow.Table
        What has been extracted, of these tracks and others, sorted by track_id.

    Attributes
    ----------
    track_ids : pyarrow.Array
        Their ids.
    facts, failures : pyarrow.Table
        Of these tracks alone.
    """

    def __init__(self, placed: pa.Table, facts: pa.Table, failures: pa.Table) -> None:
        self._placed = placed
        self._places = places_by_track(placed)
        first = placed["track_id"].take(pa.array(self._places.first))
        self.track_ids: pa.Array = first.combine_chunks()
        self.facts = _rows_of(facts, self.track_ids)
        self.failures = _rows_of(failures, self.track_ids)

    def pending(self) -> pa.ChunkedArray:
        """Give the first path of each track that is neither extracted nor failed."""
        is_done = pc.is_in(self.track_ids, value_set=self.facts["track_id"].combine_chunks())
        is_failed = pc.is_in(self.track_ids, value_set=self.failures["track_id"].combine_chunks())
        rows = pa.array(self._places.first).filter(pc.invert(pc.or_(is_done, is_failed)))
        return self._placed["path"].take(rows)

    def table(self) -> pa.Table:
        """Give the tracks table: their places, what their owner says, and their facts."""
        return _tracks_table(self._placed, self._places, self.facts)


def _rows_of(table: pa.Table, track_ids: pa.Array) -> pa.Table:
    return table.filter(pc.is_in(table["track_id"], value_set=track_ids))


def _tracks_table(placed: pa.Table, places: Places, facts: pa.Table) -> pa.Table:
    in_order = placed.take(pa.array(places.order)).combine_chunks()
    first = in_order.take(pa.array(places.starts))
    fact_rows = pc.index_in(first["track_id"], value_set=facts["track_id"].combine_chunks())
    has_label = pc.is_valid(in_order["label"])
    labelled = in_order.take(_first_where(has_label, places.starts, otherwise=places.starts))
    has_id = pc.greater(pc.binary_length(in_order["external_id"]), 0)
    columns = {
        "track_id": first["track_id"],
        "root": first["root"],
        "path": first["path"],
        "locations": _locations(in_order, places.starts),
        "label": labelled["label"],
        "group": labelled["group"],
        "external_id": in_order["external_id"].take(_first_where(has_id, places.starts)),
        "n_bytes": first["n_bytes"],
        "status": pc.if_else(pc.is_valid(fact_rows), "ok", "failed"),
        **{name: facts[name].take(fact_rows) for name in PUBLISHED_FACTS},
    }
    return pa.table([columns[name] for name in TRACKS.names], schema=TRACKS)


def _first_where(
    is_so: pa.ChunkedArray, starts: NDArray[np.int64], otherwise: NDArray[np.int64] | None = None
) -> pa.Array:
    """Give for each track the first of its places where something is so.

    Parameters
    ----------
    is_so : (n_places,) bool
        An empty value counts as not so.
    starts : (n_tracks,) int64
        The first place of each track.
    otherwise : (n_tracks,) int64, optional
        The place of a track where none is so; without it, empty.
    """
    found = np.flatnonzero(pc.fill_null(is_so, fill_value=False).to_numpy())
    tracks, first = np.unique(np.searchsorted(starts, found, side="right") - 1, return_index=True)
    rows = np.full(len(starts), -1, np.int64) if otherwise is None else otherwise.copy()
    rows[tracks] = found[first]
    return pa.array(rows, mask=rows < 0)


def _locations(in_order: pa.Table, starts: NDArray[np.int64]) -> pa.Array:
    """Give for each track the list of its places, as root/path."""
    joined = pc.binary_join_element_wise(in_order["root"], in_order["path"], "/")
    if isinstance(joined, pa.ChunkedArray):
        joined = joined.combine_chunks()
    offsets = pa.array([*starts.tolist(), len(in_order)], pa.int32())
    return pa.ListArray.from_arrays(offsets, joined)
