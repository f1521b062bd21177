"""How good predictions and codes are: accuracy, tie-aware retrieval, health of codes (METHOD 7).

Integer distances tie by the dozen, so retrieval is scored by the *expectation* over all orders of
the tied items (McSherry and Najork 2008): permuting the database changes nothing. These functions
take one query, or a small matrix; `musichash_core.evaluation` scores whole databases.

Public: `average_precision`, `precision_at`, `average_precisions`, `mean_average_precision`,
`relevance_masks`; `confusion_matrix`, `accuracy`, `macro_recall`, `macro_f1`; `code_statistics`,
`CodeStatistics`, `bit_entropies`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from musichash_core.codes import unpack_bits
from musichash_core.errors import ParameterError


def confusion_matrix(
    truth: NDArray[np.int64], predicted: NDArray[np.int64], n_classes: int
) -> NDArray[np.int64]:
    """Count predictions: row = true class, column = predicted class.

    Parameters
    ----------
    truth, predicted : (n_items,) int64
        0 to ``n_classes - 1``.

    Returns
    -------
    (n_classes, n_classes) int64
    """
    truth, predicted = np.asarray(truth), np.asarray(predicted)
    if truth.shape != predicted.shape or truth.ndim != 1:
        raise ParameterError(f"truth {truth.shape} and predicted {predicted.shape} must match")
    both = np.concatenate([truth, predicted])
    if len(both) and (both.min() < 0 or both.max() >= n_classes):
        raise ParameterError(f"classes {both.min()}..{both.max()}: want 0..{n_classes - 1}")
    counts = np.zeros((n_classes, n_classes), dtype=np.int64)
    np.add.at(counts, (truth, predicted), 1)
    return counts


def accuracy(confusion: NDArray[np.int64]) -> float:
    """Give the share of items predicted right; 0 for no items."""
    return float(np.trace(confusion) / max(1, confusion.sum()))


def macro_recall(confusion: NDArray[np.int64]) -> float:
    """Average the recall over the classes that occur in the truth; 0 for no items."""
    occurs = confusion.sum(axis=1) > 0
    recalls = np.diag(confusion)[occurs] / confusion.sum(axis=1)[occurs]
    return float(recalls.mean()) if len(recalls) else 0.0


def macro_f1(confusion: NDArray[np.int64]) -> float:
    """Average the F1 score over the classes that occur in truth or predictions; 0 for no items."""
    both = confusion.sum(axis=0) + confusion.sum(axis=1)
    scores = 2 * np.diag(confusion)[both > 0] / both[both > 0]
    return float(scores.mean()) if len(scores) else 0.0


def average_precision(
    distances: NDArray[np.generic], relevant: NDArray[np.bool_], *, k: int | None = None
) -> float:
    """Compute the tie-aware average precision of one query's ranking.

    The expectation over all orders of equal distances, in closed form::

        AP = 1/R sum_l r_l/n_l sum_j (Q + 1 + (j - 1)(r_l - 1)/(n_l - 1)) / (N + j)

    over groups ``l`` of ``n_l`` equal distances with ``r_l`` relevant items, ``N`` items and ``Q``
    relevant ones before the group. With ``k``, ranks up to k count and R becomes ``min(R, k)``.

    Parameters
    ----------
    distances : (n_items,) any real dtype
        Smaller is nearer. Exactly equal values tie.
    relevant : (n_items,) bool
    k : >= 1, optional
        Ranks that count; all when not given.

    Returns
    -------
    float
        0 to 1; 0 when nothing is relevant (leave such queries out of a mean).
    """
    starts, sizes, hits = _tie_groups(distances, relevant)
    n_items, n_relevant = int(sizes.sum()), int(hits.sum())
    if k is not None and k < 1:
        raise ParameterError(f"k={k}: at least one rank must count")
    if n_relevant == 0:
        return 0.0
    group = np.repeat(np.arange(len(sizes)), sizes)
    rank = np.arange(1, n_items + 1, dtype=np.float64)
    before = (np.cumsum(hits) - hits)[group]
    n, r = sizes[group].astype(np.float64), hits[group].astype(np.float64)
    earlier_in_group = (rank - 1 - starts[group]) * (r - 1) / np.maximum(n - 1, 1)
    terms = r / n * (before + 1 + earlier_in_group) / rank
    last = n_items if k is None else min(k, n_items)
    total = n_relevant if k is None else min(n_relevant, k)
    return float(terms[:last].sum() / total)


def precision_at(distances: NDArray[np.generic], relevant: NDArray[np.bool_], k: int) -> float:
    """Compute the tie-aware precision among the first k of one query's ranking.

    Of the group of ties that contains rank k, the expected share counts. Ranks beyond the last
    item hold nothing relevant.

    Parameters
    ----------
    distances : (n_items,) any real dtype
    relevant : (n_items,) bool
    k : >= 1

    Returns
    -------
    float
        0 to 1.
    """
    if k < 1:
        raise ParameterError(f"k={k}: ask for at least one rank")
    starts, sizes, hits = _tie_groups(distances, relevant)
    taken = np.clip(k - starts, 0, sizes)
    return float((hits * (taken / np.maximum(sizes, 1))).sum() / k)


def average_precisions(
    distances: NDArray[np.generic],
    relevant: NDArray[np.bool_],
    excluded: NDArray[np.bool_],
    *,
    k: int | None = None,
) -> NDArray[np.float64]:
    """Compute `average_precision` of each query, leaving items out per query.

    Parameters
    ----------
    distances : (n_queries, n_items) any real dtype
    relevant, excluded : (n_queries, n_items) bool
        Excluded items are not in the query's ranking: its own track and group (see
        `relevance_masks`).

    Returns
    -------
    (n_queries,) float64
        NaN where nothing is relevant.
    """
    if not distances.shape == relevant.shape == excluded.shape:
        raise ParameterError(
            f"distances {distances.shape}, relevant {relevant.shape}, excluded {excluded.shape}: "
            "the shapes must match"
        )
    scores = np.full(len(distances), np.nan)
    for row, (near, match, out) in enumerate(zip(distances, relevant, excluded, strict=True)):
        if (match & ~out).any():
            scores[row] = average_precision(near[~out], match[~out], k=k)
    return scores


def mean_average_precision(
    distances: NDArray[np.generic],
    relevant: NDArray[np.bool_],
    excluded: NDArray[np.bool_],
    *,
    k: int | None = None,
) -> float:
    """Average `average_precisions` over the queries that have something to find; 0 if none has."""
    scores = average_precisions(distances, relevant, excluded, k=k)
    answered = scores[~np.isnan(scores)]
    return float(answered.mean()) if len(answered) else 0.0


def relevance_masks(
    query_labels: NDArray[np.generic],
    item_labels: NDArray[np.generic],
    query_groups: NDArray[np.generic],
    item_groups: NDArray[np.generic],
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Say what each query should find, and what its ranking must not contain.

    Parameters
    ----------
    query_labels, query_groups : (n_queries,)
    item_labels, item_groups : (n_items,)
        Labels and groups are compared for equality.

    Returns
    -------
    relevant, excluded : (n_queries, n_items) bool
        Same label; same group.
    """
    relevant = np.asarray(query_labels)[:, None] == np.asarray(item_labels)
    excluded = np.asarray(query_groups)[:, None] == np.asarray(item_groups)
    return relevant, excluded


