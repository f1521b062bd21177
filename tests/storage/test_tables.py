"""Parquet parts: round trips, damage found by pyarrow's checksums, other schemas refused."""

import hashlib
import random
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage import tables
from storage.errors import ArtefactMissingError, DamagedArtefactError, FormatVersionError
from storage.schemas import (
    CATALOGUE,
    FAILURES,
    PREDICTIONS,
    RUNS,
    TRACK_FACTS,
    TRACKS,
    codes_schema,
)
from storage.tables import PartWriter, read_part, table_of, write_part, write_rows

SCHEMAS = {
    "catalogue": CATALOGUE,
    "codes": codes_schema(16),
    "failures": FAILURES,
    "predictions": PREDICTIONS,
    "runs": RUNS,
    "track_facts": TRACK_FACTS,
    "tracks": TRACKS,
}

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


def values(kind):
    """Generate values of an Arrow type."""
    if pa.types.is_integer(kind):
        top = 2 ** (kind.bit_width - 1)
        return st.integers(-top, top - 1)
    if pa.types.is_floating(kind):
        return st.floats(width=kind.bit_width, allow_nan=False)
    if pa.types.is_timestamp(kind):
        return st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1)).map(
            lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000, tzinfo=UTC)
        )
    if pa.types.is_fixed_size_binary(kind):
        return st.binary(min_size=kind.byte_width, max_size=kind.byte_width)
    if pa.types.is_fixed_size_list(kind):
        size = kind.list_size
        return st.lists(values(kind.value_type), min_size=size, max_size=size)
    if pa.types.is_list(kind):
        return st.lists(values(kind.value_type), max_size=3)
    if pa.types.is_map(kind):
        return st.lists(st.tuples(values(kind.key_type), values(kind.item_type)), max_size=3)
    return {
        pa.string(): text,
        pa.binary(): st.binary(max_size=8),
        pa.bool_(): st.booleans(),
    }[kind]


def rows_of(schema):
    columns = {
        field.name: values(field.type) | (st.none() if field.nullable else st.nothing())
        for field in schema
    }
    return st.lists(st.fixed_dictionaries(columns), max_size=20)


@pytest.mark.parametrize("name", SCHEMAS)
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_rows_come_back_as_they_were_written(tmp_path, name, data):
    schema = SCHEMAS[name]
    rows = data.draw(rows_of(schema))
    path = tmp_path / "part.parquet"
    write_rows(path, rows, schema)
    assert read_part(path, schema).to_pylist() == rows
    assert pq.read_table(path).to_pylist() == rows  # as any other tool reads it


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_column_says_what_it_means_in_the_file(tmp_path, name):
    write_rows(tmp_path / "part.parquet", [], SCHEMAS[name])
    for field in pq.read_schema(tmp_path / "part.parquet"):
        assert len(field.metadata[b"description"]) > 4


def failure_rows(n_rows):
    rng = np.random.default_rng(0)
    return [
        {
            "track_id": f"{number:032x}",
            "path": f"/music/{rng.integers(1e9)}.ogg",
            "stage": "extract",
            "code": ("truncated", "damaged", "empty")[number % 3],
            "retryable": number % 2 == 0,
            "message": "ends early " * (number % 5),
            "attempts": number,
        }
        for number in range(n_rows)
    ]


