"""Landmarks: counted as sets are, kept by copies, and never lost in a crowd."""

import itertools
from collections import Counter

import numpy as np
import pytest

from musichash_core.recording_match import (
    N_LANDMARKS,
    FrameWords,
    find_landmarks,
    plan_fingerprint,
    shared_landmarks,
)
from musichash_core.recording_match.landmarks import MAX_SHARING


@pytest.fixture
def plan():
    return plan_fingerprint(np.linspace(100, 11_000, 400), 43.07)


def noise_words(n_words, seed=0):
    rng = np.random.default_rng(seed)
    words = rng.integers(0, 2**32, n_words, dtype=np.uint32)
    return FrameWords(words, np.ones(n_words, np.bool_), rng.random(n_words, np.float32))


def part(fingerprint, first, stop):
    here = slice(first, stop)
    return FrameWords(
        fingerprint.words[here], fingerprint.is_audible[here], fingerprint.certainty[here]
    )


def flat(sets):
    """Keys and owners of some tracks, in no order."""
    keys = np.array([key for some in sets for key in some], np.uint64)
    owners = np.array([row for row, some in enumerate(sets) for _ in some], np.int64)
    order = np.random.default_rng(1).permutation(len(keys))
    return keys[order], owners[order]


def test_shared_keys_are_counted_like_sets():
    rng = np.random.default_rng(2)
    sets = [set(rng.integers(0, 60, 12).tolist()) for _ in range(25)]
    expected = {
        (a, b): len(sets[a] & sets[b])
        for a, b in itertools.combinations(range(25), 2)
        if sets[a] & sets[b]
    }
    found = shared_landmarks(*flat(sets))
    pairs = [tuple(pair) for pair in found.pairs.tolist()]
    assert dict(zip(pairs, found.counts.tolist(), strict=True)) == expected
    assert pairs == sorted(pairs)
    assert found.n_crowded == 0


def test_a_key_of_a_crowd_joins_all_of_it_by_neighbours():
    sets = [{7} for _ in range(MAX_SHARING + 10)]
    found = shared_landmarks(*flat(sets))
    assert found.n_crowded == 1
    assert Counter(map(tuple, found.pairs.tolist())) == Counter(
        (row, row + 1) for row in range(MAX_SHARING + 9)
    )


def test_nothing_shared_is_no_pair():
    found = shared_landmarks(np.empty(0, np.uint64), np.empty(0, np.int64))
    assert found.pairs.shape == (0, 2)
    found = shared_landmarks(*flat([{1, 2}, {3}, set()]))
    assert found.pairs.shape == (0, 2)


def test_a_cut_copy_keeps_the_landmarks_of_what_is_left(plan):
    whole = noise_words(4000)
    cut = part(whole, 1000, 4000)
    here, there = find_landmarks(whole, plan), find_landmarks(cut, plan)
    offsets = here.offsets_to(there)
    assert set(offsets.tolist()) == {-1000}
    assert len(offsets) > 120  # three quarters of 192


def test_different_recordings_share_none(plan):
    here, there = (find_landmarks(noise_words(4000, seed), plan) for seed in (1, 2))
    assert len(here.keys) == len(there.keys) == N_LANDMARKS
    assert len(here.offsets_to(there)) == 0


def test_a_loop_has_each_landmark_once_where_it_is_first_met(plan):
    bar = noise_words(60).words
    certainty = np.ones(1200, np.float32)
    loop = FrameWords(np.tile(bar, 20), np.ones(1200, np.bool_), certainty)
    found = find_landmarks(loop, plan)
    assert len(found.keys) == 60
    assert found.frames.max() < 60
    assert (np.diff(found.keys.astype(object)) > 0).all()


def test_landmarks_lie_where_words_are_certain(plan):
    music = noise_words(4000)
    least = np.sort(music.certainty)[4000 // 4]
    frames = find_landmarks(music, plan).frames
    gap = plan.compared_frames
    assert np.minimum(music.certainty[frames], music.certainty[frames + gap]).min() > least


def test_silence_and_short_tracks_have_none(plan):
    silent = FrameWords(*(np.zeros(500, kind) for kind in (np.uint32, np.bool_, np.float32)))
    assert len(find_landmarks(silent, plan).keys) == 0
    assert len(find_landmarks(noise_words(plan.compared_frames), plan).keys) == 0
