"""Group-disjoint splits: nobody on both sides, every genre trained on, order does not matter."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musichash_core.errors import ParameterError, TrainingError
from musichash_core.splits import split_by_group

labelled = st.lists(
    st.tuples(st.sampled_from("abcd"), st.sampled_from([f"g{n}" for n in range(9)])),
    min_size=2,
    max_size=60,
).filter(lambda rows: len({genre for genre, _ in rows}) > 1)


def split_of(rows, **options):
    genres, groups = zip(*rows, strict=True)
    return split_by_group(genres, groups, **options)


@settings(max_examples=150, deadline=None)
@given(labelled, st.integers(0, 5), st.sampled_from([0.0, 0.1, 0.2, 0.5]))
def test_no_group_is_on_both_sides_and_every_genre_keeps_half(rows, seed, share):
    split = split_of(rows, validation_share=share, seed=seed)
    assert sorted([*split.train, *split.validation]) == list(range(len(rows)))
    assert not {rows[i][1] for i in split.train} & {rows[i][1] for i in split.validation}
    total = Counter(genre for genre, _ in rows)
    kept = Counter(rows[i][0] for i in split.train)
    assert all(kept[genre] >= total[genre] / 2 for genre in total)


@settings(max_examples=60, deadline=None)
@given(labelled, st.randoms(use_true_random=False))
def test_the_order_of_the_tracks_changes_nothing(rows, random):
    shuffled = list(enumerate(rows))
    random.shuffle(shuffled)
    one = split_of(rows, seed=1)
    other = split_of([row for _, row in shuffled], seed=1)
    assert {shuffled[i][0] for i in other.validation} == set(one.validation.tolist())


def test_even_groups_give_the_share_that_was_asked_for():
    rows = [(genre, f"{genre}{group}") for genre in "abc" for group in range(10) for _ in range(4)]
    split = split_of(rows, validation_share=0.2, seed=0)
    assert Counter(rows[i][0] for i in split.validation) == {"a": 8, "b": 8, "c": 8}


def test_seeds_give_different_splits_and_the_same_one_again():
    rows = [(genre, f"{genre}{group}") for genre in "ab" for group in range(20)]
    splits = [tuple(split_of(rows, seed=seed).validation) for seed in (0, 1, 2, 0)]
    assert len(set(splits)) == 3
    assert splits[0] == splits[3]


def test_a_genre_of_one_group_is_trained_on_whole():
    rows = [("a", "only")] * 5 + [("b", f"g{n}") for n in range(10)]
    split = split_of(rows)
    assert set(range(5)) <= set(split.train.tolist())
    assert len(split.validation) == 2


def test_a_large_group_does_not_take_a_genre_away():
    rows = [("a", "large")] * 8 + [("a", "small")] * 2 + [("b", "x"), ("b", "y")]
    for seed in range(8):
        validation = split_of(rows, seed=seed).validation
        assert {rows[i][1] for i in validation} <= {"small", "x", "y"}


def test_a_group_of_two_genres_moves_as_a_whole():
    rows = [("a", "both"), ("b", "both")] + [(genre, f"{genre}{n}") for genre in "ab" for n in "12"]
    sides = set()
    for seed in range(20):
        split = split_of(rows, seed=seed, validation_share=0.3)
        sides.add(tuple(np.isin([0, 1], split.validation)))
    assert sides == {(True, True), (False, False)}


def test_no_share_means_no_validation():
    assert len(split_of([("a", "x"), ("b", "y"), ("b", "z")], validation_share=0.0).validation) == 0


def test_one_genre_is_refused():
    with pytest.raises(TrainingError, match=r"1 genre\(s\) \['rock'\]"):
        split_by_group(["rock", "rock"], ["x", "y"])


@pytest.mark.parametrize(
    ("groups", "share", "message"),
    [(["x"], 0.2, "2 genres but 1 groups"), (["x", "y"], 0.9, "validation_share=0.9")],
)
def test_impossible_arguments_are_refused(groups, share, message):
    with pytest.raises(ParameterError, match=message):
        split_by_group(["a", "b"], groups, validation_share=share)
