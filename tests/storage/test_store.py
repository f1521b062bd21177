"""A store is recognised, made only where nothing is, and written by one process at a time."""

import json
import os
import signal
import subprocess
import sys

import pytest

from storage.errors import (
    ArtefactMissingError,
    DamagedArtefactError,
    FormatVersionError,
    StoreError,
    StoreLockedError,
)
from storage.layout import STORE_FORMAT
from storage.store import create_store, open_store, writing


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_store_is_created_and_recognised(tmp_path):
    made = create_store(tmp_path / "a" / "store")
    assert open_store(str(made.root)) == made
    assert create_store(made.root) == made
    assert json.loads(made.marker_path.read_text()) == {"format": STORE_FORMAT}


def test_an_empty_folder_and_a_link_to_one_become_stores(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    assert create_store(tmp_path / "link").root == tmp_path / "folder"


def test_a_relative_path_names_the_same_store(tmp_path, monkeypatch):
    made = create_store(tmp_path / "store")
    monkeypatch.chdir(tmp_path)
    assert open_store("store") == made


def test_a_folder_with_other_files_is_not_made_a_store(tmp_path):
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(StoreError, match=r"is not empty \(it holds 'holiday.jpg'\); name an empty"):
        create_store(tmp_path)
    assert names(tmp_path) == ["holiday.jpg"]


def test_a_fresh_file_system_is_empty_enough(tmp_path):
    (tmp_path / "lost+found").mkdir()
    create_store(tmp_path)


def test_a_killed_creation_can_be_repeated(kill_points):
    stores = kill_points("create")
    assert len(stores) > 3
    for root in stores:
        create_store(root)
        with writing(open_store(root)):
            pass
        assert names(root) == [".lock", "musichash-store.json"]


@pytest.mark.parametrize("name", ["folder", "file", "nothing"])
def test_what_is_no_store_is_named_with_the_way_to_make_one(tmp_path, name):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(ArtefactMissingError, match=r"is not a musichash store; create one with"):
        open_store(tmp_path / name)


def test_a_file_is_not_made_a_store(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"file cannot be written"):
        create_store(tmp_path / "file")
    with pytest.raises(StoreError, match=r"below cannot be written"):
        create_store(tmp_path / "file" / "below")


@pytest.mark.parametrize("use", [open_store, create_store])
def test_another_format_is_refused_with_both_numbers(layout, use):
    layout.marker_path.write_text('{"format": 7}')
    with pytest.raises(FormatVersionError, match="has format 7, this version reads format 2"):
        use(layout.root)


def test_a_damaged_marker_is_refused(layout):
    layout.marker_path.write_text("{")
    with pytest.raises(DamagedArtefactError, match="is not valid JSON"):
        open_store(layout.root)


def test_a_store_without_permission_is_refused_with_what_to_check(layout, ordinary_user):
    layout.root.chmod(0o555)
    with ordinary_user():
        open_store(layout.root)
        with pytest.raises(StoreError, match="Permission denied; check its owner"):
            create_store(layout.root)
        with pytest.raises(StoreError, match="Permission denied; check its owner"):
            create_store(layout.root / "inner")
        with pytest.raises(StoreError, match="cannot be written"), writing(layout):
            pass


# --- the lock ------------------------------------------------------------------------------------

HOLD = """
import sys
from storage.store import open_store, writing
with writing(open_store(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(layout):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, layout.root],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_two_processes_do_not_write_at_once_and_the_owner_is_named(layout, holder):
    with (
        pytest.raises(StoreLockedError, match=f'"pid": {holder.pid}.*wait for it to end'),
        writing(layout),
    ):
        pass


def test_the_lock_ends_with_its_process(layout, holder):
    holder.communicate("")
    with writing(layout):
        pass


def test_the_lock_does_not_outlive_a_killed_process(layout, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with writing(layout):
        assert str(os.getpid()) in layout.lock_path.read_text()


def test_a_stopped_process_keeps_its_lock(layout, holder):
    holder.send_signal(signal.SIGSTOP)
    with pytest.raises(StoreLockedError), writing(layout):
        pass
    holder.send_signal(signal.SIGCONT)


def test_one_process_cannot_write_twice_at_once(layout):
    with writing(layout), pytest.raises(StoreLockedError), writing(layout):
        pass
    with writing(layout):
        pass


def test_children_do_not_inherit_the_lock(layout):
    with writing(layout):
        child = subprocess.Popen(["sleep", "60"], close_fds=False)
    with writing(layout):
        pass
    child.kill()
    child.wait()


def test_the_lock_is_released_by_an_error(layout):
    with pytest.raises(ZeroDivisionError), writing(layout):
        1 / 0  # noqa: B018
    with writing(layout):
        pass


def test_the_writer_sweeps_and_the_loser_does_not(layout, holder):
    (layout.root / ".tmp-of-the-holder").touch()
    with pytest.raises(StoreLockedError), writing(layout):
        pass
    assert (layout.root / ".tmp-of-the-holder").exists()
    holder.communicate("")
    with writing(layout):
        assert not (layout.root / ".tmp-of-the-holder").exists()
