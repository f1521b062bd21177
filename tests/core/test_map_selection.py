"""Selection rules on similarity matrices whose answer is known."""

from itertools import combinations

import numpy as np
import pytest
import torch

from musichash_core.errors import ParameterError
from musichash_core.map_selection import (
    MapStatistics,
    map_statistics,
    merge_statistics,
    select_diverse,
    select_maps,
    select_representative,
)

RULES = ("rep", "cons", "div", "var", "rand")


def clusters(*sizes: int, within: float = 0.9) -> np.ndarray:
    """Similarity of maps that are alike inside clusters and unlike between them."""
    cluster = np.repeat(np.arange(len(sizes)), sizes)
    similarity = np.where(cluster[:, None] == cluster, within, 0.0)
    np.fill_diagonal(similarity, 1.0)
    return similarity


def random_statistics(n_maps: int, seed: int = 0) -> MapStatistics:
    maps = torch.from_numpy(np.random.default_rng(seed).random((7, n_maps, 20), dtype=np.float32))
    return map_statistics(maps)


def test_similarity_is_the_mean_of_positive_correlations():
    maps = np.random.default_rng(0).standard_normal((5, 4, 30)).astype(np.float32)
    expected = np.mean([np.maximum(np.corrcoef(segment), 0) for segment in maps], axis=0)
    statistics = map_statistics(torch.from_numpy(maps))
    np.testing.assert_allclose(statistics.similarity, expected, atol=1e-6)
    np.testing.assert_allclose(statistics.variances, maps.var(axis=2).mean(axis=0), rtol=1e-5)


def test_a_constant_map_is_similar_to_nothing():
    maps = torch.rand(3, 4, 10)
    maps[:, 2] = 5.0
    similarity = map_statistics(maps).similarity
    assert (similarity[2] == 0).all()
    assert (similarity[:, 2] == 0).all()


def test_statistics_of_batches_merge_to_those_of_the_whole():
    maps = torch.from_numpy(np.random.default_rng(1).random((9, 5, 12), dtype=np.float32))
    merged = merge_statistics([map_statistics(maps[:2]), map_statistics(maps[2:])])
    whole = map_statistics(maps)
    np.testing.assert_allclose(merged.similarity, whole.similarity, atol=1e-12)
    np.testing.assert_allclose(merged.variances, whole.variances, atol=1e-12)
    assert merged.n_segments == 9


def test_representatives_come_from_every_cluster_largest_first():
    assert select_representative(clusters(2, 5, 3), 3).tolist() == [2, 7, 0]


def test_representative_selection_is_near_the_best_of_all_sets():
    for seed in range(5):
        similarity = random_statistics(8, seed).similarity

        def value(chosen, similarity=similarity):
            return similarity[:, list(chosen)].max(axis=1).sum()

        best = max(value(chosen) for chosen in combinations(range(8), 3))
        assert value(select_representative(similarity, 3)) >= (1 - 1 / np.e) * best


def test_diverse_maps_come_from_different_clusters():
    chosen = select_diverse(clusters(4, 4, 4), 3)
    assert sorted(chosen // 4) == [0, 1, 2]


def test_consistent_maps_come_from_the_largest_cluster():
    statistics = MapStatistics(clusters(2, 5, 3), np.ones(10), 1)
    assert select_maps(statistics, 5, rule="cons").tolist() == [2, 3, 4, 5, 6]


def test_the_variance_rule_takes_the_largest_variances():
    statistics = MapStatistics(np.eye(4), np.array([1.0, 3.0, 2.0, 3.0]), 1)
    assert select_maps(statistics, 3, rule="var").tolist() == [1, 3, 2]


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_gives_different_maps_and_the_same_ones_again(rule):
    statistics = random_statistics(12)
    for n_maps in (1, 5, 12):
        chosen = select_maps(statistics, n_maps, rule=rule, seed=3)
        assert chosen.dtype == np.int64
        assert len(set(chosen.tolist())) == n_maps
        np.testing.assert_array_equal(select_maps(statistics, n_maps, rule=rule, seed=3), chosen)


def test_the_random_rule_follows_its_seed():
    statistics = random_statistics(30)
    draws = {tuple(select_maps(statistics, 10, rule="rand", seed=seed)) for seed in range(4)}
    assert len(draws) == 4


def test_all_maps_dead_still_gives_different_maps():
    statistics = map_statistics(torch.zeros(2, 6, 9))
    assert sorted(select_maps(statistics, 6).tolist()) == list(range(6))


def test_more_maps_than_there_are_is_refused():
    with pytest.raises(ParameterError, match="n_maps=13: the block has 12"):
        select_maps(random_statistics(12), 13)


def test_no_segments_are_refused():
    with pytest.raises(ParameterError, match="no map statistics"):
        merge_statistics([])
    with pytest.raises(ParameterError, match="segments, maps, points"):
        map_statistics(torch.zeros(0, 3, 4))
