"""Filters: exactly the tracks that pass, found as by looking at all of them."""

import json
import math
import tracemalloc

import numpy as np
import pytest

from musichash_core.errors import ParameterError
from storage.collections import Collection, register_collection
from storage.store import open_store
from tasks.search import Filters, Reach, UnknownFilterError, open_catalogue
from tasks.search_filters import filters_of

N = 240
GENRES = ("jazz", "rock", "folk")


@pytest.fixture
def varied(store, made_up):
    """Tracks of three genres, some labelled and some dated, below two folders."""
    rng = np.random.default_rng(3)
    rows = {
        "genre": [GENRES[at % 3] for at in range(N)],
        "label": [("Bebop", None, "bebop", "waltz")[at % 4] for at in range(N)],
        "duration_s": [10.0 * (at % 50) + 0.5 for at in range(N)],
        "tag_year": [None if at % 5 == 0 else 1950 + at % 60 for at in range(N)],
        "root": ["/music/one" if at % 2 else "/music/one-more" for at in range(N)],
    }
    logits = rng.standard_normal((N, 32)).astype(np.float32)
    made_up.publish_made_up(store, logits, **{name: list(column) for name, column in rows.items()})
    ids = made_up.track_ids(range(N))
    facts = [dict(zip(rows, values, strict=True)) for values in zip(*rows.values(), strict=True)]
    return store, ids, facts, np.packbits(logits >= 0, axis=1, bitorder="little")


CASES = {
    "genre": (Filters(genres=("Jazz",)), lambda one: one["genre"] == "jazz"),
    "genres": (Filters(genres=("jazz", "folk")), lambda one: one["genre"] != "rock"),
    "label": (
        Filters(labels=("BEBOP",)),
        lambda one: one["label"] is not None and one["label"].lower() == "bebop",
    ),
    "folder": (Filters(collections=("/music/one",)), lambda one: one["root"] == "/music/one"),
    "duration": (Filters(duration_s=(60.5, 300.5)), lambda one: 60.5 <= one["duration_s"] <= 300.5),
    "at least": (Filters(duration_s=(480.5, math.inf)), lambda one: one["duration_s"] >= 480.5),
    "years": (
        Filters(years=(1990, 1999)),
        lambda one: one["tag_year"] is not None and 1990 <= one["tag_year"] <= 1999,
    ),
    "up to a year": (
        Filters(years=(0, 1955)),
        lambda one: one["tag_year"] is not None and one["tag_year"] <= 1955,
    ),
    "all of it": (
        Filters(("jazz",), ("waltz",), ("/music/one",), (0.0, 400.0), (1960, 2000)),
        lambda one: (
            (one["genre"], one["label"], one["root"]) == ("jazz", "waltz", "/music/one")
            and one["duration_s"] <= 400
            and one["tag_year"] is not None
            and 1960 <= one["tag_year"] <= 2000
        ),
    ),
    "nothing": (Filters(years=(2500, 2600)), lambda one: False),
}


@pytest.mark.parametrize("case", CASES)
def test_the_nearest_of_those_that_pass_are_found(varied, case):
    store, ids, facts, codes = varied
    filters, passes = CASES[case]
    distances = np.bitwise_count(codes ^ codes[7]).sum(axis=1)
    passing = [row for row in range(N) if passes(facts[row])]
    expected = sorted(passing, key=lambda row: (distances[row], row))
    assert expected or case == "nothing"
    with open_catalogue(store) as catalogue:
        for k in (3, N):
            answer = catalogue.search_code(codes[7].tobytes().hex(), Reach(k), filters)
            assert [match.track_id for match in answer.matches] == [
                ids[row] for row in expected[:k]
            ]
            assert answer.n_selected == len(passing)
        inside = catalogue.search_code(codes[7].tobytes().hex(), Reach(N, 12), filters)
    assert [match.track_id for match in inside.matches] == [
        ids[row] for row in expected if distances[row] <= 12
    ]


