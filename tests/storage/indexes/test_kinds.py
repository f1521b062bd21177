"""Every kind of index answers like counting bits by hand, in the same order every time."""

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musichash_core.errors import ParameterError
from storage.indexes import (
    HashIndex,
    IvfLists,
    IvfParameters,
    MultiHashTables,
    Neighbours,
    build_flat,
    build_ivf,
    build_shard,
    flat,
    merge_shards,
    rank,
    train_ivf,
    training_rows,
)
from storage.indexes.centroids import find_centroids
from storage.indexes.faiss_library import ForeignIndexError, index_from_bytes

KINDS = ("flat", "multihash", "ivf")


@pytest.fixture(params=[False, True], ids=["by-faiss", "by-scan"])
def _either_scan(request, monkeypatch):
    """Have many codes, from which on the compiled scan is used, be one."""
    if request.param:
        monkeypatch.setattr(flat, "SCAN_FROM", 0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("_either_scan")
def test_answers_are_those_of_counting_bits(truth, kind):
    @settings(max_examples=25, deadline=None)
    @given(truth.code_sets(), st.integers(0, 30))
    def check(case, radius):
        codes, queries, k = case
        index = HashIndex.of_codes(codes, kind=kind)  # an ivf index that reads all its lists
        for query, found in zip(queries, index.candidates(queries, k), strict=True):
            assert truth.pairs_of(found) == truth.nearest(codes, query, k)
            assert (found.rows.dtype, found.distances.dtype) == (np.int64, np.int32)
        for query, found in zip(queries, index.within(queries, radius), strict=True):
            assert truth.pairs_of(found) == truth.within(codes, query, radius)
        assert index.holds(codes)
        assert (index.n_codes, index.n_bits) == (len(codes), 8 * codes.shape[1])

    check()


@pytest.mark.parametrize("kind", KINDS)
def test_collapsed_codes_are_all_candidates(kind):
    codes = np.zeros((500, 8), np.uint8)
    (found,) = HashIndex.of_codes(codes, kind=kind).candidates(codes[:1], 3)
    assert found.rows.tolist() == list(range(500))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", [0, -1])
def test_no_neighbours_are_no_candidates(truth, kind, k):
    index = HashIndex.of_codes(truth.random_codes(5), kind=kind)
    assert [len(found) for found in index.candidates(np.zeros((2, 8), np.uint8), k)] == [0, 0]
    assert [len(found) for found in index.within(np.zeros((2, 8), np.uint8), -1)] == [0, 0]
    assert index.candidates(np.empty((0, 8), np.uint8), 3) == []


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_index_answers_nothing(kind):
    index = HashIndex.of_codes(np.empty((0, 8), np.uint8), kind=kind)
    assert (index.n_codes, index.n_bits) == (0, 64)
    assert len(index.candidates(np.zeros((1, 8), np.uint8), 5)[0]) == 0
    assert len(index.within(np.zeros((1, 8), np.uint8), 64)[0]) == 0
    assert index.holds(np.empty((0, 8), np.uint8))


@pytest.mark.parametrize("n_bytes", [7, 9, 16])
def test_a_query_of_another_width_is_refused(truth, n_bytes):
    index = HashIndex.of_codes(truth.random_codes(5))
    for ask in (index.candidates, index.within):
        with pytest.raises(ParameterError, match=f"query has {8 * n_bytes} bits, the index 64"):
            ask(np.zeros((1, n_bytes), np.uint8), 1)


@pytest.mark.parametrize("kind", KINDS)
def test_an_index_holds_the_codes_of_its_rows_and_no_others(truth, kind):
    codes = truth.random_codes(200)
    index = HashIndex.of_codes(codes, kind=kind)
    assert index.holds(codes)
    assert not index.holds(codes[::-1])
    assert not index.holds(codes[:-1])


@pytest.mark.parametrize("kind", KINDS)
def test_threads_and_batches_change_nothing(truth, kind):
    codes = truth.clustered_codes(3000)
    index = HashIndex.of_codes(codes, kind=kind, n_probed=3)
    queries = codes[::100]
    together = [truth.pairs_of(found) for found in index.candidates(queries, 7)]
    alone = [truth.pairs_of(index.candidates(query[None], 7)[0]) for query in queries]
    assert alone == together
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda query: index.candidates(query[None], 7)[0], queries))
        ranges = list(threads.map(lambda query: index.within(query[None], 5)[0], queries))
    assert [truth.pairs_of(found) for found in answers] == together
    assert [truth.pairs_of(found) for found in ranges] == [
        truth.pairs_of(found) for found in index.within(queries, 5)
    ]


# --- lists ---------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 400), max_size=4))
def test_merged_shards_are_to_the_byte_the_index_built_in_one_go(seed, cuts):
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 256, (40, 2), dtype=np.uint8)[rng.integers(0, 40, 400)]
    parameters = IvfParameters(16, 200, 4)
    trained = train_ivf(codes, parameters)
    ends = [0, *sorted(cuts), len(codes)]
    shards = [build_shard(trained, codes[start:stop], start) for start, stop in pairwise(ends)]
    assert merge_shards(shards) == build_ivf(codes, parameters)


def test_centroids_need_only_the_sampled_rows(truth):
    codes = truth.clustered_codes(5000)
    parameters = IvfParameters(32, 640, 4)
    sample = codes[training_rows(len(codes), parameters.n_training)]
    assert train_ivf(sample, parameters) == train_ivf(codes, parameters)


