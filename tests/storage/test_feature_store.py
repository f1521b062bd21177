"""Feature partitions: what is read is what was written, or an error that says what to do."""

import random
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import zarr

from musichash_core.errors import ParameterError
from storage.atomic import sweep_leftovers
from storage.errors import DamagedArtefactError
from storage.feature_store import (
    CHUNK_FRAMES,
    EAGER_FRAMES,
    SHARD_FRAMES,
    FeaturePartition,
    FeaturePartitionWriter,
)
from storage.receipts import finished_partitions, read_receipt


def files_of(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def shards_of(folder):
    return sorted((folder / "features.zarr" / "frames" / "c").rglob("*/0/0"))


@pytest.fixture
def tracks(helpers):
    lengths = [700, 1, CHUNK_FRAMES, 2 * CHUNK_FRAMES + 1, 33]
    return {number: helpers.random_frames(n, number) for number, n in enumerate(lengths)}


@pytest.fixture
def folder(tmp_path, helpers, tracks):
    folder = tmp_path / "features" / "partition"
    helpers.write_partition(folder, tracks, [helpers.failure_of(77)])
    return folder


def test_tracks_come_back_as_they_were_written(folder, helpers, tracks):
    partition = FeaturePartition(folder)
    read = list(partition.track_frames())
    assert [stored.track_id for stored, _ in read] == [helpers.track_id(n) for n in tracks]
    first_frame = 0
    for (stored, track), (number, frames) in zip(read, tracks.items(), strict=True):
        assert np.array_equal(track.frames, frames)
        assert (track.track_id, track.peak) == (stored.track_id, 0.5)
        assert stored == helpers.stored_track(number, first_frame, len(frames))
        first_frame += len(frames)
    (failure,) = partition.failures().to_pylist()
    assert failure == {
        "track_id": helpers.track_id(77),
        "path": "/music/77.ogg",
        "stage": "extract",
        "code": "truncated",
        "retryable": False,
        "message": "ends early",
        "attempts": 1,
    }


def test_any_zarr_reader_finds_the_frames_and_their_meaning(folder, helpers, tracks):
    group = zarr.open_group(folder / "features.zarr", mode="r")
    frames = group["frames"]
    assert np.array_equal(frames[:], np.concatenate(list(tracks.values())))
    assert frames.metadata.dimension_names == ("frame", "part", "mel")
    assert group.attrs["feature_fingerprint"] == helpers.features
    assert group.attrs["parts"] == ["original", "harmonic", "percussive"]


def test_the_receipt_counts_and_lists_everything(folder):
    receipt = read_receipt(folder)
    assert (receipt.kind, receipt.partition_id) == ("features", "partition")
    assert (receipt.n_done, receipt.n_failed) == (5, 1)
    assert {entry.path for entry in receipt.files} == files_of(folder).keys() - {"receipt.json"}
    assert "spool.u8" not in files_of(folder)


def test_the_same_partition_has_the_same_bytes(tmp_path, folder, helpers, tracks):
    again = tmp_path / "elsewhere" / "partition"
    helpers.write_partition(again, tracks, [helpers.failure_of(77)])
    assert files_of(again) == files_of(folder)


def test_a_failed_track_leaves_no_frames(tmp_path, folder, helpers, tracks):
    mixed = tmp_path / "mixed" / "partition"
    with FeaturePartitionWriter(mixed, fingerprint=helpers.features, n_mels=8) as writer:
        for number, frames in tracks.items():
            if number == 2:
                writer.append_frames(helpers.random_frames(900, 55))
                writer.append_frames(helpers.random_frames(1, 55))
                writer.fail_track(helpers.failure_of(77))
            writer.append_frames(frames)
            writer.finish_track(helpers.stored_track(number, writer.n_frames, len(frames)))
    assert files_of(mixed) == files_of(folder)


def test_a_partition_of_failures_alone_has_no_array(tmp_path, helpers):
    helpers.write_partition(tmp_path / "p", {}, [helpers.failure_of(1), helpers.failure_of(2)])
    partition = FeaturePartition(tmp_path / "p")
    assert partition.tracks() == list(partition.track_frames()) == []
    assert len(partition.failures()) == 2
    assert not (tmp_path / "p" / "features.zarr").exists()


def test_a_partition_longer_than_a_shard_has_several(tmp_path, helpers):
    lengths = (SHARD_FRAMES - 100, 300, SHARD_FRAMES)
    tracks = {number: helpers.random_frames(n, number) for number, n in enumerate(lengths)}
    helpers.write_partition(tmp_path / "p", tracks)
    assert len(shards_of(tmp_path / "p")) == 3
    for (_, track), frames in zip(
        FeaturePartition(tmp_path / "p").track_frames(), tracks.values(), strict=True
    ):
        assert track.frames.shape == frames.shape
        assert track.frames.ndim == 3
        assert len(track.frames) == len(frames)
        assert np.array_equal(track.frames[0 : len(frames)], frames)


def test_a_long_track_is_read_only_where_asked_for(tmp_path, helpers):
    frames = helpers.random_frames(2 * EAGER_FRAMES)
    helpers.write_partition(tmp_path / "p", {1: helpers.random_frames(300), 2: frames})
    _, (_, track) = FeaturePartition(tmp_path / "p").track_frames()
    source = track.frames
    assert not isinstance(source, np.ndarray)
    n = len(frames)
    for cut in (slice(0, 128), slice(n - 5, n), slice(100, 100), slice(0, n + 50), slice(-7, None)):
        assert np.array_equal(source[cut], frames[cut])
    assert source[20:10].shape == (0, 3, 8)
    with pytest.raises(ParameterError, match="in steps of 2"):
        source[0:10:2]


# --- the writer checks what it is given ----------------------------------------------------------


def test_frames_of_another_shape_or_type_are_refused(tmp_path, helpers):
    def append(frames):
        with FeaturePartitionWriter(tmp_path / "p", fingerprint="f", n_mels=8) as writer:
            writer.append_frames(frames)

    for frames in (
        np.zeros((5, 3, 9), np.uint8),
        np.zeros((5, 2, 8), np.uint8),
        np.zeros((3, 8), np.uint8),
        np.zeros((5, 3, 8), np.float32),
    ):
        with pytest.raises(ParameterError, match=r"this partition holds \(n_frames, 3, 8\) uint8"):
            append(frames)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("first_frame", "n_frames"), [(0, 9), (0, 11), (1, 10)])
