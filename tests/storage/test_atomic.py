"""Files and folders appear whole and durable, or not at all."""

import errno
import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from storage.atomic import (
    create_file,
    digest_file,
    digest_tree,
    make_folder,
    place_file,
    read_json,
    remove_folder,
    staged_directory,
    sweep_leftovers,
    sync_folders,
    to_json,
    write_file,
    write_json,
)
from storage.errors import ArtefactMissingError, DamagedArtefactError, StoreError
from storage.receipts import write_receipt

PROOF = "proof"


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def events(monkeypatch):
    """Record fsyncs, renames and links, by the path that they concern at that moment."""
    seen = []
    fsync, rename, replace, link = os.fsync, os.rename, os.replace, os.link

    def on_fsync(descriptor):
        seen.append(("fsync", str(Path(f"/proc/self/fd/{descriptor}").readlink())))
        fsync(descriptor)

    def on_move(move):
        def moved(source, target):
            seen.append(("name", str(target)))
            move(source, target)

        return moved

    monkeypatch.setattr(os, "fsync", on_fsync)
    monkeypatch.setattr(os, "rename", on_move(rename))
    monkeypatch.setattr(os, "replace", on_move(replace))
    monkeypatch.setattr(os, "link", on_move(link))
    return seen


@pytest.fixture
def full_disk(monkeypatch):
    def no_space(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    return lambda: monkeypatch.setattr(os, "fsync", no_space)


# --- files ---------------------------------------------------------------------------------------


def test_a_file_is_replaced_by_its_new_content(tmp_path):
    path = tmp_path / "new" / "folder" / "file"
    write_file(path, b"old")
    write_file(path, b"new content")
    assert path.read_bytes() == b"new content"
    assert names(path.parent) == ["file"]


@pytest.mark.parametrize("write", [write_file, create_file])
def test_a_file_is_synced_before_it_has_its_name_and_the_folder_after(tmp_path, events, write):
    path = tmp_path / "file"
    write(path, b"content")
    kinds = [kind for kind, _ in events]
    assert kinds == ["fsync", "name", "fsync"]
    assert Path(events[0][1]).parent == tmp_path
    assert events[1:] == [("name", str(path)), ("fsync", str(tmp_path))]


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, full_disk):
    path = tmp_path / "file"
    write_file(path, b"old")
    full_disk()
    for write in (write_file, create_file):
        with pytest.raises(OSError, match="No space"):
            write(path, b"new")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_a_file_is_created_once(tmp_path):
    path = tmp_path / "file"
    create_file(path, b"first")
    with pytest.raises(FileExistsError):
        create_file(path, b"second")
    assert path.read_bytes() == b"first"
    assert names(tmp_path) == ["file"]


def test_of_many_creators_one_wins(tmp_path):
    path = tmp_path / "file"

    def create(number):
        try:
            create_file(path, str(number).encode() * 1000)
        except FileExistsError:
            return None
        return number

    with ThreadPoolExecutor(16) as pool:
        (winner,) = [number for number in pool.map(create, range(64)) if number is not None]
    assert path.read_bytes() == str(winner).encode() * 1000


def test_placing_a_file_is_durable_and_mends_a_damaged_one(tmp_path, events):
    temporary, final = tmp_path / "temporary", tmp_path / "folder" / "final"
    final.parent.mkdir()
    final.write_bytes(b"damaged")
    temporary.write_bytes(b"good")
    place_file(temporary, final)
    assert final.read_bytes() == b"good"
    assert events == [
        ("fsync", str(temporary)),
        ("name", str(final)),
        ("fsync", str(final.parent)),
    ]


def test_new_folders_are_synced_from_the_top(tmp_path, events):
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert events == [("fsync", str(tmp_path)), ("fsync", str(tmp_path / "a"))]


# --- folders -------------------------------------------------------------------------------------


def stage(final, content=b"content"):
    with staged_directory(final, proof=PROOF) as folder:
        (folder / "inner").mkdir()
        (folder / "inner" / "data").write_bytes(content)
        (folder / PROOF).write_bytes(content)


def test_a_folder_appears_when_it_is_full(tmp_path):
    final = tmp_path / "deep" / "final"
    with staged_directory(final, proof=PROOF) as folder:
        (folder / PROOF).touch()
        assert not final.exists()
    assert names(final) == [PROOF]
    assert names(final.parent) == ["final"]


def test_everything_in_a_folder_is_synced_before_it_has_its_name(tmp_path, events):
    final = tmp_path / "final"
    stage(final)
    named = events.index(("name", str(final)))
    before = {Path(path).name for kind, path in events[:named] if kind == "fsync"}
    assert {"inner", "data", PROOF} <= before
    assert any(name.startswith(".tmp-final") for name in before)
    assert events[named + 1] == ("fsync", str(tmp_path))


def test_an_error_leaves_nothing(tmp_path):
    def fail():
        with staged_directory(tmp_path / "final", proof=PROOF) as folder:
            (folder / "data").touch()
            raise RuntimeError("half-way")

    with pytest.raises(RuntimeError, match="half-way"):
        fail()
    assert names(tmp_path) == []


