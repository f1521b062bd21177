"""Rows up to one id after another: all of them, once, whatever the pieces."""

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.errors import DamagedArtefactError
from storage.sorted_rows import SortedRows

SCHEMA = pa.schema([pa.field("track_id", pa.string(), nullable=False), pa.field("n", pa.int64())])
ids = st.text("0123456789abcdef", min_size=1, max_size=3)


def cut(track_ids, sizes):
    table = pa.table([track_ids, range(len(track_ids))], schema=SCHEMA)
    start = 0
    for size in sizes:
        yield table.slice(start, size)
        start += size
    yield table.slice(start)


@settings(deadline=None)
@given(
    st.lists(ids, unique=True, max_size=30).map(sorted),
    st.lists(st.integers(0, 6), max_size=10),
    st.lists(ids, unique=True, max_size=5).map(sorted),
)
def test_rows_are_given_once_in_order(track_ids, sizes, bounds):
    rows = SortedRows(cut(track_ids, sizes), SCHEMA, source="a table")
    below = ""
    for bound in [*bounds, None]:
        found = rows.below(bound)["track_id"].to_pylist()
        assert found == [
            one for one in track_ids if one >= below and (bound is None or one < bound)
        ]
        below = bound
    assert len(rows.below(None)) == 0


@pytest.mark.parametrize("sizes", [(), (1,), (2,), (1, 1)])
@pytest.mark.parametrize("track_ids", [("b", "a", "c"), ("a", "c", "b"), ("a", "a", "b")])
def test_what_is_not_sorted_is_damage(track_ids, sizes):
    rows = SortedRows(cut(track_ids, sizes), SCHEMA, source="the table codes")
    with pytest.raises(DamagedArtefactError, match="the table codes is not sorted by track_id"):
        rows.below(None)
