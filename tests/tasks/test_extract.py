"""Extraction of a partition: good tracks, bad tracks, and that it is safe to repeat."""

import os
import signal
import tracemalloc

import numpy as np
import pytest
import soundfile
import soxr

from musichash_core.features import extract_features
from musichash_core.musicnn.log_mel import extract_mel_power, power_to_bytes
from musichash_core.records import partition_of
from storage.atomic import digest_tree
from storage.errors import StoreError
from storage.feature_store import FeaturePartition, FeaturePartitionWriter
from storage.store import open_store
from tasks import both_feature_sets, extract
from tasks.extract import extract_partition, quarantine_track
from tasks.resources import decoder_box

MAX_SHARE_ONE_STEP_OFF = 1e-3
"""A stream is resampled in pieces: the last bits of a sample may differ, and with them a byte."""


@pytest.fixture(params=[False, True], ids=["without-tagger", "with-tagger"])
def config(config, request):
    """Settings under which everything takes a moment, without and with the tagger's frames."""
    features = config.features.model_copy(update={"tagger_mel": request.param})
    return config.model_copy(update={"features": features})


def open_partition(store, partition, config):
    layout = open_store(store)
    return FeaturePartition(
        layout.feature_partition_path(config.feature_fingerprint, partition.partition_id)
    )


def frames_by_path(store, partition, config):
    paths = {item.file.track_id: item.file.path for item in partition.items}
    return {
        paths[facts.track_id]: np.asarray(track.frames[0 : len(track.frames)])
        for facts, track in open_partition(store, partition, config).track_frames()
    }


def tagger_frames_by_path(store, partition, config):
    """Give the tagger's frames of each track; of none where the configuration asks for none."""
    if not config.features.tagger_mel:
        return {}
    paths = {item.file.track_id: item.file.path for item in partition.items}
    return {
        paths[facts.track_id]: np.asarray(frames[0 : len(frames)])
        for facts, frames in open_partition(store, partition, config).tagger_frames()
    }


def assert_nearly_equal(stored, wanted):
    assert stored.shape == wanted.shape
    steps = np.abs(stored.astype(int) - wanted.astype(int))
    assert steps.max() <= 1
    assert (steps > 0).mean() < MAX_SHARE_ONE_STEP_OFF


def tagger_frames_of(y, sr):
    """Resample at once, with soxr, and give the bytes of the musicnn front end."""
    return power_to_bytes(extract_mel_power(soxr.resample(y, sr, 16_000, quality="HQ")))


def test_two_good_tracks_and_a_corrupt_one(store, three_tracks, config, partition_below):
    partition = partition_below(store, three_tracks.root, config)
    summary = extract_partition(store, partition, config)
    assert (summary.n_done, summary.n_failed) == (2, 1)
    assert summary.audio_s == pytest.approx(3.0)
    assert summary.n_bytes > 0
    assert summary.peak_memory_bytes > 10_000_000
    (failure,) = open_partition(store, partition, config).failures().to_pylist()
    assert failure["code"] == "not-audio"
    assert failure["path"] == f"{three_tracks.root}/high/c.mp3"
    assert failure["attempts"] == 1
    assert failure["stage"] == "extract"


def test_the_corrupt_track_changes_no_byte_of_the_others(
    store, three_tracks, config, partition_below
):
    partition = partition_below(store, three_tracks.root, config)
    extract_partition(store, partition, config)
    good = partition_of([item for item in partition.items if item.file.path != "high/c.mp3"])
    extract_partition(store, good, config)
    with_it = frames_by_path(store, partition, config)
    without_it = frames_by_path(store, good, config)
    assert with_it.keys() == without_it.keys() == {"low/a.wav", "high/b.wav"}
    for path, frames in with_it.items():
        assert frames.tobytes() == without_it[path].tobytes()
    with_it, without_it = (
        tagger_frames_by_path(store, tracks, config) for tracks in (partition, good)
    )
    assert with_it.keys() == without_it.keys()
    for path, frames in with_it.items():
        assert frames.tobytes() == without_it[path].tobytes()
    facts = open_partition(store, partition, config).facts()
    assert facts.equals(open_partition(store, good, config).facts())


def test_a_track_that_breaks_in_its_middle_leaves_no_frame_behind(
    store, catalogue, config, partition_below, music_root
):
    catalogue.add("low/a.wav", 220)
    catalogue.add("low/b.wav", 330)
    damaged = music_root / "electronic/singularity-advanced-simulacra-truncated.ogg"
    (catalogue.root / "low" / "c.ogg").write_bytes(damaged.read_bytes())
    partition = partition_below(store, catalogue.root, config)
    summary = extract_partition(store, partition, config)
    assert (summary.n_done, summary.n_failed) == (2, 1)
    for path, frames in frames_by_path(store, partition, config).items():
        y, _ = soundfile.read(catalogue.root / path, dtype="float32")
        assert frames.tobytes() == extract_features(y, config.features).tobytes()
    for path, frames in tagger_frames_by_path(store, partition, config).items():
        y, sr = soundfile.read(catalogue.root / path, dtype="float32")
        assert_nearly_equal(frames, tagger_frames_of(y, sr))


