"""How the codes of one snapshot differ from those of the snapshot before it.

Tracks that are in both should have kept their codes, within one generation of models. New tracks
are compared with what the known ones lead one to expect of tracks of their genres, because a night
may bring a collection of one kind: a bit that is never set in a hundred new metal tracks, and
hardly ever in the known ones, is not broken.

Distances of distributions are Jensen-Shannon distances: the square root of the divergence in bits,
0 (equal) to 1 (nothing in common). Samples of equal distributions are some way apart too; that
distance by chance is given beside them.

Public: `compare_codes`, `changed_bits`, `CodeSet`, `CodeDrift`, `NewCodes`, `jensen_shannon`,
`chance_distance`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from musichash_core.code_health import CHUNK_ROWS, bit_chunks, count_buckets
from musichash_core.errors import ParameterError

PRIOR_TRACKS = 4.0
"""So many tracks like the whole catalogue are added to each genre: few tracks say little of it."""

SURE_SHARES = (0.2, 0.8)
"""A bit that is expected to be set in a share of the tracks between these cannot be the same in a
hundred of them by chance: the odds are below one in a thousand million."""


@dataclass(frozen=True, slots=True)
class CodeSet:
    """Codes and genres of the tracks of one snapshot, row by row.

    Attributes
    ----------
    codes : (n_tracks, code_bytes) uint8
    genres : (n_tracks,) int64
        Numbers of the predicted genres, from 0; the same in all sets that are compared.
    """

    codes: NDArray[np.uint8]
    genres: NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.codes.ndim != 2 or self.genres.shape != self.codes.shape[:1]:
            raise ParameterError(
                f"codes of shape {self.codes.shape} and genres {self.genres.shape}: want one genre "
                "for each code"
            )

    def __len__(self) -> int:
        return len(self.codes)


@dataclass(frozen=True, slots=True)
class NewCodes:
    """The codes of new tracks, beside what the known ones lead one to expect of their genres.

    Attributes
    ----------
    n_codes : int
    bit_means, expected : (n_bits,) float64
        Share of ones per bit: found, and expected.
    stuck_bits : tuple of int
        Bits that are the same in every new code, though both values are expected.
    largest_share : float
        Of the new tracks, those that have their most frequent code.
    code_distance, code_distance_by_chance : float
        Of the distributions of half bytes of the codes, new against known; over all half bytes.
    genre_distance, genre_distance_by_chance : float
        Of the distributions of genres, new against known.
    """

    n_codes: int
    bit_means: NDArray[np.float64]
    expected: NDArray[np.float64]
    stuck_bits: tuple[int, ...]
    largest_share: float
    code_distance: float
    code_distance_by_chance: float
    genre_distance: float
    genre_distance_by_chance: float

    @property
    def shifts(self) -> NDArray[np.float64]:
        """How far each bit's share of ones is from the expected one, ``(n_bits,)``."""
        return np.abs(self.bit_means - self.expected)


@dataclass(frozen=True, slots=True)
class CodeDrift:
    """What became of the codes between two snapshots.

    Attributes
    ----------
    bit_change : (n_bits,) float64
        Share of ones per bit, all tracks now less all tracks before.
    genre_distance : float
        Of the distributions of genres, all tracks now against all tracks before.
    new : NewCodes or None
        None where no track is new, or none was known.
    """

    bit_change: NDArray[np.float64]
    genre_distance: float
    new: NewCodes | None


def compare_codes(
    before: CodeSet, now: CodeSet, is_new: NDArray[np.bool_], *, chunk_rows: int = CHUNK_ROWS
) -> CodeDrift:
    """Compare the codes of two snapshots.

    Parameters
    ----------
    before, now : CodeSet
        At least one track each, codes of one length.
    is_new : (n_tracks,) bool
        Which tracks of `now` are not in `before`.
    chunk_rows : int
        Codes that are unpacked at once.

    Raises
    ------
    ParameterError
        If the codes have different lengths, or one set is empty.
    """
    if before.codes.shape[1] != now.codes.shape[1] or not len(before) or not len(now):
        raise ParameterError(
            f"codes of shape {before.codes.shape} and {now.codes.shape} cannot be compared: want "
            "codes of one length, at least one of each"
        )
    n_genres = int(max(before.genres.max(), now.genres.max())) + 1
    ones_before = _ones_by_genre(before, n_genres, chunk_rows)
    ones_now = sum(bits.sum(axis=0).astype(np.int64) for bits in bit_chunks(now.codes, chunk_rows))
    genres_before = np.bincount(before.genres, minlength=n_genres)
    new = CodeSet(now.codes[is_new], now.genres[is_new])
    return CodeDrift(
        bit_change=ones_now / len(now) - ones_before.sum(axis=0) / len(before),
        genre_distance=jensen_shannon(np.bincount(now.genres, minlength=n_genres), genres_before),
        new=_compare_new(before, new, ones_before, genres_before, chunk_rows) if len(new) else None,
    )


