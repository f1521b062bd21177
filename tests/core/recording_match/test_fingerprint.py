"""Fingerprint words: the definition worked bit by bit, and what must not change them."""

import numpy as np
import pytest

from musichash_core.errors import ParameterError
from musichash_core.recording_match import fingerprint_frames, plan_fingerprint
from musichash_core.segments import FrameStretch

FRAME_RATE_HZ = 43.07


def mel_hz(n_mels=128, highest_hz=11_025.0):
    """Centres of bands as features have them (O'Shaughnessy's mel scale)."""
    mels = np.linspace(0, 2595 * np.log10(1 + highest_hz / 700), n_mels + 2)[1:-1]
    return 700 * (10 ** (mels / 2595) - 1)


@pytest.fixture
def plan():
    return plan_fingerprint(mel_hz(), FRAME_RATE_HZ)


def random_frames(n_frames, seed=0, *, low=60, high=200):
    """Bytes that wander slowly, as music does."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(0, 6, (n_frames, 3, 128)).cumsum(axis=0)
    return np.clip(130 + steps - steps.mean(axis=0), low, high).astype(np.uint8)


def word_by_hand(frames, plan, n):
    """Haitsma and Kalker's rule, one bit after the other, in double precision."""
    power = 10.0 ** ((frames[:, 0].astype(float) * 0.5 - 80.0) / 10.0)
    window = np.hanning(plan.smoothed_frames + 2)[1:-1]
    window /= window.sum()

    def energy(frame, band):
        total = 0.0
        for number, weight in enumerate(window):
            at = min(max(frame + number - (len(window) - 1) // 2, 0), len(frames) - 1)
            total += weight * power[at, plan.band_edges[band] : plan.band_edges[band + 1]].sum()
        return total

    word = 0
    for k in range(plan.n_bits):
        now, later = (energy(at, k) - energy(at, k + 1) for at in (n, n + plan.compared_frames))
        word |= (later > now) << k
    return word


def test_words_are_the_signs_of_the_definition(plan):
    frames = random_frames(150)
    words = fingerprint_frames(frames, plan).words
    n_wrong = sum(
        int(words[n] ^ np.uint32(word_by_hand(frames, plan, n))).bit_count()
        for n in range(0, len(words), 9)
    )
    n_bits = len(range(0, len(words), 9)) * plan.n_bits
    assert n_wrong <= 0.002 * n_bits  # single precision may turn the sign of next to nothing


def test_there_is_a_word_for_each_frame_that_has_a_later_one(plan):
    assert len(fingerprint_frames(random_frames(100), plan)) == 100 - plan.compared_frames
    assert len(fingerprint_frames(random_frames(plan.compared_frames), plan)) == 0
    assert len(fingerprint_frames(np.empty((0, 3, 128), np.uint8), plan)) == 0


def test_a_gain_changes_no_word(plan):
    frames = random_frames(300)
    softer, louder = frames - np.uint8(24), frames + np.uint8(12)  # -12 dB, +6 dB
    words = fingerprint_frames(frames, plan).words
    for changed in (softer, louder):
        wrong = np.bitwise_count(fingerprint_frames(changed, plan).words ^ words)
        assert wrong.mean() < 0.01 * plan.n_bits


def test_words_move_with_the_sound(plan):
    frames = random_frames(400)
    edge = plan.smoothed_frames
    whole = fingerprint_frames(frames, plan).words
    cut = fingerprint_frames(frames[90:], plan).words
    np.testing.assert_array_equal(cut[edge:-edge], whole[90 + edge : -edge])


def test_only_the_original_channel_counts(plan):
    frames = random_frames(200)
    other = frames.copy()
    other[:, 1:] = 0
    np.testing.assert_array_equal(
        fingerprint_frames(other, plan).words, fingerprint_frames(frames, plan).words
    )


def test_a_lazy_reader_gives_the_same_words(plan, monkeypatch):
    from musichash_core.recording_match import fingerprint as module

    frames = random_frames(500)
    words = fingerprint_frames(frames, plan).words
    monkeypatch.setattr(module, "BLOCK_FRAMES", 64)
    lazy = FrameStretch(np.concatenate([frames, frames]), 0, 500)
    np.testing.assert_array_equal(fingerprint_frames(lazy, plan).words, words)


def test_silence_is_not_audible_and_quiet_passages_of_loud_tracks_are_not(plan):
    silence = np.zeros((300, 3, 128), np.uint8)
    assert not fingerprint_frames(silence, plan).is_audible.any()
    frames = random_frames(600)
    frames[300:] = 20  # 55 dB below the middle of the music
    is_audible = fingerprint_frames(frames, plan).is_audible
    assert is_audible[:250].all()
    assert not is_audible[340:].any()


def test_thinning_keeps_every_fourth_word(plan):
    whole = fingerprint_frames(random_frames(200), plan)
    thinned = whole.thinned(plan.step_frames)
    assert plan.step_frames == 4
    np.testing.assert_array_equal(thinned.words, whole.words[::4])
    np.testing.assert_array_equal(thinned.is_audible, whole.is_audible[::4])


def test_few_bands_give_shorter_words_and_too_few_are_refused():
    plan = plan_fingerprint(mel_hz(32), FRAME_RATE_HZ)
    assert 8 <= plan.n_bits < 32
    frames = random_frames(100)[:, :, :32]
    assert fingerprint_frames(frames, plan).words.max() < 1 << plan.n_bits
    with pytest.raises(ParameterError, match=r"features\.n_mels"):
        plan_fingerprint(mel_hz(8), FRAME_RATE_HZ)
    with pytest.raises(ParameterError, match=r"features\.hop_length"):
        plan_fingerprint(mel_hz(), 1.0)
