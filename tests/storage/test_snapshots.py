"""Publishing: readers see one whole snapshot, the old one or the new, whatever happens."""

import hashlib
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from storage.atomic import FileDigest, write_json
from storage.errors import (
    ArtefactMissingError,
    DamagedArtefactError,
    FormatVersionError,
    StoreError,
)
from storage.published import (
    published_track_ids,
    read_table,
    require_snapshot,
    snapshot_entry,
    table_paths,
)
from storage.snapshots import (
    Snapshot,
    content_digest,
    current_snapshot,
    list_snapshots,
    point_at,
    pointer_from_bytes,
    publish_snapshot,
    read_snapshot,
)
from storage.store import open_store, writing


def snapshot_of(generation="g-1", **changes):
    files = tuple(
        FileDigest(path, 10, f"{number:064x}")
        for number, path in enumerate(["tables/codes/a", "tables/runs/b", "index/c", "index/d"])
    )
    snapshot = Snapshot(
        number=0,
        feature_fingerprint="f" * 12,
        generation=generation,
        tables={"codes": ["tables/codes/a"], "runs": ["tables/runs/b"]},
        index="index/c",
        index_info="index/d",
        counts={"codes": 3},
        files=files,
    )
    snapshot = replace(snapshot, **changes)
    return replace(snapshot, digest=content_digest(snapshot))


def test_before_the_first_snapshot_there_is_none(layout):
    assert current_snapshot(layout) is None
    assert list_snapshots(layout) == []
    assert published_track_ids(layout, None) == set()
    with pytest.raises(ArtefactMissingError, match="has published nothing yet; complete it with"):
        require_snapshot(layout)


def test_a_snapshot_comes_back_as_it_was_published(layout):
    assert publish_snapshot(layout, snapshot_of()) == 1
    assert current_snapshot(layout) == replace(snapshot_of(), number=1)
    digest = hashlib.sha256(layout.snapshot_path(1).read_bytes()).hexdigest()
    assert layout.current_path.read_text() == f"1 sha256:{digest}\n"


def test_the_bare_number_of_earlier_versions_is_followed(layout):
    publish_snapshot(layout, snapshot_of())
    layout.current_path.write_text("1\n")
    assert require_snapshot(layout).number == 1


def test_no_changed_byte_of_the_pointer_leads_anywhere(layout):
    for number in range(1, 13):
        publish_snapshot(layout, snapshot_of(f"g-{number}"))
    whole = layout.current_path.read_bytes()
    right = pointer_from_bytes(whole)
    for at in range(len(whole)):
        for value in set(range(256)) - {whole[at]}:
            found = pointer_from_bytes(whole[:at] + bytes([value]) + whole[at + 1 :])
            assert found is None or (found != right and found.manifest_sha256 is not None)
        changed = bytes([whole[at] ^ 1 << at % 3])
        layout.current_path.write_bytes(whole[:at] + changed + whole[at + 1 :])
        with pytest.raises(StoreError):
            current_snapshot(layout)
    for shorter in range(0, len(whole), 9):
        layout.current_path.write_bytes(whole[:shorter])
        with pytest.raises(StoreError, match="'musichash snapshots rollback 12 --store"):
            current_snapshot(layout)


def test_the_number_of_a_lost_manifest_is_not_used_again(layout):
    for name in ("g-1", "g-2"):
        publish_snapshot(layout, snapshot_of(name))
    layout.snapshot_path(2).unlink()
    assert publish_snapshot(layout, snapshot_of("g-3")) == 3


def test_numbers_count_up_and_old_snapshots_stay_readable(layout):
    generations = ["g-1", "g-2", "g-3"]
    assert [publish_snapshot(layout, snapshot_of(name)) for name in generations] == [1, 2, 3]
    assert list_snapshots(layout) == [1, 2, 3]
    assert [read_snapshot(layout, number).generation for number in (1, 2, 3)] == generations
    assert require_snapshot(layout).number == 3


def test_pointing_at_an_older_snapshot_rolls_back(layout):
    for name in ("g-1", "g-2"):
        publish_snapshot(layout, snapshot_of(name))
    point_at(layout, 1)
    assert require_snapshot(layout).generation == "g-1"
    assert publish_snapshot(layout, snapshot_of("g-3")) == 3


