"""Questions in bulk: a row per query and rank, the same however they are divided."""

import csv

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from musichash_core.config import PipelineConfig
from musichash_core.errors import ParameterError
from storage.errors import StoreError
from storage.garbage import collect, plan_collection
from storage.query_files import ANSWERS, QueriesError
from storage.store import open_store
from tasks.search import Filters, NoCodesError, Reach, UnknownFilterError, open_catalogue
from tasks.search_bulk import BulkQuestion, SnapshotGoneError, answer_part, prepare_bulk

N = 300
N_BITS = 32


@pytest.fixture
def asked(store, made_up, tmp_path):
    """A catalogue, and how to ask it; its questions are still to be written."""
    rng = np.random.default_rng(8)
    logits = np.where(rng.random((N, N_BITS)) < 0.3, 1.0, -1.0) * rng.integers(1, 4, (N, N_BITS))
    made_up.publish_made_up(store, logits)
    output = str(tmp_path / "found.parquet")
    queries = str(tmp_path / "asked.parquet")
    return BulkQuestion(store, queries, output, PipelineConfig(), Reach(4), Filters())


def answered(asked, *, n_workers=1, backwards=False):
    """Answer all parts, in some order; give the rows."""
    with prepare_bulk(asked, n_workers=n_workers) as search:
        parts = range(search.n_parts)
        for part in reversed(parts) if backwards else parts:
            answer_part(asked, search.number, search.folder, part)
        n_rows = search.finish()
    table = pq.read_table(asked.output)
    assert len(table) == n_rows
    assert table.schema.equals(ANSWERS)
    return table.to_pylist()


def test_answers_are_those_of_single_questions(asked, made_up):
    ids = made_up.track_ids(range(N))
    chosen = [ids[at] for at in (5, 5, 299, 0, 120)]
    pq.write_table(pa.table({"track_id": chosen}), asked.queries)
    rows = answered(asked)
    assert [row["query"] for row in rows] == sorted([0, 1, 2, 3, 4] * 4)
    with open_catalogue(asked.store) as catalogue:
        for number, track_id in enumerate(chosen):
            answer = catalogue.search_track(track_id, asked.reach)
            assert [
                (row["rank"], row["track_id"], row["distance"], row["path"], row["genre"])
                for row in rows
                if row["query"] == number
            ] == [
                (match.rank, match.track_id, match.distance, match.path, match.genre)
                for match in answer.matches
            ]
    assert {row["asked"] for row in rows} == set(chosen)
    assert pq.read_schema(asked.output).metadata[b"musichash.snapshot"] == b"1"


def test_however_they_are_divided_the_bytes_are_the_same(asked, made_up, tmp_path):
    pq.write_table(pa.table({"track_id": made_up.track_ids(range(N))}), asked.queries)
    written = []
    for n_workers, backwards in ((1, False), (5, True), (40, False)):
        answered(asked, n_workers=n_workers, backwards=backwards)
        written.append((tmp_path / "found.parquet").read_bytes())
    assert written[1:] == written[:1] * 2
    assert sorted(path.name for path in tmp_path.iterdir() if path.name[0] == ".") == []


def test_a_bad_query_costs_its_row_and_no_other(
    asked, made_up, tmp_path, with_model, config, catalogue
):
    first = made_up.track_ids(range(N))[0]
    logits = np.random.default_rng(2).standard_normal((N, N_BITS))
    made_up.publish_made_up(asked.store, logits, generation=with_model(asked.store))
    asked = BulkQuestion(*(asked.store, asked.queries, asked.output), config, Reach(4), Filters())
    (tmp_path / "no audio.wav").write_text("words")
    questions = [
        {"track_id": first},
        {"track_id": "ff" * 16},
        {"path": "album 0/03 track 3.ogg"},
        {"path": "nowhere.ogg"},
        {"path": str(tmp_path / "no audio.wav")},
        {"code": "12"},
        {"track_id": ""},
        {"path": str(catalogue.add("unknown.wav", 440))},
    ]
    schema = pa.schema([(name, pa.string()) for name in ("track_id", "path", "code")])
    pq.write_table(pa.Table.from_pylist(questions, schema), asked.queries)
    rows = answered(asked)
    assert [row["query"] for row in rows] == [0] * 4 + [1] + [2] * 4 + [3, 4, 5, 6] + [7] * 4
    errors = {row["query"]: row["error"] for row in rows}
    assert errors[0] is errors[2] is errors[7] is None
    assert "no published track has the id or path 'ffff" in errors[1]
    assert "'nowhere.ogg'" in errors[3]
    assert "is not-audio" in errors[4]
    assert "has 8 bits, those of snapshot 2 have 32" in errors[5]
    assert "names neither a track_id nor a path nor a code" in errors[6]
    assert all(row["rank"] is row["track_id"] is None for row in rows if row["error"])


