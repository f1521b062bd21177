"""Build and ask the kinds of index, side by side, on made-up codes of real shape.

Each row is measured in the same process and on the same codes and queries; seconds are CPU seconds
of all threads, so that a busy machine stretches them little. Queries are codes that are not in the
index: tracks that nobody has seen.

Public: `bench_index`, `plan_bench`, `IndexBench`, `KINDS`, `UnknownKindError`.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musichash_core.errors import MusicHashError, ParameterError
from musichash_core.process_memory import peak_memory_bytes
from musichash_core.synthetic_codes import (
    ADDITIONS,
    DATABASE,
    QUERIES,
    clustered_codes,
    uniform_codes,
)
from tasks.bench_index_estimates import (
    RowEstimate,
    check_memory,
    estimate_row,
    n_queries_for,
)
from tasks.bench_index_kinds import KINDS, Material, subject_of
from tasks.bench_index_peers import Peer, has_usearch, true_distances

K = 10
SINGLE_QUERIES = 15
"""Queries asked one at a time; the middle one counts."""

ADDED_CODES = 10_000
MAX_BITS = 256


class UnknownKindError(MusicHashError, ValueError):
    """There is no such kind of index to measure."""

    is_wrong_input = True


class ScratchError(MusicHashError):
    """The folder for temporary files cannot hold what is measured."""


class SettingError(ParameterError):
    """A number is out of range."""

    is_wrong_input = True


@dataclass(frozen=True, slots=True)
class IndexBench:
    """What is measured.

    Attributes
    ----------
    codes, bits : tuple of int
        Sizes and lengths; every size is measured with every length.
    kinds : tuple of str
        Of `KINDS`; without any, all that are installed.
    queries : int
        Slow kinds are asked fewer.
    seed : int
    threads : int
        Threads that share the queries of a batch; building takes one.
    is_uniform : bool
        Whether codes are of independent bits instead of clustered.
    """

    codes: tuple[int, ...] = (1_000_000,)
    bits: tuple[int, ...] = (64, 128)
    kinds: tuple[str, ...] = ()
    queries: int = 500
    seed: int = 0
    threads: int = 1
    is_uniform: bool = False


def plan_bench(bench: IndexBench) -> list[RowEstimate]:
    """Say what would be measured, what it needs, and refuse what cannot be.

    Raises
    ------
    UnknownKindError, SettingError, BenchMemoryError
    """
    rows = [
        estimate_row(kind, n_codes, n_bits, bench.queries)
        for n_codes in _checked(bench).codes
        for n_bits in bench.bits
        for kind in _kinds(bench)
    ]
    check_memory(rows)
    return rows


def bench_index(
    bench: IndexBench, *, on_row: Callable[[dict[str, Any]], None] | None = None
) -> list[dict[str, Any]]:
    """Measure.

    Parameters
    ----------
    on_row : callable, optional
        Called with each row when it is there.

    Returns
    -------
    list of dict
        A row per size, length and kind: ``kind``, ``codes``, ``bits``, ``distribution``,
        ``parameters``, ``build_cpu_s``, ``bytes`` (of the file), ``load_s`` (by the clock),
        ``load_cpu_s``, ``queries``, ``queries_per_cpu_s``, ``queries_per_s``, ``single_query_ms``,
        ``distance_recall_at_10``, ``is_exact``, ``append_cpu_s`` and ``append_share`` of a rebuild
        (None where that is not measured), ``peak_memory_mb``, ``threads``, ``seed``, ``machine``.

    Raises
    ------
    UnknownKindError, SettingError, BenchMemoryError
    """
    bench = _checked(bench)
    plan_bench(bench)
    measured: list[dict[str, Any]] = []
    for n_codes in bench.codes:
        for n_bits in bench.bits:
            for row in _measured(bench, n_codes, n_bits):
                measured.append(row)
                if on_row is not None:
                    on_row(row)
    return measured


def _checked(bench: IndexBench) -> IndexBench:
    unknown = [kind for kind in bench.kinds if kind not in KINDS]
    if unknown:
        raise UnknownKindError(
            f"there is no kind {unknown[0]!r} to measure; choose from {', '.join(KINDS)}"
        )
    if "usearch" in bench.kinds and not has_usearch():
        raise UnknownKindError(
            "usearch is not installed, or lacks a package that it needs; 'pip install usearch', or "
            "leave it out of --kinds"
        )
    for name, values in (("codes", bench.codes), ("bits", bench.bits)):
        if not values:
            raise SettingError(f"{name} is empty; give at least one number")
    if min(bench.codes) < 1 or bench.queries < 1 or bench.threads < 1:
        raise SettingError(
            f"codes={min(bench.codes)}, queries={bench.queries}, threads={bench.threads}: want at "
            "least 1 of each"
        )
    wrong = [bits for bits in bench.bits if bits % 64 or not 64 <= bits <= MAX_BITS]
    if wrong:
        raise SettingError(f"bits={wrong[0]}: want a multiple of 64, {MAX_BITS} at most")
    return bench


def _kinds(bench: IndexBench) -> tuple[str, ...]:
    return bench.kinds or tuple(kind for kind in KINDS if kind != "usearch" or has_usearch())


@dataclass(frozen=True, slots=True, eq=False)
class _Questions:
    """Queries, and the distances of the codes that are truly nearest."""

    queries: NDArray[np.uint8]
    true: NDArray[np.int32]


def _measured(bench: IndexBench, n_codes: int, n_bits: int) -> Iterator[dict[str, Any]]:
    make = uniform_codes if bench.is_uniform else clustered_codes
    codes, queries, additions = (
        make(count, n_bits, seed=bench.seed, part=part)
        for count, part in (
            (n_codes, DATABASE),
            (bench.queries, QUERIES),
            (ADDED_CODES, ADDITIONS),
        )
    )
    asked = _Questions(queries, true_distances(codes, queries, min(K, n_codes)))
    with _scratch() as folder:
        material = Material(folder, codes, additions, bench.seed)
        for kind in _kinds(bench):
            yield _measure(bench, asked, kind, material)


@contextmanager
def _scratch() -> Iterator[Path]:
    """Give a folder that disappears; a disk that is full is said so in a sentence."""
    try:
        with tempfile.TemporaryDirectory(prefix="musichash-") as folder:
            yield Path(folder)
    except OSError as error:
        raise ScratchError(
            f"{tempfile.gettempdir()} cannot take what is measured: {error}; make room there, or "
            "set TMPDIR to a folder with some 100 bytes for each code"
        ) from error


def _measure(bench: IndexBench, asked: _Questions, kind: str, material: Material) -> dict[str, Any]:
    n_codes, n_bits = len(material.codes), material.codes.shape[1] * 8
    n_queries = n_queries_for(kind, n_codes, n_bits, bench.queries)
    queries, true = asked.queries[:n_queries], asked.true[:n_queries]
    k = true.shape[1]
    subject = subject_of(kind, material)
    _forget_peak()
    _, build_cpu_s, _ = _timed(subject.build)
    peer, load_cpu_s, load_s = _timed(subject.load)
    peer.search(queries[:2], k)  # what is compiled or opened at the first query is not a query's
    found, query_cpu_s, query_s = _timed(partial(_search, peer, queries, k, bench.threads))
    single_ms = _single_query_ms(peer, queries, k)
    parameters = peer.parameters
    del peer
    append_cpu_s = None if subject.append is None else _timed(subject.append)[1]
    return {
        "kind": kind,
        "codes": n_codes,
        "bits": n_bits,
        "distribution": "uniform" if bench.is_uniform else "clustered",
        "parameters": parameters,
        "build_cpu_s": round(build_cpu_s, 3),
        "bytes": subject.n_bytes,
        "load_s": round(load_s, 3),
        "load_cpu_s": round(load_cpu_s, 3),
        "queries": n_queries,
        "queries_per_cpu_s": round(n_queries / max(query_cpu_s, 1e-9), 1),
        "queries_per_s": round(n_queries / max(query_s, 1e-9), 1),
        "single_query_ms": round(single_ms, 3),
        "distance_recall_at_10": round(float((found <= true[:, -1:]).mean()), 5),
        "is_exact": bool(np.array_equal(found, true)),
        "append_cpu_s": None if append_cpu_s is None else round(append_cpu_s, 3),
        "append_share": None
        if append_cpu_s is None
        else round(append_cpu_s / max(build_cpu_s, 1e-9), 4),
        "peak_memory_mb": round(peak_memory_bytes() / 1e6, 1),
        "threads": bench.threads,
        "seed": bench.seed,
        "machine": machine(),
    }


def _timed(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """Give what some work gives, its CPU seconds, and its seconds by the clock."""
    cpu, clock = time.process_time(), time.perf_counter()
    result = work()
    return result, time.process_time() - cpu, time.perf_counter() - clock


def _search(peer: Peer, queries: NDArray[np.uint8], k: int, threads: int) -> NDArray[np.int32]:
    if threads == 1:
        return peer.search(queries, k)
    parts = [part for part in np.array_split(queries, threads) if len(part)]
    with ThreadPoolExecutor(threads) as pool:
        return np.concatenate(list(pool.map(lambda part: peer.search(part, k), parts)))


def _single_query_ms(peer: Peer, queries: NDArray[np.uint8], k: int) -> float:
    times = []
    for query in queries[:SINGLE_QUERIES]:
        started = time.process_time()
        peer.search(query[None], k)
        times.append(time.process_time() - started)
    return 1000 * statistics.median(times)


def machine() -> str:
    """Name the processor and the number of cores."""
    name = "unknown processor"
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(
            (line.partition(":")[2].strip() for line in lines if "model name" in line), name
        )
    return f"{name}, {os.cpu_count()} cores"


def _forget_peak() -> None:
    """Let the largest resident size count from now on, where the system lets us."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
