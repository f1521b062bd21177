"""Cutting the work of a run into partitions: units of minutes that workers are handed one by one.

The tracks to extract are kept in columns, in a temporary file when there are many. A partition,
which holds a record of each of its tracks, is made when it is asked for.

Public: `TracksToExtract`, `PlannedPartitions`, `partition_work`.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Self, overload

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from musichash_core.config import PartitionConfig
from musichash_core.records import Partition, SourceFile, WorkItem, partition_name
from storage.source_files import FILES
from storage.temporary_rows import TemporaryRows

SMALL_RUN_PARTITIONS = 16
"""A run with less work than this many full partitions is cut into about this many smaller ones.

Each costs three calls of a worker, and twice as many ended no stage sooner on two workers."""

MIN_PARTITION_AUDIO_S = 60.0

BLOCK_ROWS = 512
"""Rows that are read at once for a partition."""

WORK_ROWS = pa.schema(
    [
        *(pa.field(field.name, field.type) for field in FILES),
        pa.field("attempts", pa.int64()),
        pa.field("estimated_s", pa.float64()),
    ]
)
"""The fields of `musichash_core.records.WorkItem`."""


class TracksToExtract:
    """The tracks to extract, in the order in which they are added.

    Attributes
    ----------
    estimated_s : float
        Estimated seconds of audio of all of them.
    """

    def __init__(self) -> None:
        self._rows = TemporaryRows(WORK_ROWS)
        self._ends = [0]
        """Tracks up to the end of each batch of `_rows`."""
        self.estimated_s = 0.0

    @classmethod
    def of(cls, items: Iterable[WorkItem]) -> Self:
        """Keep records in columns."""
        tracks = cls()
        rows = [
            {name: getattr(item.file, name) for name in FILES.names}
            | {"attempts": item.attempts, "estimated_s": item.estimated_s}
            for item in items
        ]
        tracks.add(pa.Table.from_pylist(rows, WORK_ROWS))
        return tracks

    def __len__(self) -> int:
        """Tracks that were added."""
        return self._ends[-1]

    def add(self, rows: pa.Table) -> None:
        """Add tracks, rows of `WORK_ROWS`.

        Raises
        ------
        TemporarySpaceError
            As `storage.temporary_rows.TemporaryRows.add` does.
        """
        for batch in rows.combine_chunks().to_batches(max_chunksize=BLOCK_ROWS):
            self._rows.add(batch)
            self._ends.append(self._ends[-1] + len(batch))
            # One after the other: the sum must not depend on where batches end.
            for seconds in batch["estimated_s"].to_pylist():
                self.estimated_s += seconds

    def batches(self, *columns: str) -> Iterator[tuple[list[Any], ...]]:
        """Give the values of some columns, a few tracks at a time."""
        for batch in self._rows:
            yield tuple(batch[name].to_pylist() for name in columns)

    def items(self, start: int, end: int) -> tuple[WorkItem, ...]:
        """Give the records of the tracks from one number up to another."""
        first = bisect_right(self._ends, start) - 1
        items: list[WorkItem] = []
        for number in range(first, len(self._rows)):
            before = self._ends[number]
            if before >= end:
                break
            skipped = max(0, start - before)
            rows = self._rows[number].slice(skipped, end - before - skipped)
            items.extend(map(_item, rows.to_pylist()))
        return tuple(items)


def _item(row: dict[str, Any]) -> WorkItem:
    attempts, estimated_s = row.pop("attempts"), row.pop("estimated_s")
    return WorkItem(SourceFile(**row), attempts, estimated_s)


class PlannedPartitions(Sequence[Partition]):
    """Partitions to extract; each is made when it is taken out.

    Parameters
    ----------
    tracks : TracksToExtract
        All tracks.
    partition_ids : sequence of str
        Names of the partitions.
    ends : (n_partitions + 1,) int64
        Where each partition ends among the tracks, after a 0.
    estimated_s : (n_partitions,) float64
        Estimated seconds of audio in each.
    order : (n_wanted,) int64, optional
        Numbers of the partitions that are here, in their order; without it, all.
    """

    __hash__ = None  # type: ignore[assignment] # compared by content

    def __init__(
        self,
        tracks: TracksToExtract,
        partition_ids: Sequence[str],
        ends: NDArray[np.int64],
        estimated_s: NDArray[np.float64],
        order: NDArray[np.int64] | None = None,
    ) -> None:
        self._tracks = tracks
        self._partition_ids = partition_ids
        self._ends = ends
        self._estimated_s = estimated_s
        self._order = np.arange(len(partition_ids)) if order is None else order

    @classmethod
    def of(cls, partitions: Iterable[Partition]) -> Self:
        """Keep partitions in columns."""
        given = tuple(partitions)
        return cls(
            TracksToExtract.of(item for partition in given for item in partition.items),
            [partition.partition_id for partition in given],
            np.cumsum([0, *(len(partition.items) for partition in given)], dtype=np.int64),
            np.array([partition.estimated_s for partition in given], np.float64),
        )

    @property
    def n_tracks(self) -> list[int]:
        """How many tracks each has."""
        counts: list[int] = np.diff(self._ends)[self._order].tolist()
        return counts

    @property
    def estimated_s(self) -> list[float]:
        """Estimated seconds of audio in each."""
        seconds: list[float] = self._estimated_s[self._order].tolist()
        return seconds

    @property
    def largest_first(self) -> Self:
        """The same partitions, those with most audio first; those with as much as they stand."""
        return self[np.argsort(-self._estimated_s[self._order], kind="stable")]

    def __len__(self) -> int:
        """How many there are."""
        return len(self._order)

    @overload
    def __getitem__(self, place: int) -> Partition: ...

    @overload
    def __getitem__(self, place: slice | NDArray[np.int64]) -> Self: ...

    def __getitem__(self, place: int | slice | NDArray[np.int64]) -> Partition | Self:
        """Make the partition at a place, or give those at several places."""
        if isinstance(place, (slice, np.ndarray)):
            order = self._order[place]
            return type(self)(
                self._tracks, self._partition_ids, self._ends, self._estimated_s, order
            )
        number = int(self._order[place])
        start, end = self._ends[number : number + 2].tolist()
        return Partition(self._partition_ids[number], self._tracks.items(start, end))

    def __eq__(self, other: object) -> bool:
        """Compare with the same partitions, kept in whatever sequence."""
        if not isinstance(other, (tuple, PlannedPartitions)):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))


def partition_work(tracks: TracksToExtract, config: PartitionConfig) -> PlannedPartitions:
    """Cut tracks into partitions by estimated seconds of audio, in the order given."""
    share = tracks.estimated_s / SMALL_RUN_PARTITIONS
    target_s = min(config.max_audio_s, max(MIN_PARTITION_AUDIO_S, share))
    names: list[str] = []
    ends, estimated_s = [0], []
    current: list[tuple[str, int]] = []
    current_s = 0.0
    for batch in tracks.batches("track_id", "attempts", "estimated_s"):
        for track_id, attempts, seconds in zip(*batch, strict=True):
            is_full = len(current) >= config.max_tracks or current_s + seconds > target_s
            if current and is_full:
                names.append(partition_name(current))
                ends.append(ends[-1] + len(current))
                estimated_s.append(current_s)
                current, current_s = [], 0.0
            current.append((track_id, attempts))
            current_s += seconds
    if current:
        names.append(partition_name(current))
        ends.append(ends[-1] + len(current))
        estimated_s.append(current_s)
    return PlannedPartitions(
        tracks, names, np.array(ends, np.int64), np.array(estimated_s, np.float64)
    )
