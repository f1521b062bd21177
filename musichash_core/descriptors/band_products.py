"""The product of stored bands and a small matrix, on one thread whatever the BLAS would do.

A BLAS that divides such a product among threads lets them wait for one another: beside other busy
processes one track took 80 ms of processor time for what takes 1 ms. OpenBLAS stays on one thread
up to 2**18 multiplications, so the rows are taken in blocks of so many.

Public: `multiply_bands`.
"""

import numpy as np
from numpy.typing import NDArray

MOST_MULTIPLICATIONS = 2**18


def multiply_bands(stored: NDArray[np.uint8], matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """Multiply the bands of each frame and channel with a matrix.

    Parameters
    ----------
    stored : (n_frames, n_channels, n_mels) uint8
    matrix : (n_mels, d) float32

    Returns
    -------
    (n_frames, n_channels, d) float32
    """
    rows = stored.reshape(-1, stored.shape[-1]).astype(np.float32)
    product = np.empty((len(rows), matrix.shape[1]), dtype=np.float32)
    n_block = max(1, MOST_MULTIPLICATIONS // matrix.size)
    for first in range(0, len(rows), n_block):
        block = slice(first, first + n_block)
        np.matmul(rows[block], matrix, out=product[block])
    return product.reshape(*stored.shape[:-1], matrix.shape[1])
