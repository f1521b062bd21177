"""Bring a stream of mono samples to another rate.

Public: `resample_blocks`.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import soxr
from numpy.typing import NDArray


def resample_blocks(
    blocks: Iterable[NDArray[np.float32]], sr_from: int, sr_to: int
) -> Iterator[NDArray[np.float32]]:
    """Resample a stream of mono blocks with soxr at high quality; equal rates pass through.

    Yields
    ------
    (n,) float32
        Samples at `sr_to` Hz.
    """
    if sr_from == sr_to:
        yield from blocks
        return
    resampler = soxr.ResampleStream(sr_from, sr_to, 1, dtype="float32", quality="HQ")
    for block in blocks:
        yield resampler.resample_chunk(block)
    yield resampler.resample_chunk(np.empty(0, dtype=np.float32), last=True)
