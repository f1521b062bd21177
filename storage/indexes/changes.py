"""What came and went since an ivf index was built whole: codes that died, rows that were added.

The codes table is sorted by track id, and so are the codes of the index's base, which was built
from an earlier table. What lives of the base, in order, is therefore the table without the rows
that were added, in order: places need nothing but counting. Codes that died are kept, so that the
base can be built again, to the byte, from the table and its changes alone.

Public: `IndexChanges`, `no_changes`, `changes_to_table`, `changes_from_table`, `CHANGES`.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from storage.errors import DamagedArtefactError

DIED, ADDED = "died", "added"

CHANGES = pa.schema(
    [
        pa.field(
            "change",
            pa.string(),
            nullable=False,
            metadata={"description": "died: a code of the base no longer counts; added: a new row"},
        ),
        pa.field(
            "place",
            pa.int64(),
            nullable=False,
            metadata={"description": "died: number in the base; added: row of the codes table"},
        ),
        pa.field(
            "code", pa.binary(), metadata={"description": "died: the packed code; added: empty"}
        ),
    ]
)
"""One row per change: what died by number, then what was added by row."""


@dataclass(frozen=True, slots=True, eq=False)
class IndexChanges:
    """How the codes table differs from the base of its index.

    Attributes
    ----------
    died : (n_died,) int64
        Numbers of codes of the base that no longer count, ascending.
    died_codes : (n_died, code_bytes) uint8
        These codes.
    added : (n_added,) int64
        Rows of the codes table that are not in the base but in the delta, ascending.
    """

    died: NDArray[np.int64]
    died_codes: NDArray[np.uint8]
    added: NDArray[np.int64]

    @property
    def n_changes(self) -> int:
        """Codes that died, and rows that were added."""
        return len(self.died) + len(self.added)

    def living(self, n_base: int) -> NDArray[np.int64]:
        """Give the numbers of the codes of a base that count, ascending."""
        is_living = np.ones(n_base, dtype=bool)
        is_living[self.died] = False
        return np.flatnonzero(is_living)

    def base_rows(self, n_rows: int) -> NDArray[np.int64]:
        """Give the rows of a codes table that are in the base, ascending."""
        is_base = np.ones(n_rows, dtype=bool)
        is_base[self.added] = False
        return np.flatnonzero(is_base)

    def rows_of(self, numbers: NDArray[np.int64], n_base: int) -> NDArray[np.int64]:
        """Give the rows of living codes: of the base by number, of the delta counting on."""
        place = numbers - np.searchsorted(self.died, numbers)  # among those of the base that live
        before = self.added - np.arange(len(self.added))  # rows of the base before each added one
        rows = place + np.searchsorted(before, place, side="right")
        is_added = numbers >= n_base
        if is_added.any():
            rows[is_added] = self.added[numbers[is_added] - n_base]
        return np.asarray(rows, dtype=np.int64)

    def numbers_of(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Give the numbers in the base of rows of the codes table that are in it."""
        place = rows - np.searchsorted(self.added, rows)  # among the codes of the base that live
        before = self.died - np.arange(len(self.died))  # codes that live before each that died
        return np.asarray(place + np.searchsorted(before, place, side="right"), dtype=np.int64)

    def base_codes(self, codes: NDArray[np.uint8], n_base: int) -> NDArray[np.uint8]:
        """Give the codes of the base from those of the table and those that died."""
        if not self.n_changes:
            return codes
        base = np.empty((n_base, codes.shape[1]), np.uint8)
        base[self.died] = self.died_codes
        base[self.living(n_base)] = codes[self.base_rows(len(codes))]
        return base


def no_changes(code_bytes: int) -> IndexChanges:
    """Give the changes of an index that was built whole from its table."""
    nobody = np.empty(0, np.int64)
    return IndexChanges(nobody, np.empty((0, code_bytes), np.uint8), nobody)


def changes_to_table(changes: IndexChanges) -> pa.Table:
    """Give changes as rows."""
    codes: list[bytes | None] = [code.tobytes() for code in changes.died_codes]
    return pa.table(
        {
            "change": [DIED] * len(changes.died) + [ADDED] * len(changes.added),
            "place": np.concatenate([changes.died, changes.added]),
            "code": codes + [None] * len(changes.added),
        },
        schema=CHANGES,
    )


def changes_from_table(table: pa.Table, *, code_bytes: int, n_base: int) -> IndexChanges:
    """Read what `changes_to_table` wrote.

    Raises
    ------
    DamagedArtefactError
        If the rows are no changes of a base of so many codes.
    """
    if not table.schema.equals(CHANGES):
        raise DamagedArtefactError(f"changes of an index have other columns: {table.schema.names}")
    kinds = table["change"].to_numpy(zero_copy_only=False)
    places = np.asarray(table["place"].to_numpy(), dtype=np.int64)
    died, added = places[kinds == DIED], places[kinds == ADDED]
    codes = b"".join(table["code"].slice(0, len(died)).drop_null().to_pylist())
    n_rows = n_base - len(died) + len(added)
    is_whole = (
        len(died) + len(added) == len(table)
        and bool((kinds[: len(died)] == DIED).all())
        and len(codes) == len(died) * code_bytes
        and _is_ascending(died, n_base)
        and _is_ascending(added, n_rows)
    )
    if not is_whole:
        raise DamagedArtefactError("changes of an index name places that it does not have")
    return IndexChanges(died, np.frombuffer(codes, np.uint8).reshape(len(died), code_bytes), added)


def _is_ascending(places: NDArray[np.int64], end: int) -> bool:
    """Whether numbers lie in 0 to `end`, each once, in order."""
    if not len(places):
        return True
    return bool(places[0] >= 0 and places[-1] < end and (np.diff(places) > 0).all())
