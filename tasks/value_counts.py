"""Counting the values of a column, where it comes a few rows at a time.

Public: `value_counts`.
"""

from collections import Counter

import pyarrow as pa
import pyarrow.compute as pc


def value_counts(column: pa.ChunkedArray | pa.Array) -> Counter[str]:
    """Count the values of a column, as text."""
    entries = pc.value_counts(column).to_pylist()
    return Counter({str(entry["values"]): entry["counts"] for entry in entries})
