"""Export: what the published tables hold comes back from every format, and runs nowhere."""

import csv
import json
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from musichash_core.errors import ParameterError
from storage.errors import ArtefactMissingError, DamagedArtefactError, StoreError
from storage.published import require_snapshot, table_paths
from storage.store import open_store
from tasks.export import export_table

TABLES = ["tracks", "predictions", "codes", "failures", "runs"]


@pytest.fixture
def published(three_tracks, publish_all):
    three_tracks.add("=1+1.wav", 440)
    return publish_all(three_tracks.root)


def published_rows(store, table):
    """The rows of a table by pyarrow alone."""
    layout = open_store(store)
    paths = table_paths(layout, require_snapshot(layout), table)
    return pa.concat_tables([pq.read_table(path) for path in paths])


@pytest.mark.parametrize("table", TABLES)
def test_parquet_is_the_table_itself(published, tmp_path, table):
    n_rows = export_table(published.store, table, str(tmp_path / "x.parquet"), form="parquet")
    expected = published_rows(published.store, table)
    found = pq.read_table(tmp_path / "x.parquet", page_checksum_verification=True)
    assert found.equals(expected, check_metadata=True)
    assert n_rows == len(expected)


@pytest.mark.parametrize("table", TABLES)
def test_json_lines_hold_every_value(published, tmp_path, table):
    export_table(published.store, table, str(tmp_path / "x.jsonl"), form="jsonl")
    lines = (tmp_path / "x.jsonl").read_text(encoding="utf-8").splitlines()
    expected = published_rows(published.store, table).to_pylist()
    assert [json.loads(line).keys() for line in lines] == [row.keys() for row in expected]
    for line, row in zip(lines, expected, strict=True):
        for name, value in json.loads(line).items():
            if isinstance(row[name], float):
                assert value == pytest.approx(row[name], rel=1e-6)
            elif isinstance(row[name], str | int | None) and not isinstance(row[name], bool):
                assert value == row[name]
    if table == "codes":
        assert [bytes.fromhex(json.loads(line)["code"]) for line in lines] == [
            row["code"] for row in expected
        ]
    if table == "predictions":
        for line, row in zip(lines, expected, strict=True):
            assert json.loads(line)["probabilities"] == pytest.approx(
                dict(row["probabilities"]), rel=1e-6
            )


@pytest.mark.parametrize("table", TABLES)
def test_csv_is_read_by_the_csv_module_with_numbers_as_numbers(published, tmp_path, table):
    export_table(published.store, table, str(tmp_path / "x.csv"), is_raw=True)
    with (tmp_path / "x.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, strict=True))
    expected = published_rows(published.store, table).to_pylist()
    assert [list(row) for row in rows] == [list(row) for row in expected]
    for row, wanted in zip(rows, expected, strict=True):
        for name, value in wanted.items():
            if value is None:
                assert row[name] == ""
            elif isinstance(value, bool):
                assert row[name] == str(value).lower()
            elif isinstance(value, str):
                assert row[name] == value
            elif isinstance(value, int | float):
                assert float(row[name]) == pytest.approx(value, rel=1e-6)
            elif isinstance(value, bytes):
                assert bytes.fromhex(row[name]) == value
            elif isinstance(value, list):
                assert len(json.loads(row[name])) == len(value)


def test_a_name_that_is_a_formula_is_defused_unless_raw(published, tmp_path):
    for is_raw, spelled in ((False, "'=1+1.wav"), (True, "=1+1.wav")):
        export_table(published.store, "tracks", str(tmp_path / "x.csv"), is_raw=is_raw)
        with (tmp_path / "x.csv").open(encoding="utf-8", newline="") as file:
            names = {row["path"] for row in csv.DictReader(file)}
        assert names == {"low/a.wav", "high/b.wav", "high/c.mp3", spelled}


# --- where to ---


def test_a_file_is_replaced_whole_and_nothing_is_left_beside_it(published, tmp_path):
    (tmp_path / "out").mkdir()
    target = tmp_path / "out" / "x.csv"
    target.write_text("old")
    export_table(published.store, "runs", str(target))
    assert target.read_text().startswith('"run_id"')
    assert [path.name for path in target.parent.iterdir()] == ["x.csv"]


def test_an_export_that_fails_leaves_the_old_file(published, tmp_path):
    (tmp_path / "out").mkdir()
    target = tmp_path / "out" / "x.csv"
    target.write_text("old")
    layout = open_store(published.store)
    (part,) = table_paths(layout, require_snapshot(layout), "tracks")
    content = bytearray(part.read_bytes())
    content[20:40] = bytes(20)
    part.write_bytes(content)
    with pytest.raises(DamagedArtefactError, match="run 'musichash verify'"):
        export_table(published.store, "tracks", str(target))
    assert target.read_text() == "old"
    assert [path.name for path in target.parent.iterdir()] == ["x.csv"]


@pytest.mark.timeout(20)
def test_a_pipe_is_written_to_and_stays_a_pipe(published, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        export_table(published.store, "runs", str(pipe))
        assert os.read(reader, 65_536).startswith(b'"run_id"')
    finally:
        os.close(reader)
    assert pipe.is_fifo()


def test_a_link_stays_and_the_file_it_leads_to_is_replaced(published, tmp_path):
    (tmp_path / "link.csv").symlink_to("x.csv")
    export_table(published.store, "runs", str(tmp_path / "link.csv"))
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "x.csv").read_text().startswith('"run_id"')


def test_a_place_that_cannot_be_written_is_named(published, tmp_path):
    for target in (tmp_path, tmp_path / "no" / "x.csv"):
        with pytest.raises(StoreError, match=f"{target} cannot be written: .*--output"):
            export_table(published.store, "runs", str(target))


def test_an_unknown_table_and_an_empty_store_are_refused(published, store, tmp_path):
    with pytest.raises(ParameterError, match=r"no table .track.; did you mean"):
        export_table(published.store, "track", str(tmp_path / "x.csv"))
    assert not (tmp_path / "x.csv").exists()
    from storage.store import create_store

    create_store(tmp_path / "empty")
    with pytest.raises(ArtefactMissingError, match="has published nothing yet"):
        export_table(str(tmp_path / "empty"), "tracks", str(tmp_path / "x.csv"))