def test_equal_content_has_an_equal_digest_whatever_the_runs_table_says():
    files = list(snapshot_of().files)
    files[1] = replace(files[1], sha256="e" * 64)
    assert snapshot_of(files=tuple(files)).digest == snapshot_of().digest
    files[0] = replace(files[0], sha256="e" * 64)
    assert snapshot_of(files=tuple(files)).digest != snapshot_of().digest
    assert snapshot_of("g-2").digest != snapshot_of().digest
    assert snapshot_of(feature_fingerprint="e" * 12).digest != snapshot_of().digest


# --- two publishers ------------------------------------------------------------------------------


def test_the_slower_of_two_publishers_fails_and_changes_nothing(layout, monkeypatch):
    publish_snapshot(layout, snapshot_of("g-1"))
    for name, seen in (("list_snapshots", []), ("_pointed_number", 0)):  # looked a while ago
        monkeypatch.setattr(f"storage.snapshots.{name}", lambda _, seen=seen: seen)
    with pytest.raises(FileExistsError):
        publish_snapshot(layout, snapshot_of("g-2"))
    monkeypatch.undo()
    assert list_snapshots(layout) == [1]
    assert require_snapshot(layout).generation == "g-1"


def test_of_many_publishers_each_number_is_published_once(layout):
    def publish(number):
        try:
            return publish_snapshot(layout, snapshot_of(f"g-{number}")), f"g-{number}"
        except FileExistsError:
            return None

    with ThreadPoolExecutor(8) as pool:
        published = dict(filter(None, pool.map(publish, range(40))))
    assert sorted(published) == list_snapshots(layout)
    for number, generation in published.items():
        assert read_snapshot(layout, number).generation == generation


READ = """
import sys
from storage.snapshots import current_snapshot
from storage.store import open_store
layout = open_store(sys.argv[1])
print("ready", flush=True)
seen = []
while not seen or seen[-1] != "g-99":
    seen.append(current_snapshot(layout).generation)
numbers = [int(name[2:]) for name in seen]
assert numbers == sorted(numbers)
print(len(set(numbers)))
"""


def test_a_reader_beside_a_publisher_always_sees_a_whole_snapshot(layout):
    publish_snapshot(layout, snapshot_of("g-0"))
    reader = subprocess.Popen(
        [sys.executable, "-c", READ, layout.root], stdout=subprocess.PIPE, text=True
    )
    assert reader.stdout.readline() == "ready\n"
    for number in range(1, 100):
        publish_snapshot(layout, snapshot_of(f"g-{number}"))
    printed, _ = reader.communicate(timeout=60)
    assert reader.returncode == 0
    assert int(printed) >= 1  # how many it saw is up to the scheduler


# --- interruption --------------------------------------------------------------------------------


def test_a_kill_at_any_operation_leaves_the_old_snapshot_or_the_new(kill_points):
    stores = [open_store(root) for root in kill_points("publish")]
    generations = [require_snapshot(layout).generation for layout in stores]
    n_old = generations.count("old")
    assert 0 < n_old < len(stores)
    assert generations == ["old"] * n_old + ["new"] * (len(stores) - n_old)
    assert len(stores) > 5
    assert any(list_snapshots(layout) == [1, 2] for layout in stores[:-1])  # manifest, no pointer
    for layout in stores[:-1]:
        with writing(layout):
            number = publish_snapshot(layout, snapshot_of("again"))
        assert require_snapshot(layout) == replace(snapshot_of("again"), number=number)
        assert not list(layout.root.rglob(".tmp-*"))


def test_the_manifest_is_durable_before_the_pointer_names_it(layout, monkeypatch):
    order = []
    for name in ("create_file", "write_file"):
        monkeypatch.setattr(
            f"storage.snapshots.{name}", lambda path, _, name=name: order.append((name, path.name))
        )
    publish_snapshot(layout, snapshot_of())
    assert order == [("create_file", "000001.json"), ("write_file", "CURRENT")]


