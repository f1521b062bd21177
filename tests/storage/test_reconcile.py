"""After damage, what is derived comes back to the byte, and what is not goes to the next run."""

import hashlib
import random
import shutil
from dataclasses import replace

import pyarrow.parquet as pq
import pytest

from musichash_core.index_config import IndexConfig
from storage.assembling import with_index, with_runs_table
from storage.atomic import digest_file
from storage.errors import ArtefactMissingError, DamagedArtefactError
from storage.extracted import read_extracted
from storage.indexes import CodesOrigin, HashIndex, IndexSettings, keyed_codes, write_index
from storage.published import read_table, require_snapshot
from storage.receipts import finished_partitions
from storage.reconciling import reconcile
from storage.runs import closed_record, start_run
from storage.snapshots import list_snapshots, publish_snapshot
from storage.tables import write_part
from storage.verify import verify_all, verify_snapshot


def files_of(layout):
    return {
        layout.relative(path): path.read_bytes()
        for path in layout.root.rglob("*")
        if path.is_file()
    }


def flip(path, seed=0):
    data = bytearray(path.read_bytes())
    data[random.Random(seed).randrange(len(data))] ^= 0x10
    path.write_bytes(data)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-7])


def remove(path):
    path.unlink()


def actions(done):
    return [(step.path, step.action) for step in done.steps]


def only(folder, pattern="*"):
    (path,) = folder.glob(pattern)
    return path


def test_a_store_in_order_is_left_as_it_is(published):
    before = files_of(published)
    done = reconcile(published)
    assert (done.steps, done.disagreements, done.is_mended) == ([], [], True)
    assert files_of(published) == before
    read = [path for path in before if path.startswith(("features", "encoded", "models", "tables"))]
    assert done.n_files == len(read) + 2  # the index and its description


@pytest.mark.parametrize("damage", [flip, truncate, remove])
@pytest.mark.parametrize(
    "kind",
    ["index/*.faiss", "index/*.json"]
    + [f"tables/{name}/*" for name in ("tracks", "predictions", "codes", "failures")],
)
def test_what_is_derived_comes_back_to_the_byte(published, kind, damage):
    before = files_of(published)
    path = only(published.root, kind)
    damage(path)
    assert verify_snapshot(published, require_snapshot(published))[0]
    tried = reconcile(published, dry_run=True)
    assert actions(tried) == [(published.relative(path), "rebuilt")]
    assert files_of(published) != before
    done = reconcile(published)
    assert actions(done) == actions(tried)
    assert done.is_mended
    assert files_of(published) == before


def test_tables_and_index_together_come_back_to_the_byte(published):
    before = files_of(published)
    for name in ("tracks", "predictions", "codes", "failures"):
        only(published.table_root(name)).unlink()
    for path in published.index_root.iterdir():
        flip(path)
    assert reconcile(published).is_mended
    assert files_of(published) == before


def test_a_damaged_runs_table_is_published_anew_with_the_same_content(published):
    digest = require_snapshot(published).digest
    flip(only(published.table_root("runs")))
    record = closed_record(start_run(published, kind="reconcile"), state="done")
    done = reconcile(published, record=record)
    assert [step.action for step in done.steps] == ["published anew"]
    snapshot = require_snapshot(published)
    assert (snapshot.number, snapshot.digest, done.snapshot) == (2, digest, 2)
    assert verify_snapshot(published, snapshot)[0] == []
    runs = read_table(published, snapshot, "runs")
    assert runs["run_id"].to_pylist()[-1] == record.run_id
    assert len(runs) == 2


def test_a_table_of_a_catalogue_that_has_changed_is_not_invented(published, helpers):
    table = pq.read_table(published.catalogue_path)
    pq.write_table(table.slice(1), published.catalogue_path)
    path = only(published.table_root("tracks"))
    flip(path)
    damaged = path.read_bytes()
    done = reconcile(published)
    assert actions(done) == [(published.relative(path), "not mended")]
    assert not done.is_mended
    assert "have changed since" in done.steps[0].remark
    assert "'musichash snapshots list" in done.steps[0].remark
    assert path.read_bytes() == damaged


