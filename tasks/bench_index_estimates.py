"""What a measurement of indexes will need: memory, time, and whether this machine has that memory.

Public: `estimate_row`, `check_memory`, `RowEstimate`, `n_queries_for`, `BenchMemoryError`.
"""

from dataclasses import dataclass
from pathlib import Path

from musichash_core.errors import MusicHashError
from musichash_core.index_config import KINDS as OUR_KINDS

BUILD_NS_PER_CODE = {
    "flat": 250.0,
    "ivf": 8000.0,
    "multihash": 3500.0,
    "numpy": 0.0,
    "numpy-bounded": 5.0,
    "faiss-flat": 20.0,
    "usearch": 90_000.0,
}
"""CPU time of building and loading, on one thread of an AMD EPYC; a graph takes longer still."""

GATE_S = 2.0
"""Of measuring the recall of our kinds, at building and at adding."""

QUERY_NS_PER_CODE = {
    "flat": 0.12,
    "ivf": 0.01,
    "multihash": 0.4,
    "numpy": 9.0,
    "numpy-bounded": 0.9,
    "faiss-flat": 0.7,
    "usearch": 0.02,
}
"""CPU time of one query of a batch, per code of 64 bits in the index."""

LOADED_BYTES = {
    "flat": lambda n_codes, code_bytes: n_codes * (4 * code_bytes + 300),
    "ivf": lambda n_codes, code_bytes: n_codes * (6 * code_bytes + 300),
    "multihash": lambda n_codes, code_bytes: n_codes * (4 * code_bytes + 420),
    "numpy": lambda n_codes, code_bytes: n_codes * code_bytes,
    "numpy-bounded": lambda n_codes, code_bytes: 2 * n_codes * code_bytes,
    "faiss-flat": lambda n_codes, code_bytes: 4 * n_codes * code_bytes,
    "usearch": lambda n_codes, code_bytes: 3 * n_codes * (code_bytes + 150),
}
"""Memory of the index and of what is there at the same time: for ours, the tables of track ids."""

LIBRARIES_BYTES = 350_000_000
WORST_QUERIES_S = 60.0
LEAST_QUERIES = 20


@dataclass(frozen=True, slots=True)
class RowEstimate:
    """What one row of a measurement needs.

    Attributes
    ----------
    kind : str
    codes, bits, queries : int
    memory_bytes : int
        Of the process, at its largest.
    cpu_s : float
    """

    kind: str
    codes: int
    bits: int
    queries: int
    memory_bytes: int
    cpu_s: float


class BenchMemoryError(MusicHashError):
    """A measurement needs more memory than the machine has."""

    is_wrong_input = True


def n_queries_for(kind: str, n_codes: int, n_bits: int, n_queries: int) -> int:
    """Give how many of the queries a kind is asked: slow ones fewer, about a minute's worth."""
    each_s = _query_s(kind, n_codes, n_bits)
    return min(n_queries, max(LEAST_QUERIES, int(WORST_QUERIES_S / each_s)))


def estimate_row(kind: str, n_codes: int, n_bits: int, n_queries: int) -> RowEstimate:
    """Estimate one row of a measurement.

    Parameters
    ----------
    n_queries : int
        That are wanted; slow kinds are asked fewer.
    """
    code_bytes = n_bits // 8
    asked = n_queries_for(kind, n_codes, n_bits, n_queries)
    growth = 1.5 if kind == "usearch" and n_codes > 1_000_000 else 1.0
    truth_s = n_queries * _query_s("numpy-bounded", n_codes, n_bits)
    return RowEstimate(
        kind=kind,
        codes=n_codes,
        bits=n_bits,
        queries=asked,
        memory_bytes=LIBRARIES_BYTES
        + n_codes * code_bytes
        + LOADED_BYTES[kind](n_codes, code_bytes),
        cpu_s=n_codes * BUILD_NS_PER_CODE[kind] * growth * 1e-9
        + asked * _query_s(kind, n_codes, n_bits)
        + (2 * GATE_S if kind in OUR_KINDS else 0.0)
        + truth_s,
    )


def _query_s(kind: str, n_codes: int, n_bits: int) -> float:
    return n_codes * QUERY_NS_PER_CODE[kind] * max(1, n_bits / 64) * 1e-9 + 1e-5


def check_memory(rows: list[RowEstimate], *, available_bytes: int | None = None) -> None:
    """Refuse a measurement that would not fit.

    Parameters
    ----------
    available_bytes : int, optional
        By default what the kernel says is available.

    Raises
    ------
    BenchMemoryError
        Naming the row that needs most.
    """
    available = _available_bytes() if available_bytes is None else available_bytes
    largest = max(rows, key=lambda row: row.memory_bytes, default=None)
    if largest is not None and available and largest.memory_bytes > available:
        raise BenchMemoryError(
            f"{largest.kind} with {largest.codes:,} codes of {largest.bits} bits needs about "
            f"{largest.memory_bytes / 1e9:.1f} GB of memory, {available / 1e9:.1f} GB are free; "
            "measure fewer codes with --codes, or leave the kind out of --kinds"
        )


def _available_bytes() -> int:
    """Read how much memory is to be had; 0 where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    sizes = (line.split() for line in lines)
    return next((int(parts[1]) * 1024 for parts in sizes if parts[0] == "MemAvailable:"), 0)
