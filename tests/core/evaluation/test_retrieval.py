"""Scores of whole databases against every order of the ties, scikit-learn and worked cases."""

from itertools import pairwise, permutations

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from musichash_core.codes import logits_to_codes, pack_bits
from musichash_core.errors import ParameterError
from musichash_core.evaluation import rankings
from musichash_core.evaluation.code_report import report_codes
from musichash_core.evaluation.rankings import (
    asymmetric_ranking,
    cosine_ranking,
    hamming_ranking,
)
from musichash_core.evaluation.relevance import JudgedTracks
from musichash_core.evaluation.retrieval import score_ranking
from musichash_core.evaluation.tie_groups import (
    average_precision_of_ties,
    discounted_gain_of_ties,
    gain_within,
    group_ties,
)
from musichash_core.metrics import average_precision, precision_at

EXACT = 1e-12  # the same fractions added in another order

tied_items = st.lists(
    st.tuples(st.integers(0, 3), st.booleans(), st.integers(0, 4), st.booleans()),
    min_size=1,
    max_size=7,
)


def tracks(labels, groups=None, prefix="t"):
    ids = np.array([f"{prefix}{n}" for n in range(len(labels))])
    return JudgedTracks(ids, ids if groups is None else np.array(groups), np.array(labels))


def orders_of(distances):
    return [
        order
        for order in permutations(range(len(distances)))
        if all(distances[a] <= distances[b] for a, b in pairwise(order))
    ]


def plain_average_precision(hits, k):
    found = [sum(hits[: rank + 1]) / (rank + 1) for rank in range(min(k, len(hits))) if hits[rank]]
    return sum(found) / min(sum(hits), k) if sum(hits) else np.nan


def plain_discounted_gain(gains):
    return sum(gain / np.log2(rank + 2) for rank, gain in enumerate(gains))


def bits_at(distance, n_bits=8):
    """Give a code at a distance from the code of zeros."""
    return np.arange(n_bits) < distance


def codes_at(distances):
    return pack_bits(np.array([bits_at(distance) for distance in distances]))


@settings(max_examples=40, deadline=None)
@given(tied_items, st.integers(1, 8), st.sampled_from([4, None]))
def test_scores_of_groups_are_means_over_all_orders_of_ties(items, k, n_levels):
    distance, relevant, gain, excluded = (np.array(c) for c in zip(*items, strict=True))
    kept = np.flatnonzero(~excluded)
    orders = [kept[list(order)] for order in orders_of(distance[kept])]
    row = distance[None].astype(float), excluded[None]

    groups = group_ties(row[0], relevant[None], row[1], n_levels=n_levels)
    for cut, score in (
        (k, average_precision_of_ties(groups, k=k)),
        (7, average_precision_of_ties(groups)),
    ):
        expected = np.mean([plain_average_precision(relevant[order], cut) for order in orders])
        assert score[0] == pytest.approx(expected, abs=EXACT, nan_ok=True)
    expected = np.mean([relevant[order][:k].sum() for order in orders])
    assert gain_within(groups, k)[0] == pytest.approx(expected, abs=EXACT)

    graded = group_ties(row[0], gain[None] / 4, row[1], n_levels=n_levels)
    expected = np.mean([plain_discounted_gain(gain[order] / 4) for order in orders])
    assert discounted_gain_of_ties(graded)[0] == pytest.approx(expected, abs=EXACT)


