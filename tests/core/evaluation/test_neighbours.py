"""First neighbours and votes against worked cases, counting and scikit-learn."""

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from musichash_core.codes import hamming_distance, pack_bits
from musichash_core.errors import ParameterError
from musichash_core.evaluation.neighbours import first_neighbours, vote_of_neighbours
from musichash_core.evaluation.rankings import cosine_ranking, hamming_ranking
from musichash_core.evaluation.relevance import JudgedTracks


def codes_at(distances):
    return pack_bits(np.arange(8) < np.array(distances)[:, None])


def ids(n, prefix="t"):
    return np.array([f"{prefix}{i}" for i in range(n)])


def own_groups(track_ids, labels):
    return JudgedTracks(track_ids, track_ids, np.array(labels))


def test_the_first_neighbour_is_shared_among_ties():
    # Seen from t0: t1 and t2 tie at distance 1, t3 is further off.
    codes, artists = codes_at([0, 1, 1, 4]), np.array(["A", "A", "B", "A"])
    found = first_neighbours(hamming_ranking(codes, codes), ids(4), ids(4), artists, artists)
    # t1 and t2 have each other, at distance 0; t3 is at 3 from both.
    np.testing.assert_allclose(found.agreement, [0.5, 0, 0, 0.5])
    np.testing.assert_allclose(found.chance, [2 / 3, 2 / 3, 0, 2 / 3])
    assert found.has_match.tolist() == [True, True, False, True]
    figures = found.figures()
    assert figures["share"] == pytest.approx(1 / 4)
    assert figures["share_of_matchable"] == pytest.approx(1 / 3)
    assert (figures["n_known"], figures["n_matchable"]) == (4, 3)


def test_unknown_artists_neither_ask_nor_answer():
    codes, artists = codes_at([0, 0, 3]), np.array(["", "", "A"])
    found = first_neighbours(hamming_ranking(codes, codes), ids(3), ids(3), artists, artists)
    np.testing.assert_allclose(found.agreement, [np.nan, np.nan, 0])
    assert found.figures()["share_of_matchable"] == 0


def test_first_neighbours_are_those_of_counting():
    rng = np.random.default_rng(0)
    codes, artists = (
        rng.integers(0, 4, (60, 1)).astype(np.uint8),
        rng.integers(0, 5, 60).astype(str),
    )
    found = first_neighbours(hamming_ranking(codes, codes), ids(60), ids(60), artists, artists)
    distances = hamming_distance(codes[:, None], codes)
    for q in range(60):
        others = [i for i in range(60) if i != q]
        least = min(distances[q, i] for i in others)
        nearest = [artists[i] == artists[q] for i in others if distances[q, i] == least]
        assert found.agreement[q] == pytest.approx(np.mean(nearest))


def test_votes_without_ties_are_those_of_scikit_learn():
    rng = np.random.default_rng(1)
    vectors, genres = rng.standard_normal((200, 6)), rng.integers(0, 2, 200)
    queries, query_genres = rng.standard_normal((50, 6)), rng.integers(0, 2, 50)
    right = vote_of_neighbours(
        cosine_ranking(queries, vectors),
        own_groups(ids(50, "q"), query_genres),
        own_groups(ids(200), genres),
        k=9,
    )
    oracle = KNeighborsClassifier(9, metric="cosine", algorithm="brute").fit(vectors, genres)
    np.testing.assert_array_equal(right, oracle.predict(queries) == query_genres)


def test_hand_worked_votes_of_tied_items():
    items = own_groups(ids(5), ["x", "y", "y", "y", "z"])
    ranking = hamming_ranking(codes_at([0, 0]), codes_at([0, 1, 1, 1, 1]))
    queries = own_groups(ids(2, "q"), ["x", "y"])
    # k = 2: x has one vote; the four tied items share the other, y has 3/4 of it.
    np.testing.assert_allclose(vote_of_neighbours(ranking, queries, items, k=2), [1, 0])
    # k = 3: y has 3/2 votes against one.
    np.testing.assert_allclose(vote_of_neighbours(ranking, queries, items, k=3), [0, 1])
    np.testing.assert_allclose(vote_of_neighbours(ranking, queries, items, k=99), [0, 1])


def test_a_tied_vote_is_a_shared_decision():
    items = own_groups(ids(4), ["x", "x", "y", "y"])
    ranking = hamming_ranking(codes_at([0]), codes_at([1, 1, 1, 1]))
    assert vote_of_neighbours(ranking, own_groups(ids(1, "q"), ["x"]), items, k=3)[0] == 0.5


def test_the_own_group_does_not_vote():
    items = JudgedTracks(ids(3), np.array(["g", "g", "h"]), np.array(["x", "x", "y"]))
    right = vote_of_neighbours(
        hamming_ranking(codes_at([0, 0, 0]), codes_at([0, 0, 0])), items, items
    )
    assert right.tolist() == [0, 0, 0]
    alone = JudgedTracks(ids(3), np.array(["g"] * 3), items.labels)
    ranking = hamming_ranking(codes_at([0, 0, 0]), codes_at([0, 0, 0]))
    assert np.isnan(vote_of_neighbours(ranking, alone, alone)).all()


def test_impossible_votes_are_refused():
    ranking, one = hamming_ranking(codes_at([0]), codes_at([0])), own_groups(ids(1), ["x"])
    with pytest.raises(ParameterError, match="k=0"):
        vote_of_neighbours(ranking, one, one, k=0)
    tags = JudgedTracks(ids(1), ids(1), np.ones((1, 2), bool))
    with pytest.raises(ParameterError, match="vote on genres"):
        vote_of_neighbours(ranking, tags, tags)
    with pytest.raises(ParameterError, match="one per row"):
        first_neighbours(ranking, ids(2), ids(1), ids(2), ids(1))
