"""What is asked of a snapshot, how far a search goes, and what it finds.

Public: `Query`, `Windows`, `Reach`, `Hits`, `MAX_K`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from musichash_core.errors import ParameterError

MAX_K = 10_000
DEFAULT_K = 10


@dataclass(frozen=True, slots=True)
class Reach:
    """How far a search goes.

    Attributes
    ----------
    k : int
        Most answers, 1 to `MAX_K`.
    radius : int, optional
        Greatest Hamming distance, in bits; without one, the nearest whatever their distance.

    Raises
    ------
    ParameterError
        If one is out of range.
    """

    k: int = DEFAULT_K
    radius: int | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.k <= MAX_K:
            raise ParameterError(f"k={self.k}: ask for 1 to {MAX_K} neighbours with -k")
        if self.radius is not None and self.radius < 0:
            raise ParameterError(f"radius={self.radius}: give 0 bits or more with --radius")


@dataclass(frozen=True, slots=True, eq=False)
class Query:
    """What is searched for.

    Attributes
    ----------
    code : (code_bytes,) uint8
    logits : (n_bits,) float32, optional
        Real-valued code, which orders what has the same Hamming distance.
    row : int, optional
        A row that is no answer: that of the track itself.
    """

    code: NDArray[np.uint8]
    logits: NDArray[np.float32] | None = None
    row: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """Windows of a query, in the order of time.

    Attributes
    ----------
    codes : (n_windows, code_bytes) uint8
    logits : (n_windows, n_bits) float32, optional
        What the codes are the signs of.
    starts_s : (n_windows,) float32, optional
        Of an excerpt: where each begins in it, seconds; then hits say where in a track the excerpt
        itself begins.
    """

    codes: NDArray[np.uint8]
    logits: NDArray[np.float32] | None = None
    starts_s: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Hits:
    """What was found for one query, best first.

    Attributes
    ----------
    rows : (n,) int64
        Rows of the codes table.
    distances : (n,) int32
        Hamming distances, bits.
    asymmetric : (n,) float64 or None
        Asymmetric distances, of a query that has logits.
    n_within : int or None
        How many lie in the radius that was asked for, those beyond `k` too.
    starts_s : (n,) float64 or None
        Of a search by windows: where in each track its nearest window begins, or an excerpt does
        that is like it, seconds; not a number for what was found by the code of the whole track.
    window_distances : (n,) float64 or None
        Of a search by windows: mean over the query's windows of the Hamming distance to the nearest
        window of the track, likewise.
    misses_none : bool
        Of a search by windows: whether no track that was left uncompared can be as near.
    """

    rows: NDArray[np.int64]
    distances: NDArray[np.int32]
    asymmetric: NDArray[np.float64] | None
    n_within: int | None = None
    starts_s: NDArray[np.float64] | None = None
    window_distances: NDArray[np.float64] | None = None
    misses_none: bool = True