@pytest.mark.parametrize("n_bits", [8, 64])
def test_many_queries_score_as_one_by_one(n_bits):
    rng = np.random.default_rng(n_bits)
    queries = tracks(rng.integers(0, 3, 40), rng.integers(0, 30, 40), "q")
    items = tracks(rng.integers(0, 3, 700), rng.integers(0, 30, 700), "d")
    query_logits, item_logits = (
        rng.standard_normal((40, n_bits)),
        rng.standard_normal((700, n_bits)),
    )
    codes = logits_to_codes(query_logits), logits_to_codes(item_logits)
    bits = query_logits >= 0, item_logits >= 0
    own = queries.groups[:, None] == items.groups
    same = queries.labels[:, None] == items.labels

    for ranking, distances in (
        (hamming_ranking(*codes), (bits[0][:, None] != bits[1]).sum(axis=2)),
        (
            asymmetric_ranking(query_logits, codes[1]),
            -np.rint(np.tanh(query_logits) * 2**15) @ np.where(bits[1], 1, -1).T,
        ),
        (
            cosine_ranking(query_logits, item_logits),
            sklearn.metrics.pairwise.cosine_distances(query_logits, item_logits),
        ),
    ):
        scores = score_ranking(ranking, queries, items)
        for q in range(40):
            near, hit = distances[q, ~own[q]], same[q, ~own[q]]
            assert scores.n_ranked[q] == len(near)
            assert scores.n_relevant[q] == hit.sum()
            assert scores.average_precision[q] == pytest.approx(
                average_precision(near, hit), abs=EXACT
            )
            assert scores.average_precision_at_100[q] == pytest.approx(
                average_precision(near, hit, k=100), abs=EXACT
            )
            for k, score in zip(scores.ranks, scores.precision_at[q], strict=True):
                assert score == pytest.approx(precision_at(near, hit, k), abs=EXACT)


def test_real_valued_distances_are_exact_whole_numbers():
    rng = np.random.default_rng(5)
    ranking = cosine_ranking(rng.standard_normal((3, 700)), rng.standard_normal((9, 700)) * 1e200)
    queries, items = ranking.query_vectors.astype(np.int64), ranking.item_vectors.astype(np.int64)
    np.testing.assert_array_equal(ranking.query_vectors, queries)
    np.testing.assert_array_equal(ranking.distances(slice(None)), -(queries @ items.T))
    assert np.abs(queries @ queries.T).max() < 2**51


def test_scores_without_ties_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    query, vectors = rng.standard_normal((1, 20)), rng.standard_normal((300, 20))
    has_tag = rng.random((300, 4)) < 0.3
    has_tag[:, 0] |= ~has_tag.any(axis=1)
    asked = np.array([[True, True, False, False]])
    scores = score_ranking(
        cosine_ranking(query, vectors), tracks(asked, prefix="q"), tracks(has_tag)
    )
    similarity = sklearn.metrics.pairwise.cosine_similarity(query, vectors)
    relevant = (has_tag & asked).any(axis=1)
    assert scores.average_precision[0] == pytest.approx(
        sklearn.metrics.average_precision_score(relevant, similarity[0]), abs=EXACT
    )
    overlap = [sklearn.metrics.jaccard_score(asked[0], row) for row in has_tag]
    assert scores.ndcg[0] == pytest.approx(
        sklearn.metrics.ndcg_score([overlap], similarity), abs=EXACT
    )


def test_tied_ndcg_is_that_of_scikit_learn():
    rng = np.random.default_rng(1)
    distances, has_tag = rng.integers(0, 9, 200), rng.random((200, 5)) < 0.4
    asked = np.ones((1, 5), dtype=bool)
    scores = score_ranking(
        hamming_ranking(codes_at([0]), codes_at(distances)),
        tracks(asked, prefix="q"),
        tracks(has_tag),
    )
    expected = sklearn.metrics.ndcg_score([has_tag.mean(axis=1)], [-distances])  # averages ties
    assert scores.ndcg[0] == pytest.approx(expected, abs=EXACT)


@pytest.mark.parametrize(("n_items", "n_relevant"), [(1, 1), (10, 3), (2_000, 250)])
def test_a_constant_code_scores_the_closed_form_of_one_tie(n_items, n_relevant):
    labels = np.arange(n_items) < n_relevant
    one_code = np.zeros((n_items, 8), dtype=np.uint8)
    scores = score_ranking(
        hamming_ranking(one_code[:1], one_code), tracks([True], prefix="q"), tracks(labels)
    )
    slope = (n_relevant - 1) / max(1, n_items - 1)
    expected = sum((1 + j * slope) / (j + 1) for j in range(n_items)) / n_items
    assert scores.average_precision[0] == pytest.approx(expected, abs=EXACT)
    assert scores.precision_at[0, 0] == pytest.approx(min(10, n_items) * n_relevant / n_items / 10)
    np.testing.assert_allclose(scores.radius.precision[0], n_relevant / n_items)


