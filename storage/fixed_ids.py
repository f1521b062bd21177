"""Track ids as arrays of bytes of one length, without a Python object for each.

Public: `fixed_ids`, `ID_BYTES`.
"""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

ID_BYTES = 32


def fixed_ids(column: pa.ChunkedArray | pa.Array) -> NDArray[np.bytes_]:
    """Give a column of track ids as ``(n_tracks,)`` bytes of fixed length."""
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    parts = [_fixed_chunk(chunk) for chunk in chunks if len(chunk)]
    return np.concatenate(parts) if parts else np.empty(0, f"S{ID_BYTES}")


def _fixed_chunk(chunk: pa.Array) -> NDArray[np.bytes_]:
    offsets = np.frombuffer(chunk.buffers()[1], np.int32)[chunk.offset :][: len(chunk) + 1]
    if (np.diff(offsets) != ID_BYTES).any():
        return np.array([text.encode() for text in chunk.to_pylist()])
    data = chunk.buffers()[2]
    return np.frombuffer(data, f"S{ID_BYTES}", count=len(chunk), offset=int(offsets[0]))
