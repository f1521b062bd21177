"""How well a set of hash codes uses its bits: balance, correlation, entropy, crowding.

Codes are packed, ``(n_codes, code_bytes)`` uint8 (`musichash_core.codes` says which bit is which).
Everything follows from whole numbers - how often each bit, each pair of bits and each code occurs -
so neither the size of the chunks nor the order of the codes changes a result. Ten million codes of
64 bits take two CPU seconds and 300 MB beside the codes.

Public: `measure_codes`, `CodeMeasures`, `count_bits`, `BitCounts`, `bit_correlation`,
`count_buckets`, `Buckets`, `bit_chunks`, `unsure_shares`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from musichash_core.errors import ParameterError
from musichash_core.metrics import bit_entropies

CHUNK_ROWS = 1 << 17
"""Codes that are unpacked at once: 34 MB at 64 bits."""

MAX_CHUNK_ROWS = 1 << 24
"""A float32 counts this far without rounding."""

WORD_BYTES = 8

UNSURE_SHARE = 0.05
"""A logit below this share of the typical size may change its sign on another machine."""


@dataclass(frozen=True, slots=True)
class BitCounts:
    """How often bits are set.

    Attributes
    ----------
    n_codes : int
    together : (n_bits, n_bits) int64
        Codes in which both bits are 1; on the diagonal, codes in which the bit is.
    """

    n_codes: int
    together: NDArray[np.int64]

    @property
    def ones(self) -> NDArray[np.int64]:
        """Codes in which each bit is 1, ``(n_bits,)`` int64."""
        return np.diagonal(self.together)


@dataclass(frozen=True, slots=True)
class Buckets:
    """How codes crowd: a bucket is all tracks with one and the same code.

    Attributes
    ----------
    n_distinct, largest : int
        Different codes; tracks with the most frequent one.
    largest_code : (code_bytes,) uint8
        The most frequent code; of several, the first in the order of their bytes.
    entropy : float
        Of the distribution of codes, bits; log2 of the number of codes when all differ.
    tracks_by_size : tuple of int
        Tracks in buckets of 1, of 2 to 3, of 4 to 7, ... tracks.
    """

    n_distinct: int
    largest: int
    largest_code: NDArray[np.uint8]
    entropy: float
    tracks_by_size: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class CodeMeasures:
    """Everything that is measured of one set of codes.

    Attributes
    ----------
    n_codes, n_bits : int
    bit_means : (n_bits,) float64
        Share of codes in which each bit is 1; one half is even.
    correlation : (n_bits, n_bits) float64
        Of pairs of bits; 0 where a bit is constant.
    buckets : Buckets
    """

    n_codes: int
    n_bits: int
    bit_means: NDArray[np.float64]
    correlation: NDArray[np.float64]
    buckets: Buckets

    @property
    def worst_bit(self) -> int:
        """The bit that is furthest from even; of several, the first."""
        return int(np.abs(self.bit_means - 0.5).argmax())

    @property
    def n_constant(self) -> int:
        """Bits that are the same in every code."""
        return int(np.isin(self.bit_means, (0.0, 1.0)).sum())

    @property
    def mean_bias(self) -> float:
        """Mean distance of the bits' shares from even, 0 to 0.5."""
        return float(np.abs(self.bit_means - 0.5).mean())

    @property
    def mean_bit_entropy(self) -> float:
        """Mean entropy of a bit looked at alone, 0 to 1 bits."""
        return float(bit_entropies(self.bit_means).mean())

    @property
    def most_correlated(self) -> tuple[int, int]:
        """The two different bits whose correlation is largest in size; ``(0, 0)`` for one bit."""
        above = np.triu(np.abs(self.correlation), k=1)
        first, second = np.unravel_index(int(above.argmax()), above.shape)
        return int(first), int(second)

    @property
    def mean_correlation(self) -> float:
        """Mean absolute correlation of two different bits, 0 to 1."""
        n_pairs = self.n_bits * (self.n_bits - 1) // 2
        return float(np.triu(np.abs(self.correlation), k=1).sum() / max(1, n_pairs))

    @property
    def expected_correlation(self) -> float:
        """What `mean_correlation` would be if the bits were independent."""
        return float(np.sqrt(2.0 / (np.pi * max(1, self.n_codes - 1))))

    @property
    def entropy_share(self) -> float:
        """Entropy of the codes, as a share of what so many codes of so many bits could have."""
        possible = min(np.log2(self.n_codes), float(self.n_bits))
        return self.buckets.entropy / possible if possible > 0 else 1.0

    @property
    def largest_share(self) -> float:
        """Share of the tracks that have the most frequent code."""
        return self.buckets.largest / self.n_codes


def measure_codes(codes: NDArray[np.uint8], *, chunk_rows: int = CHUNK_ROWS) -> CodeMeasures:
    """Measure a set of codes.

    Parameters
    ----------
    codes : (n_codes, code_bytes) uint8
        At least one.
    chunk_rows : 1 to `MAX_CHUNK_ROWS`
        Codes that are unpacked at once.

    Raises
    ------
    ParameterError
        If there is no code, or the shape or `chunk_rows` is wrong.
    """
    _check(codes)
    counts = count_bits(codes, chunk_rows=chunk_rows)
    return CodeMeasures(
        n_codes=len(codes),
        n_bits=codes.shape[1] * 8,
        bit_means=counts.ones / len(codes),
        correlation=bit_correlation(counts),
        buckets=count_buckets(codes),
    )


