"""How far two model generations agree about the same tracks: their genres, and their neighbours.

Row `i` of everything that belongs to one generation is the same track as row `i` of the other.
Neighbours are ranked as a search ranks them: by Hamming distance, then asymmetric distance, then
row; each generation by its own codes, which need not be of one length.

Public: `agree_on_genres`, `GenreAgreement`, `share_of_neighbours`, `nearest_tracks`.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from musichash_core.codes import asymmetric_distance, hamming_distance, logits_to_codes
from musichash_core.errors import ParameterError


@dataclass(frozen=True, slots=True)
class GenreAgreement:
    """How the predictions of a second generation differ from those of a first one.

    Attributes
    ----------
    n_tracks, n_agreed : int
        Tracks, and those with the same genre in both.
    kappa : float or None
        Cohen's: agreement beyond that of chance, at most 1; None where chance alone agrees always.
    per_genre : dict of str to (int, int)
        By genre of the first generation: its tracks, and those that keep it.
    changes : tuple of (str, str, int)
        First genre, second genre and number of tracks, the commonest change first.
    """

    n_tracks: int
    n_agreed: int
    kappa: float | None
    per_genre: dict[str, tuple[int, int]]
    changes: tuple[tuple[str, str, int], ...]

    @property
    def share(self) -> float:
        """Share of the tracks with the same genre in both; 0 for no tracks."""
        return self.n_agreed / max(1, self.n_tracks)


def agree_on_genres(first: Sequence[str], second: Sequence[str]) -> GenreAgreement:
    """Compare the genres that two generations predict for the same tracks.

    Their lists of genres may differ: a genre that only one of them knows is never agreed on.

    Raises
    ------
    ParameterError
        If the numbers of tracks differ.
    """
    if len(first) != len(second):
        raise ParameterError(f"{len(first)} and {len(second)} predictions: want the same tracks")
    pairs = Counter(zip(first, second, strict=True))
    kept = {genre: pairs[genre, genre] for genre in first}
    sizes = Counter(first)
    changes = [(old, new, count) for (old, new), count in pairs.items() if old != new]
    n_agreed = sum(kept.values())
    return GenreAgreement(
        n_tracks=len(first),
        n_agreed=n_agreed,
        kappa=_kappa(n_agreed, sizes, Counter(second)),
        per_genre={genre: (sizes[genre], kept[genre]) for genre in sorted(sizes)},
        changes=tuple(sorted(changes, key=lambda change: (-change[2], change[:2]))),
    )


def _kappa(n_agreed: int, first: Counter[str], second: Counter[str]) -> float | None:
    """Compute Cohen's kappa from whole numbers: ``(n * agreed - chance) / (n * n - chance)``."""
    n_tracks = first.total()
    by_chance = sum(count * second[genre] for genre, count in first.items())
    if by_chance == n_tracks * n_tracks:
        return None
    return (n_tracks * n_agreed - by_chance) / (n_tracks * n_tracks - by_chance)


def nearest_tracks(
    logits: NDArray[np.float32], queries: NDArray[np.int64], k: int
) -> NDArray[np.int64]:
    """Find the nearest other tracks of some tracks by brute force, each time among all.

    Parameters
    ----------
    logits : (n_tracks, n_bits) float32
        Hash logits; their signs are the codes.
    queries : (n_queries,) int64
        Rows to ask for; the row itself is never an answer.
    k : >= 1
        Answers per query; fewer where there are fewer other tracks.

    Returns
    -------
    (n_queries, min(k, n_tracks - 1)) int64
        Rows, nearest first.
    """
    if k < 1:
        raise ParameterError(f"k={k}: ask for at least one neighbour")
    codes = logits_to_codes(logits)
    k = min(k, max(0, len(codes) - 1))
    found = [_nearest(logits, codes, int(row), k) for row in queries] if k else []
    return np.array(found, dtype=np.int64).reshape(len(queries), k)


def _nearest(
    logits: NDArray[np.float32], codes: NDArray[np.uint8], query: int, k: int
) -> NDArray[np.int64]:
    distances = hamming_distance(codes[query], codes)
    distances[query] = codes.shape[1] * 8 + 1  # farther than any other track can be
    last = np.partition(distances, k - 1)[k - 1]
    rows = np.flatnonzero(distances <= last)  # all that tie with the last answer, too
    asymmetric = asymmetric_distance(logits[query : query + 1], codes[rows])[0]
    return np.asarray(rows[np.lexsort((rows, asymmetric, distances[rows]))[:k]], dtype=np.int64)


def share_of_neighbours(first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.float64]:
    """Give the share of answers that two generations have in common, per query.

    Parameters
    ----------
    first, second : (n_queries, k) int64
        Answers of `nearest_tracks` to the same queries.

    Returns
    -------
    (n_queries,) float64
        0 to 1; of no answers, 1.
    """
    if first.shape != second.shape or first.ndim != 2:
        raise ParameterError(f"answers {first.shape} and {second.shape}: want the same queries")
    k = first.shape[1]
    return np.array([len(both) / k if k else 1.0 for both in _common(first, second)])


def _common(first: NDArray[np.int64], second: NDArray[np.int64]) -> Iterator[set[int]]:
    for left, right in zip(first.tolist(), second.tolist(), strict=True):
        yield set(left) & set(right)