@pytest.mark.parametrize("has_tags", [False, True])
def test_permuting_the_database_changes_no_figure(has_tags):
    rng = np.random.default_rng(2)
    labels = rng.random((300, 6)) < 0.3 if has_tags else rng.integers(0, 4, 300)
    all_tracks = tracks(labels, rng.integers(0, 50, 300))
    # 12 distinct rows: every distance ties, the real-valued ones too.
    logits = rng.standard_normal((12, 16))[rng.integers(0, 12, 300)]
    order = rng.permutation(300)
    permuted = JudgedTracks(
        all_tracks.track_ids[order], all_tracks.groups[order], all_tracks.labels[order]
    )
    report = report_codes(logits, logits, all_tracks, all_tracks).figures()
    other = report_codes(logits, logits[order], all_tracks, permuted).figures()
    assert report == pytest.approx(other, abs=EXACT)
    real = score_ranking(cosine_ranking(logits, logits), all_tracks, all_tracks)
    other = score_ranking(cosine_ranking(logits, logits[order]), all_tracks, permuted)
    assert real.figures() == pytest.approx(other.figures(), abs=EXACT)


def test_blocks_of_queries_change_nothing(monkeypatch):
    rng = np.random.default_rng(3)
    logits, all_tracks = rng.standard_normal((50, 24)), tracks(rng.integers(0, 3, 50))
    whole = report_codes(logits, logits, all_tracks, all_tracks).figures()
    monkeypatch.setattr(rankings, "BLOCK_BYTES", 8 * 50 * 7)
    assert report_codes(logits, logits, all_tracks, all_tracks).figures() == whole


def test_hand_worked_radii_count_empty_balls_as_zero():
    queries = JudgedTracks(np.array(["a", "b"]), np.array(["a", "b"]), np.array(["x", "y"]))
    items = tracks(["x", "z", "x", "y"])
    # The items have their lowest 1, 2, 5 and 0 bits set; query a none, at distances 1, 2, 5, 0;
    # query b bits 3 to 7: distances 6, 7, 6 (bits 3 and 4 agree: 3 + 3) and 5.
    codes = np.stack([codes_at([0])[0], ~codes_at([3])[0]])
    scores = score_ranking(hamming_ranking(codes, codes_at([1, 2, 5, 0])), queries, items)
    np.testing.assert_allclose(scores.radius.precision[0, :6], [0, 0.5, 1 / 3, 1 / 3, 1 / 3, 0.5])
    np.testing.assert_allclose(scores.radius.recall[0, :6], [0, 0.5, 0.5, 0.5, 0.5, 1])
    assert scores.radius.is_empty[0].sum() == 0  # its neighbour of genre y has the same code
    np.testing.assert_allclose(scores.radius.precision[1], [0, 0, 0, 0, 0, 1, 1 / 3, 1 / 4, 1 / 4])
    assert scores.radius.is_empty[1].tolist() == [1, 1, 1, 1, 1, 0, 0, 0, 0]
    figures = scores.figures()
    assert figures["radius_2_precision"] == pytest.approx((1 / 3 + 0) / 2)
    assert figures["radius_2_recall"] == pytest.approx((0.5 + 0) / 2)
    assert figures["radius_2_empty_share"] == 0.5
    assert "precision_at_10" not in figures  # only four items


