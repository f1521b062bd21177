"""How far every item is from a query: by Hamming, asymmetric or cosine distance.

Each distance is a matrix product of vectors of whole numbers. Such sums are exact in floating point
whatever order they are added in, so equal items tie exactly wherever they stand in the database,
and permuting the database changes no score. Only the order of distances counts, so they stay whole
numbers: bits, or very small steps.

Public: `Ranking`, `hamming_ranking`, `asymmetric_ranking`, `cosine_ranking`, `query_blocks`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from musichash_core.codes import ASYMMETRIC_STEPS, unpack_bits
from musichash_core.errors import ParameterError

COSINE_STEPS = 2**25
"""Steps per unit of a normalised coordinate: products add up to 2**50, below float64's 2**53."""

BLOCK_BYTES = 2**23
"""Size of a block of distances; scoring takes about ten arrays of that size."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """The distances of all items from all queries, computed a block at a time.

    Attributes
    ----------
    query_vectors : (n_queries, n_dimensions) float32 or float64
        Whole numbers.
    item_vectors : (n_items, n_dimensions) of the same dtype
        Whole numbers.
    scale, offset : float
        ``distance = offset - scale * <query, item>``, a whole number below 2**51.
    n_levels : int or None
        Distances are bits, 0 to ``n_levels - 1``; None for other distances.
    """

    query_vectors: NDArray[np.floating]
    item_vectors: NDArray[np.floating]
    scale: float
    offset: float
    n_levels: int | None

    @property
    def n_queries(self) -> int:
        """Number of queries."""
        return len(self.query_vectors)

    @property
    def n_items(self) -> int:
        """Number of items in the database."""
        return len(self.item_vectors)

    def distances(self, rows: slice) -> NDArray[np.floating]:
        """Compute the distances of some queries, ``(n_rows, n_items)``; smaller is nearer."""
        products = self.query_vectors[rows] @ self.item_vectors.T
        products *= -self.scale
        products += self.offset
        return products


def hamming_ranking(query_codes: NDArray[np.uint8], item_codes: NDArray[np.uint8]) -> Ranking:
    """Rank by the number of differing bits.

    Parameters
    ----------
    query_codes : (n_queries, code_bytes) uint8
    item_codes : (n_items, code_bytes) uint8
    """
    # float32 holds whole numbers up to 2**24: codes of any length in use.
    queries = np.where(unpack_bits(query_codes), np.float32(1), np.float32(-1))
    items = np.where(unpack_bits(item_codes), np.float32(1), np.float32(-1))
    _check_widths(queries, items)
    n_bits = queries.shape[1]
    return Ranking(queries, items, scale=0.5, offset=n_bits / 2, n_levels=n_bits + 1)


def asymmetric_ranking(
    query_logits: NDArray[np.floating], item_codes: NDArray[np.uint8]
) -> Ranking:
    """Rank binary codes by ``-<tanh(u_q), b_d>`` (METHOD 6.2): a query's sure bits weigh more.

    In steps of ``1 / ASYMMETRIC_STEPS``, as `musichash_core.codes.asymmetric_distance`.

    Parameters
    ----------
    query_logits : (n_queries, n_bits) float
        Before tanh.
    item_codes : (n_items, n_bits // 8) uint8
    """
    logits = _as_vectors("query_logits", query_logits)
    items = np.where(unpack_bits(item_codes), 1.0, -1.0)
    _check_widths(logits, items)
    queries = np.rint(np.tanh(logits) * ASYMMETRIC_STEPS)
    return Ranking(queries, items, scale=1.0, offset=0.0, n_levels=None)


def cosine_ranking(
    query_vectors: NDArray[np.floating], item_vectors: NDArray[np.floating]
) -> Ranking:
    """Rank real-valued vectors by ``-cosine``: the reference without hashing (REAL).

    In steps of ``1 / COSINE_STEPS**2``: coordinates of the normalised vectors are rounded to
    `COSINE_STEPS` per unit.

    Parameters
    ----------
    query_vectors : (n_queries, n_dimensions) float
    item_vectors : (n_items, n_dimensions) float
        A vector of zeros has cosine 0 with everything.
    """
    queries = _whole_directions(_as_vectors("query_vectors", query_vectors))
    items = _whole_directions(_as_vectors("item_vectors", item_vectors))
    _check_widths(queries, items)
    return Ranking(queries, items, scale=1.0, offset=0.0, n_levels=None)


def query_blocks(ranking: Ranking) -> Iterator[slice]:
    """Cut the queries into blocks whose distances fit in `BLOCK_BYTES`, in order."""
    size = max(1, BLOCK_BYTES // max(1, 8 * ranking.n_items))
    for start in range(0, ranking.n_queries, size):
        yield slice(start, min(start + size, ranking.n_queries))


def _whole_directions(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scale vectors to length `COSINE_STEPS` and round; zeros stay zeros."""
    # The largest coordinate first: squares of very large or small ones leave the range of floats.
    largest = np.abs(vectors).max(axis=1, keepdims=True, initial=0.0)
    scaled = np.divide(vectors, largest, out=np.zeros_like(vectors), where=largest > 0)
    lengths = np.linalg.norm(scaled, axis=1, keepdims=True)
    directions = np.divide(scaled, lengths, out=np.zeros_like(scaled), where=lengths > 0)
    return np.asarray(np.rint(directions * COSINE_STEPS), dtype=np.float64)


def _as_vectors(name: str, vectors: NDArray[np.floating]) -> NDArray[np.float64]:
    """Give vectors as float64, or say what is wrong with them."""
    values = np.asarray(vectors, dtype=np.float64)
    if values.ndim != 2:
        raise ParameterError(f"{name} of shape {values.shape}: want (n, n_dimensions)")
    if not np.isfinite(values).all():
        raise ParameterError(f"{name} contain NaN or infinity; the model or its input is damaged")
    return values


def _check_widths(queries: NDArray[np.floating], items: NDArray[np.floating]) -> None:
    """Refuse vectors that cannot be compared."""
    if queries.ndim != 2 or items.ndim != 2 or queries.shape[1] != items.shape[1]:
        raise ParameterError(
            f"queries {queries.shape} and items {items.shape} cannot be compared: want two arrays "
            "(n, n_dimensions) of the same width"
        )