def test_who_comes_second_leaves_the_first_result(tmp_path):
    final = tmp_path / "final"
    with staged_directory(final, proof=PROOF) as folder:
        (folder / PROOF).write_bytes(b"second")
        stage(final, b"first")
    assert (final / PROOF).read_bytes() == b"first"
    assert names(tmp_path) == ["final"]


def test_the_rest_of_a_folder_removed_by_halves_is_replaced(tmp_path):
    final = tmp_path / "final"
    stage(final, b"old")
    (final / PROOF).unlink()
    (final / "left").touch()
    stage(final, b"new")
    assert names(final) == ["inner", PROOF]
    assert (final / "inner" / "data").read_bytes() == b"new"
    assert names(tmp_path) == ["final"]


def test_a_removed_folder_has_lost_its_name_durably_before_its_files_go(tmp_path, monkeypatch):
    final = tmp_path / "final"
    stage(final)
    seen = []
    monkeypatch.setattr(
        os,
        "fsync",
        lambda descriptor: seen.append(
            (
                Path(f"/proc/self/fd/{descriptor}").readlink(),
                final.exists(),
                sorted(path.name for path in tmp_path.rglob("*") if path.is_file()),
            )
        ),
    )
    remove_folder(final)
    assert seen == [(tmp_path, False, ["data", PROOF])]
    assert names(tmp_path) == []
    remove_folder(final)
    assert len(seen) == 1


def test_a_sweep_removes_what_killed_writers_left_and_counts_it(tmp_path):
    stage(tmp_path / "a" / "final")
    write_file(tmp_path / "a" / "file", b"x")
    (tmp_path / "a" / ".tmp-other-12" / "deep").mkdir(parents=True)
    (tmp_path / "a" / ".tmp-other-12" / "deep" / "data").touch()
    (tmp_path / ".tmp-file-34").touch()
    assert sweep_leftovers(tmp_path) == 2
    assert names(tmp_path) == ["a"]
    assert names(tmp_path / "a") == ["file", "final"]
    assert sweep_leftovers(tmp_path) == 0


def test_a_sweep_makes_what_killed_runs_renamed_durable(tmp_path, events):
    folder = tmp_path / "features" / "fingerprint"
    folder.mkdir(parents=True)
    stage(folder / "killed-before-its-last-fsync")
    (folder / ".tmp-other-12").mkdir()
    wanted = {str(path) for path in (tmp_path, tmp_path / "features", folder)}
    for make_durable in (sweep_leftovers, sync_folders):
        events.clear()
        make_durable(tmp_path, proof=PROOF)
        assert {path for kind, path in events if kind == "fsync"} == wanted
    assert names(folder) == ["killed-before-its-last-fsync"]


def test_a_sweep_does_not_look_into_complete_folders(tmp_path, monkeypatch):
    for name in ("a", "b"):
        stage(tmp_path / "features" / name)
    looked_into = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: looked_into.append(str(path)) or scandir(path))
    sweep_leftovers(tmp_path, proof=PROOF)
    assert set(looked_into) == {str(tmp_path), str(tmp_path / "features")}


def test_a_writer_whose_folder_is_swept_away_publishes_nothing(tmp_path):
    def write():
        with staged_directory(tmp_path / "final", proof="receipt.json") as folder:
            (folder / "data").touch()
            sweep_leftovers(tmp_path)
            write_receipt(folder, kind="x", partition_id="p", fingerprint="f", n_done=0, n_failed=0)

    with pytest.raises(FileNotFoundError):
        write()
    assert names(tmp_path) == []


# --- digests and JSON ----------------------------------------------------------------------------


def test_digests_are_those_of_hashlib(tmp_path):
    data = os.urandom((1 << 20) + 17)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "data").write_bytes(data)
    (tmp_path / "a").write_bytes(b"")
    found = digest_file(tmp_path / "b" / "data", tmp_path)
    assert (found.path, found.size) == ("b/data", len(data))
    assert found.sha256 == hashlib.sha256(data).hexdigest()
    assert [entry.path for entry in digest_tree(tmp_path)] == ["a", "b/data"]
    assert digest_tree(tmp_path)[1] == found


def test_json_has_one_form(tmp_path):
    content = {"b": [1, 2.5, None], "a": "Müsik\n\x7f"}
    assert to_json(content) == to_json(dict(reversed(content.items())))
    assert json.loads(to_json(content)) == content
    assert to_json(content).endswith(b"}\n")
    write_json(tmp_path / "x.json", content)
    assert read_json(tmp_path / "x.json") == content


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[1]", b"null", b'"x"', b"{} {}"])
def test_what_is_no_json_object_is_damaged(tmp_path, content):
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(DamagedArtefactError, match=r"x\.json"):
        read_json(path)


def test_missing_and_unreadable_json_are_told_apart(tmp_path, ordinary_user):
    (tmp_path / "file").touch()
    for path in (tmp_path / "gone", tmp_path / "gone" / "x", tmp_path / "file" / "x"):
        with pytest.raises(ArtefactMissingError, match="does not exist"):
            read_json(path)
    with pytest.raises(StoreError, match="cannot be read: Is a directory"):
        read_json(tmp_path)
    (tmp_path / "file").chmod(0)
    with ordinary_user(), pytest.raises(StoreError, match="cannot be read: Permission denied"):
        read_json(tmp_path / "file")
