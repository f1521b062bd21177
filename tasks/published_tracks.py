"""What planning needs of the published tracks: read once, a few rows at a time, and set aside.

Public: `PublishedTracks`, `read_published`, `published_schema`.
"""

from collections.abc import Iterable
from contextlib import ExitStack
from typing import Self

import pyarrow as pa
import pyarrow.compute as pc

from storage.id_ranges import count_ranges
from storage.layout import StoreLayout
from storage.place_parts import PlaceParts
from storage.published import read_batches
from storage.schemas import TRACKS
from storage.snapshots import current_snapshot
from storage.temporary_rows import TemporaryRows
from tasks.rates import AudioSizes, AudioSizeSums

PUBLISHED_COLUMNS = [
    *("track_id", "root", "path", "locations", "label", "n_bytes", "duration_s"),
]

TRACK_ROWS = pa.schema(
    [("track_id", pa.string()), ("root", pa.string()), ("label", pa.string())],
)
PLACE_ROWS = pa.schema([("place", pa.string()), ("row", pa.int64())])


def published_schema() -> pa.Schema:
    """Give the columns of the published tracks table that planning reads."""
    return pa.schema([TRACKS.field(name).remove_metadata() for name in PUBLISHED_COLUMNS])


class PublishedTracks:
    """The published tracks by their ids, and by their places.

    Parameters
    ----------
    batches : iterable of pyarrow.RecordBatch
        Rows of `published_schema`, sorted by ``track_id`` over all of them.
    n_parts : int
        Parts to spread the places over.

    Attributes
    ----------
    rows : TemporaryRows
        Columns `TRACK_ROWS` of each track, in the order given.
    places : PlaceParts
        Columns `PLACE_ROWS`: every place (``root/path``) and the number of its track's row.
    sizes : AudioSizes
        What their files say of the bytes of a second of audio.
    """

    def __init__(self, batches: Iterable[pa.RecordBatch], n_parts: int) -> None:
        self.rows = TemporaryRows(TRACK_ROWS)
        self.places = PlaceParts(PLACE_ROWS, n_parts)
        sums = AudioSizeSums()
        with ExitStack() as undone:
            undone.callback(self.close)
            for batch in batches:
                locations = batch["locations"]
                rows = pc.add(pc.list_parent_indices(locations), len(self))
                self.places.add(pa.table([pc.list_flatten(locations), rows], schema=PLACE_ROWS))
                columns = [batch[name] for name in TRACK_ROWS.names]
                self.rows.add(pa.record_batch(columns, schema=TRACK_ROWS))
                sums.add(batch)
            undone.pop_all()
        self.sizes: AudioSizes = sums.sizes

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Forget the places."""
        self.places.close()

    def __len__(self) -> int:
        """Tracks that are published."""
        return self.rows.n_rows


def read_published(layout: StoreLayout | None, n_files: int = 0) -> PublishedTracks:
    """Read what planning needs of the published tracks; nothing before the first snapshot.

    Parameters
    ----------
    n_files : int
        Files of the catalogue that they will be compared with.
    """
    snapshot = None if layout is None else current_snapshot(layout)
    if layout is None or snapshot is None:
        return PublishedTracks([], 1)
    _, batches = read_batches(layout, snapshot, "tracks", columns=PUBLISHED_COLUMNS)
    schema = published_schema()
    return PublishedTracks(
        (batch.select(PUBLISHED_COLUMNS).cast(schema) for batch in batches),
        count_ranges(max(n_files, snapshot.counts.get("tracks", 0))),
    )
