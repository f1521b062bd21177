"""Places spread over parts: those of equal name are in one, in their order."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import id_ranges
from storage.place_parts import PlaceParts

PLACES = pa.schema([("place", pa.string()), ("row", pa.int64())])


@given(
    names=st.lists(st.text(min_size=1, max_size=4)),
    n_parts=st.sampled_from([1, 2, 8]),
    buffer_rows=st.integers(1, 20),
)
def test_equal_places_are_in_one_part_in_their_order(names, n_parts, buffer_rows):
    table = pa.table([names, np.arange(len(names))], schema=PLACES)
    with pytest.MonkeyPatch.context() as patch, PlaceParts(PLACES, n_parts) as parts:
        patch.setattr(id_ranges, "BUFFER_ROWS", buffer_rows)
        for start in range(len(names)):
            parts.add(table.slice(start, 1))
        found = [part.to_pylist() for part in parts.tables()]
    assert len(found) == n_parts
    assert sorted(row["row"] for part in found for row in part) == list(range(len(names)))
    for name in set(names):
        (with_it,) = [part for part in found if any(row["place"] == name for row in part)]
        assert [row["row"] for row in with_it if row["place"] == name] == [
            row for row, other in enumerate(names) if other == name
        ]


def test_places_are_spread_evenly():
    names = [f"/music/{number // 12}/{number % 12:02d} a track.flac" for number in range(8000)]
    with PlaceParts(PLACES, 8) as parts:
        parts.add(pa.table([names, np.arange(len(names))], schema=PLACES))
        lengths = [len(part) for part in parts.tables()]
    assert 800 < min(lengths) <= max(lengths) < 1200
