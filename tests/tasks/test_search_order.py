"""The order of answers: as a plain sort gives it, whatever finds them, and always the same."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from musichash_core.errors import ParameterError
from musichash_core.index_config import IndexConfig
from storage.indexes import IndexSettings
from storage.store import create_store
from tasks.search import Filters, Reach, open_catalogue

N_BITS = 32


def few_codes(n, *, n_different, seed=0):
    """Real-valued codes with few different signs, as codes that follow genres have."""
    rng = np.random.default_rng(seed)
    signs = np.where(rng.random((n_different, N_BITS)) < 0.5, -1, 1)
    values = rng.integers(1, 6, (n, N_BITS)) / 4  # so that many asymmetric distances tie, too
    return (signs[rng.integers(0, n_different, n)] * values).astype(np.float32)


def sorted_plainly(logits, query, *, without=None, k=10, rows=None):
    """Sort by differing signs, then by minus the sum of tanh times sign, then by row."""
    signs = np.where(logits >= 0, 1, -1)
    keys = []
    for row in range(len(logits)) if rows is None else rows:
        if row != without:
            distance = sum((a >= 0) != (b >= 0) for a, b in zip(query, logits[row], strict=True))
            steps = np.rint(np.tanh(query.astype(float)) * 2**15).astype(int)
            keys.append((distance, -int(steps @ signs[row]), row))
    return [(row, distance) for distance, _, row in sorted(keys)[:k]]


@pytest.fixture
def collapsed(store, made_up):
    """A store of 600 tracks with 12 different codes."""
    logits = few_codes(600, n_different=12)
    made_up.publish_made_up(store, logits)
    return store, logits, made_up.track_ids(range(600))


@pytest.mark.parametrize("k", [1, 10, 75, 599])
def test_ties_are_in_the_order_of_a_plain_sort(collapsed, k):
    store, logits, ids = collapsed
    with open_catalogue(store) as catalogue:
        for row in (0, 17, 599):
            (found,) = catalogue.nearest_to_tracks([ids[row]], Reach(k))
            expected = sorted_plainly(logits, logits[row], without=row, k=k)
            assert found.track_ids == [ids[other] for other, _ in expected]
            assert found.distances.tolist() == [distance for _, distance in expected]


def test_a_code_alone_orders_ties_by_id(collapsed):
    store, logits, ids = collapsed
    code = np.packbits(logits[5] >= 0, bitorder="little")
    with open_catalogue(store) as catalogue:
        answer = catalogue.search_code(code.tobytes().hex(), Reach(40))
        (found,) = catalogue.nearest_to_codes(code[None], Reach(40))
    distances = np.count_nonzero((logits >= 0) != (logits[5] >= 0), axis=1)
    expected = sorted(range(600), key=lambda row: (distances[row], row))[:40]
    assert [match.track_id for match in answer.matches] == [ids[row] for row in expected]
    assert found.track_ids == [ids[row] for row in expected]
    assert found.asymmetric is None
    assert all(match.asymmetric is None for match in answer.matches)


def test_the_order_is_the_same_in_bulk_on_threads_and_after_a_rebuild(collapsed, made_up, tmp_path):
    store, logits, ids = collapsed
    create_store(tmp_path / "again")
    made_up.publish_made_up(str(tmp_path / "again"), logits)

    def all_found(catalogue):
        return [
            (one.track_ids, one.distances.tolist(), one.asymmetric.tolist())
            for one in catalogue.nearest_to_tracks(ids, Reach(30))
        ]

    with open_catalogue(store) as catalogue, open_catalogue(str(tmp_path / "again")) as rebuilt:
        expected = all_found(catalogue)
        one_by_one = [catalogue.nearest_to_tracks([one], Reach(30))[0] for one in ids[:50]]
        with ThreadPoolExecutor(4) as pool:
            on_threads = list(pool.map(all_found, [catalogue] * 8))
        assert on_threads == [expected] * 8
        assert all_found(rebuilt) == expected
    assert [one.track_ids for one in one_by_one] == [ids for ids, _, _ in expected[:50]]


@pytest.mark.parametrize("radius", [0, 7, 16, 32, 10**12])
def test_a_radius_gives_all_that_lie_in_it(collapsed, radius):
    store, logits, ids = collapsed
    with open_catalogue(store) as catalogue:
        answer = catalogue.search_track(ids[3], Reach(10_000, radius))
        few = catalogue.search_track(ids[3], Reach(5, radius))
    expected = [
        ids[row]
        for row, distance in sorted_plainly(logits, logits[3], without=3, k=600)
        if distance <= radius
    ]
    assert [match.track_id for match in answer.matches] == expected
    assert few.matches == answer.matches[:5]
    assert answer.n_within == few.n_within == len(expected)


def test_under_a_filter_the_order_is_that_of_the_tracks_that_pass(store, made_up):
    logits = few_codes(300, n_different=9)
    genres = ["jazz" if row % 7 == 0 else "rock" for row in range(300)]
    made_up.publish_made_up(store, logits, genre=genres)
    ids = made_up.track_ids(range(300))
    with open_catalogue(store) as catalogue:
        for k in (1, 20, 300):
            (found,) = catalogue.nearest_to_tracks([ids[8]], Reach(k), Filters(genres=("jazz",)))
            chosen = [row for row in range(300) if row % 7 == 0]
            expected = sorted_plainly(logits, logits[8], without=8, k=k, rows=chosen)
            assert found.track_ids == [ids[row] for row, _ in expected]


@pytest.mark.parametrize("radius", [-1, -100])
def test_a_radius_below_0_is_refused(radius):
    with pytest.raises(ParameterError, match=f"radius={radius}: give 0 bits or more"):
        Reach(5, radius)


def test_filters_find_all_that_pass_whatever_an_ivf_index_misses(store, made_up):
    logits = np.random.default_rng(9).standard_normal((3000, N_BITS)).astype(np.float32)
    settings = IndexSettings(IndexConfig(kind="ivf", min_distance_recall=0.5))
    genres = ["jazz" if row % 30 == 0 else "rock" for row in range(3000)]
    made_up.publish_made_up(store, logits, settings=settings, genre=genres)
    ids = made_up.track_ids(range(3000))
    with open_catalogue(store) as catalogue:
        assert not catalogue.search_track(ids[8]).is_exact
        (found,) = catalogue.nearest_to_tracks([ids[8]], Reach(60), Filters(genres=("jazz",)))
        assert catalogue.search_track(ids[8], filters=Filters(genres=("jazz",))).is_exact
    expected = sorted_plainly(logits, logits[8], k=60, rows=range(0, 3000, 30))
    assert found.track_ids == [ids[row] for row, _ in expected]