def test_an_index_of_lists_is_the_same_with_any_number_of_threads(truth):
    codes = truth.clustered_codes(4000)
    parameters = IvfParameters(64, 2000, 5)
    once = build_ivf(codes, parameters)
    faiss.omp_set_num_threads(4)
    assert build_ivf(codes, parameters) == once
    assert faiss.omp_get_max_threads() == 1  # each use sets it again


def test_centroids_are_majorities_worked_out_by_hand():
    sample = np.array([[0b0000], [0b0001], [0b0000], [0b11110000], [0b11110001]], np.uint8)
    # The first and last of the distinct codes to begin with; each cluster's majority; bit 0 of the
    # second is set in one of two, so it stays as it was.
    assert find_centroids(sample, 2, n_rounds=5).tolist() == [[0], [0b11110001]]
    assert find_centroids(sample, 99, n_rounds=5).tolist() == [[0], [1], [0b11110000], [0b11110001]]
    assert find_centroids(sample[:0], 4, n_rounds=5).tolist() == [[0]]


def test_lists_that_are_read_decide_what_is_found(truth):
    codes = truth.clustered_codes(2000, n_centres=40)
    data = build_ivf(codes, IvfParameters(64, 2000, 5))
    found = {}
    for n_probed in (1, 4, 64, 1000):
        lists = IvfLists(data, n_probed)
        answers = lists.candidates(codes[::50], 10)
        found[n_probed] = sum(answer.distances[9] for answer in answers)
        for query, answer in zip(codes[::50], answers, strict=True):
            assert len(answer) >= 10
            assert truth.pairs_of(answer) == sorted(truth.pairs_of(answer))
            assert all(
                truth.distance(query, codes[row]) == bits for bits, row in truth.pairs_of(answer)
            )
    assert found[1] >= found[4] >= found[64] == found[1000]
    exact = sum(truth.nearest(codes, query, 10)[9][0] for query in codes[::50])
    assert found[64] == exact


def test_a_query_whose_lists_hold_too_few_codes_reads_more_of_them(truth):
    codes = truth.clustered_codes(600, n_centres=30)
    lists = IvfLists(build_ivf(codes, IvfParameters(32, 600, 4)), 1)
    for query, answer in zip(codes[:5], lists.candidates(codes[:5], 590), strict=True):
        assert len(answer) >= 590
        assert truth.pairs_of(answer) == truth.nearest(codes, query, 590)


# --- tables --------------------------------------------------------------------------------------


def test_tables_are_asked_within_their_reach_and_all_codes_beyond(truth, monkeypatch):
    codes = truth.clustered_codes(3000, n_centres=200)
    tables = MultiHashTables(codes)
    assert (tables.n_hashes, tables.reach) == (7, 6)
    queries = codes[::300]
    asked = []
    real = tables._flat.within
    monkeypatch.setattr(
        tables._flat, "within", lambda some, radius: asked.append(radius) or real(some, radius)
    )
    for radius in (0, 3, 6, 7, 13, 14, 20):
        for query, found in zip(queries, tables.within(queries, radius), strict=True):
            assert truth.pairs_of(found) == truth.within(codes, query, radius)
    assert asked == [7, 13, 14, 20]


# --- files ---------------------------------------------------------------------------------------


def test_bytes_that_are_no_index_of_the_kind_are_refused(truth):
    codes = truth.random_codes(300)
    lists = build_ivf(codes, IvfParameters(8, 300, 2))
    for data, kind, reason in (
        (build_flat(codes)[:-9], "flat", "does not read it"),
        (b"", "flat", "does not read it"),
        (b"IBHf" + bytes(200), "flat", "does not read it"),
        (lists[: len(lists) // 2], "ivf", "does not read it"),
        (lists, "flat", "holds a IndexBinaryIVF, the kind flat is another"),
        (build_flat(codes), "ivf", "holds a IndexBinaryFlat"),
    ):
        with pytest.raises(ForeignIndexError, match=reason):
            index_from_bytes(data, kind)


# --- ranking -------------------------------------------------------------------------------------


def test_ties_are_ranked_by_the_bits_the_query_is_sure_of_then_by_row():
    # By hand: the query's bit 0 is sure, its bit 1 is not.
    query = np.array([4.0, 0.1, -1, -1, -1, -1, -1, -1], np.float32)
    codes = np.array([[0b10], [0b01], [0b01], [0b11]], np.uint8)
    candidates = Neighbours(np.array([7, 9, 3, 5]), np.array([1, 1, 1, 0], np.int32))
    ranked = rank(candidates, query, codes, 4)
    assert ranked.rows.tolist() == [5, 3, 9, 7]
    assert ranked.distances.tolist() == [0, 1, 1, 1]
    assert rank(candidates, query, codes, 2).rows.tolist() == [5, 3]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_ranking_does_not_depend_on_the_order_of_candidates(seed):
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 256, (4, 1), dtype=np.uint8)[rng.integers(0, 4, 12)]
    query = rng.standard_normal(8).astype(np.float32)
    packed = np.packbits(query >= 0, bitorder="little")
    (found,) = HashIndex.of_codes(codes).candidates(packed[None], 12)
    ranked = rank(found, query, codes[found.rows], 12)
    order = rng.permutation(len(found))
    shuffled = Neighbours(found.rows[order], found.distances[order])
    assert rank(shuffled, query, codes[shuffled.rows], 12).rows.tolist() == ranked.rows.tolist()
    assert (np.diff(ranked.distances) >= 0).all()
