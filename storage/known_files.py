"""Files that earlier scans gave an identity, looked up in the order of a new scan.

Both scans are sorted by root and path, so the known files are read along with the names that are
found, a few thousand at a time.

Public: `KnownFiles`, `KnownMatches`.
"""

from bisect import bisect_right
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from storage.collected_rows import PLACE, RowBatches, in_order
from storage.source_files import FILES


class KnownMatches(NamedTuple):
    """Names that a scan found, and what is known of them.

    Attributes
    ----------
    rows : (n_names,) int64
        For each name its row in `files`, or -1.
    files : pyarrow.Table
        Known files, with the columns `storage.source_files.FILES`.
    """

    rows: NDArray[np.int64]
    files: pa.Table


class KnownFiles:
    """Files of earlier scans, by whose identity unchanged files need not be read again.

    Parameters
    ----------
    sources : RowBatches
        With the columns `storage.source_files.FILES` at least. Where several know a file, the first
        of them counts.

    Raises
    ------
    DamagedArtefactError
        If the names in a file of the store cannot be read.
    """

    def __init__(self, *sources: RowBatches) -> None:
        self._sources = [in_order(source) for source in sources]

    def matcher(self) -> "Matcher":
        """Begin to look names up."""
        return Matcher(self._sources)


class Matcher:
    """Looks names up in their order: those of each call come after those of the last one."""

    def __init__(self, sources: list[RowBatches]) -> None:
        self._sources = sources
        self._windows: list[_Window] | None = None

    def match(self, found: pa.Table) -> KnownMatches:
        """Look up some names.

        Parameters
        ----------
        found : pyarrow.Table
            Names, at least one, with the columns ``root`` and ``path_raw`` at least, sorted by
            them.
        """
        if self._windows is None:
            root, _ = _place(found, 0)
            self._windows = [
                _Window(source.batches(FILES.names, first_root=root)) for source in self._sources
            ]
        rows = np.full(len(found), -1, np.int64)
        files = [FILES.empty_table()]
        n_files = 0
        for source in self._windows:
            for window in source.up_to(*_place(found, len(found) - 1)):
                there = _rows_in(found, window)
                fresh = np.flatnonzero((rows < 0) & (there >= 0))
                rows[fresh] = n_files + np.arange(len(fresh))
                files.append(window.take(pa.array(there[fresh])))
                n_files += len(fresh)
        return KnownMatches(rows, pa.concat_tables(files))


class _Window:
    """Known files from one source that can still be found."""

    def __init__(self, batches: Iterator[pa.RecordBatch]) -> None:
        self._batches = batches
        self._left = FILES.empty_table()

    def up_to(self, root: str, path_raw: bytes) -> Iterator[pa.Table]:
        """Give the files up to a name, and forget them."""
        while True:
            end = bisect_right(
                range(len(self._left)), (root, path_raw), key=lambda row: _place(self._left, row)
            )
            if end:
                yield self._left.slice(0, end)
                self._left = self._left.slice(end)
            if len(self._left):
                return
            batch = next(self._batches, None)
            if batch is None:
                return
            self._left = pa.Table.from_batches([batch])


def _place(table: pa.Table, row: int) -> tuple[str, bytes]:
    root, path_raw = (table[name][row].as_py() for name in PLACE)
    return root, path_raw


def _rows_in(found: pa.Table, known: pa.Table) -> NDArray[np.int64]:
    """Give for each name its first row in a table of known files, or -1."""
    rows = np.full(len(found), -1, np.int64)
    for root in pc.unique(known["root"]).to_pylist():
        of_root = _rows_where(found["root"], root)
        if not len(of_root):
            continue
        known_of_root = _rows_where(known["root"], root)
        there = pc.index_in(
            found["path_raw"].take(of_root),
            value_set=known["path_raw"].take(known_of_root).combine_chunks(),
        )
        rows[of_root.to_numpy()] = pc.fill_null(pc.take(known_of_root, there), -1).to_numpy()
    return rows


def _rows_where(column: pa.ChunkedArray, value: str) -> pa.Array:
    return pa.array(np.flatnonzero(pc.equal(column, value).to_numpy()))
