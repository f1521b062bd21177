"""Reading tables that are sorted by track id, a range of ids after the other.

Public: `SortedRows`.
"""

from collections.abc import Iterable, Iterator
from typing import NoReturn

import pyarrow as pa
import pyarrow.compute as pc

from storage.errors import DamagedArtefactError


class SortedRows:
    """Gives the rows of a table up to one track id after another.

    Parameters
    ----------
    pieces : iterable of Table
        A few rows each; sorted by track_id, each id once.
    schema : pyarrow.Schema
        Of the tables that are given; the pieces may name the parts of lists otherwise.
    source : str
        Names the table in messages.
    """

    def __init__(self, pieces: Iterable[pa.Table], schema: pa.Schema, *, source: str) -> None:
        self._pieces: Iterator[pa.Table] = iter(pieces)
        self._schema = schema
        self._source = source
        self._waiting = schema.empty_table()
        self._last = ""

    def below(self, track_id: str | None) -> pa.Table:
        """Give the rows before an id that were not given yet; all that are left for None.

        Raises
        ------
        DamagedArtefactError
            If the rows are not sorted.
        """
        taken = []
        while True:
            count = self._count_below(track_id)
            taken.append(self._waiting.slice(0, count))
            self._waiting = self._waiting.slice(count)
            if len(self._waiting):
                break
            piece = next(self._pieces, None)
            if piece is None:
                break
            self._waiting = piece
            self._check_order()
        return pa.concat_tables([self._schema.empty_table(), *taken])

    def _count_below(self, track_id: str | None) -> int:
        if track_id is None:
            return len(self._waiting)
        return int(pc.sum(pc.less(self._waiting["track_id"], track_id)).as_py() or 0)

    def _check_order(self) -> None:
        ids = self._waiting["track_id"].combine_chunks()
        if not len(ids):
            return
        rises = pc.all(pc.greater(ids[1:], ids[:-1])).as_py() is not False
        if not rises or ids[0].as_py() <= self._last:
            self._refuse()
        self._last = ids[-1].as_py()

    def _refuse(self) -> NoReturn:
        raise DamagedArtefactError(
            f"{self._source} is not sorted by track_id; run 'musichash verify'"
        )
