"""A view of some runs of a file is read like the same bytes in one piece."""

import io
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from musichash_core.decode.byte_runs import ByteRuns

CONTENT = bytes(range(256))
RUNS = st.lists(
    st.one_of(st.binary(max_size=20), st.tuples(st.integers(0, 200), st.integers(0, 50))),
    max_size=6,
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("read"), st.integers(0, 60)),
        st.tuples(st.just("seek"), st.integers(-20, 150), st.sampled_from([0, 1, 2])),
    ),
    max_size=8,
)


@pytest.fixture
def descriptor(tmp_path):
    (tmp_path / "a").write_bytes(CONTENT)
    descriptor = os.open(tmp_path / "a", os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(runs=RUNS, steps=STEPS)
def test_any_runs_read_like_a_file_in_memory(descriptor, runs, steps):
    view = ByteRuns(descriptor, tuple(runs))
    pieces = [run if isinstance(run, bytes) else CONTENT[run[0] : run[0] + run[1]] for run in runs]
    reference = io.BytesIO(b"".join(pieces))
    assert view.n_bytes == len(reference.getvalue())
    for step in steps:
        if step[0] == "read":
            assert view.read(step[1]) == reference.read(step[1])
        else:
            origin = (0, reference.tell(), view.n_bytes)[step[2]]
            reference.seek(max(0, origin + step[1]))
            assert view.seek(*step[1:]) == reference.tell()
        assert view.tell() == reference.tell()
    assert os.lseek(descriptor, 0, os.SEEK_CUR) == 0


def test_a_buffer_is_filled_as_far_as_the_view_goes(descriptor):
    view = ByteRuns(descriptor, (b"ab", (10, 3)))
    buffer = bytearray(8)
    assert view.readinto(buffer) == 5
    assert buffer == b"ab\x0a\x0b\x0c\0\0\0"


def test_a_file_that_has_become_shorter_ends_the_view(descriptor):
    view = ByteRuns(descriptor, ((250, 20), b"end"))
    assert view.read(100) == CONTENT[250:]
    assert view.read(100) == b""


def test_an_error_of_the_disk_is_kept(tmp_path):
    write_only = os.open(tmp_path / "b", os.O_WRONLY | os.O_CREAT)
    view = ByteRuns(write_only, ((0, 10),))
    assert view.read(10) == b""
    assert isinstance(view.error, OSError)
    os.close(write_only)