def test_a_track_that_is_not_what_was_appended_is_refused(tmp_path, helpers, first_frame, n_frames):
    def write():
        with FeaturePartitionWriter(tmp_path / "p", fingerprint="f", n_mels=8) as writer:
            writer.append_frames(helpers.random_frames(10))
            writer.finish_track(helpers.stored_track(1, first_frame, n_frames))

    with pytest.raises(ParameterError, match=r"appended were 0 \+ 10"):
        write()


def test_frames_in_any_memory_order_are_written_right(tmp_path, helpers):
    frames = np.asfortranarray(helpers.random_frames(40))
    with FeaturePartitionWriter(tmp_path / "p", fingerprint="f", n_mels=8) as writer:
        writer.append_frames(frames[::2])
        writer.append_frames(frames[:0])
        writer.finish_track(helpers.stored_track(1, 0, 20))
    ((_, track),) = FeaturePartition(tmp_path / "p").track_frames()
    assert np.array_equal(track.frames, frames[::2])


# --- interruption --------------------------------------------------------------------------------


def test_an_error_leaves_nothing(tmp_path, helpers):
    def write():
        with FeaturePartitionWriter(tmp_path / "p", fingerprint="f", n_mels=8) as writer:
            writer.append_frames(helpers.random_frames(10))
            raise RuntimeError("decoder bug")

    with pytest.raises(RuntimeError, match="decoder bug"):
        write()
    assert list(tmp_path.iterdir()) == []


def test_an_error_while_finishing_leaves_nothing(tmp_path, helpers, monkeypatch):
    monkeypatch.setattr("storage.feature_store.write_receipt", None)
    with pytest.raises(TypeError):
        helpers.write_partition(tmp_path / "p", {1: helpers.random_frames(10)})
    assert list(tmp_path.iterdir()) == []


