"""Rows in memory and in files: the same rows, the same bytes, and clear errors."""

import resource
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from musichash_core.records import SourceFile
from storage import collected_rows
from storage.collected_rows import FileRows, MemoryRows, RowCollector, in_order, open_rows
from storage.errors import (
    ArtefactMissingError,
    DamagedArtefactError,
    FormatVersionError,
    TemporarySpaceError,
)
from storage.schemas import CATALOGUE, FAILURES
from storage.source_files import CatalogueRow, CatalogueRows

GROUP_ROWS = 65_536


def rows_of(n_rows, seed=0):
    rng = np.random.default_rng(seed)
    numbers = rng.integers(0, 1 << 40, n_rows)
    texts = np.char.add("a folder/", numbers.astype(str))
    return pa.table(
        {
            "track_id": [f"{number:032x}" for number in numbers.tolist()],
            "root": np.where(np.arange(n_rows) < n_rows // 3, "/music", "/radio"),
            "path": texts,
            "path_raw": np.char.encode(texts),
            "n_bytes": numbers,
            "mtime_ns": numbers[::-1].copy(),
            "label": pa.array(np.where(numbers % 3, "blues", "é"), mask=numbers % 5 == 0),
            "group": pa.nulls(n_rows, pa.string()),
            "external_id": texts,
        },
        schema=CATALOGUE,
    )


def collected(table, cuts):
    """Collect a table that is cut at some rows."""
    with RowCollector(CATALOGUE) as rows:
        for start, end in pairwise([0, *sorted(cuts), len(table)]):
            rows.add(table.slice(start, end - start))
        return rows.finish()


def written_at_once(table, path):
    pq.write_table(
        table.combine_chunks(),
        path,
        row_group_size=GROUP_ROWS,
        compression="zstd",
        write_page_checksum=True,
        use_dictionary=True,
        version="2.6",
    )
    return path.read_bytes()


@pytest.mark.parametrize("n_rows", [0, 1, GROUP_ROWS, GROUP_ROWS + 1, 2 * GROUP_ROWS, 150_000])
def test_the_bytes_are_those_of_a_file_that_is_written_at_once(n_rows, tmp_path):
    table = rows_of(n_rows)
    expected = written_at_once(table, tmp_path / "whole.parquet")
    for number, cuts in enumerate([(), range(5_000, n_rows, 8_191), (1, n_rows - 1)]):
        rows = collected(table, [cut for cut in cuts if 0 <= cut <= n_rows])
        assert isinstance(rows, FileRows) == (n_rows > GROUP_ROWS)
        rows.write(tmp_path / f"{number}.parquet")
        assert (tmp_path / f"{number}.parquet").read_bytes() == expected
        assert (len(rows), rows.table.equals(table)) == (n_rows, True)


@given(
    n_rows=st.integers(0, 40),
    memory_rows=st.integers(0, 40),
    batch_rows=st.integers(1, 12),
    cuts=st.lists(st.integers(0, 40), max_size=6),
    columns=st.permutations(CATALOGUE.names).map(lambda names: names[:4]),
)
def test_batches_are_the_rows_in_their_order(n_rows, memory_rows, batch_rows, cuts, columns):
    table = rows_of(n_rows, seed=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(collected_rows, "MEMORY_ROWS", memory_rows)
        patch.setattr(collected_rows, "BATCH_ROWS", batch_rows)
        rows = collected(table, [min(cut, n_rows) for cut in cuts])
        first, second = rows.batches(columns), list(rows.batches(columns))
        batches = list(first)  # two readers of one file do not move each other
    assert [len(batch) for batch in batches] == [len(batch) for batch in second]
    assert all(0 < len(batch) <= batch_rows for batch in batches)
    assert all(batch.schema.names == columns for batch in batches)
    found = [row for batch in batches for row in batch.to_pylist()]
    assert found == table.select(columns).to_pylist()


@pytest.fixture
def few_in_memory(monkeypatch):
    monkeypatch.setattr(collected_rows, "MEMORY_ROWS", 3)


@pytest.fixture
def temporary_folder(tmp_path, monkeypatch):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    return tmp_path / "temporary"


def test_a_temporary_file_has_no_name_and_goes_with_its_rows(few_in_memory, temporary_folder):
    n_open = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(50):
        rows = collected(rows_of(50), [10])
        assert isinstance(rows, FileRows)
        assert not list(temporary_folder.iterdir())
        assert sum(map(len, rows.batches(["path"]))) == 50
    del rows
    assert len(list(Path("/proc/self/fd").iterdir())) == n_open


def test_a_full_temporary_folder_is_named_with_the_way_out(few_in_memory, temporary_folder):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(TemporarySpaceError, match=f"in {temporary_folder} failed.*TMPDIR"):
            collected(rows_of(2000), [10])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(temporary_folder.iterdir())


def test_a_missing_temporary_folder_is_named_only_where_it_is_needed(
    few_in_memory, temporary_folder
):
    temporary_folder.rmdir()
    assert len(collected(rows_of(3), [])) == 3
    with pytest.raises(TemporarySpaceError, match=f"in {temporary_folder} failed: No such file"):
        collected(rows_of(4), [])


def test_an_error_while_rows_are_collected_is_the_one_that_is_seen(few_in_memory):
    def fails():
        with RowCollector(CATALOGUE) as rows:
            rows.add(rows_of(GROUP_ROWS + 1))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fails()


# --- files of the store ---


def test_an_opened_file_is_read_on_when_another_takes_its_name(few_in_memory, tmp_path):
    table, path = rows_of(20), tmp_path / "c.parquet"
    MemoryRows(table).write(path)
    rows = open_rows(path, CATALOGUE)
    batches = rows.batches(["path"])
    MemoryRows(rows_of(5, seed=2)).write(tmp_path / "new.parquet")
    (tmp_path / "new.parquet").replace(path)
    assert [row["path"] for batch in batches for row in batch.to_pylist()] == table[
        "path"
    ].to_pylist()
    assert rows.table.equals(table)
    assert len(open_rows(path, CATALOGUE)) == 5


@pytest.mark.parametrize("memory_rows", [3, 1000])
def test_damage_is_told_where_it_is_read(memory_rows, monkeypatch, tmp_path):
    monkeypatch.setattr(collected_rows, "MEMORY_ROWS", memory_rows)
    path = tmp_path / "c.parquet"
    MemoryRows(rows_of(500)).write(path)
    content = bytearray(path.read_bytes())
    content[200] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedArtefactError, match=r"c\.parquet is damaged: .*musichash verify"):
        list(open_rows(path, CATALOGUE).batches(["track_id"]))
    path.write_bytes(content[:100])
    with pytest.raises(DamagedArtefactError, match=r"c\.parquet is damaged"):
        open_rows(path, CATALOGUE)


def test_other_columns_and_no_file_are_refused(tmp_path):
    MemoryRows(FAILURES.empty_table()).write(tmp_path / "c.parquet")
    with pytest.raises(FormatVersionError, match=r"c\.parquet does not have the expected columns"):
        open_rows(tmp_path / "c.parquet", CATALOGUE)
    with pytest.raises(ArtefactMissingError, match=r"gone\.parquet does not exist"):
        open_rows(tmp_path / "gone.parquet", CATALOGUE)


@pytest.mark.parametrize(
    ("first_root", "n_rows"), [("", 200_000), ("/music", 200_000), ("/n", 134_464), ("/s", 0)]
)
def test_groups_of_rows_of_earlier_roots_are_left_out(first_root, n_rows):
    table = rows_of(200_000)
    table = table.set_column(
        1, CATALOGUE.field("root"), [["/music"] * 70_000 + ["/radio"] * 130_000]
    )
    batches = list(collected(table, []).batches(["root", "path"], first_root=first_root))
    assert sum(map(len, batches)) == n_rows
    wanted = table.select(["root", "path"]).slice(200_000 - n_rows)
    assert not batches or pa.Table.from_batches(batches).equals(wanted)


# --- order ---

places = st.tuples(
    st.sampled_from(["/a", "/a b", "/é", "/\U0001f3b5", "/\ufffd"]),
    st.binary(max_size=2) | st.sampled_from([b"a/b", b"a-b", b"a"]),
)


@given(places=st.lists(places, max_size=12), is_sorted=st.booleans(), batch_rows=st.integers(1, 5))
def test_rows_in_another_order_are_sorted_and_others_given_back(places, is_sorted, batch_rows):
    if is_sorted:
        places = sorted(places)
    files = [
        SourceFile(f"{number:032x}", root, "", path_raw, number, 0)
        for number, (root, path_raw) in enumerate(places)
    ]
    rows = MemoryRows(CatalogueRows.of(map(CatalogueRow, files)).table)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(collected_rows, "BATCH_ROWS", batch_rows)
        ordered = in_order(rows)
    assert (ordered is rows) == (places == sorted(places))
    assert tuple(CatalogueRows(ordered.table).files) == tuple(
        sorted(files, key=lambda file: (file.root, file.path_raw))
    )