# --- partitions ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["features", "encoded"])
@pytest.mark.parametrize("damage", [flip, truncate, remove])
def test_damaged_partitions_go_and_the_snapshot_stays_readable(published, kind, damage):
    """Whatever file of a partition is damaged."""
    snapshot = require_snapshot(published)
    tables = {name: read_table(published, snapshot, name) for name in snapshot.tables}
    folder = only(published.root, f"{kind}/*/p1")
    shutil.copytree(folder, folder.with_name(".kept"))
    for inner in sorted(path for path in folder.rglob("*") if path.is_file()):
        damage(inner)
        before = files_of(published)
        assert actions(reconcile(published, dry_run=True)) == [
            (published.relative(folder), "removed")
        ]
        assert files_of(published) == before
        done = reconcile(published)
        assert actions(done) == [(published.relative(folder), "removed")]
        assert done.is_mended
        assert not folder.exists()
        assert finished_partitions(folder.parent) == ["p2"]
        for name, table in tables.items():
            assert read_table(published, snapshot, name).equals(table)
        shutil.copytree(folder.with_name(".kept"), folder)
    shutil.rmtree(folder.with_name(".kept"))
    assert verify_all(published)[0] == []


def test_tracks_of_a_removed_partition_are_new_again(published, helpers, tmp_path):
    folder = published.feature_partition_path(helpers.features, "p1")
    flip(folder / "features.zarr" / "frames" / "c" / "0" / "0" / "0")
    done = reconcile(published)
    assert read_extracted(published, helpers.features).done_ids == {helpers.track_id(3)}
    assert done.lost.n_again == 0  # the catalogue of this store was never on this disk
    assert done.lost.gone == ("/music/blues/1.ogg", "/music/blues/2.ogg")


def test_a_damaged_model_is_named_with_what_to_do(published):
    snapshot = require_snapshot(published)
    flip(published.model_path(snapshot.generation) / "weights.safetensors")
    done = reconcile(published)
    assert [step.action for step in done.steps] == ["not mended"]
    assert f"restore the folder models/{snapshot.generation} from a copy" in done.steps[0].remark


def test_foreign_files_are_named_and_left(published):
    path = only(published.root, "features/*/p1") / "notes.txt"
    path.write_text("of the operator")
    done = reconcile(published)
    assert actions(done) == [(published.relative(path), "not mended")]
    assert path.is_file()


# --- the pointer ---------------------------------------------------------------------------------


def test_any_changed_digit_of_the_pointer_is_mended(published):
    snapshot = require_snapshot(published)
    publish_snapshot(published, snapshot)
    publish_snapshot(published, snapshot)
    whole = published.current_path.read_bytes()
    assert (
        whole
        == b"3 sha256:%s\n"
        % hashlib.sha256(published.snapshot_path(3).read_bytes()).hexdigest().encode()
    )
    for at in (0, *range(9, len(whole) - 1, 21)):
        digit = b"1" if whole[at : at + 1] != b"1" else b"2"
        changed = whole[:at] + digit + whole[at + 1 :]
        published.current_path.write_bytes(changed)
        done = reconcile(published)
        assert actions(done) == [("CURRENT", "rebuilt")]
        assert published.current_path.read_bytes() == whole


def test_a_pointer_of_garbage_names_the_way_out(published):
    published.current_path.write_bytes(b"\x00\xffgarbage")
    with pytest.raises(DamagedArtefactError, match="'musichash snapshots rollback 1 --store"):
        reconcile(published)


def test_a_missing_manifest_names_the_way_out(published):
    publish_snapshot(published, require_snapshot(published))
    published.snapshot_path(2).unlink()
    with pytest.raises(ArtefactMissingError, match="'musichash snapshots rollback 1 --store"):
        reconcile(published)
    assert list_snapshots(published) == [1]


# --- agreement -----------------------------------------------------------------------------------


def test_parts_that_do_not_agree_are_named_though_their_bytes_are_as_published(published, helpers):
    """A partition that was encoded from other tracks, and sealed again."""
    generation = require_snapshot(published).generation
    shutil.rmtree(published.encoded_partition_path(generation, "p1"))
    helpers.write_encoded(published, generation, "p1", (2, 1))
    reseal(published)
    done = reconcile(published)
    assert not done.is_mended
    assert [entry.what.partition(" has ")[2] for entry in done.disagreements] == [
        f"{name} of other tracks than {published.feature_partition_path(helpers.features, 'p1')}"
        for name in ("predictions", "codes")
    ]


