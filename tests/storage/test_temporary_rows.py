"""Rows set aside, in memory or in a file: what is read is what was added."""

import tempfile

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import temporary_rows
from storage.errors import TemporarySpaceError
from storage.temporary_rows import TemporaryRows

SCHEMA = pa.schema([("number", pa.int64()), ("name", pa.string()), ("raw", pa.binary())])


def batch_of(*numbers):
    rows = [
        {"number": number, "name": None if number % 3 else f"ü{number}", "raw": b"\xff" * number}
        for number in numbers
    ]
    return pa.RecordBatch.from_pylist(rows, SCHEMA)


@given(
    lengths=st.lists(st.integers(0, 9), max_size=12), kept_rows=st.sampled_from([0, 1, 10, 1000])
)
def test_every_batch_is_read_as_it_was_added(lengths, kept_rows):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(temporary_rows, "KEPT_ROWS", kept_rows)
        rows = TemporaryRows(SCHEMA)
        added = []
        for length in lengths:
            added.append(batch_of(*range(sum(lengths) - length, sum(lengths))))
            rows.add(added[-1].slice(0, length))
            assert rows[len(added) - 1] == added[-1]  # written and read by turns
        assert list(rows) == added
        assert (len(rows), rows.n_rows) == (len(lengths), sum(lengths))


def test_few_rows_make_no_file(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "missing"))
    rows = TemporaryRows(SCHEMA)
    rows.add(batch_of(1, 2))
    monkeypatch.setattr(temporary_rows, "KEPT_ROWS", 2)
    with pytest.raises(TemporarySpaceError, match=r"missing failed: No such file .* TMPDIR"):
        rows.add(batch_of(3))


def test_a_full_disk_is_told_and_closing_does_not_fail(monkeypatch):
    monkeypatch.setattr(temporary_rows, "KEPT_ROWS", 0)
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: open("/dev/full", "w+b"))  # noqa: PTH123, SIM115
    rows = TemporaryRows(SCHEMA)
    with pytest.raises(TemporarySpaceError, match=r"No space left .* TMPDIR"):
        rows.add(batch_of(1, 2, 3))
    del rows
