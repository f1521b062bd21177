"""The tables of the next snapshot: what the catalogue's tracks have, from all partitions.

They are put together a range of track ids after the other, so that memory does not grow with the
catalogue. What would stop a run is found in all ranges before the first is given.

Public: `collect_tables`, `Wanted`, `LiveTables`, `LiveRange`, `write_tables`, `WrittenTables`.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import NamedTuple, Self

import pyarrow as pa
import pyarrow.compute as pc

from storage.atomic import FileDigest
from storage.carried_rows import EncodedReader
from storage.catalogue import Catalogue
from storage.errors import ArtefactMissingError
from storage.extracted import ExtractedRanges, extracted_ranges
from storage.failure_rows import failure_rows
from storage.id_ranges import IdRanges, first_id_after
from storage.layout import StoreLayout
from storage.live_tracks import PLACED, LiveTracks
from storage.published import published_ids
from storage.receipts import finished_partitions, partition_receipts
from storage.schemas import FAILURES, PREDICTIONS, TRACKS, codes_schema
from storage.snapshots import Snapshot
from storage.sorted_rows import SortedRows
from storage.tables import PartWriter, table_of

NAMES = ("tracks", "predictions", "codes", "failures")
"""The tables, in the order in which they are stored."""


class Wanted(NamedTuple):
    """Which features and codes are published.

    Attributes
    ----------
    feature_fingerprint : str
        Of the features.
    generation : str
        The model whose codes they are.
    n_bits : int
        Length of these codes.
    """

    feature_fingerprint: str
    generation: str
    n_bits: int


class LiveRange(NamedTuple):
    """Rows of the tracks of one range of ids, each table sorted by track_id.

    Attributes
    ----------
    tracks : pyarrow.Table
        All tracks with an identity.
    predictions, codes : pyarrow.Table
        One row per track with features.
    """

    tracks: pa.Table
    predictions: pa.Table
    codes: pa.Table


@dataclass(frozen=True, slots=True, eq=False)
class LiveTables:
    """Tables of the tracks that the catalogue holds now.

    A context manager: rows may lie in temporary files.

    Attributes
    ----------
    failures : pyarrow.Table
        One row per track or unreadable file; sorted by track_id and path.
    partition_ids : tuple of str
        Partitions that hold at least one of the tracks.
    receipts : tuple of FileDigest
        Of the features and of the codes of these partitions.
    n_tracks : int
        Tracks with an identity.
    n_removed : int
        Tracks of the current snapshot that the catalogue no longer has.
    """

    failures: pa.Table
    partition_ids: tuple[str, ...]
    receipts: tuple[FileDigest, ...]
    n_tracks: int
    n_removed: int
    _sources: "_Sources"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._sources.close()

    @property
    def wanted(self) -> Wanted:
        """Which features and codes they are of."""
        return self._sources.wanted

    def ranges(self) -> Iterator[LiveRange]:
        """Give the rows of each range; one after the other they are the tables, sorted."""
        sources = self._sources
        encoded = EncodedReader(
            sources.layout,
            self.receipts,
            generation=sources.wanted.generation,
            n_bits=sources.wanted.n_bits,
        )
        for number in range(sources.n_ranges):
            tracks = sources.of_range(number)
            end = first_id_after(number, sources.n_ranges)
            predictions, codes = encoded.rows(tracks.facts, end)
            yield LiveRange(tracks.table(), predictions, codes)


def collect_tables(
    layout: StoreLayout,
    catalogue: Catalogue,
    wanted: Wanted,
    *,
    current: Snapshot | None = None,
    keep: bool = False,
) -> LiveTables:
    """Bring together the rows of the catalogue's tracks.

    Of several partitions that have a track the first by name counts that is encoded: a backfill may
    finish one at any time, and its codes come later.

    Parameters
    ----------
    wanted : Wanted
        Which features and codes count.
    current : Snapshot, optional
        The current one.
    keep : bool
        As for `storage.extracted.extracted_ranges`.

    Raises
    ------
    ArtefactMissingError
        If a track is neither extracted nor failed, or a partition is not encoded.
    TemporarySpaceError
        If there is no room for rows that do not stay in memory.
    """
    encoded_ids = finished_partitions(layout.encoded_root(wanted.generation))
    extracted = extracted_ranges(
        layout, wanted.feature_fingerprint, n_others=catalogue.n_files, keep=keep
    )
    placed = IdRanges(PLACED, extracted.n_ranges)
    sources = _Sources(layout, wanted, placed, extracted, encoded_ids)
    try:
        for batch in catalogue.batches(PLACED.names):
            placed.add(pa.Table.from_batches([batch]))
        unreadable = table_of(failure_rows(catalogue.failures), FAILURES)
        return _checked(sources, unreadable, published_ids(layout, current))
    except BaseException:
        sources.close()
        raise


class WrittenTables(NamedTuple):
    """Tables as they were stored.

    Attributes
    ----------
    parts : dict of str to FileDigest
        The part that each table is.
    n_rows : dict of str to int
        Its rows.
    """

    parts: dict[str, FileDigest]
    n_rows: dict[str, int]


def write_tables(
    layout: StoreLayout, tables: LiveTables, names: Collection[str] = NAMES
) -> WrittenTables:
    """Store the tables, or some of them, as one part each."""
    schemas = dict(
        zip(NAMES, (TRACKS, PREDICTIONS, codes_schema(tables.wanted.n_bits), FAILURES), strict=True)
    )
    with ExitStack() as stack:
        writers = {
            name: stack.enter_context(PartWriter(layout, name, schemas[name])) for name in names
        }
        for rows in tables.ranges():
            for name, table in rows._asdict().items():
                if name in writers:
                    writers[name].add(table)
        if "failures" in writers:
            writers["failures"].add(tables.failures)
        parts = {name: writer.place() for name, writer in writers.items()}
    return WrittenTables(parts, {name: writer.n_rows for name, writer in writers.items()})


def _checked(sources: "_Sources", unreadable: pa.Table, published: SortedRows) -> LiveTables:
    """Look at all ranges for what must stop a run, and count."""
    failures, partition_ids = [unreadable], set[str]()
    n_tracks = n_removed = n_pending = 0
    example = ""
    for number in range(sources.n_ranges):
        tracks = sources.of_range(number)
        failures.append(tracks.failures)
        partition_ids.update(pc.unique(tracks.facts["partition_id"]).to_pylist())
        n_tracks += len(tracks.track_ids)
        ids = published.below(first_id_after(number, sources.n_ranges))["track_id"]
        is_there = pc.is_in(ids, value_set=tracks.track_ids)
        n_removed += len(ids) - int(pc.sum(is_there).as_py() or 0)
        pending = tracks.pending()
        if len(pending):
            n_pending, example = n_pending + len(pending), example or pending[0].as_py()
    if n_pending:
        raise ArtefactMissingError(
            f"{n_pending} track(s) of the catalogue are not extracted yet (one is {example!r}); "
            "run 'musichash extract' first"
        )
    needed = sorted(partition_ids)
    _check_encoded(sources.layout, needed, sources.encoded_ids, sources.wanted.generation)
    return LiveTables(
        failures=pa.concat_tables(failures).sort_by(
            [("track_id", "ascending"), ("path", "ascending")]
        ),
        partition_ids=tuple(needed),
        receipts=tuple(
            partition_receipts(
                sources.layout,
                sources.wanted.feature_fingerprint,
                sources.wanted.generation,
                needed,
            )
        ),
        n_tracks=n_tracks,
        n_removed=n_removed,
        _sources=sources,
    )


class _Sources:
    """Where the rows come from: the catalogue, and what has been extracted."""

    def __init__(
        self,
        layout: StoreLayout,
        wanted: Wanted,
        placed: IdRanges,
        extracted: ExtractedRanges,
        encoded_ids: Sequence[str],
    ) -> None:
        self.layout, self.wanted = layout, wanted
        self.extracted, self.encoded_ids = extracted, encoded_ids
        self.n_ranges = placed.n_ranges
        self._placed = placed
        self._only: LiveTracks | None = None

    def of_range(self, number: int) -> LiveTracks:
        """Give the tracks of a range; of the only one, the same again."""
        if self._only is not None:
            return self._only
        extracted = self.extracted.of_range(number)
        tracks = LiveTracks(
            self._placed.table(number), extracted.facts_in(self.encoded_ids), extracted.failures
        )
        if self.n_ranges == 1:
            self._only = tracks
        return tracks

    def close(self) -> None:
        self._only = None
        self._placed.close()
        self.extracted.close()


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
