"""Frames to describe: of synthetic sound, of chance, and lazy ones that keep a record of reads."""

import numpy as np
import pytest
import soxr
import torch

from musichash_core.feature_config import FeatureConfig
from musichash_core.features import extract_features
from musichash_core.musicnn.log_mel import extract_mel_power, power_to_bytes
from musichash_core.musicnn.pretrained import load_musicnn
from musichash_core.segments import TrackFrames


class LazyFrames:
    """Frames that are made when they are read, by their position alone; any length costs nothing.

    Attributes
    ----------
    reads : list of (int, int)
        First frame and stop of each read.
    """

    def __init__(self, n_frames, frame_shape):
        self.shape = (n_frames, *frame_shape)
        self.ndim = len(self.shape)
        self.reads = []

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, frames):
        start, stop, step = frames.indices(len(self))
        assert step == 1
        self.reads.append((start, stop))
        hashed = np.arange(start, stop)[:, None] * 2654435761 + np.arange(self.width) * 40503
        return ((hashed >> 7) % 180).astype(np.uint8).reshape(-1, *self.shape[1:])

    @property
    def width(self):
        return int(np.prod(self.shape[1:]))

    @property
    def n_read(self):
        return sum(stop - start for start, stop in self.reads)


@pytest.fixture(scope="session")
def lazy_track():
    """Give a function: seconds -> track and tagger frames that keep a record of reads."""

    def make(duration_s):
        n_samples = round(duration_s * 22_050)
        frames = LazyFrames(1 + n_samples // 512, (3, 128))
        of_tagger = LazyFrames(1 + round(duration_s * 16_000) // 256, (96,))
        return TrackFrames("t", frames, 1.0), of_tagger

    return make


@pytest.fixture(scope="session")
def frames_of():
    """Give a function: samples at 22,050 Hz -> track and tagger frames."""

    def extract(y):
        at_16_khz = soxr.resample(y, 22_050, 16_000, quality="HQ")
        frames = extract_features(y, FeatureConfig())
        of_tagger = power_to_bytes(extract_mel_power(at_16_khz))
        return TrackFrames("t", frames, float(np.abs(y).max())), of_tagger

    return extract


@pytest.fixture(scope="session")
def random_frames():
    """Give a function: number of frames, seed -> frames with slow and fast changes."""

    def make(n_frames, seed=0):
        rng = np.random.default_rng(seed)
        slow = np.cumsum(rng.normal(0, 2, (n_frames, 1, 1)), axis=0)
        levels = 110 + slow + rng.normal(0, 15, (n_frames, 3, 128))
        return np.clip(np.rint(levels), 0, 255).astype(np.uint8)

    return make


@pytest.fixture(scope="session")
def network():
    return load_musicnn("MSD_musicnn")


@pytest.fixture(autouse=True)
def one_thread():
    """Keep torch from waiting for busy cores: on these sizes more threads only cost."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
