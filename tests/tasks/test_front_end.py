"""The two front ends must give the same features, whichever one a machine chooses."""

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from musichash_core.config import PipelineConfig
from musichash_core.feature_config import FeatureConfig
from musichash_core.model_config import ModelConfig
from musichash_core.records import Partition, SourceFile, WorkItem, partition_of
from storage.feature_store import FeaturePartition
from storage.store import create_store
from tasks import front_end, track_extraction
from tasks.extract import extract_partition
from tasks.front_end import choose_front_end

SR = 22_050
MAX_SHARE_OF_OTHER_BYTES = 1e-3  # stated by musichash_core.features_torch


def write_tone(path: Path, seconds: float, hz: float) -> None:
    t = np.arange(int(seconds * SR)) / SR
    noise = np.random.default_rng(int(hz)).standard_normal(len(t))
    soundfile.write(path, 0.4 * np.sin(2 * np.pi * hz * t) + 0.05 * noise, SR, subtype="PCM_16")


def partition_below(root: Path) -> Partition:
    items = []
    for number, path in enumerate(sorted(root.iterdir())):
        status = path.stat()
        file = SourceFile(
            track_id=f"{number:032x}",
            root=str(root),
            path=path.name,
            path_raw=os.fsencode(path.name),
            n_bytes=status.st_size,
            mtime_ns=status.st_mtime_ns,
        )
        items.append(WorkItem(file, 0, 1.0))
    return partition_of(items)


def extract_with(name: str, root: Path, store: Path, features: FeatureConfig) -> FeaturePartition:
    config = PipelineConfig(
        front_end=name, features=features, models=ModelConfig(encoder="hpss-cnn")
    )
    layout = create_store(store)
    partition = partition_below(root)
    extract_partition(str(store), partition, config)
    return FeaturePartition(
        layout.feature_partition_path(config.feature_fingerprint, partition.partition_id)
    )


@pytest.mark.parametrize("tagger_mel", [False, True])
def test_both_front_ends_give_the_same_tracks_failures_and_nearly_the_same_bytes(
    tmp_path, monkeypatch, tagger_mel
):
    monkeypatch.setattr(track_extraction, "BATCH_AUDIO_S", 4.0)  # several batches, one long track
    root = tmp_path / "music"
    root.mkdir()
    for name, seconds, hz in (("a", 2.5, 220), ("c", 1.5, 330), ("d", 6.0, 440), ("e", 2.0, 550)):
        write_tone(root / f"{name}.wav", seconds, hz)
    (root / "b.wav").write_bytes(b"no audio at all")
    features = FeatureConfig(tagger_mel=tagger_mel)
    streamed = extract_with("numba", root, tmp_path / "streamed", features)
    batched = extract_with("torch", root, tmp_path / "batched", features)

    assert streamed.failures().equals(batched.failures())
    assert [row["path"] for row in batched.failures().to_pylist()] == [f"{root}/b.wav"]
    pairs = list(zip(streamed.track_frames(), batched.track_frames(), strict=True))
    assert len(pairs) == 4
    for (facts, frames), (other_facts, other_frames) in pairs:
        assert (facts.track_id, facts.first_frame, facts.n_frames, facts.peak) == (
            other_facts.track_id,
            other_facts.first_frame,
            other_facts.n_frames,
            other_facts.peak,
        )
        assert facts.rms_db == pytest.approx(other_facts.rms_db, abs=1e-3)
        steps = np.abs(np.asarray(frames.frames, int) - np.asarray(other_frames.frames, int))
        assert steps.max() <= 1
        assert (steps > 0).mean() <= MAX_SHARE_OF_OTHER_BYTES
    if not tagger_mel:
        assert {facts.n_tagger_frames for facts, _ in streamed.track_frames()} == {None}
        assert {facts.n_tagger_frames for facts, _ in batched.track_frames()} == {None}
        return
    tagger_pairs = list(zip(streamed.tagger_frames(), batched.tagger_frames(), strict=True))
    assert len(tagger_pairs) == 4
    for (facts, tagger_frames), (other_facts, other_tagger_frames) in tagger_pairs:
        assert facts.n_tagger_frames == other_facts.n_tagger_frames == len(tagger_frames)
        assert facts.n_tagger_frames == pytest.approx(facts.duration_s * 62.5, abs=1)
        np.testing.assert_array_equal(other_tagger_frames, tagger_frames)


def test_without_a_cuda_device_numba_is_chosen_and_the_reason_is_logged(
    tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(front_end, "CUDA_DEVICE", tmp_path / "none")
    choose_front_end.cache_clear()
    with caplog.at_level("INFO", logger="musichash.tasks.front_end"):
        chosen = choose_front_end("auto", PipelineConfig().features)
    choose_front_end.cache_clear()
    assert (chosen.name, chosen.device) == ("numba", "cpu")
    assert "no CUDA device" in caplog.text


@pytest.mark.gpu
def test_on_a_cuda_machine_both_are_timed_and_the_reason_gives_the_seconds():
    choose_front_end.cache_clear()
    chosen = choose_front_end("auto", PipelineConfig().features)
    assert "numba" in chosen.reason
    assert "torch" in chosen.reason
