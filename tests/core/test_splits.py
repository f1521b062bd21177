"""Group-disjoint splits: nobody on both sides, every genre trained on, order does not matter."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musichash_core.errors import ParameterError, TrainingError
from musichash_core.splits import (
    LEFT_OUT,
    SIDES,
    DividedTracks,
    divide_as_published,
    divide_by_group,
    split_by_group,
)

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


def divide(rows, **options):
    genres, groups = zip(*rows, strict=True)
    return divide_by_group(genres, groups, **options).sides


def groups_by_side(rows, sides):
    found = {}
    for (_, group), side in zip(rows, sides, strict=True):
        found.setdefault(side, set()).add(group)
    return found


@settings(max_examples=150, deadline=None)
@given(labelled, st.integers(0, 5))
def test_no_group_is_on_two_sides(rows, seed):
    sides = divide(rows, seed=seed)
    assert len(sides) == len(rows)
    assert set(sides) <= {"train", "val", "db", "query"}
    of_group = {}
    for (_, group), side in zip(rows, sides, strict=True):
        of_group.setdefault(group, set()).add(side)
    assert all(len(found) == 1 for found in of_group.values())


@settings(max_examples=100, deadline=None)
@given(labelled, st.integers(0, 5), st.sampled_from("abcd"))
def test_an_unseen_genre_and_its_artists_are_never_trained_on(rows, seed, unseen):
    kept = {genre for genre, _ in rows} - {unseen}
    if len(kept) < 2 or unseen not in {genre for genre, _ in rows}:
        return
    sides = divide(rows, seed=seed, unseen_genres=[unseen])
    artists = {group for genre, group in rows if genre == unseen}
    for (genre, group), side in zip(rows, sides, strict=True):
        if genre == unseen:
            assert side in {"unseen_db", "unseen_query"}
        else:
            assert (side == LEFT_OUT) == (group in artists)
            assert not side.startswith("unseen")


@settings(max_examples=60, deadline=None)
@given(labelled, st.randoms(use_true_random=False))
def test_the_order_of_the_tracks_changes_no_side(rows, random):
    order = list(range(len(rows)))
    random.shuffle(order)
    one, other = divide(rows, seed=2), divide([rows[i] for i in order], seed=2)
    assert [one[i] for i in order] == list(other)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=2, max_size=5), st.integers(0, 3))
def test_every_genre_gives_each_side_its_share_of_groups(group_counts, seed):
    rows = [(f"{g}", f"{g}-{n}") for g, count in enumerate(group_counts) for n in range(count)]
    sides = divide(rows, seed=seed)
    for genre, count in enumerate(group_counts):
        dealt = Counter(side for (g, _), side in zip(rows, sides, strict=True) if g == str(genre))
        for side, share in {"train": 0.5, "val": 0.1, "db": 0.3, "query": 0.1}.items():
            # One more than the share where a side would have got none.
            assert abs(dealt[side] - share * count) < 1.5
            assert dealt[side] >= (count >= 4)
        if count < 4:
            assert set(dealt) == {"train", "db", "query"} - set(("query", "db")[: 3 - count])


def test_ten_groups_are_dealt_five_one_three_one():
    rows = [(genre, f"{genre}{n}") for genre in "ab" for n in range(10) for _ in range(n + 1)]
    found = groups_by_side(rows, divide(rows))
    counts = {side: Counter(name[0] for name in names) for side, names in found.items()}
    for side, count in {"train": 5, "val": 1, "db": 3, "query": 1}.items():
        assert counts[side] == {"a": count, "b": count}


def test_seeds_divide_differently_and_the_same_one_again():
    rows = [(genre, f"{genre}{n}") for genre in "ab" for n in range(20)]
    divisions = [divide(rows, seed=seed) for seed in (0, 1, 0)]
    assert divisions[0] == divisions[2]
    assert divisions[0] != divisions[1]


def test_a_group_counts_as_one_of_its_main_genre():
    rows = [("a", "both")] * 3 + [("b", "both")] + [("b", "alone"), ("c", "one")]
    # A genre's only group is trained on: "both" is a's, so b has "alone".
    assert set(divide(rows)) == {"train"}


def test_published_sides_are_kept_and_tests_divided_by_group():
    published = ["Train", "valid", "", *["test"] * 8]
    groups = ["t", "v", "x", *(f"g{n // 2}" for n in range(8))]
    divided = divide_as_published(published, ["a"] * 11, groups, seed=0)
    assert divided.sides[:3] == ("train", "val", LEFT_OUT)
    tested = groups_by_side(list(zip("a" * 8, groups[3:], strict=True)), divided.sides[3:])
    assert {side: len(names) for side, names in tested.items()} == {"db": 3, "query": 1}
    np.testing.assert_array_equal(divided.positions("train", "val"), [0, 1])
    assert set(divided.positions(*SIDES)) == set(range(11))


def test_impossible_divisions_are_refused():
    with pytest.raises(ParameterError, match="2 genres but 1 groups"):
        divide_by_group(["a", "b"], ["x"])
    with pytest.raises(ParameterError, match=r"\['c'\] have no tracks"):
        divide_by_group(["a", "b"], ["x", "y"], unseen_genres=["c"])
    with pytest.raises(TrainingError, match=r"\['a'\] are left to train on"):
        divide_by_group(["a", "b"], ["x", "y"], unseen_genres=["b"])
    with pytest.raises(ParameterError, match=r"\['fold1'\]"):
        divide_as_published(["fold1"], ["a"], ["x"])
    with pytest.raises(ParameterError, match="give one of each"):
        divide_as_published(["train"], ["a", "b"], ["x", "y"])
    with pytest.raises(ParameterError, match="test"):
        DividedTracks(("train",)).positions("test")