def _compare_new(
    before: CodeSet,
    new: CodeSet,
    ones_before: NDArray[np.int64],
    genres_before: NDArray[np.int64],
    chunk_rows: int,
) -> NewCodes:
    genres = np.bincount(new.genres, minlength=len(genres_before))
    all_means = ones_before.sum(axis=0) / len(before)
    by_genre = (ones_before + PRIOR_TRACKS * all_means) / (genres_before[:, None] + PRIOR_TRACKS)
    expected = genres @ by_genre / len(new)
    ones = _ones_by_genre(new, len(genres), chunk_rows).sum(axis=0)
    low, high = SURE_SHARES
    is_stuck = np.isin(ones, (0, len(new))) & (expected >= low) & (expected <= high)
    distance, by_chance = _half_byte_distance(new.codes, before.codes)
    return NewCodes(
        n_codes=len(new),
        bit_means=ones / len(new),
        expected=expected,
        stuck_bits=tuple(int(bit) for bit in np.flatnonzero(is_stuck)),
        largest_share=count_buckets(new.codes).largest / len(new),
        code_distance=distance,
        code_distance_by_chance=by_chance,
        genre_distance=jensen_shannon(genres, genres_before),
        genre_distance_by_chance=chance_distance(genres, genres_before),
    )


def _ones_by_genre(codes: CodeSet, n_genres: int, chunk_rows: int) -> NDArray[np.int64]:
    """Count the ones of each bit in the codes of each genre, ``(n_genres, n_bits)`` int64."""
    ones = np.zeros((n_genres, codes.codes.shape[1] * 8), dtype=np.int64)
    for start, bits in zip(
        range(0, len(codes), chunk_rows), bit_chunks(codes.codes, chunk_rows), strict=True
    ):
        genres = codes.genres[start : start + chunk_rows]
        found, number = np.unique(genres, return_inverse=True)
        is_of = (number == np.arange(len(found))[:, None]).astype(np.float32)
        ones[found] += (is_of @ bits).astype(np.int64)
    return ones


def changed_bits(before: NDArray[np.uint8], now: NDArray[np.uint8]) -> tuple[int, int]:
    """Count the codes that differ from what they were, and the bits in which they do.

    Parameters
    ----------
    before, now : (n_tracks, code_bytes) uint8
        Codes of the same tracks, in the same order.
    """
    n_codes = n_bits = 0
    for start in range(0, len(before), CHUNK_ROWS):
        rows = slice(start, start + CHUNK_ROWS)
        differing = np.bitwise_count(before[rows] ^ now[rows]).sum(axis=1, dtype=np.int64)
        n_codes += int(np.count_nonzero(differing))
        n_bits += int(differing.sum())
    return n_codes, n_bits


def jensen_shannon(first: NDArray[np.int64], second: NDArray[np.int64]) -> float:
    """Compute the Jensen-Shannon distance of two distributions, given as counts.

    Parameters
    ----------
    first, second : (n_values,) int64
        How often each value occurs; each with a sum above zero.

    Returns
    -------
    float
        0 to 1.
    """
    return float(np.sqrt(_divergence(first, second)))


def _divergence(first: NDArray[np.int64], second: NDArray[np.int64]) -> float:
    p, q = first / first.sum(), second / second.sum()
    middle = (p + q) / 2.0
    total = 0.0
    for shares in (p, q):
        occurs = shares > 0
        total += float((shares[occurs] * np.log2(shares[occurs] / middle[occurs])).sum()) / 2.0
    return min(1.0, max(0.0, total))


def chance_distance(first: NDArray[np.int64], second: NDArray[np.int64]) -> float:
    """Give the distance that two samples of one distribution are apart on average.

    Samples of n and m, with v values that occur at all, have an expected divergence of about
    ``(v - 1) (1 / n + 1 / m) / (8 ln 2)`` bits (from the chi-squared distribution).
    """
    return float(np.sqrt(_chance_divergence(first, second)))


def _chance_divergence(first: NDArray[np.int64], second: NDArray[np.int64]) -> float:
    n_values = int(np.count_nonzero(first + second))
    inverse = 1.0 / first.sum() + 1.0 / second.sum()
    return min(1.0, float((n_values - 1) * inverse / (8.0 * np.log(2.0))))


def _half_byte_distance(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> tuple[float, float]:
    """Compare codes four bits at a time; give the distance and that by chance, over all of them.

    Whole codes hardly ever occur twice, so their distributions would have nothing in common.
    """
    found, chance = [], []
    for column in range(first.shape[1]):
        counts = [
            np.bincount(codes[:, column], minlength=256).reshape(16, 16)
            for codes in (first, second)
        ]
        for axis in (0, 1):  # a byte is 16 x its upper half + its lower half
            halves = [table.sum(axis=axis) for table in counts]
            found.append(_divergence(*halves))
            chance.append(_chance_divergence(*halves))
    return float(np.sqrt(np.mean(found))), float(np.sqrt(np.mean(chance)))
