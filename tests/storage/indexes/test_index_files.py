"""Files of an index: named by content, described, and given to FAISS only as they were written."""

import hashlib
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from musichash_core.index_config import IndexConfig
from storage.atomic import FileDigest, read_json, to_json, write_file
from storage.errors import ArtefactMissingError, DamagedArtefactError
from storage.indexes import (
    CodesOrigin,
    HashIndex,
    IndexSettings,
    KeyedCodes,
    faiss_library,
    read_index_info,
    write_index,
)
from storage.indexes.info import INFO_FORMAT
from storage.snapshots import Snapshot

CODES_PATH = "tables/codes/a.parquet"
ROWS_OF = "a" * 64


def keyed(codes):
    ids = [f"{row:032x}" for row in range(len(codes))]
    return KeyedCodes(pa.chunked_array([ids], pa.string()), codes)


def written_index(layout, codes, generation="g-1", **options):
    return write_index(layout, keyed(codes), CodesOrigin(generation, (ROWS_OF,)), **options)


def snapshot_with(written, generation="g-1"):
    return Snapshot(
        number=7,
        feature_fingerprint="f" * 12,
        generation=generation,
        tables={"codes": [CODES_PATH]},
        index=written.index.path,
        index_info=written.info.path,
        counts={},
        files=(FileDigest(CODES_PATH, 1, ROWS_OF), *written.files),
    )


@pytest.fixture
def codes(truth):
    return truth.random_codes(300, n_distinct=40)


def test_an_index_is_written_under_its_digest_and_read_again(layout, truth, codes):
    written = written_index(layout, codes)
    data = (layout.root / written.index.path).read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    assert (written.index.sha256, written.index.size) == (digest, len(data))
    assert written.index.path == f"index/{digest[:24]}.faiss"
    described = hashlib.sha256((layout.root / written.info.path).read_bytes()).hexdigest()
    assert written.info.path == f"index/{described[:24]}.json"
    index = HashIndex.load(layout, snapshot_with(written))
    assert (index.n_codes, index.n_bits, index.kind) == (300, 64, "flat")
    for row, found in zip((0, 150), index.candidates(codes[[0, 150]], 10), strict=True):
        assert truth.pairs_of(found) == truth.nearest(codes, codes[row], 10)
    info = read_index_info(layout, written.info.path)
    assert info == index.info
    assert (info["n_codes"], info["n_bits"], info["rows_of"]) == (300, 64, [ROWS_OF])
    assert (info["distance_recall_at_10"], info["n_bytes"]) == (1.0, len(data))


def test_the_same_codes_make_the_same_files(layout, codes):
    first = written_index(layout, codes)
    assert written_index(layout, codes) == first
    assert len(list(layout.index_root.iterdir())) == 2
    assert written_index(layout, codes[::-1]) != first


def test_two_descriptions_of_the_same_codes_lie_side_by_side(layout, codes):
    """As of two generations that differ in their genres alone."""
    first = written_index(layout, codes)
    second = written_index(layout, codes, "g-2")
    assert first.index == second.index
    assert read_index_info(layout, first.info.path)["generation"] == "g-1"
    assert read_index_info(layout, second.info.path)["generation"] == "g-2"


def test_a_full_disk_is_never_mistaken_for_a_short_index(layout, codes):
    layout.index_root.mkdir(parents=True)
    (layout.index_root / ".tmp-codes.faiss").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left on device"):
        written_index(layout, codes)
    assert not list(layout.index_root.glob("[!.]*"))


@pytest.mark.parametrize("kind", ["flat", "ivf", "multihash"])
def test_damaged_and_missing_bytes_are_never_given_to_faiss(layout, codes, kind, monkeypatch):
    written = written_index(layout, codes, settings=IndexSettings(IndexConfig(kind=kind)))
    snapshot = snapshot_with(written)
    assert HashIndex.load(layout, snapshot).kind == kind
    faiss = faiss_library.on_one_thread()
    monkeypatch.setattr(faiss, "deserialize_index_binary", None)
    path = layout.root / written.index.path
    whole = path.read_bytes()
    for content in (
        b"",
        whole[:-1],
        whole + b"\0",
        whole[:40] + bytes([whole[40] ^ 1]) + whole[41:],
        b"IBHf" + whole[4:],
    ):
        path.write_bytes(content)
        with pytest.raises(DamagedArtefactError, match="differs from its snapshot; 'musichash rec"):
            HashIndex.load(layout, snapshot)
    path.unlink()
    with pytest.raises(ArtefactMissingError, match="is missing; 'musichash reconcile"):
        HashIndex.load(layout, snapshot)


def test_an_index_of_another_generation_or_table_is_refused(layout, codes):
    written = written_index(layout, codes)
    with pytest.raises(DamagedArtefactError, match="codes of generation g-1, snapshot 7 of g-2"):
        HashIndex.load(layout, snapshot_with(written, generation="g-2"))
    snapshot = snapshot_with(written)
    others = (FileDigest(CODES_PATH, 1, "b" * 64), *written.files)
    with pytest.raises(DamagedArtefactError, match="built from another codes table; 'musichash"):
        HashIndex.load(layout, replace(snapshot, files=others))


def described_as(layout, snapshot, **changes):
    """Give the snapshot with a description that says something else, sealed again."""
    info = read_json(layout.root / snapshot.index_info) | changes
    data = to_json({key: value for key, value in info.items() if value is not ...})
    sha256 = hashlib.sha256(data).hexdigest()
    path = layout.index_info_path(sha256)
    write_file(path, data)
    entry = FileDigest(layout.relative(path), len(data), sha256)
    return replace(snapshot, index_info=entry.path, files=(*snapshot.files, entry))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"kind": "ivf", "n_probed": 4}, "cannot be used: it holds a IndexBinaryFlat"),
        ({"kind": "hnsw"}, "of the kind 'hnsw', which this version does not know"),
        ({"n_codes": 299}, "describes 299 codes, its parts hold 300"),
        ({"format": INFO_FORMAT + 1}, "has format 3, this version reads format 2"),
        ({"base": ...}, "does not describe an index"),
        ({"n_bits": 128}, "holds 300 codes of 64 bits, 300 of 128 are described"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(layout, codes, changes, reason):
    snapshot = described_as(layout, snapshot_with(written_index(layout, codes)), **changes)
    with pytest.raises(DamagedArtefactError, match=reason):
        HashIndex.load(layout, snapshot)


def test_an_index_with_the_description_of_the_first_format_is_read(layout, codes):
    """It had no parts, and one flat file."""
    snapshot = snapshot_with(written_index(layout, codes))
    later = read_json(layout.root / snapshot.index_info)
    kept = {
        "kind", "n_codes", "n_bits", "n_bytes", "generation", "rows_of", "distance_recall_at_10",
    }  # fmt: skip
    index = HashIndex.load(
        layout, described_as(layout, snapshot, **dict.fromkeys(later.keys() - kept, ...))
    )
    assert index.holds(codes)
    assert index.info["wanted_kind"] == "flat"


def test_an_empty_index_is_written_and_read(layout):
    written = written_index(layout, np.empty((0, 8), np.uint8))
    index = HashIndex.load(layout, snapshot_with(written))
    assert (index.n_codes, index.n_bits) == (0, 64)
    assert len(index.candidates(np.zeros((1, 8), np.uint8), 5)[0]) == 0
