"""Hash codes of a Parquet column as an array, without a copy where the column is in one piece.

Public: `packed_codes`, `packed_column`.
"""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def packed_codes(codes: pa.Table) -> NDArray[np.uint8]:
    """Give the codes of a codes table as ``(n_rows, code_bytes)`` uint8, in row order."""
    return packed_column(codes["code"])


def packed_column(column: pa.ChunkedArray | pa.FixedSizeBinaryArray) -> NDArray[np.uint8]:
    """Give values of one length, none of them missing, as ``(n, n_bytes)`` uint8, in order."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    width = array.type.byte_width
    if not len(array):
        return np.empty((0, width), np.uint8)
    values = np.frombuffer(array.buffers()[1], np.uint8)
    return values[width * array.offset :][: width * len(array)].reshape(-1, width)
