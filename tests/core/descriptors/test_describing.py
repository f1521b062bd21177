"""Whole descriptions: what stands where, which patches, what is shared, what is read."""

from dataclasses import replace

import numpy as np
import pytest
import soundfile

from musichash_core.descriptors import (
    N_DESCRIPTORS,
    describe_track,
    describe_with_halves,
    part_of_track,
)
from musichash_core.descriptors.cepstra import describe_cepstra
from musichash_core.descriptors.describing import description_patches
from musichash_core.descriptors.rhythm import describe_rhythm
from musichash_core.errors import ParameterError
from musichash_core.musicnn.log_mel import PATCH_FRAMES, bytes_to_log_mel, cut_patches
from musichash_core.musicnn.pretrained import encode_patches

OF_FLOAT = 1e-4
"""Single precision, and patches that shared a batch with others; measured 3e-5."""

TIMBRE, CEPSTRA, RHYTHM = slice(0, 1024), slice(1024, 1538), slice(1538, 2618)


def assert_equal(one, other):
    np.testing.assert_array_equal(one.vector, other.vector)
    np.testing.assert_array_equal(one.tag_probabilities, other.tag_probabilities)
    assert one.n_patches == other.n_patches


def assert_close(one, other):
    scale = np.maximum(1, np.abs(other.vector))
    assert np.abs((one.vector - other.vector) / scale).max() < OF_FLOAT
    assert np.abs(one.tag_probabilities - other.tag_probabilities).max() < OF_FLOAT
    assert one.n_patches == other.n_patches


@pytest.mark.parametrize(
    ("n_frames", "expected"),
    [
        (1, [0]),
        (187, [0]),
        (232, [0]),
        (233, [0, 46]),
        (374, [0, 47, 94, 140, 187]),
        (625, [0, 88, 175, 263, 350, 438]),
        (1121, [0, 187, 374, 560, 747, 934]),
        (1122, [0, 187, 374, 561, 748, 935]),
        (1309, [0, 187, 374, 561, 748, 935, 1122]),
    ],
)
def test_patches_of_short_tracks_overlap(n_frames, expected):
    assert description_patches(n_frames).tolist() == expected


def test_a_long_track_has_16_patches_from_start_to_end():
    starts = description_patches(100_000)
    assert len(starts) == 16
    assert (starts[0], starts[-1]) == (0, 100_000 - PATCH_FRAMES)


def test_everything_stands_in_its_place(network, lazy_track):
    """Each part, said again from the patches with plain NumPy."""
    track, of_tagger = lazy_track(14)
    description = describe_track(network, track, of_tagger)
    assert description.vector.shape == (N_DESCRIPTORS,) == (2618,)
    assert description.vector.dtype == description.tag_probabilities.dtype == np.float32

    starts = description_patches(len(of_tagger))
    log_mel = bytes_to_log_mel(cut_patches(of_tagger, starts))
    assert description.n_patches == len(starts) == 6
    probabilities = encode_patches(network, log_mel).probabilities.mean(axis=0)
    np.testing.assert_allclose(description.tag_probabilities, probabilities, atol=OF_FLOAT)

    cepstra = describe_cepstra(track.frames, starts)
    expected = np.concatenate([cepstra.mean(axis=0), cepstra.std(axis=0, ddof=1)])
    np.testing.assert_allclose(description.vector[CEPSTRA], expected, atol=OF_FLOAT, rtol=1e-5)
    np.testing.assert_array_equal(description.vector[RHYTHM], describe_rhythm(track.frames))
    means, deviations = np.split(description.vector[TIMBRE], 2)
    assert (deviations >= 0).all()
    layers = means.reshape(4, 2, 64)
    assert (layers[:, 1] >= layers[:, 0] - OF_FLOAT).all()


def test_metal_is_heard(network, frames_of, music_root):
    path = music_root / "metal" / "marsshooter-03-fear.ogg"
    stereo, sr = soundfile.read(path, dtype="float32", frames=44_100 * 10)
    assert sr == 44_100
    description = describe_track(network, *frames_of(stereo.mean(axis=1)[::2]))
    assert network.tags[description.tag_probabilities.argmax()] == "metal"


@pytest.mark.parametrize("duration_s", [0.005, 0.02, 0.5, 2.9, 3.1])
def test_short_tracks_have_finite_numbers(network, lazy_track, duration_s):
    for description in describe_with_halves(network, *lazy_track(duration_s)):
        assert np.isfinite(description.vector).all()
        assert description.n_patches == 1
        assert not description.vector[512:1024].any()
        assert not description.vector[1281:1538].any()


@pytest.mark.parametrize("byte", [0, 255])
def test_silence_and_the_loudest_bytes_have_finite_numbers(network, lazy_track, byte):
    track, of_tagger = lazy_track(13)
    track = replace(track, frames=np.full(track.frames.shape, byte, np.uint8))
    for description in describe_with_halves(
        network, track, np.full(of_tagger.shape, byte, np.uint8)
    ):
        assert np.isfinite(description.vector).all()
        assert not description.vector[RHYTHM].any()
        assert ((description.tag_probabilities >= 0) & (description.tag_probabilities <= 1)).all()


