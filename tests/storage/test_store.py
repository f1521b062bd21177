"""A store is recognised, made only where nothing is, and written by one process at a time."""

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from storage.errors import (
    ArtefactMissingError,
    DamagedArtefactError,
    FormatVersionError,
    StoreError,
    StoreLockedError,
    StorePlaceError,
)
from storage.layout import STORE_FORMAT
from storage.store import (
    check_apart,
    check_not_fetched,
    create_store,
    lock_owner,
    open_store,
    working_beside,
    writing,
)


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
        assert names(root) == [".lock", ".lock-beside", "musichash-store.json"]


@pytest.mark.parametrize("name", ["folder", "file", "nothing"])
def test_what_is_no_store_is_named_with_the_way_to_make_one(tmp_path, name):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(
        ArtefactMissingError, match=r"is not a musichash store; create one with"
    ) as caught:
        open_store(tmp_path / name)
    assert caught.value.is_wrong_input


def test_a_file_is_not_made_a_store(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"file cannot be written"):
        create_store(tmp_path / "file")
    with pytest.raises(StoreError, match=r"below cannot be written"):
        create_store(tmp_path / "file" / "below")


@pytest.mark.parametrize("use", [open_store, create_store])
@pytest.mark.parametrize(
    ("marker", "refusal"),
    [
        ({"format": 7}, "has format 7, this version reads format 2; a newer version of musichash"),
        ({"format": 1}, "has format 1, this version reads format 2; an older version of musichash"),
        ({"format": "2"}, "has format 2, this version reads format 2; that is no format: restore"),
        ({"format": True}, "has format True, this version reads format 2; that is no format"),
        ({}, "has format None, this version reads format 2; that is no format: restore the file"),
    ],
)
def test_another_format_is_refused_with_both_numbers(layout, use, marker, refusal):
    layout.marker_path.write_text(json.dumps(marker))
    with pytest.raises(FormatVersionError, match=refusal):
        use(layout.root)
    assert names(layout.root) == ["musichash-store.json"]


@pytest.mark.parametrize("below", ["inner", "tables/inner"])
def test_a_store_is_not_made_inside_another(layout, below):
    with pytest.raises(
        StorePlaceError, match=f"{below} lies inside the store {layout.root}; "
    ) as e:
        create_store(layout.root / below)
    assert e.value.is_wrong_input
    assert names(layout.root) == ["musichash-store.json"]


@pytest.mark.parametrize(
    ("store", "root", "refusal"),
    [
        ("a/store", "a", "the store .*/a/store lies inside the catalogue .*/a; they must"),
        ("a", "a/music", "the catalogue .*/a/music lies inside the store .*/a; they must"),
        ("a", "a", "/a is named as the catalogue and as the store"),
        ("a", "b/../a/", "/a is named as the catalogue and as the store"),
        ("link", "a", "/a is named as the catalogue and as the store"),
        ("link/store", "a", "the store .*/a/store lies inside the catalogue"),
    ],
)
def test_a_store_and_a_catalogue_lie_apart(tmp_path, store, root, refusal):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    with pytest.raises(StorePlaceError, match=refusal) as caught:
        check_apart(tmp_path / store, [tmp_path / "b", tmp_path / root])
    assert caught.value.is_wrong_input


def test_neighbours_with_similar_names_are_apart(tmp_path):
    check_apart(tmp_path / "music.store", [tmp_path / "music", str(tmp_path / "music.stor")])


# --- places that cannot be written ---------------------------------------------------------------


def test_a_read_only_store_can_be_asked_and_not_written(layout, tmp_path, mounted):
    with writing(layout):
        pass
    read_only = tmp_path / "read-only"
    read_only.mkdir()
    mounted("--bind", layout.root, at=read_only)
    mounted("-o", "remount,ro,bind", at=read_only)
    seen = open_store(read_only)
    assert lock_owner(seen) is None
    with writing(layout, what="the night"):
        assert lock_owner(seen).what == "the night"
    for write in (writing, working_beside):
        with pytest.raises(StoreError, match="Read-only file system; check its"), write(seen):
            pass
    with pytest.raises(StoreError, match="Read-only file system; check its"):
        create_store(read_only)
    with pytest.raises(StoreError, match="Read-only file system; check its"):
        create_store(read_only / ".." / "read-only")


