"""Rows spread over ranges of ids: each row once, in its range, in the order in which it came."""

import os
import subprocess
import sys
import tempfile

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage import id_ranges
from storage.errors import TemporarySpaceError
from storage.id_ranges import MAX_RANGES, RANGE_ROWS, IdRanges, count_ranges, first_id_after

SCHEMA = pa.schema(
    [
        pa.field("track_id", pa.string(), nullable=False),
        pa.field("number", pa.int64()),
        pa.field("places", pa.list_(pa.string())),
    ]
)


def random_rows(seed, n_rows, first=0):
    rng = np.random.default_rng(seed)
    ids = [rng.bytes(16).hex() for _ in range(n_rows)]
    numbers = list(range(first, first + n_rows))
    places = [[f"/music/{number}", "ü"][: number % 3] for number in numbers]
    return pa.table([ids, numbers, places], schema=SCHEMA)


@pytest.mark.parametrize(
    ("n_rows", "n_ranges"),
    [(0, 1), (RANGE_ROWS, 1), (RANGE_ROWS + 1, 2), (1_000_000, 16), (10**12, MAX_RANGES)],
)
def test_ranges_are_a_power_of_two_that_the_rows_need(n_rows, n_ranges):
    assert count_ranges(n_rows) == n_ranges


@settings(deadline=None)
@given(
    lengths=st.lists(st.integers(0, 60), max_size=12),
    n_ranges=st.sampled_from([1, 2, 16, 64]),
    buffer_rows=st.integers(1, 200),
    seed=st.integers(0, 2**31),
)
def test_each_row_is_in_the_range_of_its_id_in_the_order_of_adding(
    lengths, n_ranges, buffer_rows, seed
):
    starts = np.cumsum([0, *lengths])
    tables = [
        random_rows(seed + place, length, int(starts[place]))
        for place, length in enumerate(lengths)
    ]
    every = [row for table in tables for row in table.to_pylist()]
    with pytest.MonkeyPatch.context() as patch, IdRanges(SCHEMA, n_ranges) as ranges:
        patch.setattr(id_ranges, "BUFFER_ROWS", buffer_rows)
        for table in tables:
            ranges.add(table)
        found = [table.to_pylist() for table in ranges.tables()]
        assert [ranges.table(number).to_pylist() for number in range(n_ranges)] == found
    assert sorted(row["number"] for rows in found for row in rows) == list(range(len(every)))
    below = ""
    for number, rows in enumerate(found):
        end = first_id_after(number, n_ranges)
        assert rows == [
            row
            for row in every
            if row["track_id"] >= below and (end is None or row["track_id"] < end)
        ]
        below = end or ""


def test_nothing_is_left_in_the_temporary_folder(tmp_path):
    """Not even by a process that is killed."""
    script = (
        "import os, signal\n"
        "from storage import id_ranges\n"
        "from tests.storage.test_id_ranges import SCHEMA, random_rows\n"
        "id_ranges.BUFFER_ROWS = 100\n"
        "ranges = id_ranges.IdRanges(SCHEMA, 4)\n"
        "ranges.add(random_rows(1, 1000))\n"
        "assert len(ranges.table(0)) > 100\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"TMPDIR": str(tmp_path)},
        check=False,
    )
    assert ended.returncode == -9
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("buffering", [0, -1])
def test_a_full_disk_is_told_with_the_way_out(monkeypatch, buffering):
    monkeypatch.setattr(id_ranges, "BUFFER_ROWS", 10)

    def opened(**_):
        return open("/dev/full", "w+b", buffering=buffering)  # noqa: PTH123

    monkeypatch.setattr(tempfile, "TemporaryFile", opened)
    with (
        IdRanges(SCHEMA, 2) as ranges,
        pytest.raises(TemporarySpaceError, match=r"No space left .* TMPDIR"),
    ):
        ranges.add(random_rows(1, 1000))
