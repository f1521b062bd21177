"""One table of a snapshot, held open for as long as a reader serves it, read by row group.

An open file stays readable when it is removed, so what gc collects meanwhile does no harm. Nothing
is read whole: what is asked for again and again lies in a cache of decoded columns that is bounded
in bytes, or in a `GroupedArray`, for columns of a few bytes a row that any question may need.

Public: `ServedTable`, `GroupedArray`, `ColumnCache`.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import DTypeLike, NDArray

from storage.errors import ArtefactMissingError, DamagedArtefactError
from storage.layout import StoreLayout
from storage.published import explain_missing, table_paths
from storage.snapshots import Snapshot

Converter = Callable[[pa.ChunkedArray], NDArray[Any]]


class ColumnCache:
    """Decoded columns of row groups, the least recently used of which go first.

    Parameters
    ----------
    max_bytes : int
        Most that is kept.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._n_bytes = 0
        self._kept: OrderedDict[tuple[str, int, str], pa.ChunkedArray] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: tuple[str, int, str]) -> pa.ChunkedArray | None:
        """Give a column of a row group, if it is kept."""
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
            return found

    def put(self, key: tuple[str, int, str], column: pa.ChunkedArray) -> None:
        """Keep a column of a row group."""
        with self._lock:
            if key in self._kept or column.nbytes > self._max_bytes:
                return
            self._kept[key] = column
            self._n_bytes += column.nbytes
            while self._n_bytes > self._max_bytes:
                _, oldest = self._kept.popitem(last=False)
                self._n_bytes -= oldest.nbytes


