"""Codes that are made up, for measuring an index at sizes that no test catalogue has.

Clustered codes lie about centres whose sizes fall like a power of their rank, and whose bits depend
on one another as those of real codes do; some codes of a centre are identical. The same seed gives
the same codes, and codes of different parts (a database, queries, additions) have the same centres.

`CodeShape` was fitted to the codes that the default model gives 946 real tracks: to the share of
pairs within each distance, which does not depend on the number of tracks, as the distance of the
nearest neighbour does.

| share of pairs | 0 | 4 | 8 | 12 | 16 | 20 | 28 | mean | deviation |
|---|---|---|---|---|---|---|---|---|---|
| 64 bits, real | 2e-6 | 5e-5 | 4e-4 | .0017 | .007 | .027 | .25 | 31.9 | 5.4 |
| 64 bits, made | 2e-6 | 5e-5 | 4e-4 | .0015 | .004 | .020 | .27 | 31.9 | 5.5 |

| share of pairs | 10 | 20 | 28 | 40 | 48 | 56 | mean | deviation |
|---|---|---|---|---|---|---|---|---|
| 128 bits, real | 4e-5 | 3e-4 | 9e-4 | .009 | .04 | .17 | 63.9 | 8.2 |
| 128 bits, made | 3e-5 | 2e-4 | .0010 | .005 | .03 | .18 | 64.0 | 8.3 |

Public: `clustered_codes`, `uniform_codes`, `CodeShape`, `DATABASE`, `QUERIES`, `ADDITIONS`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from musichash_core.codes import pack_bits
from musichash_core.errors import ParameterError

DATABASE, QUERIES, ADDITIONS = 0, 1, 2
"""Parts of one collection of codes: draws of their own about the same centres."""

BLOCK_CODES = 1 << 18
"""Codes made at a time; their order and number decide what the generator gives."""

RATE_STEPS = 5
"""A rate of flipped bits is a multiple of ``2**-RATE_STEPS``: that many random words make it."""

WORD_BITS = 64
_CENTRES = 1 << 16
"""Stands for the centres where a part does for the codes of that part."""


@dataclass(frozen=True, slots=True)
class CodeShape:
    """How clustered codes lie.

    Attributes
    ----------
    n_centres : int
    exponent : float
        The centre of rank r has a share of the codes proportional to ``r ** -exponent``.
    n_latent : int
        Independent numbers behind the bits of a centre; fewer make distances vary more.
    collapsed_share : float
        Of codes that are those of their centre, to the bit.
    near_share : float
        Of codes that have `near_rate` of their bits flipped; all others have `rate`.
    near_rate, rate : int
        In steps of ``2**-RATE_STEPS``.
    """

    n_centres: int = 5000
    exponent: float = 0.75
    n_latent: int = 12
    collapsed_share: float = 0.03
    near_share: float = 0.2
    near_rate: int = 2
    rate: int = 4

    @classmethod
    def of_length(cls, n_bits: int) -> "CodeShape":
        """Give what was fitted to codes of a length: longer ones tell more tracks apart."""
        return cls() if n_bits <= WORD_BITS else cls(n_latent=15, near_share=0.15, rate=5)


def clustered_codes(
    n_codes: int,
    n_bits: int,
    *,
    seed: int = 0,
    part: int = DATABASE,
    shape: CodeShape | None = None,
) -> NDArray[np.uint8]:
    """Make codes that lie about centres.

    Parameters
    ----------
    n_codes : >= 0
    n_bits : multiple of 64
    seed : >= 0
        Of the centres and of the draws.
    part : int
        `DATABASE`, `QUERIES` or `ADDITIONS`.
    shape : CodeShape, optional
        By default the one fitted to that length.

    Returns
    -------
    (n_codes, n_bits // 8) uint8
        In no order, as a table sorted by track id is.
    """
    _check(n_codes, n_bits)
    shape = shape or CodeShape.of_length(n_bits)
    centres = _centres(shape, n_bits, seed)
    shares = np.arange(1, shape.n_centres + 1) ** -shape.exponent
    ends = np.cumsum(shares / shares.sum())
    words = np.empty((n_codes, n_bits // WORD_BITS), dtype=np.uint64)
    for number, start in enumerate(range(0, n_codes, BLOCK_CODES)):
        rng = np.random.default_rng([seed, part, number])
        block = words[start : start + BLOCK_CODES]
        drawn = np.searchsorted(ends, rng.random(len(block)), side="right")
        block[:] = centres[np.minimum(drawn, shape.n_centres - 1)]
        kind = rng.random(len(block))
        is_near = (kind >= shape.collapsed_share) & (
            kind < shape.collapsed_share + shape.near_share
        )
        for rows, rate in (
            (np.flatnonzero(is_near), shape.near_rate),
            (np.flatnonzero(kind >= shape.collapsed_share + shape.near_share), shape.rate),
        ):
            block[rows] ^= _flips(rng, (len(rows), words.shape[1]), rate)
    return words.view(np.uint8)


def uniform_codes(
    n_codes: int, n_bits: int, *, seed: int = 0, part: int = DATABASE
) -> NDArray[np.uint8]:
    """Make codes of independent fair bits: what no model gives, and no index can profit from.

    Returns
    -------
    (n_codes, n_bits // 8) uint8
    """
    _check(n_codes, n_bits)
    rng = np.random.default_rng([seed, part])
    words = rng.integers(0, 1 << 64, (n_codes, n_bits // WORD_BITS), dtype=np.uint64)
    return words.view(np.uint8)


def _check(n_codes: int, n_bits: int) -> None:
    if n_codes < 0:
        raise ParameterError(f"n_codes={n_codes}: want 0 or more")
    if n_bits < WORD_BITS or n_bits % WORD_BITS:
        raise ParameterError(f"n_bits={n_bits}: want a multiple of {WORD_BITS}")


def _centres(shape: CodeShape, n_bits: int, seed: int) -> NDArray[np.uint64]:
    """Draw centres whose bits are the signs of mixtures of the same few numbers."""
    rng = np.random.default_rng([seed, _CENTRES])
    latent = rng.standard_normal((shape.n_centres, shape.n_latent))
    mixing = rng.standard_normal((shape.n_latent, n_bits))
    return pack_bits(latent @ mixing > 0).view(np.uint64)


def _flips(rng: np.random.Generator, shape: tuple[int, int], rate: int) -> NDArray[np.uint64]:
    """Draw words whose bits are 1 with a probability of ``rate / 2**RATE_STEPS``.

    Each random word halves the probability, and "or" instead of "and" adds a half before that.
    """
    flips = np.zeros(shape, dtype=np.uint64)
    for step in range(RATE_STEPS):
        fair = rng.integers(0, 1 << 64, shape, dtype=np.uint64)
        if rate >> step & 1:
            flips |= fair
        else:
            flips &= fair
    return flips
