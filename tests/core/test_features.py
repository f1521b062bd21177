"""Feature extraction against a plain librosa computation, and its independence of the cutting."""

import subprocess
import sys
import tracemalloc
import warnings

import librosa
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from musichash_core.config import PipelineConfig
from musichash_core.decibels import FLOOR_DB, STEP_DB, db_to_bytes, power_to_db
from musichash_core.errors import ParameterError
from musichash_core.extract_timing import time_extraction
from musichash_core.feature_kernels import BLOCK_FRAMES
from musichash_core.features import (
    LARGEST_SAMPLE,
    FeatureConfig,
    FeatureExtractor,
    extract_features,
    extract_mel_power,
)
from musichash_core.hpss import hpss
from musichash_core.model_config import ModelConfig
from musichash_core.spectrogram import stft

OF_FULL_SCALE = 1e-4
"""Promised agreement of log10(1 + 1e4 mel) with librosa, of its largest value; measured 1e-5."""

NEAR_THRESHOLD_DB = 1e-4
"""Two single-precision ways to a decibel may differ by so much, and round to two bytes."""

CONFIG = FeatureConfig()


def band_of_sounds(n_samples, seed=1):
    """Mix a chord, a sweep, clicks and noise: something of everything, at peak about 0.9."""
    rng = np.random.default_rng(seed)
    t = np.arange(n_samples) / 22050
    y = sum(np.sin(2 * np.pi * f * t) for f in (220.0, 277.2, 329.6)) / 6
    y += 0.2 * np.sin(2 * np.pi * (300 * t + 400 * t**2))
    y[:: 22050 // 3] += 0.8
    y += 0.01 * rng.standard_normal(n_samples)
    return (0.9 * y / max(1e-9, np.abs(y).max())).astype(np.float32)


def librosa_mel_power(y, config):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the signal is shorter than a frame
        S = np.abs(librosa.stft(y, n_fft=config.n_fft, hop_length=config.hop_length))
    H, P = librosa.decompose.hpss(
        S, kernel_size=config.kernel_size, power=config.power, margin=config.margin
    )
    bank = librosa.filters.mel(
        sr=config.sr,
        n_fft=config.n_fft,
        n_mels=config.n_mels,
        fmin=config.fmin_hz,
        fmax=config.fmax_hz,
    )
    return np.stack([bank @ (part * part) for part in (S, H, P)]).transpose(2, 0, 1)


def compress(power):
    return np.log10(1 + 1e4 * power.astype(np.float64))


def assert_equal_to_librosa(y, config):
    power, reference = extract_mel_power(y, config), librosa_mel_power(y, config)
    scale = compress(reference).max()
    assert power.shape == reference.shape
    np.testing.assert_allclose(
        compress(power), compress(reference), rtol=0, atol=OF_FULL_SCALE * scale
    )


def test_features_equal_librosas():
    assert_equal_to_librosa(band_of_sounds(6 * 22050), CONFIG)


@pytest.mark.parametrize(
    "changes",
    [
        {"kernel_size": 1},
        {"kernel_size": 17, "power": 1.0},
        {"kernel_size": 61, "margin": 2.0},
        {"kernel_size": 141, "power": 3.5, "margin": 1.2},  # reaches beyond the next block
        {"n_fft": 1024, "hop_length": 1024, "n_mels": 40},
        {"n_fft": 600, "hop_length": 170, "n_mels": 24, "fmin_hz": 100.0, "fmax_hz": 4000.0},
        {"sr": 16000, "n_fft": 512, "hop_length": 256, "n_mels": 40},
    ],
)
def test_features_equal_librosas_for_other_settings(changes):
    assert_equal_to_librosa(band_of_sounds(5 * 22050), FeatureConfig(**changes))


@pytest.mark.parametrize("n_frames", [62, 63, 64, 65, 78, 79, 80, 128, 129, 143, 144])
@pytest.mark.parametrize("rest", [0, 511])
def test_features_equal_librosas_at_the_edges_of_blocks(n_frames, rest):
    n_samples = (n_frames - 1) * CONFIG.hop_length + rest
    assert_equal_to_librosa(band_of_sounds(n_samples), CONFIG)
    assert len(extract_features(band_of_sounds(n_samples), CONFIG)) == n_frames


@pytest.mark.parametrize("n_samples", [1, 2, 511, 512, 513, 1024, 1536, 2047, 2048, 2049])
def test_a_short_track_is_surrounded_by_zeros(n_samples):
    y = band_of_sounds(n_samples)
    features = extract_features(y, CONFIG)
    assert features.shape == (1 + n_samples // 512, 3, 128)
    if n_samples >= 1536:  # with fewer than four frames, librosa's median reads outside the array
        assert_equal_to_librosa(y, CONFIG)


def test_very_short_tracks_equal_the_separation_of_their_spectrogram():
    for n_samples in (1, 100, 600, 1400):
        y = band_of_sounds(n_samples)
        S = np.abs(stft(y)).T
        bank = CONFIG.mel_filter_bank()
        expected = np.stack([bank @ (part * part) for part in (S, *hpss(S))]).transpose(2, 0, 1)
        np.testing.assert_allclose(
            compress(extract_mel_power(y, CONFIG)), compress(expected), atol=OF_FULL_SCALE
        )


def test_bytes_are_the_nearest_steps():
    y = band_of_sounds(3 * 22050)
    power, stored = extract_mel_power(y, CONFIG), extract_features(y, CONFIG)
    expected = db_to_bytes(power_to_db(power))
    db = 10 * np.log10(np.maximum(power.astype(np.float64), 1e-30))
    steps = (db - FLOOR_DB) / STEP_DB
    is_clear = np.abs(steps - np.floor(steps) - 0.5) > NEAR_THRESHOLD_DB / STEP_DB
    np.testing.assert_array_equal(stored[is_clear], expected[is_clear])
    assert is_clear.mean() > 0.999
    assert len(np.unique(stored)) > 100


def test_levels_beyond_the_bytes_are_clipped():
    loud = extract_features(1e9 * band_of_sounds(30000), CONFIG)
    faint = extract_features(np.float32(1e-9) * band_of_sounds(30000), CONFIG)
    assert loud.max() == 255
    np.testing.assert_array_equal(faint, 0)


@pytest.mark.parametrize("n_samples", [1, 5000, 100_000])
def test_silence_is_byte_zero(n_samples):
    np.testing.assert_array_equal(
        extract_features(np.zeros(n_samples, dtype=np.float32), CONFIG), 0
    )


def test_a_tone_is_harmonic_and_clicks_are_percussive():
    t = np.arange(4 * 22050) / 22050
    tone = np.sin(2 * np.pi * 440 * t).astype(np.float32)
    clicks = np.zeros_like(tone)
    clicks[::11025] = 1
    for y, part in ((tone, 1), (clicks, 2)):
        energy = extract_mel_power(y, CONFIG)[20:-20].sum(axis=(0, 2))
        assert energy[part] > 0.9 * energy[0]


@settings(max_examples=40, deadline=None)
@given(
    n_samples=st.integers(1, 120_000),
    cuts=st.lists(st.integers(0, 120_000), max_size=12),
    n_parts=st.sampled_from([1, 2, 3, 100]),
)
def test_any_cutting_gives_the_same_bytes(n_samples, cuts, n_parts):
    y = band_of_sounds(120_000)[:n_samples]
    edges = [cut for cut in cuts if cut < n_samples]
    edges += list(np.linspace(0, n_samples, n_parts + 1).astype(int))
    assert_same(y, np.split(y, sorted(edges)))


@pytest.mark.parametrize("n_block", [1, 511, 512, 4096, 33_280])
def test_blocks_of_one_length_give_the_same_bytes(n_block):
    y = band_of_sounds(2000 if n_block == 1 else 150_000)
    assert_same(y, [y[start : start + n_block] for start in range(0, len(y), n_block)])


def assert_same(y, pieces):
    whole, cut = FeatureExtractor(CONFIG), FeatureExtractor(CONFIG)
    at_once = np.concatenate([whole.push(y), whole.finish()])
    in_pieces = np.concatenate([*(cut.push(piece) for piece in pieces), cut.finish()])
    np.testing.assert_array_equal(in_pieces, at_once)
    np.testing.assert_array_equal(extract_features(y, CONFIG), at_once)
    assert (cut.peak, cut.mean_square, cut.n_samples, cut.n_frames) == (
        whole.peak,
        whole.mean_square,
        len(y),
        len(at_once),
    )


def test_powers_are_independent_of_the_cutting_to_the_last_bit():
    y = band_of_sounds(100_000)
    power = extract_mel_power(y, CONFIG)
    np.testing.assert_array_equal(extract_mel_power(y.copy(), CONFIG), power)
    shifted = extract_mel_power(np.concatenate([np.zeros(0, dtype=np.float32), y]), CONFIG)
    np.testing.assert_array_equal(shifted, power)


def test_level_is_that_of_all_samples():
    y = band_of_sounds(77_777)
    extractor = FeatureExtractor(CONFIG)
    assert (extractor.peak, extractor.mean_square, extractor.n_frames) == (0.0, 0.0, 0)
    extractor.push(y[:50_000])
    assert extractor.mean_square == pytest.approx(np.mean(y[:50_000].astype(np.float64) ** 2))
    extractor.push(y[50_000:])
    extractor.finish()
    assert extractor.peak == np.abs(y).max()
    assert extractor.mean_square == pytest.approx(np.mean(y.astype(np.float64) ** 2), rel=1e-12)


def test_memory_does_not_grow_with_the_track():
    def peak_bytes(seconds):
        second = band_of_sounds(22050)
        extractor = FeatureExtractor(CONFIG)
        tracemalloc.start()
        for _ in range(seconds):
            extractor.push(second)
        extractor.finish()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    peak_bytes(2)
    short, long = peak_bytes(10), peak_bytes(300)
    assert long < 1.05 * short
    assert long < 4e6


def test_frames_come_as_soon_as_their_neighbours_are_there():
    extractor = FeatureExtractor(CONFIG)
    hop = CONFIG.hop_length
    n_held = 2 * BLOCK_FRAMES * hop + CONFIG.n_fft
    assert len(extractor.push(band_of_sounds(n_held))) == BLOCK_FRAMES
    assert len(extractor.push(band_of_sounds(BLOCK_FRAMES * hop))) == BLOCK_FRAMES


def test_samples_are_not_written_to():
    y = band_of_sounds(70_000)
    y.setflags(write=False)
    extract_features(y, CONFIG)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 2 * LARGEST_SAMPLE])
