"""The model of a disk that loses power, against cases worked by hand."""

import os

import pytest
from power_loss import Disk, Operation, read_log


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    (root / "old").write_bytes(b"old")
    return root


def after(root, target, operations, loss, seed=0):
    """Give the files of a folder after operations and a power loss."""
    disk = Disk(root)
    for kind, path, *rest in operations:
        options = dict(*rest)
        other = str(root / options.pop("to")) if "to" in options else ""
        disk.apply(Operation(kind, str(root / path), other, **options))
    disk.write(target, loss, seed)
    return {
        path.relative_to(target).as_posix(): path.read_bytes()
        for path in sorted(target.rglob("*"))
        if path.is_file()
    }


def new_file(*, is_synced, is_folder_synced, root):
    """Write a file beside its target and rename it, syncing more or less of it."""
    operations = [
        ("C", "temporary", {"inode": 1}),
        ("W", "temporary", {"inode": 1, "data": b"new content"}),
    ]
    if is_synced:
        operations.append(("F", "temporary", {"inode": 1}))
    operations.append(("R", "temporary", {"to": "old"}))
    if is_folder_synced:
        operations.append(("F", "", {"inode": root.stat().st_ino}))
    return operations


@pytest.mark.parametrize(
    ("is_synced", "is_folder_synced", "loss", "content"),
    [
        (True, True, "nothing", b"new content"),
        (True, True, "names", b"new content"),
        (True, False, "nothing", b"old"),
        (True, False, "names", b"new content"),
        (True, False, "data", b"old"),
        (False, True, "nothing", b""),  # the name came before the bytes
        (False, False, "names", b""),
        (False, False, "zeros", bytes(11)),
        (False, False, "data", b"old"),
        (False, True, "data", b"new content"),
    ],
)
def test_a_replaced_file(root, tmp_path, is_synced, is_folder_synced, loss, content):
    operations = new_file(is_synced=is_synced, is_folder_synced=is_folder_synced, root=root)
    assert after(root, tmp_path / "disk", operations, loss) == {"old": content}


def test_names_of_a_folder_come_in_their_order_and_bytes_at_any_time(root, tmp_path):
    operations = new_file(is_synced=False, is_folder_synced=False, root=root)
    seen = {
        tuple(after(root, tmp_path / str(seed), operations, "mixed", seed).items())
        for seed in range(60)
    }
    contents = [b"", bytes(11), b"new content", b"new c"]  # the last is torn
    kept = (("old", b"old"),)
    assert seen == {
        kept,
        *((*kept, ("temporary", content)) for content in contents),
        *((("old", content),) for content in contents),
    }


def test_a_new_folder_needs_an_fsync_of_the_folder_above(root, tmp_path):
    operations = [
        ("M", "folder", {"inode": 1}),
        ("C", "folder/file", {"inode": 2}),
        ("W", "folder/file", {"inode": 2, "data": b"x"}),
        ("F", "folder/file", {"inode": 2}),
        ("F", "folder", {"inode": 1}),
    ]
    assert after(root, tmp_path / "a", operations, "nothing") == {"old": b"old"}
    operations.append(("F", "", {"inode": root.stat().st_ino}))
    expected = {"folder/file": b"x", "old": b"old"}
    assert after(root, tmp_path / "b", operations, "nothing") == expected


def test_what_is_removed_comes_back_until_its_folder_is_synced(root, tmp_path):
    operations = [("U", "old", {})]
    assert after(root, tmp_path / "a", operations, "nothing") == {"old": b"old"}
    assert after(root, tmp_path / "b", operations, "names") == {}


def test_an_inode_number_used_again_is_another_file(root, tmp_path):
    operations = [
        ("C", "a", {"inode": 1}),
        ("W", "a", {"inode": 1, "data": b"first"}),
        ("F", "a", {"inode": 1}),
        ("F", "", {"inode": root.stat().st_ino}),
        ("U", "a", {}),
        ("C", "b", {"inode": 1}),
        ("W", "b", {"inode": 1, "data": b"second"}),
    ]
    assert after(root, tmp_path / "x", operations, "nothing") == {"a": b"first", "old": b"old"}
    assert after(root, tmp_path / "y", operations, "zeros") == {"b": bytes(6), "old": b"old"}


def test_a_truncated_file_and_a_second_name(root, tmp_path):
    operations = [
        ("T", "old", {"inode": (root / "old").stat().st_ino, "offset": 1}),
        ("L", "old", {"to": "again"}),
    ]
    shortened = after(root, tmp_path / "x", operations, "zeros")
    assert shortened == {"again": b"o", "old": b"o"}
    assert after(root, tmp_path / "y", operations, "names") == {"again": b"old", "old": b"old"}


def test_a_log_is_read_as_it_was_written(tmp_path):
    import struct

    def packed(kind, path, other, inode, offset, data, n_data):
        head = struct.pack("<IIIIQQQ", ord(kind), len(path), len(other), 0, inode, offset, n_data)
        return head + path + other + data

    log = tmp_path / "log"
    log.write_bytes(
        packed("W", b"/a", b"", 7, 3, b"data", 4)
        + packed("R", b"/a", os.fsencode("/b"), 7, 0, b"", 0)
    )
    assert list(read_log(log)) == [
        Operation("W", "/a", "", 7, 3, b"data"),
        Operation("R", "/a", "/b", 7),
    ]