def test_a_full_disk_is_named_and_works_again_once_there_is_room(tmp_path, mounted):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted("-t", "tmpfs", "-o", "size=64k", "tmpfs", at=disk)
    layout = create_store(disk / "store")
    filler = disk / "filler"
    with pytest.raises(OSError, match="No space left"):
        filler.write_bytes(bytes(70_000))
    with pytest.raises(StoreError, match=r"cannot be written: No space left .*free space, or name"):
        create_store(disk / "other")
    with (
        pytest.raises(StoreError, match="cannot be written: No space left on device; check its"),
        writing(layout),
    ):
        pass
    filler.unlink()
    with writing(open_store(disk / "store")):
        pass


def test_a_damaged_marker_is_refused(layout):
    layout.marker_path.write_text("{")
    with pytest.raises(DamagedArtefactError, match="is not valid JSON"):
        open_store(layout.root)


def test_a_store_without_permission_is_refused_with_what_to_check(layout, tmp_path, ordinary_user):
    layout.root.chmod(0o555)
    shut = tmp_path / "shut"
    shut.mkdir(mode=0o555)
    with ordinary_user():
        open_store(layout.root)
        with pytest.raises(StoreError, match="Permission denied; check its owner"):
            create_store(layout.root)
        with pytest.raises(StoreError, match="Permission denied; check its owner"):
            create_store(shut / "inner")
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
        pytest.raises(
            StoreLockedError, match=rf"writing to .*\(a command, pid {holder.pid} on .*wait for it"
        ),
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


MAKE = """
import sys
from storage.store import create_store
from storage.store import writing
from storage.errors import StoreLockedError
for line in sys.stdin:
    try:
        with writing(create_store(line.strip())):
            print("made", flush=True)
    except StoreLockedError:
        print("made", flush=True)
    except Exception as error:
        print(repr(error), flush=True)
"""


def test_two_processes_that_make_one_store_at_once_both_get_it(tmp_path):
    makers = [
        subprocess.Popen(
            [sys.executable, "-c", MAKE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        for _ in range(2)
    ]
    try:
        for number in range(80):
            for maker in makers:
                maker.stdin.write(f"{tmp_path}/{number}\n")
            assert [maker.stdout.readline() for maker in makers] == ["made\n", "made\n"]
    finally:
        for maker in makers:
            maker.kill()
            maker.communicate()


# --- what killed runs left -----------------------------------------------------------------------


def test_beside_a_backfill_leftovers_stay_and_finished_work_becomes_durable(layout, monkeypatch):
    root = layout.features_root("f" * 12)
    (root / ".tmp-being-filled").mkdir(parents=True)
    (root / "finished").mkdir()
    (root / "finished" / "receipt.json").touch()
    synced = []
    monkeypatch.setattr(
        os, "fsync", lambda handle: synced.append(str(Path(f"/proc/self/fd/{handle}").readlink()))
    )
    with working_beside(layout), writing(layout):
        assert names(root) == [".tmp-being-filled", "finished"]
    assert {str(path) for path in (layout.root, root.parent, root)} <= set(synced)
    assert str(root / "finished") not in synced
    with writing(layout):
        assert names(root) == ["finished"]


@pytest.mark.parametrize("reason", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_a_disk_that_fails_in_the_sweep_is_named(layout, monkeypatch, reason):
    (layout.root / ".tmp-left").mkdir()
    rename = Path.rename

    def fail(path, target):
        if path.name == ".tmp-left":
            raise OSError(reason, os.strerror(reason), str(path))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail)
    said = rf"cannot be written any more: {os.strerror(reason)}"
    with pytest.raises(StoreError, match=said), writing(layout):
        pytest.fail("the block must not begin")


# --- what was fetched ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("note", "said"), [('{"from": "s3://b/p"}', r" \(s3://b/p\)"), ("{}", ""), ("damaged", "")]
)
def test_a_fetched_folder_is_for_reading_only(layout, note, said):
    check_not_fetched(layout)
    layout.origin_path.write_text(note)
    with pytest.raises(StorePlaceError, match=rf"was fetched from a replica{said} and is only for"):
        check_not_fetched(layout)
    with pytest.raises(StorePlaceError, match="was fetched"), working_beside(layout):
        pass
    assert open_store(layout.root) == layout
    assert StorePlaceError.is_wrong_input