def test_a_bad_sample_is_named(bad):
    y = band_of_sounds(10_000)
    y[7000] = bad
    extractor = FeatureExtractor(CONFIG)
    extractor.push(y[:6000])
    with pytest.raises(ParameterError, match="sample 7000 is"):
        extractor.push(y[6000:])


@pytest.mark.parametrize(
    "y", [np.zeros((2, 5), dtype=np.float32), np.zeros(5, dtype=np.int16), np.float32(0)]
)
def test_what_is_not_one_row_of_floats_is_refused(y):
    with pytest.raises(ParameterError, match="one row of floats"):
        FeatureExtractor(CONFIG).push(np.asarray(y))


def test_a_track_without_samples_is_refused():
    extractor = FeatureExtractor(CONFIG)
    assert extractor.push(np.zeros(0, dtype=np.float32)).shape == (0, 3, 128)
    with pytest.raises(ParameterError, match="at least one sample"):
        extractor.finish()


def test_a_finished_extractor_takes_no_more():
    extractor = FeatureExtractor(CONFIG)
    extractor.push(np.zeros(5, dtype=np.float32))
    extractor.finish()
    with pytest.raises(ParameterError, match="new extractor"):
        extractor.push(np.zeros(5, dtype=np.float32))
    with pytest.raises(ParameterError, match="called before"):
        extractor.finish()


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"n_fft": 2047}, "even"),
        ({"hop_length": 4096}, "exceeds n_fft"),
        ({"kernel_size": 30}, "odd"),
        ({"kernel_size": 0}, "kernel_size"),
        ({"fmax_hz": 12000.0}, "11025.0"),
        ({"n_fft": 256, "hop_length": 256}, "contains no bin"),
        ({"margin": 0.5}, "margin"),
        ({"power": 0}, "power"),
        ({"n_mel": 128}, "n_mel"),
    ],
)
def test_impossible_settings_are_refused(settings_, message):
    with pytest.raises(ValidationError, match=message):
        FeatureConfig(**settings_)


