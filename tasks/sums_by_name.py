"""Adding numbers up by name, where the names come a few rows at a time.

Public: `SumsByName`.
"""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


class SumsByName:
    """Sums of some columns, and counts of rows, for each name.

    Numbers are added one by one, in order, so that the sums do not depend on how many rows come at
    once.

    Parameters
    ----------
    n_columns : int
        Columns that are added up.

    Attributes
    ----------
    places : dict of str to int
        Where each name stands in `sums` and `counts`.
    sums : (n_columns, n_names) float64
    counts : (n_names,) int64
    """

    def __init__(self, n_columns: int) -> None:
        self.places: dict[str, int] = {}
        self.sums = np.zeros((n_columns, 0))
        self.counts = np.zeros(0, np.int64)

    def add(self, names: pa.Array, *columns: NDArray[np.generic]) -> None:
        """Add some rows.

        Parameters
        ----------
        names : (n_rows,) pyarrow.Array of str
            None of them empty.
        columns : (n_rows,) numbers
            As many as are added up.
        """
        named = names.dictionary_encode()
        places = [
            self.places.setdefault(name, len(self.places)) for name in named.dictionary.to_pylist()
        ]
        n_more = len(self.places) - len(self.counts)
        self.sums = np.pad(self.sums, ((0, 0), (0, n_more)))
        self.counts = np.pad(self.counts, (0, n_more))
        at = np.array(places, np.int64)[named.indices.to_numpy()]
        for sums, column in zip(self.sums, columns, strict=True):
            np.add.at(sums, at, column)
        np.add.at(self.counts, at, 1)