@dataclass(frozen=True, slots=True)
class CodeStatistics:
    """Health of a set of codes.

    Attributes
    ----------
    n_codes, n_distinct, largest_bucket : int
        Codes, different codes, and codes equal to the most frequent one.
    bit_means : (n_bits,) float64
        Share of ones per bit; 0.5 is even.
    mean_bias : float
        Mean distance of the bits' shares from even, 0 to 0.5.
    mean_correlation : float
        Mean absolute correlation of two different bits, 0 to 1; constant bits count as 0.
    mean_entropy : float
        Mean entropy of a bit, 0 to 1 bits.
    """

    n_codes: int
    n_distinct: int
    largest_bucket: int
    bit_means: NDArray[np.float64]
    mean_bias: float
    mean_correlation: float
    mean_entropy: float


def code_statistics(codes: NDArray[np.uint8]) -> CodeStatistics:
    """Measure balance, correlation and crowding of packed codes.

    Parameters
    ----------
    codes : (n_codes, code_bytes) uint8
        At least one.
    """
    if codes.ndim != 2 or len(codes) < 1:
        raise ParameterError(f"codes of shape {codes.shape}: want at least one row of bytes")
    bits = unpack_bits(codes).astype(np.float64)
    means = bits.mean(axis=0)
    _, counts = np.unique(codes, axis=0, return_counts=True)
    return CodeStatistics(
        n_codes=len(codes),
        n_distinct=len(counts),
        largest_bucket=int(counts.max()),
        bit_means=means,
        mean_bias=float(np.abs(means - 0.5).mean()),
        mean_correlation=_mean_correlation(bits),
        mean_entropy=float(bit_entropies(means).mean()),
    )


def bit_entropies(bit_means: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the entropy, in bits, of bits that are 1 with these probabilities; same shape."""
    p = np.clip(np.asarray(bit_means, dtype=np.float64), 0.0, 1.0)
    q = 1.0 - p
    logs = p * np.log2(p, where=p > 0, out=np.zeros_like(p))
    logs += q * np.log2(q, where=q > 0, out=np.zeros_like(p))
    return np.abs(logs)


def _mean_correlation(bits: NDArray[np.float64]) -> float:
    """Average the absolute correlation over the pairs of different bits."""
    centred = bits - bits.mean(axis=0)
    norms = np.linalg.norm(centred, axis=0)
    unit = np.divide(centred, norms, out=np.zeros_like(centred), where=norms > 0)
    correlation = np.abs(unit.T @ unit)
    n_bits = bits.shape[1]
    return float((correlation.sum() - np.trace(correlation)) / max(1, n_bits * (n_bits - 1)))


def _tie_groups(
    distances: NDArray[np.generic], relevant: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Group items by exactly equal distance, nearest first.

    Returns
    -------
    starts, sizes, hits : (n_groups,) int64
        Items before the group, in it, and relevant ones in it.
    """
    values, match = np.asarray(distances), np.asarray(relevant, dtype=bool)
    if values.ndim != 1 or values.shape != match.shape:
        raise ParameterError(f"distances {values.shape} and relevant {match.shape} must be (n,)")
    if np.issubdtype(values.dtype, np.floating) and np.isnan(values).any():
        raise ParameterError("distances contain NaN, which has no rank")
    _, group, sizes = np.unique(values, return_inverse=True, return_counts=True)
    hits = np.bincount(group, weights=match, minlength=len(sizes)).astype(np.int64)
    return np.cumsum(sizes) - sizes, sizes.astype(np.int64), hits
