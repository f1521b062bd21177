"""What the report reads of the tables of a snapshot: a few rows at a time, and chosen ones.

Public: `gather`, `track_details`, `TrackDetails`, `logits_of_row`, `published_among`, `track_row`.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from storage.generations import code_length, read_model_card
from storage.id_ranges import count_ranges, first_id_after
from storage.layout import StoreLayout
from storage.published import read_batches, sorted_rows, table_paths
from storage.snapshots import Snapshot
from storage.tables import part_length, read_part_rows
from tasks.report_catalogue import COUNTED_TRACKS, CatalogueCounter, CatalogueFacts
from tasks.report_codes import CodedTracks, CodesGatherer


def _ranges(
    layout: StoreLayout, snapshot: Snapshot, columns: Mapping[str, Sequence[str]]
) -> Iterator[tuple[pa.Table, ...]]:
    """Give tables, each with some columns, a range of track ids after the other."""
    tables = [sorted_rows(layout, snapshot, name, chosen) for name, chosen in columns.items()]
    n_ranges = count_ranges(snapshot.counts["tracks"])
    for number in range(n_ranges):
        yield tuple(table.below(first_id_after(number, n_ranges)) for table in tables)


def gather(
    layout: StoreLayout, snapshot: Snapshot, held_out_ids: Sequence[str]
) -> tuple[CatalogueFacts, CodedTracks]:
    """Count the tracks of a snapshot, and take its codes in."""
    counter = CatalogueCounter()
    n_bits = code_length(read_model_card(layout, snapshot.generation))
    codes_gatherer = CodesGatherer(held_out_ids, code_bytes=n_bits // 8)
    columns = {
        "tracks": COUNTED_TRACKS,
        "predictions": ("track_id", "genre"),
        "codes": ("track_id", "code"),
    }
    for tracks, predictions, codes in _ranges(layout, snapshot, columns):
        counter.add(tracks, predictions)
        codes_gatherer.add(codes, tracks)
    return counter.facts(), codes_gatherer.tracks()


class TrackDetails(NamedTuple):
    """What is known of a track.

    Attributes
    ----------
    path : str
        First location, below its catalogue root.
    label, group : str or None
        None where unknown.
    genre : str
        Predicted.
    probability : float
        Of it.
    """

    path: str
    label: str | None
    group: str | None
    genre: str
    probability: float


def track_details(
    layout: StoreLayout, snapshot: Snapshot, rows: Collection[int]
) -> dict[int, TrackDetails]:
    """Read what is known of the tracks of some rows of the codes table."""
    wanted = np.unique(np.fromiter(rows, np.int64))
    columns = {
        "tracks": ("track_id", "path", "label", "group"),
        "predictions": ("track_id", "genre", "probability"),
        "codes": ("track_id",),
    }
    found: dict[int, TrackDetails] = {}
    start = 0
    for tracks, predictions, codes in _ranges(layout, snapshot, columns):
        here = wanted[(wanted >= start) & (wanted < start + len(codes))]
        ids = codes["track_id"].take(pa.array(here - start)).combine_chunks()
        details = [
            table.take(pc.index_in(ids, value_set=table["track_id"])).select(chosen).to_pylist()
            for table, chosen in (
                (tracks, ["path", "label", "group"]),
                (predictions, ["genre", "probability"]),
            )
        ]
        for row, track, prediction in zip(here.tolist(), *details, strict=True):
            found[row] = TrackDetails(**track, **prediction)
        start += len(codes)
    return found


def logits_of_row(layout: StoreLayout, snapshot: Snapshot, row: int) -> NDArray[np.float32]:
    """Read the real-valued code of a row of the codes table, ``(n_bits,)`` float32."""
    for path in table_paths(layout, snapshot, "codes"):
        length = part_length(path)
        if row < length:
            table = read_part_rows(path, range(row, row + 1), columns=["logits"])
            return np.asarray(table["logits"][0].as_py(), dtype=np.float32)
        row -= length
    raise IndexError(row)


def published_among(
    layout: StoreLayout, snapshot: Snapshot, track_ids: Collection[str]
) -> set[str]:
    """Say which of a few tracks a snapshot has codes of."""
    wanted = pa.array(sorted(track_ids), pa.string())
    _, batches = read_batches(layout, snapshot, "codes", columns=["track_id"])
    found = (batch["track_id"].filter(pc.is_in(batch["track_id"], wanted)) for batch in batches)
    return {track_id for some in found for track_id in some.to_pylist()}


def track_row(layout: StoreLayout, snapshot: Snapshot, track_id: str) -> dict[str, Any]:
    """Read the row of the tracks table of a track of a snapshot."""
    _, batches = read_batches(layout, snapshot, "tracks")
    found = (batch.filter(pc.equal(batch["track_id"], track_id)) for batch in batches)
    row: dict[str, Any] = next(row for some in found for row in some.to_pylist())
    return row