@pytest.mark.parametrize(
    "path",
    [
        "ambient/hyperrogue-hr3-laboratory.flac",
        "orchestral/ufoai-van-mission.wav",
        "ambient/naev-automat.aiff",
        "electronic/zaz-mus1.ogg",
    ],
)
def test_stored_frames_are_the_features_of_the_decoded_samples(
    store, config, partition_below, music_root, tmp_path, path
):
    """Decoded and resampled at once by soundfile and soxr, without our block reader."""
    root = tmp_path / "one"
    root.mkdir()
    (root / path.split("/")[1]).write_bytes((music_root / path).read_bytes())
    partition = partition_below(store, root, config)
    extract_partition(store, partition, config)
    (stored,) = frames_by_path(store, partition, config).values()
    y, sr = soundfile.read(music_root / path, dtype="float32", always_2d=True)
    mono = y.mean(axis=1)
    for tagger_frames in tagger_frames_by_path(store, partition, config).values():
        assert_nearly_equal(tagger_frames, tagger_frames_of(mono, sr))
    if sr != config.features.sr:
        mono = soxr.resample(mono, sr, config.features.sr, quality="HQ")
    assert_nearly_equal(stored, extract_features(mono, config.features))
    (track,) = open_partition(store, partition, config).tracks()
    assert track.duration_s == pytest.approx(len(y) / sr)
    assert track.sr == sr
    # The facts describe the down-mix, before and after resampling alike.
    assert track.rms_db == pytest.approx(20 * np.log10(np.sqrt((mono**2).mean())), abs=0.05)


@pytest.mark.parametrize("sr", [16_000, 22_050, 8_000])
def test_a_file_at_the_rate_of_a_feature_set_has_both_sets_to_its_end(
    store, catalogue, config, partition_below, sr
):
    """Samples that need no resampling end a block earlier than those that do."""
    catalogue.add("low/a.wav", 440, duration_s=5.0, sr=sr)
    partition = partition_below(store, catalogue.root, config)
    assert extract_partition(store, partition, config).n_failed == 0
    (stored,) = frames_by_path(store, partition, config).values()
    y, _ = soundfile.read(catalogue.root / "low/a.wav", dtype="float32")
    at_features = soxr.resample(y, sr, 22_050, quality="HQ")
    assert_nearly_equal(stored, extract_features(at_features, config.features))
    for tagger_frames in tagger_frames_by_path(store, partition, config).values():
        assert_nearly_equal(tagger_frames, tagger_frames_of(y, sr))
        assert len(tagger_frames) == 1 + 5 * 16_000 // 256


def test_samples_of_both_feature_sets_are_not_collected(catalogue, config):
    """A decoded block may wait for the second resampler, the track may not."""

    def peak_bytes(name, duration_s):
        catalogue.add(name, 440, duration_s=duration_s, sr=8_000)
        descriptor = os.open(catalogue.root / name, os.O_RDONLY)
        with decoder_box(config.decode).open(descriptor) as stream:
            tracemalloc.start()
            for _ in both_feature_sets.samples_and_tagger_frames(stream, config.features):
                pass
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert stream.n_frames == duration_s * 8_000
        return peak

    peak_bytes("low/first.wav", 20)
    short, long = peak_bytes("low/short.wav", 40), peak_bytes("low/long.wav", 200)
    assert long < short + 1e6  # the samples of the other 160 s are 5 MB


def test_the_tagger_changes_no_byte_of_the_other_features(
    store, catalogue, config, partition_below
):
    catalogue.add("low/a.wav", 440, sr=44_100)
    partition = partition_below(store, catalogue.root, config)
    features = config.features.model_copy(update={"tagger_mel": not config.features.tagger_mel})
    other = config.model_copy(update={"features": features})
    for settings in (config, other):
        extract_partition(store, partition, settings)
    assert config.feature_fingerprint != other.feature_fingerprint
    (frames,) = frames_by_path(store, partition, config).values()
    (other_frames,) = frames_by_path(store, partition, other).values()
    assert frames.tobytes() == other_frames.tobytes()


def test_extracting_again_changes_no_byte(store, three_tracks, config, partition_below):
    partition = partition_below(store, three_tracks.root, config)
    first = extract_partition(store, partition, config)
    folder = open_partition(store, partition, config).folder
    before = digest_tree(folder), folder.stat().st_ino
    second = extract_partition(store, partition, config)
    assert (digest_tree(folder), folder.stat().st_ino) == before
    assert (second.n_done, second.n_failed) == (first.n_done, first.n_failed)
    assert not [path for path in folder.parent.iterdir() if path.name.startswith(".tmp-")]


