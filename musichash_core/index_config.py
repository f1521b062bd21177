"""Settings of the search index, and the choice of its kind from size, memory and latency.

None of them takes part in a fingerprint or a generation: an index is a cache of the codes.

The rates below were measured with FAISS 1.15.1 on one thread of an AMD EPYC with AVX-512, on codes
of 64 bits that lie about centres as real ones do (`musichash bench index` measures them anew).

Public: `IndexConfig`, `IndexKind`, `IndexBudgetError`, `KindChoice`, `choose_kind`,
`estimate_memory_mb`, `estimate_latency_ms`, `list_count`, `hash_shape`.
"""

import math
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from musichash_core.errors import MusicHashError

IndexKind = Literal["flat", "ivf", "multihash"]
KINDS: tuple[IndexKind, ...] = ("flat", "ivf", "multihash")

EXACT_UP_TO = 5_000_000
"""Codes up to which reading all of them for a query takes two milliseconds, or half of one where
many queries come together."""

FLAT_NS_PER_CODE, FLAT_NS_PER_WORD = 0.2, 0.2
"""Nanoseconds per code that one query is compared with, and per 64 bits of it: what does not lie in
the cache is read at some 20 GB/s. Queries that come together share it and take a quarter."""

IVF_SCANNED_SHARE = 0.01
"""Of the codes in the lists that are read at a distance-recall of 0.95; a cautious figure."""

IVF_NS_PER_CODE = 0.7
"""FAISS reads centroids and lists one code at a time."""

QUERY_MS = 0.02
"""What a query costs whatever the number of codes."""

IVF_ID_BYTES = 8
"""Each code in a list carries its number."""

MULTIHASH_BUCKET_BYTES = 90
"""Of a bucket of a hash table, its code numbers apart."""

BYTES_PER_MB = 1_000_000


