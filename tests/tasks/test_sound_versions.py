"""Versions of a track: what each one does, against SciPy, libsndfile and arithmetic."""

import numpy as np
import pytest
import soundfile
from scipy.signal import resample_poly

from tasks.sound_versions import SR_HZ, UNCHANGED, VERSIONS, write_version

BY_NAME = {version.name: version for version in (UNCHANGED, *VERSIONS)}
DURATION_S = 14


@pytest.fixture(scope="module")
def y(music_root):
    """The beginning of a real track, at the rate that versions are made of."""
    samples, sr = soundfile.read(
        music_root / "rock/wordwarvi-dtox3monomix.ogg", dtype="float32", always_2d=True
    )
    assert sr == SR_HZ
    return samples.mean(axis=1)[: DURATION_S * SR_HZ]


@pytest.fixture
def made(y, tmp_path):
    """Give the samples, the rate and the file of a version."""

    def make(name):
        path = write_version(BY_NAME[name], y, tmp_path)
        samples, sr = soundfile.read(path, dtype="float32")
        return samples, sr, path

    return make


@pytest.mark.parametrize(
    ("name", "suffix", "lowest", "highest"),
    [("MP3, 128 kbit/s", ".mp3", 63, 66), ("Ogg Vorbis, about 128 kbit/s", ".ogg", 50, 85)],
)
def test_lossy_versions_have_half_the_bit_rate_for_one_channel_of_two(
    made, y, name, suffix, lowest, highest
):
    samples, sr, path = made(name)
    assert (sr, path.suffix) == (SR_HZ, suffix)
    kbits = path.stat().st_size * 8 / DURATION_S / 1000
    assert lowest < kbits < highest
    n_samples = min(len(samples), len(y))
    assert np.corrcoef(samples[:n_samples], y[:n_samples])[0, 1] > 0.95
    assert not np.array_equal(samples[:n_samples], y[:n_samples])


def test_cuts_and_gain_are_those_of_arithmetic(made, y):
    assert np.array_equal(made("unchanged")[0], y)
    assert np.array_equal(made("begins 1 s later")[0], y[SR_HZ:])
    assert np.array_equal(made("10 s of its middle")[0], y[2 * SR_HZ : 12 * SR_HZ])
    assert made("6 dB softer")[0] == pytest.approx(y * 10 ** (-6 / 20), abs=1e-7)


def test_half_the_rate_is_that_of_another_resampler(made, y):
    samples, sr, _ = made("at 22,050 Hz")
    assert sr == SR_HZ // 2
    theirs = resample_poly(y, 1, 2)
    assert len(samples) == pytest.approx(len(theirs), abs=2)
    assert np.corrcoef(samples[: len(theirs)], theirs[: len(samples)])[0, 1] > 0.999


def test_a_version_with_too_little_left_is_not_made(y, tmp_path):
    assert write_version(BY_NAME["10 s of its middle"], y[: 10 * SR_HZ], tmp_path) is None
    assert write_version(BY_NAME["begins 1 s later"], y[: 3 * SR_HZ], tmp_path) is None
    assert list(tmp_path.iterdir()) == []
