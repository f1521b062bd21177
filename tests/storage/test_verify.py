"""Verification finds any changed, missing or extra file of a snapshot, and nothing else."""

import random
import shutil
from pathlib import PurePosixPath

import pytest

from storage.errors import StoreError
from storage.published import require_snapshot
from storage.snapshots import publish_snapshot
from storage.store import open_store
from storage.verify import (
    Finding,
    absent_partitions,
    check_sizes,
    verify_all,
    verify_snapshot,
)

KINDS = {
    "features/*/*/receipt.json",
    "features/*/*/tracks.parquet",
    "features/*/*/failures.parquet",
    "features/*/*/features.zarr/zarr.json",
    "features/*/*/features.zarr/frames/zarr.json",
    "features/*/*/features.zarr/frames/c/0/0/0",
    "encoded/*/*/receipt.json",
    "encoded/*/*/predictions.parquet",
    "encoded/*/*/codes.parquet",
    "models/*/receipt.json",
    "models/*/model.json",
    "models/*/weights.safetensors",
    "tables/tracks/*.parquet",
    "tables/predictions/*.parquet",
    "tables/codes/*.parquet",
    "tables/failures/*.parquet",
    "tables/runs/*.parquet",
    "index/*.faiss",
    "index/*.json",
    "snapshots/*.json",
    "CURRENT",
    "musichash-store.json",
}
NOT_PUBLISHED = {".lock", "work", "runs"}


def verify(layout):
    """Do what ``musichash verify`` does: open the store, find the snapshot, check it."""
    layout = open_store(layout.root)
    return verify_snapshot(layout, require_snapshot(layout))


def is_noticed(layout, path):
    """Whether a change is found; one in a file that leads to the snapshot is an error."""
    try:
        findings, _, _ = verify(layout)
    except StoreError:
        return path.parent in {layout.root, layout.snapshots_root}
    return any(finding.path == layout.relative(path) for finding in findings)


def all_files(layout):
    return [
        path
        for path in sorted(layout.root.rglob("*"))
        if path.is_file() and path.relative_to(layout.root).parts[0] not in NOT_PUBLISHED
    ]


def test_an_untouched_snapshot_is_in_order_and_read_completely(published):
    findings, n_files, n_bytes = verify(published)
    assert findings == []
    by_hand = {"CURRENT", "musichash-store.json", "snapshots"}
    covered = [
        path
        for path in all_files(published)
        if path.relative_to(published.root).parts[0] not in by_hand
    ]
    assert n_files == len(covered)
    assert n_bytes == sum(path.stat().st_size for path in covered)


def test_the_kinds_of_files_below_are_all_there_are(published):
    for path in all_files(published):
        relative = PurePosixPath(published.relative(path))
        assert any(relative.match(kind) for kind in KINDS), relative


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_flipped_bit_is_found_in_every_kind_of_file(published, kind):
    paths = sorted(published.root.glob(kind))
    assert paths
    rng = random.Random(kind)
    for path in paths:
        whole = path.read_bytes()
        for at in {0, len(whole) - 1, *(rng.randrange(len(whole)) for _ in range(6))}:
            path.write_bytes(
                whole[:at] + bytes([whole[at] ^ 1 << rng.randrange(8)]) + whole[at + 1 :]
            )
            assert is_noticed(published, path), (path, at)
        path.write_bytes(whole)
    assert verify(published)[0] == []


@pytest.mark.parametrize("kind", sorted(KINDS - {"CURRENT", "musichash-store.json"}))
def test_a_missing_file_is_found_in_every_kind(published, kind):
    for path in sorted(published.root.glob(kind)):
        whole = path.read_bytes()
        path.unlink()
        assert is_noticed(published, path)
        path.write_bytes(whole)


BESIDE_ANYTHING = {"snapshots/*.json", "CURRENT", "musichash-store.json"}


@pytest.mark.parametrize("kind", sorted(KINDS - BESIDE_ANYTHING))
def test_an_extra_file_beside_any_other_is_found(published, kind):
    for path in sorted(published.root.glob(kind)):
        extra = path.with_name("added.txt")
        extra.write_bytes(b"")
        findings, _, _ = verify(published)
        assert findings == [Finding(published.relative(extra), "extra")]
        extra.unlink()


def test_findings_say_what_is_wrong(published):
    (index,) = published.index_root.glob("*.faiss")
    index.write_bytes(index.read_bytes() + b"x")
    (codes,) = published.table_root("codes").iterdir()
    codes.unlink()
    findings, _, _ = verify(published)
    assert {(finding.path, finding.problem) for finding in findings} == {
        (published.relative(index), "changed"),
        (published.relative(codes), "missing"),
    }


def test_a_file_that_became_a_folder_is_found(published):
    (codes,) = published.table_root("codes").iterdir()
    codes.unlink()
    codes.mkdir()
    findings, _, _ = verify(published)
    assert findings == [Finding(published.relative(codes), "cannot be read: Is a directory")]


