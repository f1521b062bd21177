"""The components of window codes are those of the windows of stores' tracks, each content once."""

import numpy as np
import pytest
from safetensors.numpy import load_file

from musichash_core.config import PipelineConfig
from musichash_core.errors import ParameterError
from musichash_core.segment_codes import fit_segment_basis
from storage.feature_store import FeaturePartitionWriter, StoredTrack
from storage.store import create_store
from tasks.make_segment_basis import main, make_segment_basis


def stored(folder, frames_of_tracks):
    """A store with one partition of tracks: id and frames."""
    fingerprint = PipelineConfig().feature_fingerprint
    path = create_store(folder).feature_partition_path(fingerprint, "0" * 16)
    with FeaturePartitionWriter(path, fingerprint=fingerprint, n_mels=128) as writer:
        for number, frames in frames_of_tracks.items():
            first_frame = writer.n_frames
            writer.append_frames(frames)
            writer.finish_track(
                StoredTrack(
                    track_id=f"{number:032x}",
                    first_frame=first_frame,
                    n_frames=len(frames),
                    duration_s=len(frames) / 43.066,
                    sr=22_050,
                    n_channels=1,
                    container="wav",
                    codec="PCM_16",
                    peak=0.5,
                    rms_db=-20.0,
                    warnings=[],
                )
            )
    return str(folder)


def test_stores_are_joined_and_each_track_counts_once(tmp_path):
    rng = np.random.default_rng(1)
    levels = rng.integers(40, 200, (80, 1, 1, 128))
    noise = rng.integers(-20, 21, (80, 40, 3, 128))
    tracks = dict(enumerate((levels + noise).astype(np.uint8)))
    stores = [
        stored(tmp_path / "a", {number: tracks[number] for number in range(50)}),
        stored(tmp_path / "b", {number: tracks[number] for number in range(40, 80)}),
    ]
    output = tmp_path / "basis.safetensors"
    main([*("--store", stores[1]), *("--store", stores[0]), "--output", str(output)])
    made = load_file(output)
    windows = [frames[:, 0].mean(axis=0, keepdims=True) for frames in tracks.values()]
    expected = fit_segment_basis(windows)
    assert made.keys() == {"mean", "components"}
    np.testing.assert_array_equal(made["mean"], expected.mean)
    np.testing.assert_array_equal(made["components"], expected.components)


def test_too_few_windows_are_refused(tmp_path):
    store = stored(tmp_path / "a", {1: np.full((10, 3, 128), 9, np.uint8)})
    with pytest.raises(ParameterError, match="1 windows: want more than 64"):
        make_segment_basis([store], tmp_path / "basis")
