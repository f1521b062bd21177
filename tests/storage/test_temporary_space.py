"""Where temporary files lie: a folder that is named, or one on disk."""

import os

import pytest

from storage import temporary_space
from storage.temporary_space import temporary_file


def folder_of(file):
    """Give the folder of an open file without a name."""
    return os.path.dirname(os.readlink(f"/proc/self/fd/{file.fileno()}"))  # noqa: PTH115, PTH120


def test_the_folder_that_is_named_is_taken(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with temporary_file() as file:
        assert folder_of(file) == str(tmp_path)
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("is_there", [True, False])
def test_without_one_it_is_a_folder_on_disk_where_there_is_one(tmp_path, monkeypatch, is_there):
    monkeypatch.delenv("TMPDIR", raising=False)
    on_disk = tmp_path if is_there else tmp_path / "missing"
    monkeypatch.setattr(temporary_space, "ON_DISK", str(on_disk))
    with temporary_file() as file:
        assert (folder_of(file) == str(tmp_path)) == is_there
