"""What several folders of tests need: synthetic sound, the sample catalogue, an ordinary user."""

import importlib.util
import os
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile

NOBODY = 65_534


@dataclass(frozen=True)
class SoundMaker:
    """Writes synthetic sound below a folder."""

    folder: Path

    @staticmethod
    def tone(frequency_hz=440.0, *, duration_s=2.0, sr=22_050, level=0.5):
        t = np.arange(round(duration_s * sr)) / sr
        return (level * np.sin(2 * np.pi * frequency_hz * t)).astype(np.float32)

    @staticmethod
    def clicks(*, duration_s=2.0, sr=22_050, per_s=4):
        y = np.zeros(round(duration_s * sr), np.float32)
        y[:: sr // per_s] = 0.9
        return y

    @staticmethod
    def noise(seed=0, *, duration_s=2.0, sr=22_050, level=0.1):
        n_samples = round(duration_s * sr)
        return (level * np.random.default_rng(seed).standard_normal(n_samples)).astype(np.float32)

    def write(self, name, y, sr=22_050, **how):
        """Write samples in blocks of a second: libsndfile's Ogg encoder crashes on long ones."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        n_channels = 1 if y.ndim == 1 else y.shape[1]
        with soundfile.SoundFile(path, "w", sr, n_channels, **how) as file:
            for start in range(0, len(y), sr):
                file.write(y[start : start + sr])
        return path


@pytest.fixture
def sounds(tmp_path):
    return SoundMaker(tmp_path)


@pytest.fixture(scope="session")
def music_root():
    """The sample catalogue: 62 clips of real music, one of them damaged on purpose."""
    return Path(__file__).parent / "data" / "music"


@pytest.fixture
def ordinary_user(tmp_path):
    """Give a context in which permissions bind, also where the tests run as root."""

    @contextmanager
    def ordinary():
        if os.geteuid() != 0:
            yield
            return
        for folder in (tmp_path, *tmp_path.parents):  # pytest's own are closed to others
            mode = folder.stat().st_mode
            if mode & 0o001 == 0:
                folder.chmod(mode | 0o055)
        os.seteuid(NOBODY)
        try:
            yield
        finally:
            os.seteuid(0)

    return ordinary


@pytest.fixture(scope="session")
def made_up():
    """The module that publishes made-up codes as the tracks of a store: no sound, no model."""
    path = Path(__file__).parent / "benchmarks" / "search_scale.py"
    spec = importlib.util.spec_from_file_location("search_scale", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def mounted():
    """Give a function that mounts; skips where that is not allowed."""
    places = []

    def mount(*options, at):
        done = subprocess.run(["mount", *options, at], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")
        places.append(at)

    yield mount
    for place in dict.fromkeys(reversed(places)):
        subprocess.run(["umount", place], check=True)
