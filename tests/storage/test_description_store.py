"""Descriptions of a partition come back exactly, and the same every time."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from musichash_core.descriptors import TrackDescription
from musichash_core.errors import ParameterError
from storage.description_store import read_descriptions, write_descriptions
from storage.errors import ArtefactMissingError, DamagedArtefactError, FormatVersionError
from storage.receipts import finished_partitions, read_receipt

SIZES = {"n_descriptors": 5, "n_tags": 3}
FINGERPRINT = "ffffffffffff-dddddddddddd"


def description(seed, *, n_descriptors=5):
    rng = np.random.default_rng(seed)
    return TrackDescription(
        vector=rng.standard_normal(n_descriptors).astype(np.float32),
        tag_probabilities=rng.random(3, dtype=np.float32),
        n_patches=seed + 1,
    )


def described(*numbers):
    return [(f"{n:032x}", [description(10 * n + part) for part in range(3)]) for n in numbers]


@pytest.fixture
def write(layout):
    def write(partition_id, tracks):
        folder = layout.description_partition_path(*FINGERPRINT.split("-"), partition_id)
        write_descriptions(folder, tracks, fingerprint=FINGERPRINT, **SIZES)
        return folder

    return write


def test_numbers_come_back_exactly_in_the_order_of_the_partition(write):
    tracks = described(7, 2, 4)
    stored = read_descriptions(write("p", tracks), **SIZES)
    assert stored.track_ids == tuple(track_id for track_id, _ in tracks)
    assert stored.vectors.dtype == stored.tag_probabilities.dtype == np.float32
    for track, (_, parts) in enumerate(tracks):
        for part, wanted in enumerate(parts):
            np.testing.assert_array_equal(stored.vectors[track, part], wanted.vector)
            np.testing.assert_array_equal(
                stored.tag_probabilities[track, part], wanted.tag_probabilities
            )
            assert stored.n_patches[track, part] == wanted.n_patches


def test_the_folder_is_named_by_both_fingerprints_and_has_a_receipt(layout, write):
    folder = write("p", described(1, 2))
    assert folder == layout.root / "descriptions" / FINGERPRINT / "p"
    assert finished_partitions(layout.descriptions_root(*FINGERPRINT.split("-"))) == ["p"]
    receipt = read_receipt(folder)
    assert (receipt.kind, receipt.partition_id, receipt.n_done) == ("descriptions", "p", 2)
    assert [entry.path for entry in receipt.files] == ["descriptions.parquet"]


def test_the_same_descriptions_are_the_same_bytes_and_the_first_stay(write):
    first, other = write("p", described(1, 2)), write("q", described(1, 2))
    name = "descriptions.parquet"
    assert (first / name).read_bytes() == (other / name).read_bytes()
    write("p", described(3))
    assert len(read_descriptions(first, **SIZES).track_ids) == 2


def test_a_partition_of_failures_has_no_rows(write):
    stored = read_descriptions(write("p", []), **SIZES)
    assert stored.track_ids == ()
    assert stored.vectors.shape == (0, 3, 5)
    assert stored.tag_probabilities.shape == (0, 3, 3)


def test_a_partition_that_is_not_described_says_what_to_run(tmp_path):
    with pytest.raises(ArtefactMissingError, match="run 'musichash describe' first"):
        read_descriptions(tmp_path / "p", **SIZES)


def test_vectors_of_another_length_are_refused_when_written_and_read(write):
    folder = write("p", described(1))
    with pytest.raises(FormatVersionError, match=r"expected is .*vector: "):
        read_descriptions(folder, n_descriptors=6, n_tags=3)
    parts = [description(0), description(1), description(2, n_descriptors=4)]
    with pytest.raises(ParameterError, match="track t has 3 descriptions"):
        write("q", [("t", parts)])
    with pytest.raises(ParameterError, match="track t has 2 descriptions"):
        write("q", [("t", parts[:2])])


@pytest.mark.parametrize("kept", [[0, 1], [1, 0, 2], [0, 1, 3]])
def test_rows_that_are_not_three_per_track_are_refused(write, kept):
    path = write("p", described(1, 2)) / "descriptions.parquet"
    pq.write_table(pq.read_table(path).take(kept), path)
    with pytest.raises(DamagedArtefactError, match="3 rows per track"):
        read_descriptions(path.parent, **SIZES)


def test_a_flipped_bit_in_a_vector_is_refused(write):
    path = write("p", described(1, 2)) / "descriptions.parquet"
    whole = bytearray(path.read_bytes())
    with pq.ParquetFile(path) as file:
        names = [file.metadata.schema.column(i).path for i in range(5)]
        chunk = file.metadata.row_group(0).column(names.index("vector.list.element"))
    whole[chunk.data_page_offset + chunk.total_compressed_size // 2] ^= 1
    path.write_bytes(whole)
    with pytest.raises(DamagedArtefactError, match="is damaged"):
        read_descriptions(path.parent, **SIZES)