def _check(codes: NDArray[np.uint8]) -> None:
    if codes.ndim != 2 or not codes.size or codes.dtype != np.uint8:
        raise ParameterError(
            f"codes of shape {codes.shape}, {codes.dtype}: want at least one row of uint8 bytes"
        )


def bit_chunks(
    codes: NDArray[np.uint8], chunk_rows: int = CHUNK_ROWS
) -> Iterator[NDArray[np.float32]]:
    """Give the bits of some codes at a time, as ``(n, n_bits)`` float32 zeros and ones.

    Raises
    ------
    ParameterError
        If `chunk_rows` is out of range: sums of more ones would be rounded.
    """
    if not 1 <= chunk_rows <= MAX_CHUNK_ROWS:
        raise ParameterError(f"chunk_rows={chunk_rows}: want 1 to {MAX_CHUNK_ROWS}")
    for start in range(0, len(codes), chunk_rows):
        part = codes[start : start + chunk_rows]
        yield np.unpackbits(part, axis=1, bitorder="little").astype(np.float32)


def count_bits(codes: NDArray[np.uint8], *, chunk_rows: int = CHUNK_ROWS) -> BitCounts:
    """Count in how many codes each two bits are set.

    Parameters
    ----------
    codes : (n_codes, code_bytes) uint8
    chunk_rows : 1 to `MAX_CHUNK_ROWS`
    """
    n_bits = codes.shape[1] * 8
    together = np.zeros((n_bits, n_bits), dtype=np.int64)
    for bits in bit_chunks(codes, chunk_rows):
        together += (bits.T @ bits).astype(np.int64)
    return BitCounts(len(codes), together)


def bit_correlation(counts: BitCounts) -> NDArray[np.float64]:
    """Compute Pearson's correlation of every two bits.

    Returns
    -------
    (n_bits, n_bits) float64
        -1 to 1; 0 where one of the bits is constant.
    """
    ones, n_codes = counts.ones, counts.n_codes
    covariance = (n_codes * counts.together - np.outer(ones, ones)).astype(np.float64)
    deviation = np.sqrt((ones * (n_codes - ones)).astype(np.float64))
    scale = np.outer(deviation, deviation)
    correlation = np.divide(covariance, scale, out=np.zeros_like(scale), where=scale > 0)
    return np.asarray(correlation, dtype=np.float64)


def count_buckets(codes: NDArray[np.uint8]) -> Buckets:
    """Count how many tracks share a code.

    Parameters
    ----------
    codes : (n_codes, code_bytes) uint8
        At least one.
    """
    _check(codes)
    words = _sorted_words(codes)
    starts = np.flatnonzero(np.r_[True, (words[1:] != words[:-1]).any(axis=1)])
    sizes = np.diff(np.append(starts, len(words)))
    largest = int(sizes.argmax())
    code = words[starts[largest]].astype(">u8").view(np.uint8)[: codes.shape[1]]
    n_buckets = np.bincount(sizes)
    occurring = np.flatnonzero(n_buckets)
    n_tracks = n_buckets[occurring] * occurring
    shared = float((n_tracks * np.log2(occurring)).sum()) / len(codes)
    by_size = np.bincount(np.frexp(occurring)[1] - 1, weights=n_tracks)
    return Buckets(
        n_distinct=len(sizes),
        largest=int(sizes[largest]),
        largest_code=code,
        entropy=float(np.log2(len(codes))) - shared,
        tracks_by_size=tuple(int(n) for n in by_size),
    )


def _sorted_words(codes: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Sort codes by their bytes; each as the whole numbers of eight bytes that it consists of.

    Returns
    -------
    (n_codes, n_words) uint64
    """
    missing = -codes.shape[1] % WORD_BYTES
    padded = np.pad(codes, ((0, 0), (0, missing))) if missing else np.ascontiguousarray(codes)
    words = padded.view(">u8").astype(np.uint64)
    if words.shape[1] == 1:
        return np.sort(words[:, 0])[:, None]
    order = np.argsort(words[:, 0])
    first = words[order, 0]
    is_tied = np.zeros(len(order), dtype=bool)  # the rest of the words matters for these alone
    is_tied[1:] = first[1:] == first[:-1]
    is_tied[:-1] |= is_tied[1:]
    tied = order[is_tied]
    order[is_tied] = tied[np.lexsort(words[tied].T[::-1])]
    return words[order]


def unsure_shares(logits: NDArray[np.float32]) -> tuple[float, float]:
    """Say how many bits a little more or less would flip, and in how many codes there is one.

    Parameters
    ----------
    logits : (n_codes, n_bits) float32
        Real-valued codes, before binarisation; finite.

    Returns
    -------
    of_bits, of_codes : float
        Shares of bits, and of codes with at least one bit, whose logit is smaller in size than
        `UNSURE_SHARE` of the root mean square of all; 0 for no codes. Of logits that follow a
        normal distribution 4 % of the bits are.
    """
    if not logits.size:
        return 0.0, 0.0
    typical = float(np.sqrt(np.mean(np.square(logits, dtype=np.float64))))
    is_unsure = np.abs(logits) < UNSURE_SHARE * typical
    return float(is_unsure.mean()), float(is_unsure.any(axis=1).mean())
