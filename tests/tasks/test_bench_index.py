"""Measuring indexes: rows that say what is measured, and recall that counting bits confirms."""

import json

import numpy as np
import pytest

from musichash_core.synthetic_codes import QUERIES, clustered_codes
from storage.indexes import HashIndex
from tasks.bench_index import IndexBench, UnknownKindError, bench_index, plan_bench
from tasks.bench_index_estimates import BenchMemoryError, check_memory, estimate_row, n_queries_for
from tasks.bench_index_peers import (
    FAR,
    BoundedNumpyScan,
    FaissFlat,
    NumpyScan,
    UsearchGraph,
    has_usearch,
)

KEYS = {
    "kind",
    "codes",
    "bits",
    "build_cpu_s",
    "bytes",
    "queries_per_cpu_s",
    "distance_recall_at_10",
    "load_s",
    "append_cpu_s",
    "append_share",
    "threads",
    "machine",
    "distribution",
    "parameters",
    "queries",
    "peak_memory_mb",
    "seed",
}


def distances_by_bits(queries, codes):
    """Count differing bits without anything of ours."""
    left = np.unpackbits(queries, axis=1).astype(np.int32)
    right = np.unpackbits(codes, axis=1).astype(np.int32)
    return left.sum(1)[:, None] + right.sum(1) - 2 * left @ right.T


@pytest.fixture(scope="module")
def rows():
    bench = IndexBench(
        codes=(3000,),
        bits=(64, 128),
        kinds=("flat", "ivf", "multihash", "numpy", "numpy-bounded", "faiss-flat"),
        queries=60,
        seed=4,
    )
    seen = []
    found = bench_index(bench, on_row=seen.append)
    assert found == seen
    return {(row["kind"], row["bits"]): row for row in found}


def test_every_row_says_what_was_measured(rows):
    assert len(rows) == 12
    for row in rows.values():
        assert row.keys() >= KEYS
        assert (row["codes"], row["queries"], row["threads"]) == (3000, 60, 1)
        assert row["distribution"] == "clustered"
        assert row["queries_per_cpu_s"] > 0
        assert row["peak_memory_mb"] > 1
    json.dumps(list(rows.values()))


@pytest.mark.parametrize("bits", [64, 128])
def test_recall_is_that_of_counting_bits(rows, bits):
    codes = clustered_codes(3000, bits, seed=4)
    queries = clustered_codes(60, bits, seed=4, part=QUERIES)
    tenth = np.sort(distances_by_bits(queries, codes), axis=1)[:, 9]
    for kind in ("flat", "multihash", "numpy", "numpy-bounded", "faiss-flat"):
        assert rows[kind, bits]["distance_recall_at_10"] == 1
        assert rows[kind, bits]["is_exact"]
    row = rows["ivf", bits]
    index = HashIndex.of_codes(codes, kind="ivf", n_probed=row["parameters"]["n_probed"])
    hits = [
        (answer.distances[:10] <= limit).sum()
        for answer, limit in zip(index.candidates(queries, 10), tenth, strict=True)
    ]
    assert row["distance_recall_at_10"] == pytest.approx(sum(hits) / 600, abs=1e-5)
    assert 0.9 < row["distance_recall_at_10"] <= 1


def test_bytes_are_those_of_the_files(rows):
    assert 3000 * 8 < rows["flat", 64]["bytes"] < 3000 * 8 + 4000
    assert 3000 * 16 < rows["ivf", 64]["bytes"] < 3000 * 16 + 80_000
    assert rows["numpy", 128]["bytes"] == 3000 * 16


