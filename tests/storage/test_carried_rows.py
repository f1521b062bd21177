"""Rows taken over from the current snapshot are those of the partitions, or are not taken over.

Compared with rows picked one by one from the partitions' own files.
"""

import shutil
from dataclasses import replace

import pytest

from storage import carried_rows
from storage.atomic import digest_file
from storage.carried_rows import EncodedReader
from storage.encoded_store import read_encoded
from storage.extracted import read_extracted
from storage.layout import RECEIPT_NAME
from storage.schemas import codes_schema_without_segments
from storage.snapshots import current_snapshot, publish_snapshot
from storage.tables import read_part, write_part


@pytest.fixture
def rows(published, helpers):
    """Collect the rows of all extracted tracks; tells which partitions were read for it."""

    def rows(monkeypatch):
        generation = current_snapshot(published).generation
        facts = read_extracted(published, helpers.features).facts
        receipts = [
            digest_file(folder / RECEIPT_NAME, published.root)
            for partition_id in set(facts["partition_id"].to_pylist())
            for folder in (
                published.feature_partition_path(helpers.features, partition_id),
                published.encoded_partition_path(generation, partition_id),
            )
        ]
        read = []

        def reading(folder, n_bits):
            read.append(folder.name)
            return read_encoded(folder, n_bits)

        monkeypatch.setattr(carried_rows, "read_encoded", reading)
        reader = EncodedReader(published, receipts, generation=generation, n_bits=helpers.n_bits)
        collected = reader.rows(facts)
        expected = picked(published, facts, generation, helpers.n_bits)
        assert [table.to_pylist() for table in collected] == expected
        return read

    return rows


def picked(layout, facts, generation, n_bits):
    """Pick each track's row from its partition, the plain way."""
    both = [], []
    for fact in facts.to_pylist():
        folder = layout.encoded_partition_path(generation, fact["partition_id"])
        for kept, table in zip(both, read_encoded(folder, n_bits), strict=True):
            kept += [row for row in table.to_pylist() if row["track_id"] == fact["track_id"]]
    return list(both)


def add_partition(layout, helpers, name, numbers):
    helpers.write_partition(
        layout.feature_partition_path(helpers.features, name),
        {number: helpers.random_frames(40, number) for number in numbers},
    )
    helpers.write_encoded(layout, current_snapshot(layout).generation, name, numbers)


def test_what_is_published_is_not_read_again(rows, monkeypatch):
    assert rows(monkeypatch) == []


def test_new_partitions_are_read_and_no_others(rows, published, helpers, monkeypatch):
    add_partition(published, helpers, "p3", (5, 6))
    assert rows(monkeypatch) == ["p3"]


def test_a_track_that_an_earlier_partition_has_now_is_read_from_there(
    rows, published, helpers, monkeypatch
):
    add_partition(published, helpers, "p0", (1,))
    assert rows(monkeypatch) == ["p0"]


def test_a_track_that_comes_back_is_read_from_its_partition(rows, published, helpers, monkeypatch):
    # The snapshot lists p2 for track 3; track 9 failed there and is published by nobody.
    folder = published.encoded_partition_path(current_snapshot(published).generation, "p2")
    shutil.rmtree(folder)
    shutil.rmtree(published.feature_partition_path(helpers.features, "p2"))
    add_partition(published, helpers, "p2", (3, 8))
    assert rows(monkeypatch) == ["p1", "p2"]  # made anew, so nothing is taken over


def test_nothing_is_taken_over_when_a_listed_partition_is_gone(
    rows, published, helpers, monkeypatch
):
    shutil.rmtree(published.feature_partition_path(helpers.features, "p2"))
    assert rows(monkeypatch) == ["p1"]


@pytest.mark.parametrize("name", ["codes", "predictions"])
@pytest.mark.parametrize("harm", ["changed", "missing"])
def test_a_damaged_table_is_not_used_and_does_no_harm(rows, published, monkeypatch, name, harm):
    (path,) = current_snapshot(published).tables[name]
    if harm == "missing":
        (published.root / path).unlink()
    else:
        data = bytearray((published.root / path).read_bytes())
        data[len(data) // 2] ^= 1
        (published.root / path).write_bytes(data)
    assert rows(monkeypatch) == ["p1", "p2"]


def test_rows_of_another_generation_are_not_taken_over(rows, published, monkeypatch):
    snapshot = current_snapshot(published)
    monkeypatch.setattr(
        carried_rows, "current_snapshot", lambda _: replace(snapshot, generation="g-other")
    )
    assert rows(monkeypatch) == ["p1", "p2"]


def test_a_table_of_before_windows_had_codes_is_taken_over_with_none(
    rows, published, helpers, monkeypatch
):
    snapshot = current_snapshot(published)
    (path,) = snapshot.tables["codes"]
    earlier = read_part(published.root / path).select(
        codes_schema_without_segments(helpers.n_bits).names
    )
    part = write_part(published, "codes", earlier)
    files = [part if entry.path == path else entry for entry in snapshot.files]
    tables = snapshot.tables | {"codes": [part.path]}
    publish_snapshot(published, replace(snapshot, tables=tables, files=tuple(files)))
    assert part.path != path
    assert rows(monkeypatch) == []
