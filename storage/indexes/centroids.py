"""Centroids of lists of codes: k-majority, that is k-means in Hamming space.

Whole numbers only, so equal codes give equal centroids whatever computes them.

Public: `training_rows`, `find_centroids`.
"""

import numpy as np
from numpy.typing import NDArray

from musichash_core.codes import unpack_bits
from storage.indexes.faiss_library import on_one_thread


def training_rows(n_codes: int, n_wanted: int) -> NDArray[np.int64]:
    """Choose rows to train on, evenly spaced: rows are in the order of a hash, so that is fair."""
    n_chosen = min(n_codes, n_wanted)
    if not n_chosen:
        return np.empty(0, np.int64)
    return np.unique(np.linspace(0, n_codes - 1, n_chosen).astype(np.int64))


def find_centroids(
    sample: NDArray[np.uint8], n_centroids: int, *, n_rounds: int
) -> NDArray[np.uint8]:
    """Find codes that a sample lies about.

    Starts from distinct codes of the sample, so that none is there twice; each round assigns every
    code to its nearest centroid, the first of equals, and makes each centroid the majority of its
    codes, bit by bit. A bit of which there are as many as not stays, and so does a centroid without
    codes.

    Parameters
    ----------
    sample : (n, code_bytes) uint8
    n_centroids : >= 1
        There are fewer where the sample has fewer distinct codes, but always one.

    Returns
    -------
    (n_found, code_bytes) uint8
    """
    n_bits = sample.shape[1] * 8
    centroids = _spread_codes(sample, n_centroids)
    if not len(sample):
        return centroids
    bits = unpack_bits(sample)
    for _ in range(n_rounds):
        quantizer = on_one_thread().IndexBinaryFlat(n_bits)
        quantizer.add(centroids)
        _, nearest = quantizer.search(np.ascontiguousarray(sample), 1)
        moved = _majorities(bits, nearest[:, 0], centroids)
        if np.array_equal(moved, centroids):
            break
        centroids = moved
    return centroids


def _spread_codes(sample: NDArray[np.uint8], n_wanted: int) -> NDArray[np.uint8]:
    """Give distinct codes, evenly spaced in their order; a zero code where there is none."""
    if not len(sample):
        return np.zeros((1, sample.shape[1]), np.uint8)
    whole = np.ascontiguousarray(sample).view(np.dtype((np.void, sample.shape[1])))
    distinct = np.unique(whole)
    rows = training_rows(len(distinct), n_wanted)
    return np.frombuffer(distinct[rows].tobytes(), np.uint8).reshape(len(rows), -1)


def _majorities(
    bits: NDArray[np.bool_], nearest: NDArray[np.int64], centroids: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    order = np.argsort(nearest, kind="stable")
    counts = np.bincount(nearest, minlength=len(centroids))
    used = np.flatnonzero(counts)
    starts = np.concatenate([[0], np.cumsum(counts[used])[:-1]])
    n_set = np.add.reduceat(bits[order].view(np.uint8), starts, axis=0, dtype=np.int64)
    twice, all_ = 2 * n_set, counts[used, None]
    majority = (twice > all_) | ((twice == all_) & unpack_bits(centroids[used]))
    moved = centroids.copy()
    moved[used] = np.packbits(majority, axis=1, bitorder="little")
    return moved
