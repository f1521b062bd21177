"""Codes of windows: the same for the same frames, alike after a codec, apart for other music."""

import hashlib
import shutil

import numpy as np
import pytest
from scipy.signal import butter, sosfilt
from sklearn.decomposition import PCA

from musichash_core import segment_codes
from musichash_core.codes import hamming_distance
from musichash_core.errors import MusicHashError, ParameterError
from musichash_core.feature_config import FeatureConfig
from musichash_core.features import extract_features
from musichash_core.segment_codes import encode_windows, fit_segment_basis
from musichash_core.segments import FrameStretch, TrackFrames, WindowConfig

CONFIG = WindowConfig()
FRAMES_PER_S = FeatureConfig().frame_rate_hz
SR_HZ = 22_050

NEAR = 10
"""Bits of 64 that half a window's shift, a low-pass and a gain may change in these sounds."""

FAR = 16
"""Fewer bits never separate two of them; chance is 32."""


def encode(frames, config=CONFIG, n_bits=64):
    track = TrackFrames("t", frames, 1.0)
    return encode_windows(track, config, n_bits=n_bits, frames_per_s=FRAMES_PER_S)


def random_frames(n_frames, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n_frames, 3, 128), dtype=np.uint8)


def melody(seed, seconds=20.0):
    """Chords of a few partials over filtered noise, other ones for every seed."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * SR_HZ)) / SR_HZ
    y = np.zeros(len(t))
    for hz in 55.0 * 2 ** (rng.choice(60, 8, replace=False) / 12):
        shape = 0.5 + 0.5 * np.sin(2 * np.pi * rng.uniform(0.5, 2) * t + rng.uniform(0, 6))
        y += rng.uniform(0.2, 1) * shape * np.sin(2 * np.pi * hz * t)
    band = butter(2, sorted(rng.uniform(0.01, 0.6, 2)), "bandpass", output="sos")
    y += rng.uniform(0.05, 0.5) * sosfilt(band, rng.standard_normal(len(t)))
    return (0.2 * y / np.abs(y).max()).astype(np.float32)


def frames_of(y):
    return extract_features(y, FeatureConfig())


def test_a_window_is_the_code_of_its_own_frames_and_of_no_others():
    frames = random_frames(2000)
    whole = encode(frames)
    starts = np.rint(whole.starts_s * FRAMES_PER_S).astype(int)
    assert starts[0] == 0
    assert starts[-1] == 2000 - CONFIG.n_frames
    for number, start in enumerate(starts):
        alone = encode(FrameStretch(frames, start, start + CONFIG.n_frames))
        assert np.array_equal(alone.logits, whole.logits[number : number + 1])
        assert np.array_equal(alone.codes, whole.codes[number : number + 1])


def test_logits_follow_the_definition():
    """Mean over frames, floor, level, components: written out with plain loops."""
    frames = random_frames(431, seed=3)
    frames[:, :, 30:] //= 8
    contents = (segment_codes.BASIS_FOLDER / segment_codes.BASIS_NAME).read_bytes()
    arrays = segment_codes.arrays_from_bytes(contents)
    mean, components = arrays["mean"].astype(float), arrays["components"].astype(float)
    spectrum = frames[:, 0].astype(float).mean(axis=0)[: len(mean)]
    loudest = max(spectrum)
    levels = [max(band, loudest - 120.0) for band in spectrum]
    around = np.array(levels) - sum(levels) / len(levels) - mean
    values = np.array([sum(around * component) for component in components])
    rng = np.random.default_rng(64)
    basis, triangle = np.linalg.qr(rng.standard_normal((64, 64)))
    expected = values @ (basis * np.sign(np.diag(triangle)))
    np.testing.assert_allclose(encode(frames).logits[0], expected, atol=1e-5)


def test_shorter_codes_are_the_first_bits_of_longer_ones():
    frames = random_frames(700)
    long = encode(frames, n_bits=256)
    for n_bits in (16, 32, 64, 128):
        assert np.array_equal(encode(frames, n_bits=n_bits).codes, long.codes[:, : n_bits // 8])


def test_short_tracks_have_one_window_and_silence_none():
    assert encode(random_frames(1)).starts_s.tolist() == [0.0]
    assert encode(random_frames(431)).starts_s.tolist() == [0.0]
    assert len(encode(random_frames(432)).codes) == 2
    frames = random_frames(1300)
    frames[:700] = 0
    found = encode(frames)
    assert (found.starts_s * FRAMES_PER_S > 700 - 431).all()
    assert len(encode(frames[:600]).codes) == len(encode(frames[:600]).starts_s) == 0


def test_no_windows_when_none_are_wanted():
    assert encode(random_frames(900), WindowConfig(max_per_track=0)).codes.shape == (0, 8)


def test_frames_of_other_settings_are_encoded_too():
    frames = random_frames(900)
    codes = encode(np.repeat(frames, 2, axis=2)).codes
    assert (hamming_distance(codes, encode(frames).codes) <= 3).all()
    assert encode(frames[:, :1, :16]).codes.shape == codes.shape
    with pytest.raises(ParameterError, match=r"want \(n_frames, n_channels, n_mels\)"):
        encode(frames[:, 0])


def test_an_excerpt_is_near_its_window_and_far_from_other_sounds():
    tracks = [melody(seed) for seed in range(8)]
    stored = [encode(frames_of(y)).codes for y in tracks]
    low = butter(8, 0.85, output="sos")
    for number, y in enumerate(tracks):
        shift = round(2.4 * SR_HZ)
        excerpt = 0.25 * sosfilt(low, y[shift : shift + 10 * SR_HZ])
        code = encode(frames_of(excerpt.astype(np.float32))).codes[0]
        nearest = [hamming_distance(code, codes).min() for codes in stored]
        assert nearest[number] <= NEAR
        assert min(d for other, d in enumerate(nearest) if other != number) >= FAR


def test_the_basis_is_the_principal_components_of_windows_with_each_track_counting_once():
    """Compared with scikit-learn, which knows no weights: here tracks have as many windows each."""
    rng = np.random.default_rng(2)
    mixing = rng.standard_normal((128, 128))
    tracks = [80 + 4 * rng.standard_normal((3, 128)) @ mixing for _ in range(90)]
    uneven = [np.repeat(one, 1 + number % 4, axis=0) for number, one in enumerate(tracks)]
    basis = fit_segment_basis([*uneven, np.empty((0, 128))])
    levels = segment_codes._levels(np.concatenate(tracks))
    np.testing.assert_allclose(basis.mean, levels.mean(axis=0), atol=1e-4)
    deviation = levels.std(axis=0)
    fitted = PCA(64, svd_solver="full").fit((levels - levels.mean(axis=0)) / deviation)
    # A sample's variance has one degree of freedom less; ours is that of the windows themselves.
    scale = np.sqrt(fitted.explained_variance_ * (len(levels) - 1) / len(levels))
    expected = fitted.components_ / scale[:, None] / deviation
    signs = np.sign((expected * basis.components).sum(axis=1))
    np.testing.assert_allclose(basis.components, signs[:, None] * expected, rtol=1e-3, atol=1e-4)
    with pytest.raises(ParameterError, match="64 windows: want more than 64"):
        fit_segment_basis([np.ones((64, 128))])


def test_a_damaged_basis_is_refused(tmp_path, monkeypatch):
    copy = tmp_path / segment_codes.BASIS_NAME
    shutil.copy(segment_codes.BASIS_FOLDER / segment_codes.BASIS_NAME, copy)
    data = bytearray(copy.read_bytes())
    data[-1] ^= 1
    copy.write_bytes(data)
    assert hashlib.sha256(data).hexdigest() != segment_codes.BASIS_SHA256
    monkeypatch.setattr(segment_codes, "BASIS_FOLDER", tmp_path)
    segment_codes._projection.cache_clear()
    with pytest.raises(MusicHashError, match="damaged or replaced"):
        encode(random_frames(500), n_bits=24)
    copy.unlink()
    with pytest.raises(MusicHashError, match="cannot be read"):
        encode(random_frames(500), n_bits=24)
    segment_codes._projection.cache_clear()