def test_no_flipped_bit_changes_what_is_read(tmp_path):
    path = tmp_path / "part.parquet"
    rows = failure_rows(100)
    write_rows(path, rows, FAILURES)
    whole = path.read_bytes()
    rng = random.Random(0)
    n_found = 0
    for bit in rng.sample(range(8 * len(whole)), 1500):
        mutant = bytearray(whole)
        mutant[bit // 8] ^= 1 << bit % 8
        path.write_bytes(mutant)
        try:
            assert read_part(path, FAILURES).to_pylist() == rows
        except (DamagedArtefactError, FormatVersionError):
            n_found += 1
    assert n_found > 1000  # the others are bits without a meaning for reading


def test_every_flipped_bit_of_a_data_page_is_found(tmp_path):
    path = tmp_path / "part.parquet"
    payload = np.random.default_rng(0).bytes(400)  # cannot be compressed: stands in one piece
    rows = [{**failure_rows(1)[0], "message": payload.hex()}]
    write_rows(path, rows, FAILURES)
    whole = path.read_bytes()
    column = pq.read_metadata(path).row_group(0).column(FAILURES.get_field_index("message"))
    first = column.dictionary_page_offset or column.data_page_offset
    for at in range(first + 60, first + 360, 7):  # behind the page's header, before its end
        mutant = bytearray(whole)
        mutant[at] ^= 1 << at % 8
        path.write_bytes(mutant)
        with pytest.raises(DamagedArtefactError, match=r"part\.parquet is damaged"):
            read_part(path, FAILURES)


def test_truncated_and_foreign_files_are_damaged(tmp_path):
    path = tmp_path / "part.parquet"
    write_rows(path, failure_rows(10), FAILURES)
    whole = path.read_bytes()
    for content in (b"", whole[:-1], whole[: len(whole) // 2], whole[100:], b"PAR1", b"x" * 500):
        path.write_bytes(content)
        with pytest.raises(DamagedArtefactError, match="musichash verify"):
            read_part(path, FAILURES)
    with pytest.raises(DamagedArtefactError):
        read_part(tmp_path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ArtefactMissingError, match=r"gone\.parquet does not exist"):
        read_part(tmp_path / "gone.parquet")


def test_another_schema_is_refused_and_the_difference_is_named(tmp_path):
    path = tmp_path / "part.parquet"
    write_rows(path, [], codes_schema(64))
    with pytest.raises(
        FormatVersionError, match=r"expected is code: fixed_size_binary\[2\] not null.*found is"
    ):
        read_part(path, codes_schema(16))
    with pytest.raises(FormatVersionError, match="attempts: int32 not null"):
        read_part(path, FAILURES)
    assert read_part(path).num_rows == 0


def test_an_empty_value_in_a_required_column_is_refused(tmp_path):
    rows = [{**failure_rows(1)[0], "code": None}]
    with pytest.raises(pa.ArrowException, match="code"):
        write_rows(tmp_path / "part.parquet", rows, FAILURES)


def test_a_row_without_a_column_is_refused():
    with pytest.raises(KeyError, match="attempts"):
        table_of([dict.fromkeys(FAILURES.names[:-1], "")], FAILURES)


def test_a_part_is_named_by_its_content_and_written_again_the_same(layout):
    table = table_of(failure_rows(50), FAILURES)
    part = write_part(layout, "failures", table)
    path = layout.root / part.path
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert part.path == f"tables/failures/{digest[:24]}.parquet"
    assert (part.size, part.sha256) == (path.stat().st_size, digest)
    path.write_bytes(b"damaged")
    assert write_part(layout, "failures", table) == part
    assert read_part(path, FAILURES) == table
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_codes_need_no_unpacking_by_other_tools(tmp_path):
    code = bytes([0b1010_0001, 0xFF])
    logits = np.linspace(-1, 1, 16, dtype=np.float32)
    row = {
        "track_id": "a" * 32,
        "code": code,
        "logits": logits,
        "n_segments": 3,
        "generation": "g-1",
        "segment_codes": [code, b"ab"],
        "segment_starts_s": [0.0, 4.5],
    }
    write_rows(tmp_path / "codes.parquet", [row], codes_schema(16))
    frame = pq.read_table(tmp_path / "codes.parquet").to_pylist()[0]
    assert frame["code"] == code
    assert frame["segment_codes"] == [code, b"ab"]
    assert frame["segment_starts_s"] == [0.0, 4.5]
    assert np.array_equal(np.float32(frame["logits"]), logits)


@pytest.mark.parametrize("n_rows", [0, 1, 999, 1000, 1001, 3500])
def test_bytes_do_not_depend_on_how_many_rows_are_added_at_once(
    tmp_path, layout, monkeypatch, n_rows
):
    monkeypatch.setattr(tables, "ROW_GROUP_ROWS", 1000)
    rng = np.random.default_rng(n_rows)
    table = pa.table(
        {
            "track_id": [rng.bytes(16).hex() for _ in range(n_rows)],
            "code": pa.array([rng.bytes(8) for _ in range(n_rows)], pa.binary(8)),
            "places": pa.array(
                [["a"] * count for count in rng.integers(0, 4, n_rows)], pa.list_(pa.string())
            ),
        },
    )
    pq.write_table(  # in one piece, by pyarrow itself
        table,
        tmp_path / "whole.parquet",
        row_group_size=1000,
        compression="zstd",
        write_page_checksum=True,
        use_dictionary=True,
        version="2.6",
    )
    with PartWriter(layout, "codes", table.schema) as writer:
        start = 0
        while start < n_rows:
            count = int(rng.integers(1, 700))
            writer.add(table.slice(start, count))
            start += count
        part = writer.place()
    assert writer.n_rows == n_rows
    assert (layout.root / part.path).read_bytes() == (tmp_path / "whole.parquet").read_bytes()