def test_a_registered_collection_is_named(varied):
    store, ids, facts, _ = varied
    register_collection(open_store(store), Collection("mine", "/music/one"))
    with open_catalogue(store) as catalogue:
        answer = catalogue.search_track(ids[0], Reach(N), Filters(collections=("mine",)))
    assert answer.n_selected == sum(one["root"] == "/music/one" for one in facts)
    assert {match.path[:11] for match in answer.matches} == {"/music/one/"}


@pytest.mark.parametrize(
    ("filters", "sentence"),
    [
        (Filters(genres=("jaz",)), "no published track has the genre 'jaz'; the nearest: 'jazz'"),
        (Filters(genres=("x",)), "the genre 'x'; there are 'folk', 'jazz', 'rock'"),
        (Filters(labels=("walz",)), "has the label 'walz'; the nearest: 'waltz'"),
        (
            Filters(collections=("zzz",)),
            "no collection 'zzz', .* there are '/music/one', '/music/one-more'",
        ),
        (Filters(collections=("/music/on",)), "the nearest: '/music/one'"),
    ],
)
def test_what_no_track_has_is_refused_and_the_nearest_named(varied, filters, sentence):
    store, ids, _, _ = varied
    with (
        open_catalogue(store) as catalogue,
        pytest.raises(UnknownFilterError, match=sentence) as raised,
    ):
        catalogue.search_track(ids[0], filters=filters)
    assert raised.value.is_wrong_input


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("60-300", (60, 300)),
        ("1:00-5:00", (60, 300)),
        ("2:30-", (150, math.inf)),
        ("-90.5", (0, 90.5)),
        (" 60 - 61 ", (60, 61)),
        ("60", (60, 60)),
    ],
)
def test_durations_are_read(text, span):
    assert filters_of(duration=text) == Filters(duration_s=span)


@pytest.mark.parametrize("text", ["", "-", "long", "60-long", "5:60-", "300-60", "1-2-3", "nan-5"])
def test_other_durations_are_refused(text):
    with pytest.raises(ParameterError, match="--duration wants seconds"):
        filters_of(duration=text)


@pytest.mark.parametrize(
    ("text", "span"),
    [("1990-1999", (1990, 1999)), ("1995", (1995, 1995)), ("1990-", (1990, 9999))],
)
def test_years_are_read(text, span):
    assert filters_of(year=text) == Filters(years=span)


@pytest.mark.parametrize("text", ["90", "1990-80", "1999-1990", "19x0-", "-"])
def test_other_years_are_refused(text):
    with pytest.raises(ParameterError, match="--year wants years"):
        filters_of(year=text)


def test_a_service_may_give_lists_but_not_one_text():
    assert Filters(genres=["jazz", "folk"], years=[1990, 1999]) == Filters(
        genres=("jazz", "folk"), years=(1990, 1999)
    )
    with pytest.raises(
        ParameterError, match=r"genres='jazz' is one text; give several: \('jazz',\)"
    ):
        Filters(genres="jazz")


def test_open_ends_are_plain_json():
    text = json.dumps(filters_of(duration="60-", year="1990-1999").as_dict(), allow_nan=False)
    assert json.loads(text) == {"duration_s": [60.0, None], "years": [1990, 1999]}


def test_folders_that_are_asked_for_are_not_remembered_for_ever(varied):
    store, ids, *_ = varied
    with open_catalogue(store) as catalogue:

        def ask(first, last):
            for number in range(first, last):
                filters = Filters(collections=(f"/music/{number}",))
                with pytest.raises(UnknownFilterError):
                    catalogue.nearest_to_tracks(ids[:1], Reach(1), filters)

        ask(0, 200)
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            ask(200, 700)
            after = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
    assert after - before < 500 * N / 2, "a byte for each track and folder"


def test_nothing_to_filter_by_filters_nothing():
    assert not filters_of()
    assert filters_of().as_dict() == {}
