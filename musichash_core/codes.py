"""Hash codes: the sign rule, bits in bytes, distances, and exact neighbours (the oracle).

Bit ``k`` of a code is bit ``k % 8`` of byte ``k // 8``, counted from the least significant bit
(``numpy.packbits(..., bitorder="little")``). A bit is 1 where the hash logit is >= 0.
"""

import numpy as np
from numpy.typing import NDArray

from musichash_core.errors import ParameterError

ASYMMETRIC_STEPS = 2**15
"""Steps per unit in `asymmetric_distance`: integer sums are exact, so equal codes tie exactly."""

BLOCK_BYTES = 2**26
"""Largest intermediate array of `brute_force_neighbours`, in bytes."""


def logits_to_bits(logits: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Decide the bits of real-valued codes: ``logit >= 0`` is 1, so zero (and -0.0) is 1.

    The only place that knows the sign of zero. NaN is refused.
    """
    values = np.asarray(logits)
    if np.isnan(values).any():
        raise ParameterError("hash logits contain NaN; the model or its input is damaged")
    return np.asarray(values >= 0)


def pack_bits(bits: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Pack bits into bytes, bit 0 in the least significant place of byte 0.

    Parameters
    ----------
    bits : (..., n_bits) bool
        ``n_bits`` a multiple of 8.

    Returns
    -------
    (..., n_bits // 8) uint8
    """
    values = np.asarray(bits, dtype=bool)
    if values.ndim == 0 or values.shape[-1] % 8:
        raise ParameterError(f"bits of shape {values.shape}: the last axis must be a multiple of 8")
    return np.packbits(values, axis=-1, bitorder="little")


def unpack_bits(codes: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Unpack bytes into bits; the inverse of `pack_bits`.

    Parameters
    ----------
    codes : (..., code_bytes) uint8

    Returns
    -------
    (..., code_bytes * 8) bool
    """
    return np.unpackbits(_as_codes(codes), axis=-1, bitorder="little").astype(bool)


def logits_to_codes(logits: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Binarise and pack hash logits, ``(..., n_bits)`` float32 -> ``(..., n_bits // 8)`` uint8."""
    return pack_bits(logits_to_bits(logits))


def hamming_distance(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Count the differing bits of packed codes.

    Parameters
    ----------
    a, b : (..., code_bytes) uint8
        Leading axes broadcast: ``hamming_distance(queries[:, None], codes)`` is all against all.

    Returns
    -------
    (...) int64
    """
    left, right = _as_codes(a), _as_codes(b)
    if left.shape[-1] != right.shape[-1]:
        raise ParameterError(
            f"codes of {left.shape[-1]} and {right.shape[-1]} bytes cannot be compared; "
            "they come from models with different n_bits"
        )
    return np.asarray(np.bitwise_count(left ^ right).sum(axis=-1, dtype=np.int64))


def brute_force_neighbours(
    queries: NDArray[np.uint8], codes: NDArray[np.uint8], k: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find the nearest codes exactly; equal distances are ordered by row.

    Parameters
    ----------
    queries : (n_queries, code_bytes) uint8
    codes : (n_codes, code_bytes) uint8
    k : >= 1
        Neighbours per query; fewer are given when there are fewer codes.

    Returns
    -------
    distances : (n_queries, min(k, n_codes)) int64
        In bits, ascending.
    rows : (n_queries, min(k, n_codes)) int64
        Rows of `codes`.
    """
    if k < 1:
        raise ParameterError(f"k={k}: ask for at least one neighbour")
    n_codes = len(codes)
    k = min(k, n_codes)
    rows = np.empty((len(queries), k), dtype=np.int64)
    distances = np.empty((len(queries), k), dtype=np.int64)
    block = max(1, BLOCK_BYTES // max(1, n_codes * max(16, codes.shape[-1])))
    for start in range(0, len(queries) if k else 0, block):
        found = hamming_distance(queries[start : start + block, None], codes)
        # Distance and row in one integer: its order is the promised one, without a stable sort.
        keys = found * n_codes + np.arange(n_codes)
        nearest = np.sort(np.partition(keys, k - 1, axis=-1)[:, :k], axis=-1)
        distances[start : start + block], rows[start : start + block] = divmod(nearest, n_codes)
    return distances, rows


def asymmetric_distance(
    query_logits: NDArray[np.float32], codes: NDArray[np.uint8]
) -> NDArray[np.float64]:
    """Compare real-valued queries with binary codes: ``-<tanh(u_q), b_d>`` (METHOD 6.2).

    Ranks the codes that tie by Hamming distance: bits the query is sure of weigh more.

    Parameters
    ----------
    query_logits : (n_queries, n_bits) float32
        Hash logits, before tanh.
    codes : (n_codes, n_bits // 8) uint8

    Returns
    -------
    (n_queries, n_codes) float64
        ``-n_bits`` (nearest) to ``n_bits``, in exact steps of ``1 / ASYMMETRIC_STEPS``.
    """
    relaxed = np.tanh(np.asarray(query_logits, dtype=np.float64))
    signs = np.where(unpack_bits(codes), 1.0, -1.0)
    if relaxed.shape[-1] != signs.shape[-1]:
        raise ParameterError(
            f"queries of {relaxed.shape[-1]} bits and codes of {signs.shape[-1]} bits "
            "cannot be compared; they come from models with different n_bits"
        )
    # Whole numbers below 2**53 add without rounding, whatever order the matrix product takes.
    steps = np.rint(relaxed * ASYMMETRIC_STEPS) @ signs.T
    return np.asarray(-steps / ASYMMETRIC_STEPS, dtype=np.float64)


def _as_codes(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Check that an array holds packed codes."""
    values = np.asarray(codes)
    if values.dtype != np.uint8 or values.ndim == 0:
        raise ParameterError(f"codes of dtype {values.dtype}, shape {values.shape}: want uint8")
    return values