# --- damage --------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"one\n", b"1", b"-1\n", b"1\n2\n", b"\xff\n", b" 1\n"])
def test_a_damaged_pointer_is_refused_with_the_way_out(layout, content):
    for name in ("g-1", "g-2"):
        publish_snapshot(layout, snapshot_of(name))
    layout.current_path.write_bytes(content)
    with pytest.raises(
        DamagedArtefactError, match=r"snapshots \(2, 1\): 'musichash snapshots rollback 2"
    ):
        current_snapshot(layout)


def test_a_missing_manifest_is_refused_with_the_others(layout):
    for name in ("g-1", "g-2", "g-3"):
        publish_snapshot(layout, snapshot_of(name))
    layout.snapshot_path(3).unlink()
    with pytest.raises(
        ArtefactMissingError,
        match=r"snapshot 3 is missing .*other snapshots \(2, 1\): 'musichash snapshots rollback 2",
    ):
        current_snapshot(layout)


def test_a_way_out_that_leads_nowhere_is_not_named(layout):
    for name in ("g-1", "g-2", "g-3"):
        publish_snapshot(layout, snapshot_of(name))
    layout.snapshot_path(3).unlink()
    layout.snapshot_path(2).write_text("{}")
    with pytest.raises(ArtefactMissingError, match="'musichash snapshots rollback 1 --store"):
        current_snapshot(layout)


def test_a_missing_only_manifest_is_refused_with_the_way_out(layout):
    publish_snapshot(layout, snapshot_of())
    layout.snapshot_path(1).unlink()
    with pytest.raises(ArtefactMissingError, match=r"remove .*CURRENT and run again"):
        current_snapshot(layout)
    layout.current_path.unlink()
    assert publish_snapshot(layout, snapshot_of()) == 1


def test_every_changed_byte_of_a_manifest_is_noticed(layout):
    publish_snapshot(layout, snapshot_of())
    path = layout.snapshot_path(1)
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :])
        with pytest.raises((DamagedArtefactError, FormatVersionError)):
            read_snapshot(layout, 1)


def test_a_manifest_under_another_number_is_refused(layout):
    publish_snapshot(layout, snapshot_of())
    layout.snapshot_path(2).write_bytes(layout.snapshot_path(1).read_bytes())
    with pytest.raises(DamagedArtefactError, match=r"000002\.json was changed"):
        read_snapshot(layout, 2)


def test_a_manifest_of_another_version_is_refused(layout):
    publish_snapshot(layout, snapshot_of())
    content = json.loads(layout.snapshot_path(1).read_text()) | {"format": 3}
    write_json(layout.snapshot_path(1), content)
    with pytest.raises(FormatVersionError, match="has format 3, this version reads format 2"):
        current_snapshot(layout)


def test_the_digest_of_the_content_does_not_depend_on_the_index(layout):
    """An index is a cache: two stores of the same content may have come to it by other nights."""
    snapshot = snapshot_of()
    files = tuple(
        replace(entry, sha256="9" * 64) if entry.path == snapshot.index else entry
        for entry in snapshot.files
    )
    assert content_digest(replace(snapshot, files=files)) == snapshot.digest
    assert content_digest(replace(snapshot, generation="g-other")) != snapshot.digest


def test_a_manifest_of_the_first_format_is_read_and_keeps_its_digest(layout):
    """Its digest takes in the index, which `verify` still checks."""
    first = replace(snapshot_of(), format=1)
    first = replace(first, digest=content_digest(first))
    assert first.digest != snapshot_of().digest
    publish_snapshot(layout, first)
    assert json.loads(layout.snapshot_path(1).read_text())["format"] == 1
    read = current_snapshot(layout)
    assert read == replace(first, number=1)
    assert content_digest(read) == first.digest


# --- what is published ---------------------------------------------------------------------------


def test_tables_of_a_snapshot_are_read_in_row_order(published, helpers):
    snapshot = require_snapshot(published)
    tracks = read_table(published, snapshot, "tracks")
    assert tracks["track_id"].to_pylist() == [helpers.track_id(n) for n in (1, 2, 3, 9)]
    assert published_track_ids(published, snapshot) == set(tracks["track_id"].to_pylist())
    (path,) = table_paths(published, snapshot, "codes")
    assert path.is_file()
    entry = snapshot_entry(snapshot, snapshot.index)
    assert (published.root / entry.path).stat().st_size == entry.size