def test_files_of_other_snapshots_and_of_a_running_writer_are_no_finding(published):
    (codes,) = published.table_root("codes").iterdir()
    codes.with_name("0" * 24 + ".parquet").write_bytes(b"of another snapshot")
    codes.with_name(".tmp-part.parquet").write_bytes(b"being written")
    published.model_path("g-other").mkdir()
    (published.model_path("g-other") / "model.json").write_bytes(b"{}")
    assert verify(published)[0] == []


def test_progress_counts_up_to_the_number_of_entries(published):
    seen = []
    snapshot = require_snapshot(published)
    verify_snapshot(published, snapshot, on_progress=lambda *numbers: seen.append(numbers))
    total = len(snapshot.files)
    assert seen == [(count, total) for count in range(1, total + 1)]


# --- all snapshots -------------------------------------------------------------------------------


@pytest.fixture
def two_snapshots(published):
    """The same content published twice."""
    publish_snapshot(published, require_snapshot(published))
    return published


def test_all_snapshots_in_order_have_no_findings_and_shared_files_are_read_once(two_snapshots):
    findings, n_files, n_bytes = verify_all(two_snapshots)
    assert findings == []
    assert (n_files, n_bytes) == verify_snapshot(two_snapshots, require_snapshot(two_snapshots))[1:]


@pytest.mark.parametrize("seed", range(8))
def test_any_byte_changed_anywhere_is_found(two_snapshots, seed):
    """Manifests, pointer and marker included; twenty bytes per seed, to any other value."""
    rng = random.Random(seed)
    paths = all_files(two_snapshots)
    for path in rng.choices(paths, k=20):
        whole = path.read_bytes()
        at = rng.randrange(len(whole))
        other = (whole[at] + rng.randrange(1, 256)) % 256
        path.write_bytes(whole[:at] + bytes([other]) + whole[at + 1 :])
        shown = two_snapshots.relative(path)
        if path == two_snapshots.marker_path:
            assert verify_marker(two_snapshots), (shown, at, other)
        else:
            found, _, _ = verify_all(two_snapshots)
            assert any(finding.path == shown for finding in found), (shown, at, other)
        path.write_bytes(whole)
    assert verify_all(two_snapshots)[0] == []


def verify_marker(layout):
    """Whether opening the store, which comes first, or verifying it finds the marker changed."""
    try:
        return verify_all(open_store(layout.root))[0] == [
            Finding(layout.relative(layout.marker_path), "changed")
        ]
    except StoreError:
        return True


def test_what_cannot_be_followed_is_a_finding_and_the_rest_is_checked(two_snapshots):
    two_snapshots.current_path.write_bytes(b"7\n")
    two_snapshots.snapshot_path(1).write_text("{}")
    (index,) = two_snapshots.index_root.glob("*.faiss")
    index.unlink()
    findings, _, _ = verify_all(two_snapshots)
    assert {finding.path for finding in findings} == {
        "CURRENT",
        "snapshots/000001.json",
        two_snapshots.relative(index),
    }


# --- sizes ---------------------------------------------------------------------------------------


def test_sizes_are_checked_without_reading_what_is_large(published):
    snapshot = require_snapshot(published)
    assert check_sizes(published, snapshot) == []
    for path in all_files(published):
        shown = published.relative(path)
        if shown.startswith(("snapshots", "CURRENT", "musichash-store")):
            continue
        whole = path.read_bytes()
        path.write_bytes(whole + b"x")
        assert [found.path for found in check_sizes(published, snapshot)] == [shown]
        path.unlink()
        (found,) = check_sizes(published, snapshot)
        assert (found.path, found.problem) == (shown, "missing")
        path.write_bytes(whole)


# --- fetched folders -----------------------------------------------------------------------------


def test_a_fetched_folder_is_checked_without_the_partitions_that_it_has_not(two_snapshots):
    layout = two_snapshots
    encoded = sorted(layout.relative(path) for path in layout.root.glob("encoded/*/*"))
    features = sorted(layout.relative(path) for path in layout.root.glob("features/*/*"))
    shutil.rmtree(layout.root / "encoded")
    shutil.rmtree(layout.root / features[0])
    absent = [*encoded, features[0]]
    missing = {f"{folder}/receipt.json" for folder in absent}
    assert {finding.path for finding in verify_all(layout)[0]} == missing
    assert absent_partitions(layout, [require_snapshot(layout)]) == []
    layout.origin_path.write_text('{"from": "s3://bucket/prefix"}')
    assert absent_partitions(layout, [require_snapshot(layout)]) == absent
    assert verify(layout)[0] == verify_all(layout)[0] == []
    assert check_sizes(layout, require_snapshot(layout)) == []
    (layout.root / features[1] / "tracks.parquet").unlink()
    found = [Finding(f"{features[1]}/tracks.parquet", "missing")]
    assert verify(layout)[0] == verify_all(layout)[0] == found
    assert check_sizes(layout, require_snapshot(layout)) == found
