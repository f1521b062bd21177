"""``musichash snapshots``, ``gc`` and ``reconcile``: what they print, and how they end."""

import json
import shutil

import pytest

from storage.atomic import FileDigest
from storage.runs import read_runs
from storage.snapshots import Snapshot, publish_snapshot
from storage.store import create_store


@pytest.fixture
def bare_store(tmp_path):
    """Two manifests whose files were lost."""
    layout = create_store(tmp_path / "store")
    for generation in ("g-1", "g-2"):
        tables = {name: [f"tables/{name}/t"] for name in ("runs", "failures")}
        paths = ("index/c", "tables/runs/t", "tables/failures/t")
        files = tuple(FileDigest(path, 10, "0" * 64) for path in paths)
        snapshot = Snapshot(
            0, "f" * 12, generation, tables, "index/c", "index/c", {"tracks": 1}, files, "d" * 64
        )
        publish_snapshot(layout, snapshot)
    return layout


def test_every_snapshot_is_listed_also_without_its_files(musichash, bare_store):
    bare_store.snapshot_path(1).write_text("{}")
    spoken = musichash("snapshots", "list", "--store", bare_store.root)
    assert spoken.code == 0
    assert "cannot be read" in spoken.out
    assert "g-2" in spoken.out
    spoken = musichash("snapshots", "list", "--store", bare_store.root, "--json")
    found = json.loads(spoken.out)
    assert [row["is_readable"] for row in found["snapshots"]] == [False, True]
    assert found["snapshots"][1]["digest"] == "d" * 64


def test_a_snapshot_without_its_files_is_not_gone_back_to(musichash, bare_store):
    spoken = musichash("snapshots", "rollback", "--store", bare_store.root)
    assert spoken.code == 1
    assert "error: snapshot 1 is not whole (index/c is missing" in spoken.err
    spoken = musichash("snapshots", "show", "1", "--store", bare_store.root)
    assert "index/c: missing" in spoken.out


@pytest.mark.parametrize("asked", [("snapshots", "rollback"), ("snapshots", "show")], ids=" ".join)
def test_a_number_that_no_snapshot_has_is_wrong_input_and_no_run(musichash, bare_store, asked):
    before = read_runs(bare_store)
    spoken = musichash(*asked, "9", "--store", bare_store.root)
    assert spoken.code == 2
    assert "error: there is no snapshot 9 in" in spoken.err
    assert "the latest are: 1, 2 ('musichash snapshots list'" in spoken.err
    assert read_runs(bare_store) == before
    # One that was published, and whose manifest is gone, is damage.
    bare_store.current_path.write_text("3\n")
    spoken = musichash(*asked, "3", "--store", bare_store.root)
    assert spoken.code == 1
    assert "the manifest of snapshot 3 is missing" in spoken.err


def test_how_many_snapshots_to_keep_must_be_said(musichash, bare_store):
    assert musichash("gc", "--store", bare_store.root).code == 2
    assert musichash("gc", "--keep", "0", "--store", bare_store.root).code == 2


def test_a_damaged_pointer_is_said_with_the_way_out(musichash, bare_store):
    bare_store.current_path.write_text("two\n")
    for command in (("gc", "--keep", "1"), ("reconcile",)):
        spoken = musichash(*command, "--store", bare_store.root)
        assert spoken.code == 1
        assert "'musichash snapshots rollback 2 --store" in spoken.err
    assert musichash("snapshots", "list", "--store", bare_store.root).code == 0


def test_going_back_collecting_and_mending_a_real_store(musichash, nights, tmp_path):
    store = tmp_path / "store"
    shutil.copytree(nights.store, store)
    before = json.loads(musichash("snapshots", "list", "--store", store, "--json").out)
    numbers = [row["number"] for row in before["snapshots"]]
    assert len(numbers) > 2
    spoken = musichash("snapshots", "rollback", "--store", store, "--verify")
    assert spoken.code == 0
    assert f"snapshot {numbers[-2]} is the current one instead of {numbers[-1]}" in spoken.out
    assert f"as snapshot {numbers[-1] + 1}" in spoken.out
    assert musichash("snapshots", "rollback", numbers[-1], "--store", store).code == 0
    planned = musichash("gc", "--keep", "1", "--store", store, "--dry-run", "--json")
    done = musichash("gc", "--keep", "1", "--store", store, "--json")
    assert json.loads(done.out)["removed"] == numbers[:-1]
    assert json.loads(done.out)["bytes"] == json.loads(planned.out)["bytes"] > 0
    for path in (store / "index").glob("*.faiss"):
        path.write_bytes(b"")
    tried = musichash("reconcile", "--store", store, "--dry-run")
    assert "would be rebuilt" in tried.out
    mended = musichash("reconcile", "--store", store)
    assert (tried.code, mended.code) == (0, 0)
    assert "everything agrees" in musichash("reconcile", "--store", store).out
    after = json.loads(musichash("snapshots", "list", "--store", store, "--json").out)
    assert [row["digest"] for row in after["snapshots"]] == [before["snapshots"][-1]["digest"]]
    assert musichash("verify", "--store", store).code == 0


def test_all_snapshots_are_verified_and_named(musichash, bare_store):
    spoken = musichash("verify", "--store", bare_store.root, "--all")
    assert spoken.code == 1
    assert "2 snapshots (1, 2)" in spoken.out
    assert spoken.out.count("index/c: missing") == 1
    spoken = musichash("verify", "--store", bare_store.root, "--all", "--json")
    found = json.loads(spoken.out)
    assert found["snapshots"] == [1, 2]
    assert {"path": "index/c", "problem": "missing"} in found["findings"]
    for path in bare_store.snapshots_root.iterdir():
        path.unlink()
    bare_store.current_path.unlink()
    spoken = musichash("verify", "--store", bare_store.root, "--all")
    assert spoken.code == 1
    assert "has published nothing yet" in spoken.err


def test_status_of_a_damaged_store_says_so_and_tells_the_rest(musichash, bare_store):
    spoken = musichash("status", "--store", bare_store.root)
    assert spoken.code == 0
    assert "snapshot 2, model g-2; 1 tracks" in spoken.out
    assert "problem:" in spoken.out
    bare_store.current_path.write_text("two\n")
    spoken = musichash("status", "--store", bare_store.root)
    assert spoken.code == 0
    assert "the current snapshot cannot be read" in spoken.out
    assert "'musichash snapshots rollback 2 --store" in spoken.out
