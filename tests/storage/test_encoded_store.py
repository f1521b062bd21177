"""Predictions and codes of a partition come back exactly, and the same every time."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from musichash_core.segment_codes import WindowCodes
from storage.encoded_store import encoded_track_ids, gather_encoded, read_encoded, write_encoded
from storage.errors import FingerprintMismatchError, FormatVersionError
from storage.receipts import read_receipt
from storage.schemas import codes_schema, codes_schema_without_segments
from storage.tables import write_table


@pytest.fixture
def folder(layout, helpers):
    helpers.write_encoded(layout, "g-1", "p", [3, 1])
    return layout.encoded_partition_path("g-1", "p")


def test_predictions_are_the_most_probable_genre_and_all_probabilities(folder, helpers):
    predictions, _ = read_encoded(folder, helpers.n_bits)
    for row, number in zip(predictions.to_pylist(), [3, 1], strict=True):
        share = helpers.encoded_track(number).probabilities
        assert row["track_id"] == helpers.track_id(number)
        assert row["probabilities"] == list(zip(("blues", "disco"), share.tolist(), strict=True))
        assert row["genre"] == ("blues" if share[0] >= 0.5 else "disco")
        assert row["probability"] == share.max()
        assert (row["n_segments"], row["generation"]) == (4, "g-1")


def test_codes_are_the_signs_of_the_stored_logits(folder, helpers):
    _, codes = read_encoded(folder, helpers.n_bits)
    for row, number in zip(codes.to_pylist(), [3, 1], strict=True):
        logits = helpers.encoded_track(number).hash_logits
        assert np.array_equal(np.float32(row["logits"]), logits)
        bits = np.unpackbits(np.frombuffer(row["code"], np.uint8), bitorder="little")
        assert np.array_equal(bits, logits >= 0)


def test_windows_are_stored_with_their_starts_and_none_are_an_empty_list(layout, helpers):
    codes = np.arange(3 * helpers.n_bits // 8, dtype=np.uint8).reshape(3, -1)
    bits = np.unpackbits(codes, axis=1, bitorder="little")
    starts_s = np.array([0, 4.7, 9.4], np.float32)
    windows = WindowCodes(starts_s, np.where(bits, 0.5, -0.5).astype(np.float32))
    tracks = [
        (helpers.track_id(1), replace(helpers.encoded_track(1), windows=windows)),
        (helpers.track_id(2), helpers.encoded_track(2)),
    ]
    folder = layout.encoded_partition_path("g-1", "p")
    write_encoded(folder, tracks, generation="g-1", genres=helpers.genres, n_bits=helpers.n_bits)
    first, second = read_encoded(folder, helpers.n_bits)[1].to_pylist()
    assert first["segment_codes"] == [code.tobytes() for code in codes]
    assert first["segment_starts_s"] == starts_s.tolist()
    assert second["segment_codes"] == second["segment_starts_s"] == []


def test_partitions_of_before_windows_had_codes_are_read_with_none(layout, folder, helpers):
    helpers.write_encoded(layout, "g-1", "q", [2, 5])
    new = layout.encoded_partition_path("g-1", "q")
    expected = read_encoded(new, helpers.n_bits)[1]
    write_table(
        new / "codes.parquet",
        expected.select(codes_schema_without_segments(helpers.n_bits).names),
    )
    assert read_encoded(new, helpers.n_bits)[1].equals(expected)
    found = gather_encoded(
        layout, "g-1", helpers.n_bits, [helpers.track_id(number) for number in (1, 2, 3, 5)]
    )
    assert found.codes.schema.equals(codes_schema(helpers.n_bits))
    assert found.codes["segment_codes"].to_pylist() == [[]] * 4


def test_the_same_tracks_have_the_same_bytes(layout, folder, helpers):
    helpers.write_encoded(layout, "g-2", "p", [3, 1])
    again = layout.encoded_partition_path("g-2", "p")
    assert (again / "codes.parquet").read_bytes() != (folder / "codes.parquet").read_bytes()
    helpers.write_encoded(layout, "g-1", "q", [3, 1])
    other = layout.encoded_partition_path("g-1", "q")
    for name in ("codes.parquet", "predictions.parquet"):
        assert (other / name).read_bytes() == (folder / name).read_bytes()


def test_a_partition_of_failures_has_no_rows_and_a_receipt(layout, helpers):
    helpers.write_encoded(layout, "g-1", "empty", [])
    folder = layout.encoded_partition_path("g-1", "empty")
    assert [len(table) for table in read_encoded(folder, helpers.n_bits)] == [0, 0]
    receipt = read_receipt(folder)
    assert (receipt.kind, receipt.fingerprint, receipt.n_done) == ("encoded", "g-1", 0)


def test_codes_of_another_width_are_refused(folder):
    with pytest.raises(FormatVersionError, match=r"expected is code: fixed_size_binary\[8\]"):
        read_encoded(folder, 64)


def test_codes_of_another_generation_are_refused_wherever_they_lie(layout, folder, helpers):
    other = layout.encoded_partition_path("g-2", "p")
    shutil.copytree(folder, other)
    with pytest.raises(FingerprintMismatchError, match="holds encoded of g-1, not codes of g-2"):
        read_encoded(other, helpers.n_bits)
    helpers.write_encoded(layout, "g-2", "q", [3, 1])
    mixed = layout.encoded_partition_path("g-2", "q")
    shutil.copy(folder / "codes.parquet", mixed)  # a receipt of the one, rows of the other
    with pytest.raises(FingerprintMismatchError, match="holds rows of g-1, not of g-2 alone"):
        read_encoded(mixed, helpers.n_bits)


def test_rows_of_tracks_are_gathered_once_each_and_sorted(layout, folder, helpers):
    helpers.write_encoded(layout, "g-1", "q", [1, 2, 7])
    helpers.write_encoded(layout, "g-1", "r", [])
    wanted = [helpers.track_id(number) for number in (1, 2, 3, 9)]
    found = gather_encoded(layout, "g-1", helpers.n_bits, wanted)
    assert found.track_ids == found.predictions["track_id"].to_pylist() == wanted[:3]
    for number, row in zip((1, 2, 3), found.codes.to_pylist(), strict=True):
        assert row["logits"] == helpers.encoded_track(number).hash_logits.tolist()
    of_one = gather_encoded(layout, "g-1", helpers.n_bits, wanted, partition_ids=["q", "absent"])
    assert of_one.track_ids == wanted[:2]
    assert len(gather_encoded(layout, "g-none", helpers.n_bits, wanted).codes) == 0
    everything = {helpers.track_id(number) for number in (1, 2, 3, 7)}
    assert encoded_track_ids(layout, "g-1") == everything