def test_a_kill_at_any_operation_leaves_a_whole_partition_or_a_left_over(kill_points):
    roots = kill_points("extract")
    assert len(roots) > 20
    whole = files_of(roots[-1] / "features" / "fingerprint" / "partition")
    n_left_over = 0
    for root in roots:
        fingerprint_root = root / "features" / "fingerprint"
        for name in finished_partitions(fingerprint_root):
            assert files_of(fingerprint_root / name) == whole
        n_left_over += sweep_leftovers(root)
        assert [path.name for path in fingerprint_root.glob("*")] in ([], ["partition"])
        assert finished_partitions(fingerprint_root) in ([], ["partition"])
    assert n_left_over > 10


def test_of_two_writers_of_one_partition_the_first_stays(tmp_path, helpers):
    frames = helpers.random_frames(50)
    with FeaturePartitionWriter(tmp_path / "p", fingerprint=helpers.features, n_mels=8) as second:
        second.append_frames(frames)
        second.finish_track(helpers.stored_track(1, 0, 50))
        helpers.write_partition(tmp_path / "p", {1: frames})
        inodes = {path: path.stat().st_ino for path in (tmp_path / "p").rglob("*")}
    assert {path: path.stat().st_ino for path in (tmp_path / "p").rglob("*")} == inodes
    assert [path.name for path in tmp_path.iterdir()] == ["p"]


# --- damage --------------------------------------------------------------------------------------


def read_all(folder):
    return [np.array(track.frames) for _, track in FeaturePartition(folder).track_frames()]


@pytest.mark.parametrize(
    "name", ["features.zarr/frames/c/0/0/0", "features.zarr/frames/zarr.json", "tracks.parquet"]
)
def test_a_lost_file_is_noticed_with_the_way_out(folder, name):
    (folder / name).unlink()
    with pytest.raises(
        DamagedArtefactError, match=re.escape(name) + r".*remove the partition's folder"
    ):
        FeaturePartition(folder)


def test_a_shortened_file_is_noticed(folder):
    (shard,) = shards_of(folder)
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(DamagedArtefactError, match="is missing or differs"):
        FeaturePartition(folder)


def test_every_flipped_bit_of_a_shard_is_noticed(folder):
    (shard,) = shards_of(folder)
    whole = shard.read_bytes()
    rng = random.Random(0)
    index_bits = range(8 * (len(whole) - 68), 8 * len(whole), 5)  # 4 chunks and a checksum
    for bit in [*rng.sample(range(8 * len(whole)), 60), *index_bits]:
        mutant = bytearray(whole)
        mutant[bit // 8] ^= 1 << bit % 8
        shard.write_bytes(mutant)
        with pytest.raises(DamagedArtefactError):
            read_all(folder)


def test_a_flipped_bit_in_a_long_track_is_noticed_where_it_is_read(tmp_path, helpers):
    frames = helpers.random_frames(2 * EAGER_FRAMES)
    helpers.write_partition(tmp_path / "p", {1: frames})
    (shard,) = shards_of(tmp_path / "p")
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    ((_, track),) = FeaturePartition(tmp_path / "p").track_frames()
    assert np.array_equal(track.frames[0:128], frames[:128])
    with pytest.raises(DamagedArtefactError, match=r"frames 0 to 8192 cannot be read .*checksum"):
        track.frames[0 : len(frames)]


@pytest.mark.parametrize("name", ["zarr.json", "frames/zarr.json"])
def test_changed_metadata_is_noticed(folder, name):
    path = folder / "features.zarr" / name
    text = path.read_text()
    digits = [match.start() for match in re.finditer(r"\d", text)]
    assert digits
    for at in digits:
        path.write_text(text[:at] + str((int(text[at]) + 1) % 10) + text[at + 1 :])
        with pytest.raises(DamagedArtefactError, match=r"zarr\.json"):
            read_all(folder)


def test_a_partition_removed_by_halves_is_written_again(tmp_path, helpers, folder, tracks):
    whole = files_of(folder)
    (folder / "receipt.json").unlink()
    shutil.rmtree(folder / "features.zarr")
    helpers.write_partition(folder, tracks, [helpers.failure_of(77)])
    assert files_of(folder) == whole


def test_facts_of_another_version_are_refused(folder, helpers):
    stored = helpers.stored_track(1, 0, 5)
    assert replace(stored, warnings=[]) != stored  # records compare by value
    (folder / "tracks.parquet").write_bytes((folder / "failures.parquet").read_bytes())
    with pytest.raises(DamagedArtefactError, match=r"tracks\.parquet"):
        FeaturePartition(folder)
