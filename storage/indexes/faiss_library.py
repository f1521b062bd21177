"""FAISS, on one thread, and indexes as bytes.

FAISS is imported when the first index is needed: most commands need none.

Public: `on_one_thread`, `index_to_bytes`, `index_from_bytes`, `ForeignIndexError`.
"""

import sys
from typing import Any

import numpy as np

from storage.errors import StoreError

MAX_INDEX_BYTES = 1 << 36
"""FAISS refuses to reserve more than this for one array that a file announces."""


class ForeignIndexError(StoreError, ValueError):
    """Bytes are no index that this version of FAISS reads, or one of another kind."""


def on_one_thread() -> Any:  # noqa: ANN401 - faiss has no types
    """Give the module `faiss`, with one thread for whatever the calling thread does next.

    The number of threads belongs to the calling thread, so each call sets it. More threads answer
    no sooner where cores are shared: two on a busy machine of two cores took 4 times the CPU time.
    """
    is_new = "faiss" not in sys.modules
    import faiss

    if is_new or faiss.get_deserialization_vector_byte_limit() != MAX_INDEX_BYTES:
        faiss.set_deserialization_vector_byte_limit(MAX_INDEX_BYTES)
    faiss.omp_set_num_threads(1)
    return faiss


def index_to_bytes(index: Any) -> bytes:  # noqa: ANN401
    """Give the file of an index."""
    return bytes(on_one_thread().serialize_index_binary(index).tobytes())


def index_from_bytes(data: bytes, kind: str) -> Any:  # noqa: ANN401
    """Read the file of an index; only bytes that we wrote may be given.

    Parameters
    ----------
    kind : str
        ``flat`` or ``ivf``: what it must be.

    Raises
    ------
    ForeignIndexError
        If it is something else.
    """
    faiss = on_one_thread()
    wanted = {"flat": faiss.IndexBinaryFlat, "ivf": faiss.IndexBinaryIVF}[kind]
    try:
        index = faiss.deserialize_index_binary(np.frombuffer(data, dtype=np.uint8))
    except RuntimeError as error:
        reason = str(error).rpartition("Error: ")[2].splitlines()[0]
        raise ForeignIndexError(f"FAISS {faiss.__version__} does not read it: {reason}") from error
    if not isinstance(index, wanted):
        raise ForeignIndexError(f"it holds a {type(index).__name__}, the kind {kind} is another")
    return index