def test_an_index_of_other_codes_is_named(published):
    snapshot = require_snapshot(published)
    codes = keyed_codes(read_table(published, snapshot, "codes"))
    listed = {entry.path: entry for entry in snapshot.files}
    origin = CodesOrigin(
        snapshot.generation, tuple(listed[path].sha256 for path in snapshot.tables["codes"])
    )
    written = write_index(published, replace(codes, codes=codes.codes[::-1]), origin)
    record = closed_record(start_run(published, kind="reconcile"), state="done")
    following = with_runs_table(published, with_index(snapshot, written), record)
    publish_snapshot(published, following)
    assert [entry.what for entry in reconcile(published).disagreements] == [
        "the index holds other codes than the codes table"
    ]


# --- an index of several parts ------------------------------------------------------------------


@pytest.fixture
def with_parts(published):
    """A store whose index was carried on: a base, a delta, and what has changed since."""
    snapshot = require_snapshot(published)
    table = read_table(published, snapshot, "codes")
    settings = IndexSettings(
        IndexConfig(kind="ivf", delta_from=1, compact_share=0.9, min_distance_recall=0.5), True
    )
    earlier = keyed_codes(table.slice(0, 2))
    part = write_part(published, "codes", table.slice(0, 2))
    origin = CodesOrigin(snapshot.generation, (part.sha256,))
    written = write_index(published, earlier, origin, settings=settings)
    before = replace(
        with_index(snapshot, written),
        tables=snapshot.tables | {"codes": [part.path]},
        files=(*snapshot.files, part, *written.files),
    )
    listed = {entry.path: entry for entry in snapshot.files}
    origin = CodesOrigin(snapshot.generation, (listed[snapshot.tables["codes"][0]].sha256,))
    written = write_index(published, keyed_codes(table), origin, settings=settings, previous=before)
    assert len(written.files) == 4
    (published.root / part.path).unlink()
    record = closed_record(start_run(published, kind="run"), state="done")
    publish_snapshot(published, with_runs_table(published, with_index(snapshot, written), record))
    assert verify_all(published)[0] == []
    return published, written


@pytest.mark.parametrize("damage", [flip, truncate, remove])
@pytest.mark.parametrize("part", ["base", "delta"])
def test_parts_of_an_index_come_back_to_the_byte(with_parts, damage, part):
    layout, written = with_parts
    before = files_of(layout)
    entry = written.index if part == "base" else written.others[0]
    damage(layout.root / entry.path)
    done = reconcile(layout)
    assert actions(done) == [(entry.path, "rebuilt")]
    assert files_of(layout) == before


@pytest.mark.parametrize("part", ["info", "changes"])
def test_an_index_of_which_too_little_is_left_is_built_whole_and_published(with_parts, part):
    layout, written = with_parts
    entry = written.info if part == "info" else written.others[1]
    flip(layout.root / entry.path)
    digest = require_snapshot(layout).digest
    assert actions(reconcile(layout, dry_run=True)) == [(entry.path, "published anew")]
    record = closed_record(start_run(layout, kind="reconcile"), state="done")
    done = reconcile(layout, record=record)
    assert (actions(done), done.is_mended) == ([(entry.path, "published anew")], True)
    snapshot = require_snapshot(layout)
    assert (done.snapshot, snapshot.digest) == (snapshot.number, digest)
    assert snapshot.number == 3
    assert verify_snapshot(layout, snapshot)[0] == []
    codes = keyed_codes(read_table(layout, snapshot, "codes"))
    assert HashIndex.load(layout, snapshot).holds(codes.codes)
    assert reconcile(layout).steps == []


def reseal(layout):
    """Publish what lies there as it is."""
    snapshot = require_snapshot(layout)
    files = tuple(digest_file(layout.root / entry.path, layout.root) for entry in snapshot.files)
    publish_snapshot(layout, replace(snapshot, files=files))
