"""Walking a tree in the order of its names: compared with all names, sorted as bytes."""

import os
import shutil
import stat
import tempfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import catalogue_walk
from storage.catalogue_walk import walk
from storage.source_files import FOUND

CLOSE_NAMES = [
    b"a",
    b"a ",
    b"a b",
    b"a-b",
    b"a.b",
    b"a0",
    b"ab",
    b"A",
    b"\xc3\xa9",
    b"a\xff",
    b"\n",
]


def named(root):
    """Walk a root; give its names and how many files were passed by."""
    parts = list(walk(str(root)))
    assert all(part.found.schema.equals(FOUND) for part in parts)
    names = [name for part in parts for name in part.found["path_raw"].to_pylist()]
    return names, sum(part.n_ignored for part in parts)


def every_file(root):
    base = os.fsencode(root)
    files = [
        os.path.relpath(os.path.join(folder, name), base)  # noqa: PTH118 - bytes paths
        for folder, _, names in os.walk(base)
        for name in names
    ]
    return sorted(files)


def make(root, files):
    """Make empty files and their folders; a name that is a folder already stays one."""
    base = os.fsencode(root)
    for file in files:
        path = os.path.join(base, file)  # noqa: PTH118
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            continue


part_names = st.sampled_from(CLOSE_NAMES) | st.binary(min_size=1, max_size=3).filter(
    lambda name: b"/" not in name and b"\0" not in name and name not in {b".", b".."}
)
paths = st.lists(part_names, min_size=1, max_size=4).map(b"/".join)


@given(
    files=st.lists(st.tuples(paths, st.sampled_from([b".ogg", b".flac", b".jpg"])), max_size=25),
    block_rows=st.integers(1, 9),
)
def test_names_come_in_the_order_of_their_bytes(files, block_rows):
    with tempfile.TemporaryDirectory() as root, pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalogue_walk, "BLOCK_ROWS", block_rows)
        make(root, [path + suffix for path, suffix in files])
        every = every_file(root)
        audio = [
            name
            for name in every
            if name.endswith((b".ogg", b".flac"))
            and name.rpartition(b"/")[2][:2] != b"._"
            # A name that is all suffix is a hidden file without one.
            and name.rpartition(b"/")[2].lstrip(b".").count(b".")
        ]
        assert named(root) == (audio, len(every) - len(audio))


def test_sizes_and_times_are_those_of_the_files(tmp_path):
    make(tmp_path, [b"a/b.ogg", b"a-.ogg"])
    (tmp_path / "a/b.ogg").write_bytes(b"four")
    (part,) = walk(str(tmp_path))
    status = (tmp_path / "a/b.ogg").stat()
    first, second = part.found.to_pylist()
    assert (first["path_raw"], first["n_bytes"]) == (b"a-.ogg", 0)
    assert second == {
        "root": str(tmp_path),
        "path_raw": b"a/b.ogg",
        "n_bytes": 4,
        "mtime_ns": status.st_mtime_ns,
        "place": "",
    }


def test_folders_that_cannot_be_listed_are_names_in_their_place(tmp_path, ordinary_user):
    make(tmp_path, [b"a/x.ogg", b"a b/c/x.ogg", b"a b.ogg", b"a-b/x.ogg", b"a0.ogg", b"a b!/x.ogg"])
    for name in ("a", "a b/c", "a b!"):
        (tmp_path / name).chmod(0)
    with ordinary_user():
        names, _ = named(tmp_path)
    assert names == [b"a", b"a b!", b"a b.ogg", b"a b/c", b"a-b/x.ogg", b"a0.ogg"]
    for name in ("a", "a b/c", "a b!"):
        (tmp_path / name).chmod(stat.S_IRWXU)


def test_a_root_that_cannot_be_listed_is_one_name(tmp_path):
    assert named(tmp_path / "gone") == ([b""], 0)


def test_what_vanishes_during_the_walk_is_a_name_without_a_status(tmp_path, monkeypatch):
    monkeypatch.setattr(catalogue_walk, "BLOCK_ROWS", 1)
    make(tmp_path, [b"a.ogg", b"b.ogg", b"c.jpg", b"d/x.ogg", b"d.ogg", b"e.ogg"])
    parts = walk(str(tmp_path))
    found = [next(parts).found]
    (tmp_path / "b.ogg").unlink()
    shutil.rmtree(tmp_path / "d")
    found += [part.found for part in parts]
    rows = [row for table in found for row in table.to_pylist()]
    assert [(row["path_raw"], row["n_bytes"]) for row in rows] == [
        (b"a.ogg", 0),
        (b"b.ogg", None),
        (b"d", None),
        (b"d.ogg", 0),
        (b"e.ogg", 0),
    ]


def test_a_deep_tree_is_walked_to_its_end(tmp_path):
    depth = 600
    folder = os.open(tmp_path, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=folder)
        below = os.open("d", os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = below
    os.close(os.open("x.ogg", os.O_CREAT | os.O_WRONLY, dir_fd=folder))
    os.close(folder)
    assert named(tmp_path) == ([b"d/" * depth + b"x.ogg"], 0)