def test_another_store_has_the_same_bytes(store, three_tracks, config, partition_below, tmp_path):
    from storage.store import create_store

    other = str(create_store(tmp_path / "other").root)
    partition = partition_below(store, three_tracks.root, config)
    extract_partition(store, partition, config)
    extract_partition(other, partition, config)
    assert digest_tree(open_partition(store, partition, config).folder) == digest_tree(
        open_partition(other, partition, config).folder
    )


def test_a_file_that_changed_since_the_scan_is_a_failure_that_may_pass(
    store, catalogue, config, partition_below
):
    catalogue.add("low/a.wav", 220)
    partition = partition_below(store, catalogue.root, config)
    catalogue.add("low/a.wav", 440, duration_s=2.0)
    assert extract_partition(store, partition, config).n_failed == 1
    (failure,) = open_partition(store, partition, config).failures().to_pylist()
    assert (failure["code"], failure["retryable"]) == ("changed-while-reading", True)


def test_a_partition_without_any_good_track_is_finished_too(
    store, catalogue, config, partition_below
):
    catalogue.add_text("low/a.wav")
    partition = partition_below(store, catalogue.root, config)
    assert extract_partition(store, partition, config).n_failed == 1
    assert open_partition(store, partition, config).tracks() == []
    assert list(open_partition(store, partition, config).track_frames()) == []


def test_an_error_of_the_machine_stops_the_partition_and_leaves_nothing(
    store, three_tracks, config, partition_below, monkeypatch
):
    partition = partition_below(store, three_tracks.root, config)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(extract.FeaturePartitionWriter, "finish_track", full)
    with pytest.raises(OSError, match="No space left"):
        extract_partition(store, partition, config)
    root = open_store(store).features_root(config.feature_fingerprint)
    assert list(root.iterdir()) == []


def test_a_quarantined_track_is_a_failure_with_its_attempts(
    store, catalogue, config, partition_below
):
    catalogue.add("low/a.wav", 220)
    partition = partition_below(store, catalogue.root, config)
    summary = quarantine_track(store, partition, config, "the worker died")
    assert (summary.n_done, summary.n_failed) == (0, 1)
    (failure,) = open_partition(store, partition, config).failures().to_pylist()
    assert (failure["code"], failure["retryable"]) == ("decoder-crashed", False)
    assert failure["message"] == "the worker died"


def test_a_store_that_is_none_is_refused(tmp_path, three_tracks, store, config, partition_below):
    partition = partition_below(store, three_tracks.root, config)
    with pytest.raises(StoreError, match="is not a musichash store"):
        extract_partition(str(tmp_path / "none"), partition, config)


# --- when the decoder process dies ---------------------------------------------------------------


@pytest.fixture
def killed_box(monkeypatch, config):
    """Have the decoder process killed whenever frames of one track are first written."""
    append = FeaturePartitionWriter.append_frames

    def arm(track_position, n_deaths):
        killed = set()

        def append_frames(writer, frames):
            append(writer, frames)
            pid = decoder_box(config.decode).pid
            is_due = len(frames) and len(writer._tracks) == track_position
            if is_due and pid not in killed and len(killed) < n_deaths:
                killed.add(pid)
                os.kill(pid, signal.SIGSEGV)

        monkeypatch.setattr(FeaturePartitionWriter, "append_frames", append_frames)

    return arm


@pytest.fixture
def long_tracks(store, catalogue, config, partition_below):
    for number, hz in enumerate((220, 330, 440)):
        catalogue.add(f"low/{number}.wav", hz, duration_s=30.0)
    return partition_below(store, catalogue.root, config)


def test_a_track_over_which_the_decoder_dies_once_is_the_same_as_ever(
    store, config, long_tracks, killed_box, tmp_path
):
    from storage.store import create_store

    calm = str(create_store(tmp_path / "calm").root)
    extract_partition(calm, long_tracks, config)
    killed_box(1, 1)
    summary = extract_partition(store, long_tracks, config)
    assert (summary.n_done, summary.n_failed) == (3, 0)
    assert digest_tree(open_partition(store, long_tracks, config).folder) == digest_tree(
        open_partition(calm, long_tracks, config).folder
    )


def test_a_track_that_kills_a_fresh_decoder_too_is_one_failure(
    store, config, long_tracks, killed_box
):
    killed_box(1, 2)
    summary = extract_partition(store, long_tracks, config)
    assert (summary.n_done, summary.n_failed) == (2, 1)
    (failure,) = open_partition(store, long_tracks, config).failures().to_pylist()
    assert failure["track_id"] == long_tracks.items[1].file.track_id
    assert failure["code"] == "decoder-crashed"
    assert "SIGSEGV" in failure["message"]


def test_the_decoders_time_and_memory_are_part_of_the_account(store, config, long_tracks):
    box = decoder_box(config.decode)
    before = box.cpu_s
    summary = extract_partition(store, long_tracks, config)
    assert 0 < box.cpu_s - before < summary.cpu_s
    assert summary.peak_memory_bytes > box.peak_memory_bytes > 20e6
