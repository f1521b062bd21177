"""The command ``search``: its questions, its answers for people and for programs."""

import json
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storage.store import create_store

N = 40
N_BITS = 32


@pytest.fixture
def catalogue(tmp_path, made_up):
    """Forty tracks, half of them jazz."""
    store = str(tmp_path / "store")
    create_store(store)
    rng = np.random.default_rng(6)
    made_up.publish_made_up(
        store,
        rng.standard_normal((N, N_BITS)),
        genre=["jazz" if at % 2 else "rock" for at in range(N)],
        duration_s=[float(60 + at) for at in range(N)],
        tag_year=[1980 + at for at in range(N)],
        tag_artist=["=cmd\x1b[2J"] * N,
    )
    return store, made_up.track_ids(range(N))


def refused(spoken):
    """The one sentence of a question that was asked wrongly."""
    assert spoken.code == 2, spoken.err
    assert spoken.out == ""
    assert re.fullmatch(r"error: [^\n]+\n", spoken.err)
    return spoken.err


def test_filters_and_radius_narrow_the_answer(musichash, catalogue):
    store, ids = catalogue
    spoken = musichash(
        *("search", "--store", store, "--track", ids[3], "-k", "40", "--radius", "20"),
        *("--genre", "JAZZ", "--duration", "1:05-1:35", "--year", "1985-", "--json"),
    )
    answer = json.loads(spoken.out)
    assert answer["n_selected"] == 16
    assert answer["matches"]
    for match in answer["matches"]:
        assert match["genre"] == "jazz"
        assert 65 <= match["duration_s"] <= 95
        assert match["distance"] <= 20
    assert answer["filters"]["years"] == [1985, 9999]


def test_a_table_says_how_many_tracks_pass(musichash, catalogue):
    store, ids = catalogue
    spoken = musichash("search", "--store", store, "--track", ids[3], "--genre", "jazz")
    assert "20 of 40 tracks that pass the filters (32 bits)\n" in spoken.out
    assert spoken.out.count("jazz") == 10


def test_an_answer_without_a_track_has_no_empty_table(musichash, catalogue):
    store, ids = catalogue
    spoken = musichash("search", "--store", store, "--track", ids[3], "--duration", "9000-")
    title, rest = spoken.out.splitlines()
    assert title.endswith("among 0 of 40 tracks that pass the filters (32 bits)")
    assert (rest, spoken.code) == ("no track is left to show", 0)


def test_reasons_are_told_and_nothing_acts_on_the_terminal(musichash, catalogue):
    store, ids = catalogue
    spoken = musichash("search", "--store", store, "--track", ids[3], "-k", "2", "--explain")
    assert spoken.code == 0
    assert spoken.out.count("bits: ") == spoken.out.count("genres: ") == 2
    assert "shared: " in spoken.out
    assert "artist =cmd\\x1b[2J" in spoken.out
    assert "s longer" in spoken.out or "s shorter" in spoken.out
    as_json = musichash(
        *("search", "--store", store, "--track", ids[3], "-k", "2", "--explain", "--json")
    )
    answer = json.loads(as_json.out)
    assert answer["about"]["track_id"] == ids[3]
    assert all(
        len(match["why"]["bits_differing"]) == match["distance"] for match in answer["matches"]
    )


def test_a_code_is_searched_for(musichash, catalogue):
    store, _ = catalogue
    spoken = musichash("search", "--store", store, "--code", "00ff00ff", "-k", "3", "--json")
    assert len(json.loads(spoken.out)["matches"]) == 3
    assert "has 8 bits, those of snapshot 1 have 32" in refused(
        musichash("search", "--store", store, "--code", "ff")
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--genre", "jaz"], "has the genre 'jaz'; the nearest: 'jazz'"),
        (["--collection", "x"], "there is no collection 'x'"),
        (["--duration", "long"], "'long': --duration wants seconds"),
        (["--year", "80"], "'80': --year wants years"),
        (["--radius", "-3"], "radius=-3: give 0 bits or more"),
        (["--by", "segments"], "no track of the snapshot has codes of windows"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_a_sentence(musichash, catalogue, arguments, sentence):
    store, ids = catalogue
    spoken = musichash("search", "--store", store, "--track", ids[0], *arguments)
    assert sentence in refused(spoken)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--track", "x", "--code", "00"],
        ["--queries", "x.parquet"],
        ["--queries", "x.parquet", "--output", "y.parquet", "--explain"],
        ["--code", "00", "--by", "segments"],
    ],
)
def test_questions_that_exclude_one_another_are_refused(musichash, catalogue, arguments):
    assert musichash("search", "--store", catalogue[0], *arguments).code == 2


@pytest.mark.parametrize("option", [("--output", "found.parquet"), ("--workers", "2")])
def test_options_of_many_questions_are_refused_with_one(musichash, catalogue, option):
    store, ids = catalogue
    spoken = musichash("search", "--store", store, "--track", ids[3], *option)
    assert spoken.code == 2
    assert f"{option[0]} is for --queries" in " ".join(spoken.err.replace("│", " ").split())
    assert spoken.out == ""


def test_open_ends_of_spans_are_plain_json(musichash, catalogue):
    def refuse(constant):
        raise AssertionError(constant)

    store, ids = catalogue
    asked = ("search", "--store", store, "--track", ids[3], "--duration", "1:05-", "--json")
    answer = json.loads(musichash(*asked).out, parse_constant=refuse)
    assert answer["filters"] == {"duration_s": [65.0, None]}


def test_a_file_of_queries_is_answered_and_bad_ones_are_told(musichash, catalogue, tmp_path):
    store, ids = catalogue
    asked, found = tmp_path / "asked.parquet", tmp_path / "found.parquet"
    pq.write_table(pa.table({"track_id": [ids[7], "nobody", ids[8]]}), asked)
    arguments = ["search", "--store", store, "--queries", asked, "--output", found, "-k", "5"]
    spoken = musichash(*arguments)
    assert spoken.code == 0
    assert "3 queries, 1 without an answer; 11 rows from snapshot 1 are in" in spoken.out
    account = json.loads(musichash(*arguments, "--json").out)
    assert (account["queries"], account["failed"], account["rows"]) == (3, 1, 11)
    assert pq.read_table(found)["query"].to_pylist() == [0] * 5 + [1] + [2] * 5


@pytest.mark.integration
@pytest.mark.slow  # 20 s: two worker processes start
def test_workers_write_the_same_answers(musichash, catalogue, tmp_path):
    store, ids = catalogue
    asked = tmp_path / "asked.parquet"
    pq.write_table(pa.table({"track_id": [*ids, "nobody"]}), asked)
    for n_workers in (1, 2):
        spoken = musichash(
            *("search", "--store", store, "--queries", asked, "--workers", n_workers),
            *("--output", tmp_path / f"{n_workers}.parquet"),
        )
        assert spoken.code == 0, spoken.err
    assert (tmp_path / "1.parquet").read_bytes() == (tmp_path / "2.parquet").read_bytes()
