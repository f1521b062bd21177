"""Files in columns are the files: compared with plain tuples and Python's own sorting."""

import os

import pyarrow as pa
import pytest

from storage import source_files
from storage.schemas import CATALOGUE
from storage.source_files import FILES, CatalogueRow, CatalogueRows, FoundFiles, SourceFiles


@pytest.fixture
def files(helpers):
    return tuple(helpers.source_file(number) for number in (3, 1, 2, 9, 4))


def test_columns_are_a_sequence_of_the_records_they_were_made_of(files, monkeypatch):
    monkeypatch.setattr(source_files, "BLOCK_ROWS", 2)  # several blocks, the last one short
    columns = SourceFiles.of(iter(files))
    assert tuple(columns) == files
    assert [columns[place] for place in (0, 4, -1, -5)] == [files[0], files[4], files[4], files[0]]
    assert tuple(columns[1:4]) == files[1:4]
    assert (len(columns), columns == files, columns == files[:4]) == (5, True, False)
    assert columns == SourceFiles.of(list(files))
    assert SourceFiles.of(columns) is columns
    assert columns.table.schema.equals(FILES)
    with pytest.raises(IndexError):
        columns[5]


def test_no_records_are_an_empty_table():
    assert (len(SourceFiles.of(())), SourceFiles.of(()) == ()) == (0, True)
    assert CatalogueRows.of([]).table.schema.equals(CATALOGUE)


def test_rows_keep_what_the_owner_says_and_give_the_files_alone(files):
    rows = (
        CatalogueRow(files[0], "blues", "B. B. King", "=007"),
        CatalogueRow(files[1]),
        CatalogueRow(files[2], group="Abba"),
    )
    columns = CatalogueRows.of(rows)
    assert tuple(columns) == rows
    assert columns.files == files[:3]


def test_labels_of_other_rows_leave_the_identifiers(files):
    said = CatalogueRows.of(CatalogueRow(file, external_id=f"id-{file.path}") for file in files)
    labelled = CatalogueRows.labelled(
        SourceFiles.of(files), label=pa.array(["a", None] * 2 + ["b"])
    )
    assert tuple(said.with_labels_of(labelled)) == tuple(
        CatalogueRow(file, label, None, f"id-{file.path}")
        for file, label in zip(files, ["a", None, "a", None, "b"], strict=True)
    )


def test_found_names_are_sorted_as_bytes_by_root_then_path(tmp_path, monkeypatch):
    monkeypatch.setattr(source_files, "BLOCK_ROWS", 3)
    (tmp_path / "x").write_bytes(b"four")
    status = os.lstat(tmp_path / "x")
    paths = [b"rock/a", b"rock-pop/c", b"caf\xe9", b"z", b"A", b"rock", b"a\nb"]
    found = FoundFiles()
    for root in ("/two", "/one"):
        for path in paths:
            found.add(root, path, status if path != b"z" else None, "line 2 of m.csv")
    rows = found.table().to_pylist()
    expected = sorted((root, path) for root in ("/one", "/two") for path in paths)
    assert [(row["root"], row["path_raw"]) for row in rows] == expected
    for row in rows:
        known = (None, None) if row["path_raw"] == b"z" else (4, status.st_mtime_ns)
        assert (row["n_bytes"], row["mtime_ns"]) == known
        assert row["place"] == "line 2 of m.csv"


def test_nothing_found_is_an_empty_table():
    assert len(FoundFiles().table()) == 0