def test_own_track_and_own_group_are_not_found():
    labels = np.array(["x"] * 4 + ["y"])
    items = JudgedTracks(np.array(list("abcde")), np.array(["g", "g", "h", "i", "i"]), labels)
    queries = JudgedTracks(np.array(["a", "c"]), np.array(["g", "other"]), labels[:2])
    scores = score_ranking(hamming_ranking(codes_at([0, 0]), codes_at([0] * 5)), queries, items)
    assert scores.n_ranked.tolist() == [3, 4]  # without g's two; without track c
    assert scores.n_relevant.tolist() == [2, 3]
    assert scores.figures()["chance"] == pytest.approx((2 / 3 + 3 / 4) / 2)


def test_queries_with_nothing_to_find_count_nowhere():
    queries, items = tracks(["x", "rare"], prefix="q"), tracks(["x", "y"])
    scores = score_ranking(hamming_ranking(codes_at([0, 0]), codes_at([0, 1])), queries, items)
    assert scores.is_answerable.tolist() == [True, False]
    assert np.isnan(scores.average_precision).tolist() == [False, True]
    assert np.isnan(scores.precision_at[1]).all()
    assert np.isnan(scores.radius.precision[1]).all()
    figures = scores.figures()
    assert (figures["n_queries"], figures["n_answered"], figures["map"]) == (2, 1, 1)


def test_recall_at_many_ranks_is_a_curve_that_ends_at_one():
    rng = np.random.default_rng(4)
    vectors, all_tracks = rng.standard_normal((30, 5)), tracks(rng.integers(0, 2, 30))
    ranking = cosine_ranking(vectors, vectors)
    recall = score_ranking(ranking, all_tracks, all_tracks, ranks=(1, 5, 10, 29)).recall_at()
    assert (np.diff(recall, axis=1) >= 0).all()
    np.testing.assert_allclose(recall[:, -1], 1)


def test_the_report_of_a_perfect_code():
    labels = np.repeat(np.arange(4), 10)
    signs = np.where(bits_of_genre(labels), 1.0, -1.0)
    all_tracks = tracks(labels)
    figures = report_codes(signs, signs, all_tracks, all_tracks).figures()
    for name in ("map", "asymmetric_map", "radius_2_precision", "radius_2_recall", "knn_accuracy"):
        assert figures[name] == pytest.approx(1.0), name
    assert figures["chance"] == pytest.approx(9 / 39)
    assert figures["n_distinct_codes"] == 4
    assert figures["largest_bucket_share"] == 0.25
    assert figures["mean_bit_bias"] == 0.25
    assert figures["n_bits"] == 16


def bits_of_genre(labels):
    """Give each of four genres its own four bits of sixteen."""
    return np.arange(16) // 4 == labels[:, None]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": ["x", "y", "z"]}, "one per row"),
        ({"labels": ["z", "z"]}, "second group of some genre"),
        ({"ranks": (10, 0)}, "ranks="),
        ({"labels": np.ones((2, 3), bool)}, "cannot be compared"),
    ],
)
def test_impossible_comparisons_are_refused(change, message):
    items = tracks(change.get("labels", ["x", "y"]), prefix="d")
    with pytest.raises(ParameterError, match=message):
        score_ranking(
            hamming_ranking(codes_at([0, 0]), codes_at([0, 1])),
            tracks(["x", "y"], prefix="q"),
            items,
            ranks=change.get("ranks", (1,)),
        )


def test_damaged_vectors_and_labels_are_refused():
    broken = np.array([[np.nan] * 8])
    with pytest.raises(ParameterError, match="NaN"):
        cosine_ranking(broken, broken)
    with pytest.raises(ParameterError, match="NaN"):
        report_codes(broken, broken, tracks(["x"]), tracks(["x"]))
    with pytest.raises(ParameterError, match="same width"):
        hamming_ranking(np.zeros((1, 1), np.uint8), np.zeros((1, 2), np.uint8))
    with pytest.raises(ParameterError, match="want bool"):
        tracks(np.ones((2, 2)))
    with pytest.raises(ParameterError, match="want \\(n,\\) both"):
        JudgedTracks(np.array(["a"]), np.array(["g", "h"]), np.array(["x"]))
