"""Lists read by the compiled scan give what FAISS reads in them, and what counting bits finds."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from storage.indexes import ivf
from storage.indexes.faiss_library import index_from_bytes
from storage.indexes.faiss_lists import FaissLists
from storage.indexes.ivf import IvfLists, IvfParameters, build_ivf
from storage.indexes.list_scan import ListScan

PARAMETERS = IvfParameters(48, 1500, 4)


@pytest.fixture
def scanned(monkeypatch):
    """Have indexes of any size read by the compiled scan."""
    monkeypatch.setattr(ivf, "SCAN_FROM", 0)


def in_order(found, query):
    place = slice(found.limits[query], found.limits[query + 1])
    return sorted(zip(found.distances[place].tolist(), found.ids[place].tolist(), strict=True))


@pytest.mark.parametrize("code_bytes", [5, 8, 16])
@pytest.mark.parametrize("n_probed", [1, 5, 48])
def test_both_readers_find_the_same(truth, code_bytes, n_probed):
    codes = truth.clustered_codes(3000, n_bytes=code_bytes, n_centres=60)
    data = build_ivf(codes, PARAMETERS)
    by_faiss = FaissLists(index_from_bytes(data, "ivf"))
    by_scan = ListScan(index_from_bytes(data, "ivf"))
    queries = codes[::37]
    for one, other in (
        (by_faiss.within(queries, 9, n_probed), by_scan.within(queries, 9, n_probed)),
        (by_faiss.nearest(queries, 12, n_probed), by_scan.nearest(queries, 12, n_probed)),
    ):
        same = [in_order(one, query) == in_order(other, query) for query in range(len(queries))]
        # Which of two centroids at one distance comes first is not the same for both.
        assert np.mean(same) > (0.8 if n_probed < 48 else 0.999)
    ids, held = (np.concatenate(parts) for parts in zip(*by_scan.contents(), strict=True))
    np.testing.assert_array_equal(codes[ids], held)


@pytest.mark.usefixtures("scanned")
def test_all_lists_together_are_exact(truth):
    codes = truth.clustered_codes(2000, n_centres=25)
    lists = IvfLists(build_ivf(codes, PARAMETERS), 48)
    queries = codes[::90]
    for query, answer in zip(queries, lists.candidates(queries, 10), strict=True):
        assert truth.pairs_of(answer) == truth.nearest(codes, query, 10)
    for query, answer in zip(queries, lists.within(queries, 7), strict=True):
        assert truth.pairs_of(answer) == truth.within(codes, query, 7)
    np.testing.assert_array_equal(lists.codes(), codes)
    tenth = lists.distances_at(queries, 10, 48)[:, 9].tolist()
    assert tenth == [truth.nearest(codes, query, 10)[9][0] for query in queries]


@pytest.mark.usefixtures("scanned")
def test_a_query_whose_lists_hold_too_few_codes_reads_more_of_them(truth):
    codes = truth.clustered_codes(600, n_centres=30)
    lists = IvfLists(build_ivf(codes, PARAMETERS), 1)
    for query, answer in zip(codes[:5], lists.candidates(codes[:5], 590), strict=True):
        assert truth.pairs_of(answer) == truth.nearest(codes, query, 590)
    missing = lists.distances_at(codes[:5], 590, 1)[:, -1]
    assert (missing == np.iinfo(np.int32).max).all()


@pytest.mark.usefixtures("scanned")
def test_what_died_is_not_found_and_what_was_added_is(truth):
    codes = truth.clustered_codes(900, n_centres=30)
    base = build_ivf(codes[:800], PARAMETERS)
    delta = ivf.build_shard(ivf.empty_ivf(base), codes[800:], 800)
    died = np.array([0, 17, 799])
    lists = IvfLists(base, 48, delta=delta, died=died)
    assert lists.n_codes == 897
    living = np.setdiff1d(np.arange(900), died)
    for query in codes[[0, 17, 850]]:
        (answer,) = lists.candidates(query[None], 5)
        nearest = truth.nearest(codes[living], query, 5)
        assert truth.pairs_of(answer) == [(bits, living[row]) for bits, row in nearest]


@pytest.mark.usefixtures("scanned")
def test_threads_share_the_lists(truth):
    codes = truth.clustered_codes(2500, n_centres=40)
    lists = IvfLists(build_ivf(codes, PARAMETERS), 6)
    alone = [truth.pairs_of(answer) for answer in lists.candidates(codes[::9], 10)]

    def ask(query):
        return truth.pairs_of(lists.candidates(query[None], 10)[0])

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, codes[::9])) == alone