def test_settings_cannot_be_changed():
    with pytest.raises(ValidationError):
        CONFIG.sr = 44100


def test_derived_settings():
    assert (CONFIG.n_bins, CONFIG.frame_rate_hz) == (1025, 22050 / 512)


DEFAULT_FINGERPRINT = "a7be7de3610b"
"""Of the default features, which hold the tagger's mel bands: stores with another one extract all
tracks anew."""

WITHOUT_TAGGER = PipelineConfig(
    features=FeatureConfig(tagger_mel=False), models=ModelConfig(encoder="hpss-cnn")
)


def test_the_default_features_stay_the_same():
    assert PipelineConfig().feature_fingerprint == DEFAULT_FINGERPRINT
    on = PipelineConfig(features=FeatureConfig(tagger_mel=True))
    assert on.feature_fingerprint == DEFAULT_FINGERPRINT


def test_features_without_the_taggers_bands_are_others():
    assert WITHOUT_TAGGER.feature_fingerprint != DEFAULT_FINGERPRINT


def test_features_with_and_without_tagger_mel_survive_json():
    for config in (PipelineConfig(), WITHOUT_TAGGER):
        assert PipelineConfig.model_validate_json(config.model_dump_json()) == config


WARM_AND_EXTRACT = """
import numpy as np

from musichash_core.features import FeatureConfig, extract_features
from musichash_core.kernel_warmup import warm_kernels
from musichash_core.musicnn.log_mel import extract_mel_power, power_to_bytes

config = FeatureConfig(tagger_mel=True)
state = warm_kernels(config)
y = np.random.default_rng(0).standard_normal(30_000).astype(np.float32)
extract_features(y, config)
power_to_bytes(extract_mel_power(y))
assert warm_kernels(config) == state, (warm_kernels(config), state)
assert state.n_compiled + state.n_loaded > 0
"""


def test_warmed_kernels_leave_nothing_to_compile():
    subprocess.run([sys.executable, "-c", WARM_AND_EXTRACT], check=True)


def test_timing_gives_every_step_its_share():
    y = band_of_sounds(10 * 22050)
    times = time_extraction(np.array_split(y, 10), CONFIG)
    assert (times.n_samples, times.n_frames) == (len(y), 1 + len(y) // 512)
    assert min(times.stft_s, times.medians_s, times.masks_mel_s) > 0
    assert times.total_s == times.stft_s + times.medians_s + times.masks_mel_s
