"""Alignment: offsets and rates that were put in are found again."""

import numpy as np
import pytest

from musichash_core.recording_match import (
    RecordingFingerprint,
    align,
    error_curve,
    plan_fingerprint,
)


@pytest.fixture
def plan():
    return plan_fingerprint(np.linspace(100, 11_000, 400), 43.07)


def recording(n_words, seed=0, *, smooth=8):
    """Words of which each bit changes once in a while, as smoothed ones do."""
    rng = np.random.default_rng(seed)
    held = rng.integers(0, 2, (n_words // smooth + 2, 32))
    shifts = rng.integers(0, smooth, 32)
    bits = np.stack(
        [np.repeat(held[:, k], smooth)[shifts[k] :][:n_words] for k in range(32)], axis=1
    )
    words = np.packbits(bits.astype(bool), axis=1, bitorder="little").view("<u4").ravel()
    return RecordingFingerprint(words.astype(np.uint32), np.ones(n_words, np.bool_))


def with_errors(fingerprint, rate, seed=9):
    rng = np.random.default_rng(seed)
    wrong = rng.random((len(fingerprint), 32)) < rate
    flips = np.packbits(wrong, axis=1, bitorder="little").view("<u4").ravel()
    return RecordingFingerprint(fingerprint.words ^ flips, fingerprint.is_audible)


def part(fingerprint, first, stop):
    return RecordingFingerprint(fingerprint.words[first:stop], fingerprint.is_audible[first:stop])


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.3])
@pytest.mark.parametrize(("first", "stop"), [(0, 600), (41, 600), (0, 550), (13, 561)])
def test_a_cut_with_errors_is_found_where_it_is(plan, rate, first, stop):
    whole = recording(600)
    fit = align(whole, with_errors(part(whole, first, stop), rate), plan)
    assert fit.offset_s == pytest.approx(-first * plan.word_s)
    assert fit.bit_error_rate == pytest.approx(rate, abs=0.02)
    assert fit.expected_rate == pytest.approx(0.5, abs=0.03)
    assert fit.compared_s == pytest.approx((stop - first) * plan.word_s)
    assert fit.before_s == pytest.approx((first * plan.word_s, 0.0))
    assert fit.after_s == pytest.approx(((600 - stop) * plan.word_s, 0.0))
    assert fit.matched_s == pytest.approx(fit.compared_s)


def test_the_other_way_round_is_the_mirror(plan):
    whole = recording(500)
    cut = with_errors(part(whole, 30, 480), 0.05)
    there, back = align(whole, cut, plan), align(cut, whole, plan)
    assert back.offset_s == -there.offset_s
    assert back.bit_error_rate == there.bit_error_rate
    assert back.before_s == there.before_s[::-1]


def test_different_recordings_differ_in_nearly_half_of_the_bits(plan):
    rates = [
        align(recording(500, 1 + n), recording(480, 50 + n), plan).bit_error_rate for n in range(10)
    ]
    assert min(rates) > 0.4
    assert max(align(recording(500, 3), recording(500, 4), plan).matched_s, 0) < 100 * plan.word_s


def test_an_excerpt_far_inside_needs_a_hint(plan):
    whole = recording(2000)
    excerpt = with_errors(part(whole, 1500, 1700), 0.05)
    assert align(whole, excerpt, plan).bit_error_rate > 0.3
    hints = np.array([-1500 * plan.step_frames + 1, -1500 * plan.step_frames, 77])
    fit = align(whole, excerpt, plan, hints=hints)
    assert fit.offset_s == pytest.approx(-1500 * plan.word_s)
    assert fit.bit_error_rate == pytest.approx(0.05, abs=0.02)


def test_a_shared_part_matches_in_its_pieces_only(plan):
    first, second = recording(1000, 1), recording(1000, 2)
    words = second.words.copy()
    words[:500] = first.words[:500]
    fit = align(first, RecordingFingerprint(words, second.is_audible), plan)
    assert fit.offset_s == 0
    assert fit.matched_s == pytest.approx(500 * plan.word_s, rel=0.12)
    assert fit.worst_rate > 0.4
    assert fit.compared_s == pytest.approx(1000 * plan.word_s)


def test_equal_loops_align_at_the_smallest_offset(plan):
    loop = RecordingFingerprint(np.tile(recording(40).words, 12), np.ones(480, np.bool_))
    fit = align(loop, loop, plan)
    assert (fit.offset_s, fit.bit_error_rate) == (0.0, 0.0)


def test_bits_that_never_change_are_expected_to_agree(plan):
    words = recording(400, 1).words & np.uint32(0xF)
    other = recording(400, 2).words & np.uint32(0xF)
    heard = np.ones(400, np.bool_)
    fit = align(RecordingFingerprint(words, heard), RecordingFingerprint(other, heard), plan)
    assert fit.bit_error_rate < 0.1
    assert fit.expected_rate == pytest.approx(4 / 32 * 0.5, abs=0.01)


def test_silence_is_no_evidence(plan):
    music = recording(300)
    silent = RecordingFingerprint(np.zeros(300, np.uint32), np.zeros(300, np.bool_))
    nothing = RecordingFingerprint(np.empty(0, np.uint32), np.empty(0, np.bool_))
    for other in (silent, nothing, part(music, 0, 5)):
        assert align(music, other, plan) is None
        assert align(other, music, plan) is None
    assert align(silent, silent, plan) is None


def test_only_what_both_let_hear_is_compared(plan):
    music = recording(400)
    muted = RecordingFingerprint(music.words, np.arange(400) >= 100)
    fit = align(music, muted, plan)
    assert fit.compared_s == pytest.approx(300 * plan.word_s)
    assert fit.audible_s == pytest.approx((400 * plan.word_s, 300 * plan.word_s))


def test_the_curve_shows_where_bits_differ(plan):
    music = recording(1000)
    changed = RecordingFingerprint(
        np.r_[music.words[20:500], recording(500, 7).words], music.is_audible[20:]
    )
    time_s, rate = error_curve(music, changed, plan, -20 * plan.word_s)
    assert time_s[0] == pytest.approx(20 * plan.word_s)
    assert np.nanmax(rate[:450]) == 0.0
    assert np.nanmean(rate[520:]) == pytest.approx(0.5, abs=0.05)
