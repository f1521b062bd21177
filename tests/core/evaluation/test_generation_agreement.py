"""Agreement of two generations: scikit-learn's kappa, and neighbours ranked one by one."""

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from musichash_core.errors import ParameterError
from musichash_core.evaluation.generation_agreement import (
    agree_on_genres,
    nearest_tracks,
    share_of_neighbours,
)


def test_a_hand_worked_table_of_genres():
    first = ["blues", "blues", "blues", "rock", "rock", "jazz"]
    second = ["blues", "rock", "rock", "rock", "rock", "metal"]
    found = agree_on_genres(first, second)
    assert (found.n_tracks, found.n_agreed, found.share) == (6, 3, 0.5)
    assert found.per_genre == {"blues": (3, 1), "jazz": (1, 0), "rock": (2, 2)}
    assert found.changes == (("blues", "rock", 2), ("jazz", "metal", 1))
    # Observed 3/6; by chance (3*1 + 2*4 + 1*0 + 0*1) / 36 = 11/36.
    assert found.kappa == pytest.approx((3 / 6 - 11 / 36) / (1 - 11 / 36))


@pytest.mark.parametrize("n_genres", [1, 2, 5, 40])
@pytest.mark.parametrize("same", [0.0, 0.7, 1.0])
def test_kappa_is_that_of_scikit_learn(n_genres, same):
    rng = np.random.default_rng([n_genres, int(10 * same)])
    first = rng.integers(n_genres, size=300)
    second = np.where(rng.random(300) < same, first, rng.integers(n_genres + 2, size=300))
    names = [f"genre {number}" for number in range(n_genres + 2)]
    ours = agree_on_genres([names[one] for one in first], [names[one] for one in second]).kappa
    if len({*first, *second}) == 1:
        assert ours is None  # where scikit-learn divides by zero
    else:
        assert ours == pytest.approx(cohen_kappa_score(first, second), abs=1e-12)


def test_no_tracks_agree_on_nothing():
    found = agree_on_genres([], [])
    assert (found.n_tracks, found.share, found.kappa, found.changes) == (0, 0.0, None, ())


def test_other_numbers_of_tracks_are_refused():
    with pytest.raises(ParameterError, match="2 and 1 predictions: want the same tracks"):
        agree_on_genres(["a", "b"], ["a"])


def ranked_one_by_one(logits, query, k):
    """Sort all other tracks by what a search promises, in plain Python."""
    signs = [[1 if value >= 0 else -1 for value in row] for row in logits]
    weights = [round(float(np.tanh(np.float64(value))) * 2**15) for value in logits[query]]

    def key(row):
        differing = sum(a != b for a, b in zip(signs[query], signs[row], strict=True))
        product = sum(weight * sign for weight, sign in zip(weights, signs[row], strict=True))
        return differing, -product, row

    return sorted((row for row in range(len(logits)) if row != query), key=key)[:k]


@pytest.mark.parametrize(("n_tracks", "n_bits", "k"), [(60, 8, 10), (30, 64, 5), (4, 16, 10)])
def test_neighbours_are_those_of_a_sort_by_hamming_asymmetric_distance_and_row(n_tracks, n_bits, k):
    rng = np.random.default_rng([n_tracks, n_bits])
    # Few different rows, so that Hamming distances tie by the dozen and some rows wholly.
    logits = rng.normal(size=(n_tracks // 2, n_bits)).round(1).astype(np.float32)
    logits = logits[rng.integers(len(logits), size=n_tracks)]
    queries = np.arange(n_tracks)
    found = nearest_tracks(logits, queries, k)
    assert found.tolist() == [ranked_one_by_one(logits, query, k) for query in queries]


def test_a_track_alone_has_no_neighbours():
    found = nearest_tracks(np.ones((1, 8), np.float32), np.array([0]), 5)
    assert found.shape == (1, 0)
    assert share_of_neighbours(found, found).tolist() == [1.0]
    with pytest.raises(ParameterError, match="at least one neighbour"):
        nearest_tracks(np.ones((2, 8), np.float32), np.array([0]), 0)


def test_the_share_of_common_neighbours_takes_no_notice_of_their_order():
    first = np.array([[1, 2, 3, 4], [5, 6, 7, 8], [1, 2, 3, 4]])
    second = np.array([[4, 3, 2, 1], [1, 2, 3, 4], [1, 9, 8, 2]])
    assert share_of_neighbours(first, second).tolist() == [1.0, 0.0, 0.5]
    with pytest.raises(ParameterError, match="want the same queries"):
        share_of_neighbours(first, second[:2])