def test_the_same_frames_give_the_same_numbers(network, lazy_track):
    track, of_tagger = lazy_track(20)
    arrays = replace(track, frames=track.frames[0 : len(track.frames)])
    for one, other in zip(
        describe_with_halves(network, track, of_tagger),
        describe_with_halves(network, arrays, of_tagger[0 : len(of_tagger)]),
        strict=True,
    ):
        assert_equal(one, other)
    assert_equal(
        describe_track(network, track, of_tagger), describe_track(network, arrays, of_tagger)
    )


def test_a_short_track_stands_for_its_halves(network, lazy_track):
    whole, first, second = describe_with_halves(network, *lazy_track(11.9))
    assert_equal(whole, first)
    assert_equal(whole, second)


def test_halves_with_few_patches_get_their_own(network, lazy_track):
    """Of 13 s the whole has 6 patches, of which two lie in each half."""
    track, of_tagger = lazy_track(13)
    whole, first, second = describe_with_halves(network, track, of_tagger)
    assert_equal(whole, describe_track(network, track, of_tagger))
    middle_s = len(of_tagger) // 2 / 62.5
    for half, bounds in ((first, (0, middle_s)), (second, (middle_s, 60))):
        assert_equal(half, describe_track(network, *part_of_track(track, of_tagger, *bounds)))
        assert not np.array_equal(half.vector, whole.vector)


def test_halves_share_the_patches_of_the_whole(network, lazy_track):
    track, of_tagger = lazy_track(30)
    of_tagger.reads.clear()
    whole, *halves = describe_with_halves(network, track, of_tagger)
    starts = description_patches(len(of_tagger))
    assert whole.n_patches == len(of_tagger.reads) == len(starts) == 10
    middle = len(of_tagger) // 2
    for half, inside, bounds_s in (
        (halves[0], starts + PATCH_FRAMES <= middle, (0, middle / 62.5)),
        (halves[1], starts >= middle, (middle / 62.5, 60)),
    ):
        assert half.n_patches == np.count_nonzero(inside) == 5
        cepstra = describe_cepstra(track.frames, starts[inside])
        np.testing.assert_allclose(
            half.vector[1024:1281], cepstra.mean(axis=0), atol=OF_FLOAT, rtol=1e-5
        )
        part, _ = part_of_track(track, of_tagger, *bounds_s)
        np.testing.assert_array_equal(half.vector[RHYTHM], describe_rhythm(part.frames))
    of_both = (halves[0].vector + halves[1].vector)[:512] / 2
    np.testing.assert_allclose(of_both, whole.vector[:512], atol=OF_FLOAT)


def test_of_three_hours_little_is_read(network, lazy_track):
    track, of_tagger = lazy_track(3 * 3600)
    describe_with_halves(network, track, of_tagger)
    assert of_tagger.n_read == 16 * PATCH_FRAMES
    assert track.frames.n_read == 16 * 129 + 3 * 2584
    assert max(stop - start for start, stop in track.frames.reads) == 2584


def test_a_gain_moves_only_what_it_must(network, lazy_track):
    """6 dB on frames without a band at the floor or the ceiling."""
    track, of_tagger = lazy_track(13)
    frames, tagger = (
        np.clip(source[0 : len(source)], 20, 200) for source in (track.frames, of_tagger)
    )
    quiet = describe_track(network, replace(track, frames=frames), tagger)
    loud = describe_track(
        network, replace(track, frames=frames + np.uint8(12)), tagger + np.uint8(12)
    )
    moved = loud.vector - quiet.vector
    np.testing.assert_array_equal(moved[RHYTHM], 0)
    of_cepstra = np.zeros(514)
    of_cepstra[[0, 25, 50]] = 6 * np.sqrt(128)
    np.testing.assert_allclose(moved[CEPSTRA], of_cepstra, atol=2e-3)
    assert np.abs(moved[TIMBRE]).max() > 0.01


def test_frames_of_different_tracks_are_refused(network, lazy_track):
    track, _ = lazy_track(10)
    _, of_another = lazy_track(20)
    for describe in (describe_track, describe_with_halves):
        with pytest.raises(ParameterError, match="they are of different tracks"):
            describe(network, track, of_another)


def test_a_part_is_close_to_the_same_sound_alone(network, lazy_track):
    """A view of ten seconds and the bytes themselves are one and the same."""
    part, of_tagger = part_of_track(*lazy_track(40), 15.0, 25.0)
    alone = replace(part, frames=part.frames[0 : len(part.frames)])
    assert_close(
        describe_track(network, part, of_tagger),
        describe_track(network, alone, of_tagger[0 : len(of_tagger)]),
    )
