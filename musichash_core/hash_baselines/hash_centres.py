"""One target code per class, far from one another: the centres of CSQ, OrthoHash and CLS-HASH.

Rows of a Hadamard matrix where one of that order is known (any two differ in half of the bits),
otherwise random codes chosen for the largest smallest distance (METHOD 4.6). Centres are signs,
-1 or +1, so the inner product of two is ``n_bits - 2 * distance``.

METHOD takes Hadamard rows for powers of two only. Paley's matrices exist for 12, 24 and 48 bits as
well, where a random search for 10 classes falls short of their distance.

Public: `hash_centres`, `majority_centres`, `hadamard_matrix`, `far_codes`.
"""

from math import isqrt

import numpy as np
from numpy.typing import NDArray

from musichash_core.errors import ParameterError

N_CANDIDATES = 2048
"""Random codes that `far_codes` chooses from, at least; four per class when that is more."""

N_SEARCHES = 8
"""Sets of candidates that are tried; the set with the largest smallest distance is kept."""


def hash_centres(n_classes: int, n_bits: int, *, seed: int) -> NDArray[np.float32]:
    """Choose one code per class.

    Up to `n_bits` classes get orthogonal codes and up to twice as many get those and their
    complements, where a Hadamard matrix of order `n_bits` is known; else the codes are random
    (`far_codes`). Rows and the signs of the columns are drawn by the seed: another codebook for
    every seed, at the same distances.

    Parameters
    ----------
    n_classes, n_bits : >= 1
    seed : >= 0

    Returns
    -------
    (n_classes, n_bits) float32
        -1 or +1.

    Raises
    ------
    ParameterError
        A number is out of range, or there are more classes than codes can be found for.
    """
    if n_classes < 1 or n_bits < 1 or seed < 0:
        raise ParameterError(
            f"n_classes={n_classes}, n_bits={n_bits}, seed={seed}: want at least 1, 1 and 0"
        )
    rng = np.random.default_rng([seed, n_classes, n_bits])
    matrix = hadamard_matrix(n_bits)
    if matrix is None or n_classes > 2 * n_bits:
        return far_codes(n_classes, n_bits, rng)
    rows = matrix[rng.permutation(n_bits)]
    signs = rng.choice(np.array([-1.0, 1.0]), size=n_bits)
    both = np.concatenate([rows, -rows])[:n_classes]
    return np.asarray(both * signs, dtype=np.float32)


def majority_centres(
    targets: NDArray[np.float64], centres: NDArray[np.float32], *, seed: int
) -> NDArray[np.float32]:
    """Give each item the bits that most of its classes' centres have (CSQ, for several labels).

    Parameters
    ----------
    targets : (n_items, n_classes) float64
        1 for the classes of an item, else 0.
    centres : (n_classes, n_bits) float32
    seed : >= 0
        Of the one random code that decides the bits with as many ones as minus ones.

    Returns
    -------
    (n_items, n_bits) float32
        -1 or +1; with one class per item, its centre.
    """
    votes = np.asarray(targets @ centres)
    undecided = np.random.default_rng(seed).choice(np.array([-1.0, 1.0]), size=centres.shape[1])
    return np.where(votes == 0, undecided, np.sign(votes)).astype(np.float32)


def hadamard_matrix(order: int) -> NDArray[np.int64] | None:
    """Build a square matrix of signs with orthogonal rows, or None when none is known here.

    Sylvester's construction for powers of two, Paley's first one for a prime + 1 (that leaves 3
    when divided by 4), and their Kronecker products: 12, 20, 24, 32, 40, 48, 64 and so on.

    Returns
    -------
    (order, order) int64, optional
    """
    from scipy.linalg import hadamard  # workers import this module, and choose no centres

    doublings = 1
    while order % doublings == 0:
        core = _indivisible_hadamard(order // doublings)
        if core is not None:
            return np.kron(hadamard(doublings).astype(np.int64), core)
        doublings *= 2
    return None


def far_codes(n_classes: int, n_bits: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Choose random codes so that the smallest distance between two is large.

    Of a set of random codes, in order, each is taken that keeps a distance from all taken before;
    the distance is raised until too few are found. The best of `N_SEARCHES` sets is kept.

    Returns
    -------
    (n_classes, n_bits) float32
        -1 or +1, all different.

    Raises
    ------
    ParameterError
        There are not so many different codes of so many bits.
    """
    found: NDArray[np.float64] | None = None
    distance = 1
    for _ in range(N_SEARCHES):
        drawn = rng.integers(0, 2, size=(max(N_CANDIDATES, 4 * n_classes), n_bits), dtype=np.int8)
        candidates = rng.permutation(np.unique(drawn, axis=0)) * 2.0 - 1.0
        chosen = _take_apart(candidates, n_classes, distance)
        while chosen is not None and distance <= n_bits:
            found = chosen
            distance += 1
            chosen = _take_apart(candidates, n_classes, distance)
    if found is None:
        raise ParameterError(
            f"n_classes={n_classes}: {n_bits} bits do not hold so many different centres; "
            "use more bits"
        )
    return found.astype(np.float32)


def _take_apart(
    candidates: NDArray[np.float64], n_codes: int, distance: int
) -> NDArray[np.float64] | None:
    """Take the first codes that are at least `distance` bits from one another, if they suffice."""
    n_bits = candidates.shape[1]
    rows: list[int] = []
    is_free = np.ones(len(candidates), dtype=bool)
    while len(rows) < n_codes and is_free.any():
        rows.append(int(is_free.argmax()))
        is_free &= candidates @ candidates[rows[-1]] <= n_bits - 2 * distance
    return candidates[rows] if len(rows) == n_codes else None


def _indivisible_hadamard(order: int) -> NDArray[np.int64] | None:
    """Build the matrix of order 1, or of a prime + 1 by quadratic residues (Paley 1933)."""
    prime = order - 1
    if order == 1:
        return np.ones((1, 1), dtype=np.int64)
    if prime % 4 != 3 or any(prime % factor == 0 for factor in range(2, isqrt(prime) + 1)):
        return None
    residues = np.full(prime, -1, dtype=np.int64)
    residues[np.arange(1, prime) ** 2 % prime] = 1
    residues[0] = 0
    skew = np.zeros((order, order), dtype=np.int64)
    skew[0, 1:], skew[1:, 0] = 1, -1
    skew[1:, 1:] = residues[np.subtract.outer(np.arange(prime), np.arange(prime)) % prime]
    return skew + np.eye(order, dtype=np.int64)
