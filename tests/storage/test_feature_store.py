"""Feature partitions: what is read is what was written, or an error that says what to do."""

import random
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import zarr

from musichash_core.errors import ParameterError
from musichash_core.musicnn.log_mel import PATCH_FRAMES, cut_patches
from storage.atomic import sweep_leftovers
from storage.errors import ArtefactMissingError, DamagedArtefactError
from storage.feature_store import (
    CHUNK_FRAMES,
    EAGER_FRAMES,
    SHARD_FRAMES,
    TAGGER_FRAMES_FACTOR,
    FeaturePartition,
    FeaturePartitionWriter,
)
from storage.receipts import finished_partitions, read_receipt
from storage.schemas import TRACK_FACTS


def files_of(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def shards_of(folder, name="frames"):
    shards = (folder / "features.zarr" / name / "c").rglob("*")
    return sorted(path for path in shards if path.is_file())


def tagger_frames_for(frames):
    """Make up tagger frames for a track, about as many as its frames' duration has."""
    rng = np.random.default_rng([5, len(frames)])
    return rng.integers(0, 256, (1 + len(frames) * 512 * 16_000 // 22_050 // 256, 96), np.uint8)


def append_track(writer, helpers, number, frames):
    """Write a track in pieces, with tagger frames where the partition has them."""
    track = helpers.stored_track(number, writer.n_frames, len(frames))
    for piece in np.array_split(frames, 3):
        writer.append_frames(piece)
    if writer.n_tagger_frames is not None:
        tagger_frames = tagger_frames_for(frames)
        for piece in np.array_split(tagger_frames, 4):
            writer.append_tagger_frames(piece)
        track = replace(
            track,
            first_tagger_frame=writer.n_tagger_frames,
            n_tagger_frames=len(tagger_frames),
        )
    writer.finish_track(track)


@pytest.fixture(params=[False, True], ids=["without-tagger", "with-tagger"])
def with_tagger(request):
    """Whether the partitions of a test have tagger frames."""
    return request.param


@pytest.fixture
def open_writer(helpers, with_tagger):
    def open_writer(folder):
        return FeaturePartitionWriter(
            folder, fingerprint=helpers.features, n_mels=8, with_tagger_mel=with_tagger
        )

    return open_writer


@pytest.fixture
def write(helpers, open_writer):
    def write(folder, tracks, failures=()):
        with open_writer(folder) as writer:
            for number, frames in tracks.items():
                append_track(writer, helpers, number, frames)
            for failure in failures:
                writer.fail_track(failure)

    return write


@pytest.fixture
def tracks(helpers):
    lengths = [700, 1, CHUNK_FRAMES, 2 * CHUNK_FRAMES + 1, 33]
    return {number: helpers.random_frames(n, number) for number, n in enumerate(lengths)}


@pytest.fixture
def folder(tmp_path, helpers, tracks, write):
    folder = tmp_path / "features" / "partition"
    write(folder, tracks, [helpers.failure_of(77)])
    return folder


def test_tracks_come_back_as_they_were_written(folder, helpers, tracks, with_tagger):
    partition = FeaturePartition(folder)
    read = list(partition.track_frames())
    assert [stored.track_id for stored, _ in read] == [helpers.track_id(n) for n in tracks]
    first_frame = 0
    for (stored, track), (number, frames) in zip(read, tracks.items(), strict=True):
        assert np.array_equal(track.frames, frames)
        assert (track.track_id, track.peak) == (stored.track_id, 0.5)
        wanted = helpers.stored_track(number, first_frame, len(frames))
        assert replace(stored, first_tagger_frame=None, n_tagger_frames=None) == wanted
        assert (stored.n_tagger_frames is not None) == with_tagger
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
    assert not [name for name in files_of(folder) if "spool" in name]


def test_the_same_partition_has_the_same_bytes(tmp_path, folder, helpers, tracks, write):
    again = tmp_path / "elsewhere" / "partition"
    write(again, tracks, [helpers.failure_of(77)])
    assert files_of(again) == files_of(folder)


def test_a_failed_track_leaves_no_frames(
    tmp_path, folder, helpers, tracks, open_writer, with_tagger
):
    mixed = tmp_path / "mixed" / "partition"
    with open_writer(mixed) as writer:
        for number, frames in tracks.items():
            if number == 2:
                writer.append_frames(helpers.random_frames(900, 55))
                writer.append_frames(helpers.random_frames(1, 55))
                if with_tagger:
                    writer.append_tagger_frames(tagger_frames_for(frames))
                writer.fail_track(helpers.failure_of(77))
            append_track(writer, helpers, number, frames)
    assert files_of(mixed) == files_of(folder)


def test_a_partition_of_failures_alone_has_no_array(tmp_path, helpers, write):
    write(tmp_path / "p", {}, [helpers.failure_of(1), helpers.failure_of(2)])
    partition = FeaturePartition(tmp_path / "p")
    assert partition.tracks() == list(partition.track_frames()) == []
    assert list(partition.tagger_frames()) == []
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


# --- tagger frames beside them --------------------------------------------------------------------


@pytest.fixture
def folder_with_tagger(tmp_path, helpers, tracks):
    folder = tmp_path / "tagged" / "partition"
    with FeaturePartitionWriter(
        folder, fingerprint=helpers.features, n_mels=8, with_tagger_mel=True
    ) as writer:
        for number, frames in tracks.items():
            append_track(writer, helpers, number, frames)
        writer.fail_track(helpers.failure_of(77))
    return folder


def test_tagger_frames_come_back_as_they_were_written(folder_with_tagger, helpers, tracks):
    read = list(FeaturePartition(folder_with_tagger).tagger_frames())
    assert [facts.track_id for facts, _ in read] == [helpers.track_id(n) for n in tracks]
    wanted = [tagger_frames_for(frames) for frames in tracks.values()]
    for (_, source), frames in zip(read, wanted, strict=True):
        assert np.array_equal(source, frames)
    array = zarr.open_group(folder_with_tagger / "features.zarr", mode="r")["tagger_frames"]
    assert np.array_equal(array[:], np.concatenate(wanted))
    assert array.metadata.dimension_names == ("frame", "mel")


def test_tagger_frames_change_no_byte_of_the_frames(tmp_path, folder_with_tagger, helpers, tracks):
    helpers.write_partition(tmp_path / "p", tracks, [helpers.failure_of(77)])
    without, with_them = files_of(tmp_path / "p"), files_of(folder_with_tagger)
    assert with_them.keys() - without.keys() == {
        "features.zarr/tagger_frames/zarr.json",
        "features.zarr/tagger_frames/c/0/0",
    }
    differing = {name for name in without if without[name] != with_them[name]}
    assert differing == {"tracks.parquet", "receipt.json"}


def test_a_partition_without_tagger_frames_has_the_columns_it_always_had(tmp_path, helpers):
    helpers.write_partition(tmp_path / "p", {1: helpers.random_frames(10)})
    names = pq.read_schema(tmp_path / "p" / "tracks.parquet").names
    assert names[:3] == ["track_id", "first_frame", "n_frames"]
    assert names[-1] == "tag_year"
    assert len(names) == 16
    partition = FeaturePartition(tmp_path / "p")
    assert partition.facts().schema.equals(TRACK_FACTS)
    assert partition.facts()["n_tagger_frames"].to_pylist() == [None]
    with pytest.raises(ArtefactMissingError, match="tagger_mel = false; set it to true"):
        list(partition.tagger_frames())


def test_long_tracks_give_the_tagger_frames_of_many_shards_where_asked_for(tmp_path, helpers):
    n_frames = TAGGER_FRAMES_FACTOR * SHARD_FRAMES + 3000
    tagger_frames = np.random.default_rng(0).integers(0, 256, (n_frames, 96), np.uint8)
    frames = helpers.random_frames(5)
    with FeaturePartitionWriter(
        tmp_path / "p", fingerprint="f", n_mels=8, with_tagger_mel=True
    ) as writer:
        append_track(writer, helpers, 1, frames)
        first = writer.n_tagger_frames
        writer.append_frames(frames)
        writer.append_tagger_frames(tagger_frames)
        track = helpers.stored_track(2, 5, 5)
        writer.finish_track(
            replace(track, first_tagger_frame=first, n_tagger_frames=len(tagger_frames))
        )
    assert len(shards_of(tmp_path / "p", "tagger_frames")) == 2
    _, (_, source) = FeaturePartition(tmp_path / "p").tagger_frames()
    assert not isinstance(source, np.ndarray)
    assert (source.shape, source.ndim) == ((n_frames, 96), 2)
    starts = np.array([0, 2000, n_frames - PATCH_FRAMES])
    assert np.array_equal(cut_patches(source, starts), cut_patches(tagger_frames, starts))


@pytest.mark.parametrize("extent", [(None, None), (0, 9), (1, 10)])
def test_a_track_with_other_tagger_frames_than_appended_is_refused(tmp_path, helpers, extent):
    def write():
        with FeaturePartitionWriter(
            tmp_path / "p", fingerprint="f", n_mels=8, with_tagger_mel=True
        ) as writer:
            writer.append_frames(helpers.random_frames(10))
            writer.append_tagger_frames(np.zeros((10, 96), np.uint8))
            first, n_frames = extent
            track = helpers.stored_track(1, 0, 10)
            writer.finish_track(replace(track, first_tagger_frame=first, n_tagger_frames=n_frames))

    with pytest.raises(ParameterError, match=r"appended were 0 \+ 10 and 0 \+ 10"):
        write()
    assert list(tmp_path.iterdir()) == []


def test_tagger_frames_are_refused_where_none_are_kept(tmp_path, helpers):
    def append(frames, *, with_tagger_mel):
        with FeaturePartitionWriter(
            tmp_path / "p", fingerprint="f", n_mels=8, with_tagger_mel=with_tagger_mel
        ) as writer:
            writer.append_tagger_frames(frames)

    with pytest.raises(ParameterError, match="holds no tagger frames"):
        append(np.zeros((3, 96), np.uint8), with_tagger_mel=False)
    for frames in (np.zeros((3, 128), np.uint8), np.zeros((3, 96), np.float32)):
        with pytest.raises(ParameterError, match=r"\(n_frames, 96\) uint8"):
            append(frames, with_tagger_mel=True)


@pytest.mark.parametrize("name", ["zarr.json", "c/0/0"])
def test_a_lost_file_of_tagger_frames_is_noticed(folder_with_tagger, name):
    (folder_with_tagger / "features.zarr" / "tagger_frames" / name).unlink()
    with pytest.raises(DamagedArtefactError, match="is missing or differs"):
        FeaturePartition(folder_with_tagger)


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

    with pytest.raises(ParameterError, match=r"appended were 0 \+ 10 and None \+ None"):
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


KILL_WITH_TAGGER = """
import sys

import kill_points


def extract(root):
    import numpy as np

    from musichash_core.records import TrackFailure
    from storage.feature_store import FeaturePartitionWriter, StoredTrack

    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (600, 3, 4), dtype=np.uint8)
    tagger_frames = rng.integers(0, 256, (870, 96), dtype=np.uint8)
    folder = root / "features" / "fingerprint" / "partition"
    with FeaturePartitionWriter(
        folder, fingerprint="fingerprint", n_mels=4, with_tagger_mel=True
    ) as writer:
        for place in ((0, 600, 0, 870), (600, 600, 870, 870)):
            writer.append_frames(frames)
            writer.append_tagger_frames(tagger_frames)
            facts = ("a" * 32, *place[:2], 14.0, 22_050, 1, "wav", "PCM_16", 0.5, -20.0, [])
            tags = (None,) * 5
            writer.finish_track(StoredTrack(*facts, *tags, *place[2:]))
        writer.append_tagger_frames(tagger_frames[:100])
        writer.fail_track(TrackFailure("b" * 32, "/b.wav", "extract", "truncated", "short"))


kill_points.SCENARIOS["extract"] = (kill_points.prepare_extract, extract)
kill_points.main()
"""


@pytest.fixture
def kill_points_of_extraction(tmp_path, kill_points, with_tagger):
    """Give what a writer leaves when it is killed before each of its operations."""
    if not with_tagger:
        return kill_points("extract")
    printed = subprocess.run(
        [sys.executable, "-c", KILL_WITH_TAGGER, "extract", tmp_path],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parent,
    )
    return [tmp_path / str(number) for number in range(int(printed.stdout) + 1)]


def test_a_kill_at_any_operation_leaves_a_whole_partition_or_a_left_over(
    kill_points_of_extraction,
):
    roots = kill_points_of_extraction
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


def test_of_two_writers_of_one_partition_the_first_stays(tmp_path, helpers, write, open_writer):
    frames = helpers.random_frames(50)
    with open_writer(tmp_path / "p") as second:
        append_track(second, helpers, 1, frames)
        write(tmp_path / "p", {1: frames})
        inodes = {path: path.stat().st_ino for path in (tmp_path / "p").rglob("*")}
    assert {path: path.stat().st_ino for path in (tmp_path / "p").rglob("*")} == inodes
    assert [path.name for path in tmp_path.iterdir()] == ["p"]


# --- damage --------------------------------------------------------------------------------------


def read_all(folder, with_tagger=False):
    partition = FeaturePartition(folder)
    frames = [track.frames[0 : len(track.frames)] for _, track in partition.track_frames()]
    if with_tagger:
        frames += [source[0 : len(source)] for _, source in partition.tagger_frames()]
    return frames


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


@pytest.mark.parametrize("with_tagger", [False, True], indirect=True)
def test_every_flipped_bit_of_a_shard_is_noticed(folder, with_tagger):
    (shard,) = shards_of(folder, "tagger_frames" if with_tagger else "frames")
    whole = shard.read_bytes()
    rng = random.Random(0)
    index_bits = range(8 * (len(whole) - 68), 8 * len(whole), 5)  # 4 chunks and a checksum
    for bit in [*rng.sample(range(8 * len(whole)), 60), *index_bits]:
        mutant = bytearray(whole)
        mutant[bit // 8] ^= 1 << bit % 8
        shard.write_bytes(mutant)
        with pytest.raises(DamagedArtefactError):
            read_all(folder, with_tagger)


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


def test_a_partition_removed_by_halves_is_written_again(helpers, folder, tracks, write):
    whole = files_of(folder)
    (folder / "receipt.json").unlink()
    shutil.rmtree(folder / "features.zarr")
    write(folder, tracks, [helpers.failure_of(77)])
    assert files_of(folder) == whole


def test_facts_of_another_version_are_refused(folder, helpers):
    stored = helpers.stored_track(1, 0, 5)
    assert replace(stored, warnings=[]) != stored  # records compare by value
    (folder / "tracks.parquet").write_bytes((folder / "failures.parquet").read_bytes())
    with pytest.raises(DamagedArtefactError, match=r"tracks\.parquet"):
        FeaturePartition(folder)
