"""Random training segments: what is cut, how loud, what is masked, and who is drawn."""

from collections import Counter

import numpy as np

from musichash_core.augmentation import balanced_draw, random_segments
from musichash_core.segments import SegmentConfig, TrackFrames, cut_segments
from musichash_core.training_config import AugmentationConfig

SEGMENTS = SegmentConfig(n_frames=32, hop_frames=16)
PLAIN = AugmentationConfig(gain_db=0, mask_bands=0, mask_frames=0)


def track(n_frames: int = 100, seed: int = 0) -> TrackFrames:
    frames = np.random.default_rng(seed).integers(100, 200, (n_frames, 2, 40), dtype=np.uint8)
    return TrackFrames(f"track {seed}", frames, 0.5)


def test_without_changes_a_segment_is_a_window_of_the_track():
    (segment,) = random_segments([track()], SEGMENTS, PLAIN, np.random.default_rng(0))
    windows = cut_segments(track(), np.arange(69), SEGMENTS)
    assert (windows == segment).all(axis=(1, 2, 3)).sum() == 1


def test_all_windows_are_cut_from_sooner_or_later():
    few = track(n_frames=35)
    cut = random_segments([few] * 60, SEGMENTS, PLAIN, np.random.default_rng(0))
    assert len(np.unique(cut, axis=0)) == 4


def test_a_track_shorter_than_a_segment_is_repeated():
    (segment,) = random_segments([track(20)], SEGMENTS, PLAIN, np.random.default_rng(0))
    np.testing.assert_array_equal(segment[:, :, :12], segment[:, :, 20:])


def test_gain_changes_the_power_by_the_drawn_decibels():
    louder = AugmentationConfig(gain_db=6, mask_bands=0, mask_frames=0)
    cut = random_segments([track()] * 200, SEGMENTS, louder, np.random.default_rng(0))
    power = (10.0 ** cut.astype(np.float64) - 1).mean(axis=(1, 2, 3))
    spread_db = 10 * np.log10(power.max() / power.min())
    assert 10 < spread_db < 14  # 12 dB, and windows that differ a little


def test_masks_are_no_wider_than_configured_and_do_not_touch_the_track():
    masked = AugmentationConfig(gain_db=0, mask_bands=5, mask_frames=9)
    one = track()
    before = one.frames.copy()
    cut = random_segments([one] * 100, SEGMENTS, masked, np.random.default_rng(0))
    bands = (cut == 0).all(axis=(1, 3)).sum(axis=1)
    frames = (cut == 0).all(axis=(1, 2)).sum(axis=1)
    assert (bands.min(), bands.max()) == (0, 5)
    assert (frames.min(), frames.max()) == (0, 9)
    np.testing.assert_array_equal(one.frames, before)


def test_masks_wider_than_the_segment_are_legal():
    wide = AugmentationConfig(gain_db=0, mask_bands=64, mask_frames=256)
    assert np.isfinite(
        random_segments([track()] * 20, SEGMENTS, wide, np.random.default_rng(0))
    ).all()


def test_the_same_generator_state_gives_the_same_segments():
    tracks = [track(seed=seed) for seed in range(3)]
    one, other = (
        random_segments(tracks, SEGMENTS, AugmentationConfig(), np.random.default_rng(5))
        for _ in range(2)
    )
    np.testing.assert_array_equal(one, other)


def test_every_label_is_drawn_equally_often_and_every_item_before_one_repeats():
    labels = np.array([0] * 9 + [1] * 3 + [4] * 2)
    drawn = balanced_draw(labels[:, None] == np.arange(6), 30, np.random.default_rng(0))
    assert Counter(labels[drawn].tolist()) == {0: 10, 1: 10, 4: 10}
    times = np.bincount(drawn, minlength=14)
    assert times.min() >= 1
    for label in (0, 1, 4):
        assert np.ptp(times[labels == label]) <= 1


def test_rare_tags_are_drawn_for_as_often_as_frequent_ones():
    targets = np.zeros((20, 3), dtype=bool)
    targets[:, 0] = True
    targets[:2, 1] = True
    drawn = balanced_draw(targets, 30, np.random.default_rng(0))
    assert len(drawn) == 30  # 15 for each of the two tags that occur
    assert (drawn < 2).sum() >= 15  # of 30 unbalanced draws 3 would have the rare tag
    assert np.bincount(drawn, minlength=20)[2:].max() <= 1
