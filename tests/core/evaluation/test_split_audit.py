"""Copies are found, groups that share audio are joined, and unclean splits are refused."""

import numpy as np
import pytest
import sklearn.metrics
import soundfile

from musichash_core.errors import ParameterError, TrainingError
from musichash_core.evaluation import near_duplicates as module
from musichash_core.evaluation.near_duplicates import (
    mel_fingerprint,
    merge_near_duplicates,
    near_duplicates,
)
from musichash_core.evaluation.split_audit import audit_splits, inspect_sides
from musichash_core.spectrogram import mel_filter_bank, stft
from musichash_core.splits import DividedTracks, divide_by_group


def random_tracks(n_tracks, seed=0, n_dimensions=32):
    return np.random.default_rng(seed).standard_normal((n_tracks, n_dimensions))


def slow_piece(seed, n_frames=400, n_mels=24):
    """Give mel levels in dB that wander with time, as music does."""
    rng = np.random.default_rng(seed)
    spectrum = rng.normal(-20, 10, n_mels)
    return spectrum + rng.normal(0, 1.5, (n_frames, n_mels)).cumsum(axis=0)


def test_pairs_are_those_of_scikit_learn_across_blocks(monkeypatch):
    monkeypatch.setattr(module, "BLOCK_TRACKS", 7)
    vectors = random_tracks(40, n_dimensions=4)  # so few dimensions have likenesses
    names = [f"g{n % 11}" for n in range(40)]
    cosines = sklearn.metrics.pairwise.cosine_similarity(vectors)
    expected = [
        [a, b]
        for a in range(40)
        for b in range(a + 1, 40)
        if cosines[a, b] > 0.8 and names[a] != names[b]
    ]
    assert len(expected) > 5
    found = near_duplicates(vectors, names, max_cosine=0.8)
    assert found.tolist() == expected


def test_groups_that_share_audio_become_one_through_others():
    vectors = random_tracks(6)
    vectors[3] = 2 * vectors[0]  # c's copy of b's first, louder
    vectors[4] = vectors[2] + 0.01  # a's copy of c's
    groups = ["b", "b", "c", "c", "a", "d"]
    assert merge_near_duplicates(groups, vectors) == ("a", "a", "a", "a", "a", "d")


def test_groups_without_shared_audio_keep_their_names():
    groups = ["z", "y", "z", "x"]
    assert merge_near_duplicates(groups, random_tracks(4)) == tuple(groups)


def test_a_fingerprint_knows_a_louder_and_dulled_version_but_no_other_piece():
    piece = slow_piece(0)
    piece[:, -9:] += piece[:, :-9].max() - piece[:, -9:].max() - 70  # faint
    dulled = piece - 7.5
    dulled[:, -9:] = -100.0  # what an encoder leaves of the faintest bands
    versions = np.stack([mel_fingerprint(one) for one in (piece, dulled, slow_piece(1))])
    found = near_duplicates(versions, ["p", "q", "r"])
    assert found.tolist() == [[0, 1]]


def test_encodings_of_one_recording_are_found_among_real_music(music_root):
    bank = mel_filter_bank(sr=44_100, n_fft=4096)
    names = [
        "game/castle-beating-that-thing-44100hz-16bit-stereo.ogg",
        "game/castle-beating-that-thing-mp3.mp3",
        "metal/marsshooter-03-fear.ogg",
        "metal/marsshooter-09-wings-of-cruelty.ogg",
    ]
    fingerprints = []
    for name in names:
        y = soundfile.read(music_root / name, dtype="float32")[0].mean(axis=1)
        power = np.abs(stft(y, n_fft=4096, hop_length=2048)) ** 2 @ bank.T
        fingerprints.append(mel_fingerprint(10 * np.log10(power + 1e-10)))
    assert near_duplicates(np.stack(fingerprints), names).tolist() == [[0, 1]]


def test_a_steady_sound_has_a_fingerprint_of_zeros():
    levels = np.random.default_rng(3).normal(-30, 10, 24)
    assert not mel_fingerprint(np.tile(levels, (50, 1))).any()