class IndexConfig(BaseModel):
    """Which index is built, when it is built anew, and what it must find."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["auto", "flat", "ivf", "multihash"] = Field(
        default="auto",
        description="flat: reads every code, exact; ivf: reads the lists nearest to the query; "
        "multihash: flat, with hash tables for a radius of a few bits; auto: by size and budget",
    )
    max_memory_mb: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="of the loaded index, millions of bytes; unlimited when left out",
    )
    max_latency_ms: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="of one query of ten neighbours on one thread, as estimated from measured "
        "rates; unlimited when left out",
    )
    min_distance_recall: float = Field(
        default=0.95,
        ge=0.5,
        le=1,
        description="share of the true ten nearest distances that an ivf index must find; flat "
        "and multihash find all",
    )
    compact_share: float = Field(
        default=0.05,
        ge=0,
        lt=1,
        description="an index is built anew when more of it than this share was added or died "
        "since it was built",
    )
    delta_from: int = Field(
        default=1_000_000,
        ge=0,
        description="codes; an index of fewer is built anew whenever a code changes",
    )


class IndexBudgetError(MusicHashError, ValueError):
    """No kind of index keeps to the memory and the latency that are allowed."""

    is_wrong_input = True


@dataclass(frozen=True, slots=True)
class KindChoice:
    """The kind of index that is built, and why.

    Attributes
    ----------
    kind : str
        ``flat``, ``ivf`` or ``multihash``.
    why : str
        A sentence.
    memory_mb, latency_ms : float
        As estimated: of the loaded index, and of one query on one thread.
    """

    kind: IndexKind
    why: str
    memory_mb: float
    latency_ms: float


def choose_kind(n_codes: int, n_bits: int, config: IndexConfig | None = None) -> KindChoice:
    """Choose the kind of index for a number of codes within the budgets of a configuration.

    Left to itself it takes the exact flat index up to `EXACT_UP_TO` codes, and lists beyond;
    where that does not fit the budgets, the other of the two. MultiHash is taken only by name: its
    tables answer for a radius of a few bits, and cost memory.

    Raises
    ------
    IndexBudgetError
        If no kind fits, or the one that is named does not.
    """
    config = config or IndexConfig()
    if config.kind != "auto":
        candidates: tuple[IndexKind, ...] = (config.kind,)
        reason = f"{config.kind} is set by hand"
    elif config.min_distance_recall == 1:
        candidates, reason = ("flat",), "min_distance_recall = 1 leaves no other kind"
    elif n_codes <= EXACT_UP_TO:
        candidates = ("flat", "ivf")
        reason = f"up to {EXACT_UP_TO:,} codes reading all of them is quick"
    else:
        candidates = ("ivf", "flat")
        reason = f"beyond {EXACT_UP_TO:,} codes lists are read many times quicker"
    for kind in candidates:
        memory, latency = _estimates(kind, n_codes, n_bits)
        if _fits(memory, config.max_memory_mb) and _fits(latency, config.max_latency_ms):
            if kind != candidates[0]:
                reason = f"{candidates[0]} does not fit the budget"
            why = f"{kind}, because {reason}: about {memory:.3g} MB and {latency:.2g} ms a query"
            return KindChoice(kind, why, memory, latency)
    raise IndexBudgetError(_what_would_do(n_codes, n_bits, config, candidates))


def _fits(needed: float, limit: float | None) -> bool:
    return limit is None or needed <= limit


def _estimates(kind: IndexKind, n_codes: int, n_bits: int) -> tuple[float, float]:
    return estimate_memory_mb(kind, n_codes, n_bits), estimate_latency_ms(kind, n_codes, n_bits)


def _what_would_do(
    n_codes: int, n_bits: int, config: IndexConfig, candidates: tuple[IndexKind, ...]
) -> str:
    asked = [
        f"{name}={value:g}"
        for name, value in (
            ("max_memory_mb", config.max_memory_mb),
            ("max_latency_ms", config.max_latency_ms),
        )
        if value is not None
    ]
    needs = []
    for kind in ("flat", "ivf") if config.kind == "auto" else candidates:
        memory, latency = _estimates(kind, n_codes, n_bits)
        needs.append(f"{kind} needs about {memory:.3g} MB and {latency:.2g} ms")
    return (
        f"no index of {n_codes:,} codes of {n_bits} bits keeps to {', '.join(asked)}: "
        f"{'; '.join(needs)}; raise the limit in [index], leave it out, or set another kind"
    )


def estimate_memory_mb(kind: IndexKind, n_codes: int, n_bits: int) -> float:
    """Estimate the memory of a loaded index, in millions of bytes."""
    code_bytes = n_bits // 8
    n_bytes = n_codes * code_bytes
    if kind == "ivf":
        n_bytes += n_codes * IVF_ID_BYTES + list_count(n_codes) * code_bytes
    elif kind == "multihash":
        n_hashes, hash_bits = hash_shape(n_codes, n_bits)
        id_bits = max(1, n_codes).bit_length()
        n_buckets = min(n_codes, 1 << hash_bits)
        n_bytes += n_hashes * (n_codes * id_bits // 8 + n_buckets * MULTIHASH_BUCKET_BYTES)
    return n_bytes / BYTES_PER_MB


def estimate_latency_ms(kind: IndexKind, n_codes: int, n_bits: int) -> float:
    """Estimate how long one query takes on one thread, in milliseconds."""
    if kind != "ivf":
        ns_per_code = FLAT_NS_PER_CODE + FLAT_NS_PER_WORD * n_bits / 64
        return QUERY_MS + n_codes * ns_per_code / 1e6
    words = max(1.0, n_bits / 128)
    n_scanned = n_codes * IVF_SCANNED_SHARE
    lists_ms = list_count(n_codes) * IVF_NS_PER_CODE * words / 1e6
    return QUERY_MS + n_scanned * IVF_NS_PER_CODE * words / 1e6 + lists_ms


def list_count(n_codes: int) -> int:
    """Give the number of lists of an ivf index: a power of 2, about three times the root."""
    if n_codes < 1:
        return 1
    return min(16_384, max(1, 1 << round(math.log2(3 * math.sqrt(n_codes)))), n_codes)


def hash_shape(n_codes: int, n_bits: int) -> tuple[int, int]:
    """Give the number of hashes of a multihash index and the bits of each.

    As many bits as tell the codes apart, so that a bucket holds few; the hashes share none.
    """
    useful_bits = max(8, max(1, n_codes).bit_length() - 3)
    n_hashes = max(1, round(n_bits / useful_bits))
    return n_hashes, n_bits // n_hashes
