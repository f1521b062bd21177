"""Windows of a snapshot's tracks, loaded when they are first asked for.

They take 12 bytes each at 64 bits, and a track of four minutes has 48: most searches need none.

Public: `ServedSegments`, `NoWindowsError`.
"""

import threading
from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from storage.errors import StoreError
from storage.row_filters import Filters
from storage.search_terms import Windows
from storage.served_table import ServedTable

if TYPE_CHECKING:  # importing it loads a compiler, which most searches do not need
    from storage.segment_codes import SegmentCodes, SegmentTracks

COLUMNS = ("segment_codes", "segment_starts_s")
KEPT_FILTERS = 2


class NoWindowsError(StoreError):
    """No track of the snapshot has codes of windows, or the query has none."""

    is_wrong_input = True


class ServedSegments:
    """Finds tracks by their windows; safe under threads.

    Parameters
    ----------
    codes : ServedTable
        The codes table.
    """

    def __init__(self, codes: ServedTable) -> None:
        self._codes = codes
        self._lock = threading.Lock()
        self._all: SegmentCodes | None = None
        self._chosen: OrderedDict[Filters, SegmentCodes] = OrderedDict()

    @property
    def n_windows(self) -> int:
        """Number of windows of all tracks."""
        return self._whole().n_windows

    def windows_of(self, row: int) -> Windows:
        """Give the windows of a track."""
        codes, _ = self._whole().windows_of(row)
        return Windows(codes)

    def nearest(
        self,
        windows: Windows,
        k: int,
        *,
        filters: Filters | None = None,
        rows: NDArray[np.int64] | None = None,
    ) -> "SegmentTracks":
        """Find the `k` tracks that have windows like those of a query.

        Parameters
        ----------
        filters, rows
            What tracks must have, and the rows that have it.

        Raises
        ------
        NoWindowsError
            If no track has windows, or the query has none.
        """
        if not self.n_windows:
            raise NoWindowsError(
                "no track of the snapshot has codes of windows: its model is older than they are, "
                "or its settings ask for none; search by the whole track (--by track), or train "
                "and promote a new model"
            )
        if not len(windows.codes):
            raise NoWindowsError(
                "nothing is heard in any window of what is asked for; search by the whole track "
                "(--by track)"
            )
        if filters is None or not filters or rows is None:
            return self._whole().nearest_tracks(windows.codes, windows.logits, k)
        found = self._some(filters, rows).nearest_tracks(windows.codes, windows.logits, k)
        return replace(found, rows=rows[found.rows])

    def _whole(self) -> "SegmentCodes":
        with self._lock:
            if self._all is None:
                self._all = self._read(None)
            return self._all

    def _some(self, filters: Filters, rows: NDArray[np.int64]) -> "SegmentCodes":
        with self._lock:
            found = self._chosen.get(filters)
            if found is None:
                found = self._chosen[filters] = self._read(rows)
                if len(self._chosen) > KEPT_FILTERS:
                    self._chosen.popitem(last=False)
            self._chosen.move_to_end(filters)
            return found

    def _read(self, rows: NDArray[np.int64] | None) -> "SegmentCodes":
        from storage.segment_codes import SegmentCodes

        if not set(COLUMNS) <= set(self._codes.schema.names):
            n_rows = self._codes.n_rows if rows is None else len(rows)
            width = self._codes.schema.field("code").type.byte_width
            nothing = np.empty((0, width), np.uint8)
            return SegmentCodes(nothing, np.empty(0, np.float32), np.zeros(n_rows + 1, np.int64))
        if rows is not None:
            return SegmentCodes.from_table(self._codes.take(rows, COLUMNS))
        empty = self._codes.schema.empty_table().select(list(COLUMNS))
        return SegmentCodes.from_table(pa.concat_tables([empty, *self._codes.groups(COLUMNS)]))