def test_the_order_of_a_piece_matters_to_its_fingerprint():
    piece = slow_piece(2)
    both = np.stack([mel_fingerprint(piece), mel_fingerprint(piece[::-1])])
    assert len(near_duplicates(both, ["p", "q"])) == 0


def test_a_split_of_merged_groups_passes_the_audit():
    vectors = random_tracks(60)
    groups = [f"g{n % 30}" for n in range(60)]
    genres = ["ab"[n % 2] for n in range(60)]
    vectors[41] = vectors[2]
    vectors[17] = vectors[50]
    sides = [divide_by_group(genres, groups, seed=seed) for seed in range(20)]
    unclean = [one for one in sides if not inspect_sides(one, groups, vectors).is_clean]
    assert unclean  # some seed puts the copies on different sides
    with pytest.raises(TrainingError, match="same audio"):
        audit_splits(unclean[0], groups, vectors)
    merged = merge_near_duplicates(groups, vectors)
    for seed in range(20):
        divided = divide_by_group(genres, merged, seed=seed)
        audit = audit_splits(divided, merged, vectors)
        assert audit.is_clean
        assert sum(audit.n_tracks.values()) == 60
        assert sum(audit.n_groups.values()) == len(set(merged))


def test_offenders_are_named():
    divided = DividedTracks(("train", "db", "db", "query"))
    with pytest.raises(TrainingError, match=r"1 group\(s\).*\['shared'\]"):
        audit_splits(divided, ["shared", "shared", "x", "y"])
    vectors = random_tracks(4)
    vectors[3] = vectors[0]
    with pytest.raises(TrainingError, match=r"1 pair\(s\).*\('first', 'last'\)"):
        audit_splits(
            divided, ["w", "x", "x", "y"], vectors, track_ids=["first", "second", "third", "last"]
        )
    audit = inspect_sides(divided, ["shared", "shared", "x", "y"], vectors)
    assert audit.shared_groups == ("shared",)
    assert audit.shared_audio.tolist() == [[0, 3]]
    assert audit.figures() == {
        "n_train_tracks": 1,
        "n_db_tracks": 2,
        "n_query_tracks": 1,
        "n_train_groups": 1,
        "n_db_groups": 2,
        "n_query_groups": 1,
        "n_shared_groups": 1,
        "n_shared_audio_pairs": 1,
    }


def test_tracks_that_are_left_out_offend_nobody():
    vectors = random_tracks(3)
    vectors[2] = vectors[1]
    divided = DividedTracks(("left_out", "train", "left_out"))
    audit = audit_splits(divided, ["g", "g", "h"], vectors)
    assert audit.is_clean
    assert "n_shared_audio_pairs" not in audit_splits(divided, ["g", "g", "h"]).figures()


def test_a_fingerprint_that_tells_nothing_is_refused(monkeypatch):
    monkeypatch.setattr(module, "MAX_PAIRS", 20)
    with pytest.raises(ParameterError, match="tell nothing apart"):
        near_duplicates(np.ones((10, 4)), [str(n) for n in range(10)])
    assert len(near_duplicates(np.zeros((10, 4)), [str(n) for n in range(10)])) == 0


@pytest.mark.parametrize(
    ("vectors", "cosine", "message"),
    [
        (np.ones((3, 4)), 0.98, "one row each"),
        (np.full((2, 4), np.nan), 0.98, "NaN"),
        (np.ones((2, 4)), 1.5, r"max_cosine=1\.5"),
    ],
)
def test_impossible_fingerprints_are_refused(vectors, cosine, message):
    with pytest.raises(ParameterError, match=message):
        near_duplicates(vectors, ["a", "b"], max_cosine=cosine)


@pytest.mark.parametrize(
    ("mel_db", "message"),
    [(np.zeros((7, 4)), "8 or more"), (np.full((9, 4), -np.inf), "want decibels")],
)
def test_impossible_spectra_are_refused(mel_db, message):
    with pytest.raises(ParameterError, match=message):
        mel_fingerprint(mel_db)