class ServedTable:
    """An open table of a snapshot; safe under threads.

    Parameters
    ----------
    name : str
        Name of the table.
    cache : ColumnCache
        Where decoded columns are kept; may serve several tables.

    Attributes
    ----------
    n_rows : int
    schema : pyarrow.Schema
    starts : (n_groups + 1,) int64
        First row of each row group that has any, and the number of rows.

    Raises
    ------
    ArtefactMissingError, DamagedArtefactError
        If a part of the table is missing or no Parquet file.
    """

    def __init__(
        self, layout: StoreLayout, snapshot: Snapshot, name: str, *, cache: ColumnCache
    ) -> None:
        self._layout = layout
        self._snapshot = snapshot
        self._name = name
        self._cache = cache
        self._lock = threading.Lock()
        self._open_files = ExitStack()
        self._files: list[tuple[Path, pq.ParquetFile]] = []
        try:
            for path in table_paths(layout, snapshot, name):
                with self._saying_what_is_wrong(path):
                    file = pq.ParquetFile(path, page_checksum_verification=True)
                    self._files.append((path, self._open_files.enter_context(file)))
        except BaseException:
            self.close()
            raise
        self._groups = [
            (part, group)
            for part, (_, file) in enumerate(self._files)
            for group in range(file.num_row_groups)
            if file.metadata.row_group(group).num_rows
        ]
        lengths = [
            self._files[part][1].metadata.row_group(group).num_rows for part, group in self._groups
        ]
        self.starts: NDArray[np.int64] = np.cumsum([0, *lengths], dtype=np.int64)
        self.n_rows = int(self.starts[-1])
        self.schema: pa.Schema = self._files[0][1].schema_arrow

    def close(self) -> None:
        """Close the files; nothing can be read afterwards."""
        with self._lock:
            self._open_files.close()

    @property
    def n_groups(self) -> int:
        """Number of row groups."""
        return len(self._groups)

    def groups_of(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Give the row group that each row lies in."""
        return np.searchsorted(self.starts, rows, side="right") - 1

    def group(self, group: int, columns: Sequence[str], *, is_kept: bool = True) -> pa.Table:
        """Read some columns of one row group.

        Parameters
        ----------
        is_kept : bool
            Whether the columns are kept for the next question; what is only passed over is not.

        Raises
        ------
        DamagedArtefactError
            If the bytes are not those that were written.
        """
        keys = {column: (self._name, group, column) for column in columns}
        found = {column: self._cache.get(key) for column, key in keys.items()}
        missing = [column for column, values in found.items() if values is None]
        if missing:
            part, group_of_part = self._groups[group]
            path, file = self._files[part]
            with self._saying_what_is_wrong(path), self._lock:  # a reader is for one thread
                read = file.read_row_group(group_of_part, columns=missing, use_threads=False)
            for column in missing:
                found[column] = read[column]
                if is_kept:
                    self._cache.put(keys[column], read[column])
        return pa.table(found, schema=pa.schema([self.schema.field(name) for name in columns]))

    def groups(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Read some columns of all rows, one row group after the other; keeps nothing."""
        for group in range(self.n_groups):
            yield self.group(group, columns, is_kept=False)

    def take(self, rows: NDArray[np.int64], columns: Sequence[str]) -> pa.Table:
        """Read some columns of some rows, in the order asked for."""
        order = np.argsort(rows, kind="stable")
        ordered = np.asarray(rows, np.int64)[order]
        groups = self.groups_of(ordered)
        pieces = []
        for group in np.unique(groups).tolist():
            within = ordered[groups == group] - self.starts[group]
            pieces.append(self.group(group, columns).take(pa.array(within)))
        if not pieces:
            return self.schema.empty_table().select(list(columns))
        places = np.empty(len(order), np.int64)
        places[order] = np.arange(len(order))
        return pa.concat_tables(pieces).take(pa.array(places))

    def bounds(self, column: str) -> list[tuple[Any, Any] | None]:
        """Give the least and greatest value of a column in each row group, where they are noted."""
        at = self.schema.names.index(column)
        found: list[tuple[Any, Any] | None] = []
        for part, group in self._groups:
            chunk = self._files[part][1].metadata.row_group(group).column(at)
            noted = chunk.statistics if chunk.path_in_schema == column else None
            if noted is None or not noted.has_min_max:
                found.append(None)
            else:
                found.append((noted.min, noted.max))
        return found

    @contextmanager
    def _saying_what_is_wrong(self, path: Path) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise ArtefactMissingError(
                explain_missing(self._layout, self._snapshot, f"{path} does not exist")
            ) from error
        except (OSError, ValueError, MemoryError, pa.ArrowException) as error:
            raise DamagedArtefactError(
                f"{path} is damaged: {error}; run 'musichash verify --store {self._layout.root}'"
            ) from error


class GroupedArray:
    """A column of few bytes a row as an array; each row group is read when it is first needed.

    Safe under threads.

    Parameters
    ----------
    table : ServedTable
    column : str
    shape : tuple of int
        Of one row.
    dtype : dtype
        Of the array.
    convert : callable
        Makes ``(n, *shape)`` of the column of a row group.
    """

    def __init__(
        self,
        table: ServedTable,
        column: str,
        *,
        shape: tuple[int, ...],
        dtype: DTypeLike,
        convert: Converter,
    ) -> None:
        self._table = table
        self._column = column
        self._convert = convert
        # Memory that was never written to is no memory yet.
        self._values: NDArray[Any] = np.empty((table.n_rows, *shape), dtype)
        self._is_there = np.zeros(table.n_groups, dtype=bool)
        self._lock = threading.Lock()

    def take(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Give the values of some rows, in the order asked for."""
        if not self._is_there.all():
            self._fill(np.unique(self._table.groups_of(rows)))
        return np.asarray(self._values[rows])

    def group(self, group: int) -> NDArray[Any]:
        """Give the values of one row group; not to be written to."""
        self._fill(np.array([group]))
        return self._values[self._table.starts[group] : self._table.starts[group + 1]]

    def whole(self) -> NDArray[Any]:
        """Give the values of all rows; not to be written to."""
        self._fill(np.arange(self._table.n_groups))
        return self._values

    def _fill(self, groups: NDArray[np.int64]) -> None:
        for group in groups[~self._is_there[groups]].tolist():
            read = self._table.group(group, [self._column], is_kept=False)[self._column]
            with self._lock:
                start, stop = self._table.starts[group], self._table.starts[group + 1]
                self._values[start:stop] = self._convert(read)
                self._is_there[group] = True  # only now may another thread read it