@pytest.mark.parametrize("n_codes", [4, 300, 40_000])
@pytest.mark.parametrize("n_bits", [64, 192])
def test_numpy_scans_find_the_nearest(n_codes, n_bits):
    codes = clustered_codes(n_codes, n_bits, seed=1)
    queries = clustered_codes(7, n_bits, seed=1, part=QUERIES)
    expected = np.full((7, 10), FAR)
    nearest = np.sort(distances_by_bits(queries, codes), axis=1)[:, :10]
    expected[:, : nearest.shape[1]] = nearest
    for scan in (NumpyScan(codes), BoundedNumpyScan(codes)):
        np.testing.assert_array_equal(scan.search(queries, 10), expected)
    if n_codes >= 10:
        faiss = FaissFlat(FaissFlat.build(codes))
        np.testing.assert_array_equal(faiss.search(queries, 10), expected)


def test_threads_share_the_queries():
    bench = IndexBench(codes=(500,), bits=(64,), kinds=("flat",), queries=9, threads=4)
    (row,) = bench_index(bench)
    assert (row["threads"], row["is_exact"]) == (4, True)


def test_uniform_codes_are_told_apart():
    bench = IndexBench(codes=(500,), bits=(64,), kinds=("numpy",), queries=5, is_uniform=True)
    assert bench_index(bench)[0]["distribution"] == "uniform"


def test_a_plan_grows_with_the_codes_and_measures_nothing():
    small, large = (
        plan_bench(IndexBench(codes=(size,), bits=(64,), kinds=("ivf",)))[0]
        for size in (100_000, 10_000_000)
    )
    assert 10 * small.cpu_s < large.cpu_s < 600
    assert 160e6 < large.memory_bytes < 8e9


def test_slow_kinds_are_asked_fewer_queries():
    assert n_queries_for("numpy", 100_000_000, 64, 500) < 100
    assert n_queries_for("flat", 10_000_000, 64, 500) == 500


def test_what_does_not_fit_is_refused_before_it_is_made():
    row = estimate_row("ivf", 10_000_000, 64, 500)
    check_memory([row], available_bytes=1 << 40)
    with pytest.raises(BenchMemoryError, match=r"ivf with 10,000,000 codes of 64 bits needs about"):
        check_memory([row], available_bytes=500_000_000)
    with pytest.raises(BenchMemoryError, match="fewer codes with --codes"):
        plan_bench(IndexBench(codes=(1 << 42,), kinds=("flat",)))


@pytest.mark.parametrize(
    ("bench", "said"),
    [
        (IndexBench(kinds=("hnsw",)), "no kind 'hnsw' to measure; choose from flat, ivf"),
        (IndexBench(codes=()), "codes is empty"),
        (IndexBench(codes=(0,)), "codes=0, queries=500, threads=1: want at least 1"),
        (IndexBench(bits=(48,)), "bits=48: want a multiple of 64"),
        (IndexBench(bits=(512,)), "bits=512"),
    ],
)
def test_what_cannot_be_measured_is_refused(bench, said):
    with pytest.raises(ValueError, match=said) as raised:
        plan_bench(bench)
    assert raised.value.is_wrong_input


@pytest.mark.skipif(has_usearch(), reason="usearch is installed here")
def test_usearch_by_name_is_refused_where_it_is_not_installed():
    with pytest.raises(UnknownKindError, match="pip install usearch"):
        plan_bench(IndexBench(kinds=("usearch",)))


@pytest.mark.skipif(not has_usearch(), reason="usearch is not installed")
@pytest.mark.parametrize("n_codes", [4, 300])
def test_usearch_finds_most_of_the_nearest_of_one_query_and_of_several(n_codes):
    codes = clustered_codes(n_codes, 64, seed=1)
    queries = clustered_codes(7, 64, seed=1, part=QUERIES)
    nearest = np.sort(distances_by_bits(queries, codes), axis=1)[:, :10]
    graph = UsearchGraph(UsearchGraph.build(codes))
    several = graph.search(queries, 10)
    one_by_one = np.concatenate([graph.search(query[None], 10) for query in queries])
    np.testing.assert_array_equal(several, one_by_one)
    assert (several[:, nearest.shape[1] :] == FAR).all()
    assert (several[:, : nearest.shape[1]] == nearest).mean() > 0.9