def test_codes_may_be_binary_as_export_writes_them_or_text(asked):
    layout = open_store(asked.store)
    (path,) = (layout.root / "tables" / "codes").iterdir()
    codes = pq.read_table(path)["code"]
    pq.write_table(pa.table({"code": codes}), asked.queries)
    from_binary = answered(asked)
    texts = pa.array([code.hex() for code in codes.to_pylist()])
    pq.write_table(pa.table({"code": texts}), asked.queries)
    from_text = answered(asked)
    assert from_binary == from_text
    assert all(row["distance"] == 0 for row in from_text if row["rank"] == 1)


def test_csv_asks_too(asked, made_up, tmp_path):
    path = tmp_path / "asked.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["track_id"], [made_up.track_ids(range(N))[9]]])
    by_csv = BulkQuestion(
        asked.store, str(path), asked.output, asked.config, Reach(300, 3), Filters(genres=("pop",))
    )
    rows = answered(by_csv)
    assert all(row["genre"] == "pop" and row["distance"] <= 3 for row in rows if row["rank"])


def test_a_query_that_finds_nothing_has_a_row_without_a_match(asked, made_up):
    pq.write_table(pa.table({"code": ["00000000", "ffffffff"]}), asked.queries)
    alone = BulkQuestion(
        *(asked.store, asked.queries, asked.output, asked.config), Reach(5, 0), Filters()
    )
    rows = answered(alone)
    assert [(row["query"], row["rank"], row["error"]) for row in rows] == [
        (0, None, None),
        (1, None, None),
    ]


def test_a_snapshot_that_goes_is_noticed_and_all_begins_again(asked, made_up):
    pq.write_table(pa.table({"track_id": made_up.track_ids(range(N))[:20]}), asked.queries)
    layout = open_store(asked.store)
    with prepare_bulk(asked, n_workers=4) as search:
        first = search.number
        made_up.publish_made_up(asked.store, np.ones((N, N_BITS), np.float32))
        collect(layout, plan_collection(layout, keep=1), is_alone=True)
        with pytest.raises(SnapshotGoneError):
            answer_part(asked, first, search.folder, 0)
        assert search.begin_again()
        for part in range(search.n_parts):
            answer_part(asked, search.number, search.folder, part)
        search.finish()
    rows = pq.read_table(asked.output).to_pylist()
    assert {row["distance"] for row in rows} == {0}
    assert pq.read_schema(asked.output).metadata[b"musichash.snapshot"] == b"2"


def test_files_that_ask_nothing_are_refused(asked, tmp_path):
    with pytest.raises(QueriesError, match="does not exist; check --queries"):
        prepare_bulk(asked, n_workers=1)
    pq.write_table(pa.table({"name": ["x"]}), asked.queries)
    with pytest.raises(QueriesError, match="none of the columns track_id, path, code"):
        prepare_bulk(asked, n_workers=1)
    pq.write_table(pa.table({"code": pa.array([], pa.string())}), asked.queries)
    with pytest.raises(QueriesError, match="has no rows"):
        prepare_bulk(asked, n_workers=1)
    (tmp_path / "asked.parquet").write_bytes(b"no Parquet")
    with pytest.raises(QueriesError, match="cannot be read"):
        prepare_bulk(asked, n_workers=1)


def test_what_is_wrong_is_said_before_any_work(asked, made_up, tmp_path):
    pq.write_table(pa.table({"track_id": ["x"]}), asked.queries)
    parts = asked.store, asked.queries

    def prepared(output=asked.output, filters=asked.filters):
        prepare_bulk(BulkQuestion(*parts, output, asked.config, asked.reach, filters), n_workers=1)

    with pytest.raises(ParameterError, match=r"call the file \.parquet"):
        prepared(output="found.csv")
    with pytest.raises(UnknownFilterError, match="no published track has the genre 'x'"):
        prepared(filters=Filters(genres=("x",)))
    with pytest.raises(StoreError, match=r"found\.parquet cannot be written"):
        prepared(output=str(tmp_path / "none" / "found.parquet"))
    made_up.publish_made_up(asked.store, np.empty((0, N_BITS), np.float32))
    with pytest.raises(NoCodesError, match="has no codes"):
        prepared()
    assert not (tmp_path / "found.parquet").exists()
