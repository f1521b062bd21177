"""The tables of the next snapshot: what the catalogue's tracks have, from all partitions.

Public: `collect_tables`, `LiveTables`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from musichash_core.failure_codes import QUARANTINE_CODE
from storage.atomic import FileDigest
from storage.carried_rows import encoded_rows
from storage.catalogue import Catalogue, Places, places_by_track
from storage.errors import ArtefactMissingError
from storage.extracted import Extracted
from storage.failure_rows import failure_rows
from storage.layout import StoreLayout
from storage.receipts import finished_partitions, partition_receipts
from storage.schemas import FAILURES, PUBLISHED_FACTS, TRACKS
from storage.tables import table_of


@dataclass(frozen=True, slots=True)
class LiveTables:
    """Tables of the tracks that the catalogue holds now, each sorted by track_id.

    Attributes
    ----------
    tracks : pyarrow.Table
        All tracks with an identity.
    predictions, codes : pyarrow.Table
        One row per track with features.
    failures : pyarrow.Table
        One row per track or unreadable file.
    partition_ids : tuple of str
        Partitions that hold at least one of the tracks.
    receipts : tuple of FileDigest
        Of the features and of the codes of these partitions.
    n_unreadable : int
        Failure rows of files without an identity.
    n_quarantined : int
        Failure rows of tracks that killed a worker.
    """

    tracks: pa.Table
    predictions: pa.Table
    codes: pa.Table
    failures: pa.Table
    partition_ids: tuple[str, ...]
    receipts: tuple[FileDigest, ...]
    n_unreadable: int
    n_quarantined: int


def collect_tables(
    layout: StoreLayout,
    catalogue: Catalogue,
    extracted: Extracted,
    *,
    generation: str,
    n_bits: int,
) -> LiveTables:
    """Bring together the rows of the catalogue's tracks.

    Of several partitions that have a track the first by name counts that is encoded: a backfill may
    finish one at any time, and its codes come later.

    Raises
    ------
    ArtefactMissingError
        If a track is neither extracted nor failed, or a partition is not encoded.
    """
    places = places_by_track(catalogue.table)
    track_ids = catalogue.table["track_id"].take(pa.array(places.first)).combine_chunks()
    encoded_ids = finished_partitions(layout.encoded_root(generation))
    facts = _rows_of(extracted.facts_in(encoded_ids), track_ids)
    failed = _rows_of(extracted.failures, track_ids)
    failures = pa.concat_tables(
        [failed, table_of(failure_rows(catalogue.failures), FAILURES)]
    ).sort_by([("track_id", "ascending"), ("path", "ascending")])
    tracks = _tracks_table(catalogue.table, places, facts, failed["track_id"])
    partition_ids = sorted(pc.unique(facts["partition_id"]).to_pylist())
    _check_encoded(layout, partition_ids, encoded_ids, generation)
    receipts = tuple(
        partition_receipts(layout, extracted.feature_fingerprint, generation, partition_ids)
    )
    encoded = encoded_rows(layout, facts, receipts, generation=generation, n_bits=n_bits)
    return LiveTables(
        tracks=tracks,
        predictions=encoded.predictions,
        codes=encoded.codes,
        failures=failures,
        partition_ids=tuple(partition_ids),
        receipts=receipts,
        n_unreadable=len(catalogue.failures),
        n_quarantined=int(pc.sum(pc.equal(failures["code"], QUARANTINE_CODE)).as_py() or 0),
    )


def _rows_of(table: pa.Table, track_ids: pa.Array) -> pa.Table:
    return table.filter(pc.is_in(table["track_id"], value_set=track_ids))


def _check_encoded(
    layout: StoreLayout, partition_ids: Sequence[str], encoded_ids: Sequence[str], generation: str
) -> None:
    """Refuse to go on without the codes of a partition.

    What was not encoded when the partitions were chosen does not count, even if it is by now: else
    the choice would depend on the moment.
    """
    missing = sorted(set(partition_ids) - set(encoded_ids))
    if missing:
        raise ArtefactMissingError(
            f"partition {missing[0]} has no codes of model {generation} yet; "
            f"run 'musichash encode --store {layout.root}' first"
        )


def _tracks_table(
    catalogue: pa.Table, places: Places, facts: pa.Table, failed_ids: pa.ChunkedArray
) -> pa.Table:
    """Give one row per track: its places, what its owner says, and its facts."""
    in_order = catalogue.take(pa.array(places.order)).combine_chunks()
    first = in_order.take(pa.array(places.starts))
    fact_rows = pc.index_in(first["track_id"], value_set=facts["track_id"].combine_chunks())
    _check_extracted(first, fact_rows, failed_ids)
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


def _check_extracted(
    first: pa.Table, fact_rows: pa.ChunkedArray, failed_ids: pa.ChunkedArray
) -> None:
    is_failed = pc.is_in(first["track_id"], value_set=failed_ids.combine_chunks())
    is_pending = pc.and_(pc.is_null(fact_rows), pc.invert(is_failed))
    pending = first["path"].filter(is_pending)
    if len(pending):
        raise ArtefactMissingError(
            f"{len(pending)} track(s) of the catalogue are not extracted yet (one is "
            f"{pending[0].as_py()!r}); run 'musichash extract' first"
        )


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
