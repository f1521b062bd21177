"""Codes with many ties, and the truth about them by counting bits one code at a time."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import strategies as st


def distance(a, b):
    return (int.from_bytes(a.tobytes(), "big") ^ int.from_bytes(b.tobytes(), "big")).bit_count()


def nearest(codes, query, k):
    """Give (distance, row) of the `k` nearest and all that tie with the last, in order."""
    pairs = sorted((distance(query, code), row) for row, code in enumerate(codes))
    return [pair for pair in pairs if pairs and pair[0] <= pairs[min(k, len(pairs)) - 1][0]]


def within(codes, query, radius):
    pairs = sorted((distance(query, code), row) for row, code in enumerate(codes))
    return [pair for pair in pairs if pair[0] <= radius]


def pairs_of(neighbours):
    return list(zip(neighbours.distances.tolist(), neighbours.rows.tolist(), strict=True))


def random_codes(n, n_bytes=8, seed=0, *, n_distinct=None):
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 256, (n_distinct or n, n_bytes), dtype=np.uint8)
    return codes[rng.integers(0, len(codes), n)] if n_distinct else codes


def clustered_codes(n, n_bytes=8, seed=0, *, n_centres=20, n_flipped=6):
    """Give codes a few bits from one of some centres."""
    rng = np.random.default_rng(seed)
    codes = random_codes(n, n_bytes, seed, n_distinct=n_centres)
    for _ in range(n_flipped):
        bits = rng.integers(0, 8 * n_bytes, n)
        is_flipped = rng.random(n) < 0.5
        codes[np.arange(n), bits // 8] ^= (is_flipped << (bits % 8)).astype(np.uint8)
    return codes


@st.composite
def code_sets(draw):
    """Draw codes with many ties, some queries and a number of neighbours."""
    n_bytes = draw(st.sampled_from([1, 2, 3, 8, 16, 32]))
    byte = st.sampled_from([0, 1, 3, 255]) | st.integers(0, 255)
    code = st.lists(byte, min_size=n_bytes, max_size=n_bytes)
    codes = draw(st.lists(code, min_size=1, max_size=30))
    queries = draw(st.lists(st.sampled_from(codes) | code, min_size=1, max_size=4))
    return np.array(codes, np.uint8), np.array(queries, np.uint8), draw(st.integers(1, 40))


@dataclass(frozen=True)
class Truth:
    """What tests of several modules of `storage.indexes` compare with."""

    distance = staticmethod(distance)
    nearest = staticmethod(nearest)
    within = staticmethod(within)
    pairs_of = staticmethod(pairs_of)
    random_codes = staticmethod(random_codes)
    clustered_codes = staticmethod(clustered_codes)
    code_sets = staticmethod(code_sets)


@pytest.fixture(scope="session")
def truth():
    return Truth()
