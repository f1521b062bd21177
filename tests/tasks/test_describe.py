"""Describing a partition: rows that do not depend on their neighbours, written once."""

import subprocess
import sys

import numpy as np
import pytest

from musichash_core.descriptors import (
    N_DESCRIPTORS,
    describe_with_halves,
    description_fingerprint,
)
from musichash_core.musicnn.pretrained import load_musicnn
from musichash_core.records import partition_of
from storage.atomic import digest_tree
from storage.description_store import read_descriptions
from storage.errors import ArtefactMissingError
from storage.feature_store import FeaturePartition
from storage.published import require_snapshot
from storage.receipts import read_receipt
from storage.snapshots import publish_snapshot
from storage.store import open_store
from tasks.describe import describe_partition, partitions_to_describe
from tasks.extract import extract_partition
from tasks.snapshots import verify_everything
from tasks.status import verify_store

HZ = (220, 440, 1760)


@pytest.fixture
def extracted(store, catalogue, described_config, partition_below):
    """A partition of three tracks; the first is long enough to have halves of its own."""
    for hz in HZ:
        catalogue.add(f"low/{hz}.wav", hz, duration_s=14.0 if hz == HZ[0] else 1.5)
    partition = partition_below(store, catalogue.root, described_config)
    extract_partition(store, partition, described_config)
    return partition


def described(store, partition, config):
    summary = describe_partition(store, partition.partition_id, config.feature_fingerprint)
    folder = open_store(store).description_partition_path(
        config.feature_fingerprint, description_fingerprint(), partition.partition_id
    )
    return summary, folder


def read(folder):
    return read_descriptions(folder, n_descriptors=N_DESCRIPTORS, n_tags=50)


def test_rows_are_the_descriptions_of_each_track_and_its_halves(store, extracted, described_config):
    summary, folder = described(store, extracted, described_config)
    assert (summary.n_done, summary.audio_s) == (3, pytest.approx(17.0))
    assert summary.n_bytes == sum(path.stat().st_size for path in folder.iterdir())
    stored = read(folder)
    assert stored.vectors.shape == (3, 3, N_DESCRIPTORS)
    network = load_musicnn()
    path = open_store(store).feature_partition_path(
        described_config.feature_fingerprint, extracted.partition_id
    )
    frames, of_tagger = (
        FeaturePartition(path).track_frames(),
        FeaturePartition(path).tagger_frames(),
    )
    for row, ((facts, track), (_, tagger)) in enumerate(zip(frames, of_tagger, strict=True)):
        alone = describe_with_halves(network, track, tagger)
        assert stored.track_ids[row] == facts.track_id
        assert stored.n_patches[row].tolist() == [part.n_patches for part in alone]
        for part, wanted in enumerate(alone):
            np.testing.assert_array_equal(stored.vectors[row, part], wanted.vector)
            np.testing.assert_array_equal(
                stored.tag_probabilities[row, part], wanted.tag_probabilities
            )
    assert len({vector.tobytes() for vector in stored.vectors[:, 0]}) == 3


def test_a_row_does_not_depend_on_the_partition_it_is_in(store, extracted, described_config):
    _, whole = described(store, extracted, described_config)
    last = partition_of(extracted.items[2:])
    extract_partition(store, last, described_config)
    _, part = described(store, last, described_config)
    assert read(whole).track_ids[2:] == read(part).track_ids
    np.testing.assert_array_equal(read(whole).vectors[2:], read(part).vectors)


def test_what_is_described_is_not_to_do_and_describing_again_changes_nothing(
    store, extracted, described_config
):
    fingerprint = described_config.feature_fingerprint
    assert partitions_to_describe(store, fingerprint) == ([extracted.partition_id], 0)
    _, folder = described(store, extracted, described_config)
    assert partitions_to_describe(store, fingerprint) == ([], 1)
    assert read_receipt(folder).fingerprint == f"{fingerprint}-{description_fingerprint()}"
    before = digest_tree(folder)
    described(store, extracted, described_config)
    assert digest_tree(folder) == before
    assert partitions_to_describe(store, "0" * 12) == ([], 0)


def test_a_partition_of_failures_only_has_no_rows(
    store, catalogue, described_config, partition_below
):
    catalogue.add_text("low/a.wav")
    partition = partition_below(store, catalogue.root, described_config)
    extract_partition(store, partition, described_config)
    summary, folder = described(store, partition, described_config)
    assert summary.n_done == 0
    assert read(folder).track_ids == ()


def test_features_without_the_taggers_bands_are_refused(store, catalogue, config, partition_below):
    catalogue.add("low/a.wav", 220)
    without = config.model_copy(
        update={"features": config.features.model_copy(update={"tagger_mel": False})}
    )
    partition = partition_below(store, catalogue.root, without)
    extract_partition(store, partition, without)
    with pytest.raises(ArtefactMissingError, match="tagger_mel = false; set it to true"):
        described(store, partition, without)


def test_the_stages_before_training_do_not_load_torch():
    code = (
        "import sys, tasks.scan, tasks.plan, tasks.extract, tasks.describe, tasks.resources, "
        "storage.description_store; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_verify_reads_the_descriptions_of_several_snapshots_once(publish_described, catalogue):
    for label, hz in (("high", 1760), ("high", 1600), ("low", 220), ("low", 240)):
        catalogue.add(f"{label}/{hz}.wav", hz)
    store = publish_described(catalogue.root).store
    layout = open_store(store)
    publish_snapshot(layout, require_snapshot(layout))
    kinds = ("descriptions", "features", "encoded", "models", "index", "tables")
    files = [path for kind in kinds for path in (layout.root / kind).rglob("*") if path.is_file()]
    verified = verify_everything(store)
    assert verified["findings"] == []
    assert verified["files"] == len(files)
    assert verified["bytes"] == sum(path.stat().st_size for path in files)
    receipt = min((layout.root / "descriptions").rglob("receipt.json"))
    receipt.unlink()
    missing = {"path": layout.relative(receipt), "problem": "missing"}
    assert verify_everything(store)["findings"] == [missing]
    assert verify_store(store)["findings"] == [missing]
