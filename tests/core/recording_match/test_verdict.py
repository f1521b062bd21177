"""Verdicts on evidence written by hand, groups, and the copy to keep."""

from dataclasses import replace

import numpy as np
import pytest

from musichash_core.recording_match import (
    Alignment,
    Copy,
    Evidence,
    is_lossless,
    join_pairs,
    judge,
    rank_copies,
)

FIT = Alignment(
    offset_s=0.0,
    bit_error_rate=0.04,
    expected_rate=0.5,
    compared_s=100.0,
    matched_s=100.0,
    worst_rate=0.08,
    before_s=(0.0, 0.0),
    after_s=(0.0, 0.0),
    audible_s=(100.0, 100.0),
)


def verdict(n_landmarks=40, **changes):
    fit = replace(FIT, **changes)
    return judge(Evidence((100.0, 100.0), n_landmarks, 2, 0.99, fit))


def test_a_good_fit_over_all_is_the_same_recording():
    found = verdict()
    assert (found.tier, found.relation) == ("same-recording", "whole")
    assert found.confidence == pytest.approx(0.92)


def test_cuts_of_five_seconds_at_both_ends_are_the_same_recording():
    found = verdict(compared_s=90.0, matched_s=90.0, before_s=(5.0, 0.0), after_s=(5.0, 0.0))
    assert found.tier == "same-recording"


def test_different_recordings_are_similar_only():
    found = verdict(bit_error_rate=0.46, matched_s=0.0)
    assert (found.tier, found.relation) == ("similar-only", "none")


def test_bits_that_hardly_vary_prove_nothing():
    assert verdict(bit_error_rate=0.04, expected_rate=0.05).tier == "similar-only"


def test_an_excerpt_is_likely_the_same():
    found = verdict(
        compared_s=15.0,
        matched_s=15.0,
        before_s=(40.0, 0.0),
        after_s=(45.0, 0.0),
        audible_s=(100.0, 15.0),
    )
    assert (found.tier, found.relation) == ("likely-same", "excerpt")


def test_tracks_that_go_on_differently_share_a_part():
    found = verdict(
        compared_s=30.0,
        matched_s=30.0,
        before_s=(20.0, 0.0),
        after_s=(0.0, 60.0),
        audible_s=(50.0, 90.0),
    )
    assert (found.tier, found.relation) == ("likely-same", "part")


def test_half_of_an_edit_matches():
    found = verdict(bit_error_rate=0.25, matched_s=50.0)
    assert (found.tier, found.relation) == ("likely-same", "part")


def test_another_master_is_for_a_person():
    assert verdict(bit_error_rate=0.28, n_landmarks=0).tier == "likely-same"


def test_a_fit_without_landmarks_is_for_a_person():
    assert verdict(bit_error_rate=0.15, n_landmarks=0).tier == "likely-same"


def test_a_short_fit_is_too_little_to_be_sure():
    found = verdict(compared_s=2.0, matched_s=2.0, audible_s=(2.0, 2.0))
    assert found.tier == "likely-same"


def test_a_copy_with_some_seconds_replaced_is_for_a_person():
    found = verdict(worst_rate=0.4)
    assert found.tier == "likely-same"
    assert "edit" in found.reason


def test_nothing_to_compare_is_no_evidence():
    found = judge(Evidence((100.0, 100.0), 0, 0, 1.0, None))
    assert (found.tier, found.confidence) == ("similar-only", 0.0)


def test_pairs_join_groups():
    pairs = np.array([[0, 4], [7, 4], [2, 3], [8, 9], [9, 2]])
    assert [group.tolist() for group in join_pairs(pairs, 10)] == [[0, 4, 7], [2, 3, 8, 9]]
    assert join_pairs(np.empty((0, 2), np.int64), 10) == []
    with pytest.raises(IndexError, match="of 5"):
        join_pairs(np.array([[0, 5]]), 5)


def test_the_copy_to_keep():
    flac = Copy("a", "PCM_16", 44_100, 2, 200.0, 20_000_000)
    mp3 = Copy("b", "MPEG_LAYER_III", 44_100, 2, 200.1, 4_000_000)
    better_mp3 = Copy("c", "MPEG_LAYER_III", 48_000, 2, 199.6, 6_000_000)
    cut = Copy("d", "PCM_16", 44_100, 2, 195.0, 19_000_000)
    mono = Copy("e", "PCM_16", 44_100, 1, 200.0, 10_000_000)
    narrow = Copy("f", "PCM_16", 16_000, 2, 200.0, 9_000_000)
    ranked = rank_copies([narrow, mono, cut, mp3, better_mp3, flac])
    assert [copy.track_id for copy in ranked] == ["a", "d", "e", "c", "b", "f"]
    assert rank_copies([]) == []


def test_which_codings_lose_nothing():
    assert all(map(is_lossless, ("PCM_24", "FLAC", "ALAC", "FLOAT", "ape")))
    assert not any(map(is_lossless, ("VORBIS", "MPEG_LAYER_III", "MS_ADPCM", "ULAW", "PCM_ALAW")))
