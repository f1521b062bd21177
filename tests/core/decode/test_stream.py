"""Decoding: equal to libsndfile's one-shot reading on sound files, a named reason on all others."""

import os
import subprocess
import sys
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from musichash_core.decode import (
    BLOCK_FRAMES,
    AudioStream,
    DecodeConfig,
    check_unchanged,
    resample_blocks,
)
from musichash_core.errors import DecodeError
from musichash_core.failure_codes import FAILURE_CODES

FORMATS = [
    ("WAV", "PCM_16", 44_100),
    ("WAV", "FLOAT", 22_050),
    ("WAV", "IMA_ADPCM", 44_100),
    ("WAVEX", "PCM_24", 96_000),
    ("RF64", "PCM_16", 44_100),
    ("W64", "PCM_16", 44_100),
    ("AIFF", "PCM_16", 44_100),
    ("FLAC", "PCM_16", 44_100),
    ("OGG", "VORBIS", 44_100),
    ("OGG", "OPUS", 48_000),
    ("MP3", "MPEG_LAYER_III", 44_100),
    ("CAF", "ALAC_16", 44_100),
    ("AU", "PCM_16", 8_000),
]
DOWN_MIX_ROUNDING = 2e-7  # two roundings to single precision, of values up to 1
SHORT = DecodeConfig(min_duration_s=0.01)


def open_descriptors():
    return sorted(entry.name for entry in Path("/proc/self/fd").iterdir())


def decode(path, config=SHORT, sr=None):
    """Decode a file; give the samples and the stream it was."""
    descriptor = os.open(path, os.O_RDONLY)
    with AudioStream(descriptor, config) as stream:
        blocks = stream.blocks() if sr is None else stream.resampled(sr)
        return np.concatenate([np.zeros(0, np.float32), *blocks]), stream


def refusal(path, config=SHORT):
    """Give the error that decoding a file ends with, after checking that nothing leaks."""
    before = open_descriptors()
    with pytest.raises(DecodeError) as caught:
        decode(path, config)
    assert open_descriptors() == before
    assert caught.value.code in FAILURE_CODES
    return caught.value


@pytest.fixture
def stereo(sounds):
    left = sounds.tone(440, duration_s=3.1, sr=44_100) + sounds.noise(1, duration_s=3.1, sr=44_100)
    return np.stack([left, sounds.tone(660, duration_s=3.1, sr=44_100)], axis=1)


# --- sound files ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "subtype", "sr"), FORMATS)
def test_every_format_decodes_to_the_mean_of_what_soundfile_reads(
    sounds, stereo, kind, subtype, sr
):
    path = sounds.write("sound", stereo, sr, format=kind, subtype=subtype)
    y, stream = decode(path)
    reference, reference_sr = soundfile.read(path, dtype="float32", always_2d=True)
    assert stream.info.sr == reference_sr == sr
    assert (stream.info.n_channels, stream.info.codec) == (2, subtype)
    assert stream.n_frames == len(reference)
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, reference.mean(axis=1), atol=DOWN_MIX_ROUNDING)
    assert stream.warnings == ()


def test_mono_is_not_changed_at_all(sounds):
    path = sounds.write("a.wav", sounds.noise(3), subtype="FLOAT")
    assert np.array_equal(decode(path)[0], sounds.noise(3))


@pytest.mark.parametrize("n_channels", [3, 5, 32])
def test_many_channels_are_averaged(sounds, n_channels):
    frames = np.random.default_rng(0).uniform(-1, 1, (5000, n_channels)).astype(np.float32)
    path = sounds.write("a.wav", frames, format="WAVEX", subtype="FLOAT")
    np.testing.assert_allclose(decode(path)[0], frames.mean(axis=1), atol=1e-6)


def test_blocks_are_copies_and_no_longer_than_promised(sounds):
    path = sounds.write("a.wav", sounds.noise(0, duration_s=7, sr=44_100), 44_100, subtype="FLOAT")
    with AudioStream(os.open(path, os.O_RDONLY), SHORT) as stream:
        blocks = list(stream.blocks())
    assert [len(block) for block in blocks] == [BLOCK_FRAMES] * 4 + [7 * 44_100 - 4 * BLOCK_FRAMES]
    assert np.array_equal(np.concatenate(blocks), sounds.noise(0, duration_s=7, sr=44_100))


def test_a_variable_rate_mp3_in_blocks_equals_the_file_read_at_once(sounds):
    # Loud and quiet seconds in turn: with python-soundfile's seek after every block, 0.2 % of the
    # samples of such a file come out wrong.
    level = np.repeat(np.tile([0.002, 0.3], 10), 44_100).astype(np.float32)
    y = level * sounds.noise(5, duration_s=20, sr=44_100, level=1)
    path = sounds.write(
        "a.mp3", np.clip(y, -1, 1), 44_100, bitrate_mode="VARIABLE", compression_level=0.5
    )
    assert path.stat().st_size > 2 * BLOCK_FRAMES
    reference, _ = soundfile.read(path, dtype="float32")
    assert np.array_equal(decode(path)[0], reference)


def test_real_music_decodes_and_the_damaged_track_does_not(music_root):
    names = [
        "ambient/hyperrogue-hr3-laboratory.flac",
        "ambient/naev-automat.aiff",
        "electronic/zaz-mus3.opus",
        "game/castle-beating-that-thing-mp3.mp3",
        "game/castle-beating-that-thing-22000hz-16bit-stereo.ogg",
    ]
    for name in names:
        y, stream = decode(music_root / name, DecodeConfig())
        reference, _ = soundfile.read(music_root / name, dtype="float32", always_2d=True)
        np.testing.assert_allclose(y, reference.mean(axis=1), atol=DOWN_MIX_ROUNDING)
        assert stream.warnings == ()
    damaged = music_root / "electronic/singularity-advanced-simulacra-truncated.ogg"
    assert refusal(damaged).code == "truncated"


def test_silence_is_legal(sounds):
    y, _ = decode(sounds.write("a.flac", np.zeros(22_050, np.float32)))
    assert not y.any()


# --- resampling ----------------------------------------------------------------------------------


@pytest.mark.parametrize("sr", [8_000, 44_100, 48_000, 96_000])
def test_resampling_keeps_duration_and_pitch(sounds, sr):
    path = sounds.write("a.wav", sounds.tone(1000, duration_s=5, sr=sr), sr, subtype="FLOAT")
    y, stream = decode(path, sr=22_050)
    assert abs(len(y) - 5 * 22_050) <= 1
    assert stream.n_frames == 5 * sr
    spectrum = np.abs(np.fft.rfft(y * np.hanning(len(y))))
    assert abs(spectrum.argmax() * 22_050 / len(y) - 1000) < 0.5
    assert np.abs(y[2000:-2000]).max() == pytest.approx(0.5, abs=0.005)


def test_resampling_in_blocks_equals_resampling_at_once(sounds):
    y = sounds.noise(0, duration_s=6, sr=44_100)
    path = sounds.write("a.wav", y, 44_100, subtype="FLOAT")
    at_once = librosa.resample(y, orig_sr=44_100, target_sr=22_050, res_type="soxr_hq")
    in_blocks, _ = decode(path, sr=22_050)
    n = min(len(at_once), len(in_blocks))
    np.testing.assert_allclose(in_blocks[:n], at_once[:n], atol=1e-5)


def test_equal_rates_pass_through(sounds):
    blocks = [sounds.noise(0), sounds.noise(1)]
    passed = list(resample_blocks(iter(blocks), 22_050, 22_050))
    assert all(a is b for a, b in zip(blocks, passed, strict=True))


# --- damage --------------------------------------------------------------------------------------

TRUNCATIONS = [(*entry[:2], share) for entry in FORMATS for share in (0.2, 0.5, 0.8)]


@pytest.mark.parametrize(("kind", "subtype", "share"), TRUNCATIONS)
def test_a_truncated_file_is_refused(sounds, stereo, kind, subtype, share):
    sr = 48_000 if subtype == "OPUS" else 44_100
    path = sounds.write("sound", stereo[:, 0], sr, format=kind, subtype=subtype)
    os.truncate(path, int(path.stat().st_size * share))
    assert refusal(path).code in {"truncated", "damaged"}


EXACT = [entry[:2] for entry in FORMATS if entry[0] != "MP3"]


@pytest.mark.parametrize(("kind", "subtype"), EXACT)
def test_a_file_without_its_last_byte_is_refused(sounds, stereo, kind, subtype):
    sr = 48_000 if subtype == "OPUS" else 44_100
    path = sounds.write("sound", stereo, sr, format=kind, subtype=subtype)
    os.truncate(path, path.stat().st_size - 1)
    assert refusal(path).code in {"truncated", "damaged"}


def test_an_mp3_without_its_last_frame_is_marked(sounds, stereo):
    path = sounds.write("a.mp3", stereo, 44_100)
    os.truncate(path, path.stat().st_size - 1)
    _, stream = decode(path)
    assert stream.warnings == ("length-differs",)


@pytest.mark.parametrize(
    ("kind", "subtype"), [("OGG", "VORBIS"), ("OGG", "OPUS"), ("FLAC", "PCM_16")]
)
@pytest.mark.parametrize("place", [0.3, 0.6, 0.999])
def test_one_flipped_bit_is_found_where_the_format_has_checksums(
    sounds, stereo, kind, subtype, place
):
    sr = 48_000 if subtype == "OPUS" else 44_100
    path = sounds.write("sound", stereo, sr, format=kind, subtype=subtype)
    data = bytearray(path.read_bytes())
    data[int(len(data) * place)] ^= 4
    path.write_bytes(data)
    assert refusal(path).code == "damaged"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30, -2e4])
@pytest.mark.parametrize("n_channels", [1, 2])
def test_samples_that_are_no_sound_are_refused(sounds, value, n_channels):
    frames = np.zeros((30_000, n_channels), np.float32)
    frames[20_000, -1] = value
    error = refusal(sounds.write("a.wav", frames, subtype="FLOAT"))
    assert error.code == "damaged"
    assert f"has the value {value:g}" in str(error)


def test_absurd_samples_that_cancel_out_are_refused(sounds):
    frames = np.zeros((30_000, 2), np.float32)
    frames[100] = (1e30, -1e30)
    assert refusal(sounds.write("a.wav", frames, subtype="FLOAT")).code == "damaged"


def test_samples_beyond_full_scale_are_kept(sounds):
    y, _ = decode(sounds.write("a.wav", sounds.tone(level=3.0), subtype="FLOAT"))
    assert np.abs(y).max() == pytest.approx(3, abs=0.01)


# --- tags, joined files --------------------------------------------------------------------------


def id3(n_bytes):
    size = bytes((n_bytes >> shift) & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\4\0\0" + size + bytes(n_bytes)


@pytest.mark.parametrize("tags", [[100], [100_000], [20, 30], [5000, 5000]])
@pytest.mark.parametrize("name", ["a.mp3", "a.flac"])
def test_id3_tags_in_front_are_skipped(sounds, stereo, name, tags):
    path = sounds.write(name, stereo, 44_100)
    reference, _ = decode(path)
    path.write_bytes(b"".join(map(id3, tags)) + path.read_bytes())
    y, stream = decode(path)
    assert stream.info.container == name[2:]
    np.testing.assert_allclose(y, reference, atol=DOWN_MIX_ROUNDING)


@pytest.mark.parametrize("name", ["a.mp3", "a.flac", "a.ogg", "a.wav"])
def test_an_id3v1_tag_behind_the_audio_is_harmless(sounds, stereo, name):
    path = sounds.write(name, stereo, 44_100)
    reference, _ = decode(path)
    with path.open("ab") as file:
        file.write(b"TAG" + bytes(125))
    y, stream = decode(path)
    assert np.array_equal(y, reference)
    assert stream.warnings == ()


def test_a_file_that_is_nothing_but_a_tag_is_refused(tmp_path):
    path = tmp_path / "a.mp3"
    path.write_bytes(id3(500))
    assert refusal(path).code == "truncated"


@pytest.mark.parametrize("name", ["a.mp3", "a.flac", "a.ogg"])
def test_joined_files_are_decoded_to_the_end(sounds, stereo, name):
    first = sounds.write("1" + name, stereo, 44_100)
    second = sounds.write("2" + name, stereo[:60_000], 44_100)
    parts = [soundfile.read(path, dtype="float32")[0] for path in (first, second)]
    first.write_bytes(first.read_bytes() + second.read_bytes())
    y, stream = decode(first)
    np.testing.assert_allclose(y, np.concatenate(parts).mean(axis=1), atol=DOWN_MIX_ROUNDING)
    assert stream.warnings == ("chained-streams" if name == "a.ogg" else "joined-streams",)


# --- content that is no audio --------------------------------------------------------------------

FOREIGN = [
    (b"<!DOCTYPE html><html><body>404</body></html>", "not-audio", "DOCTYPE"),
    (b"ffconcat version 1.0\nfile a.wav\n", "not-audio", "ffconcat"),
    ("text".encode("utf-16") * 500, "not-audio", "plain text"),
    (b"\0" * 10_000, "not-audio", "zeros"),
    (b"MThd\0\0\0\6" + bytes(100), "unsupported-format", "MIDI: notes, not sound"),
    (b"MAC \x96\x0f" + bytes(100), "unsupported-format", "Monkey's Audio (APE); decoded are WAV"),
    (b"RIFF\x24\0\0\0WAVEfmt " + bytes(10), "damaged", "wav header"),
    (b"fLaC" + b"\xaa" * 500, "damaged", "flac header"),
    (b"\xff\xfb\x90\0" + b"\x55" * 5000, "damaged", "no frame of MPEG audio"),
]


@pytest.mark.parametrize(("content", "code", "named"), FOREIGN)
def test_content_decides_and_not_the_name(tmp_path, content, code, named):
    path = tmp_path / "song.mp3"
    path.write_bytes(content)
    error = refusal(path)
    assert error.code == code
    assert named in str(error)


def test_audio_under_a_foreign_name_decodes(sounds):
    path = sounds.write("a.wav", sounds.noise(0), subtype="FLOAT").rename(sounds.folder / "b.txt")
    assert np.array_equal(decode(path)[0], sounds.noise(0))


def test_a_file_without_bytes_or_without_samples_is_empty(sounds):
    path = sounds.folder / "a.wav"
    path.touch()
    assert refusal(path).code == "empty"
    soundfile.write(path, np.zeros(0, np.float32), 44_100)
    assert refusal(path).code == "empty"


# --- limits --------------------------------------------------------------------------------------


def test_limits_are_enforced_and_name_their_setting(sounds):
    path = sounds.write("a.wav", sounds.tone(duration_s=2.0))
    too_short = refusal(path, DecodeConfig(min_duration_s=2.5))
    assert (too_short.code, "decode.min_duration_s" in str(too_short)) == ("too-short", True)
    too_long = refusal(path, DecodeConfig(max_duration_s=1.5))
    assert (too_long.code, "decode.max_duration_s" in str(too_long)) == ("too-long", True)
    low = refusal(path, DecodeConfig(min_sr_hz=30_000))
    assert (low.code, str(low)) == (
        "over-limit",
        "sample rate 22050 Hz; allowed are 30000 to 768000 Hz",
    )
    assert refusal(path, DecodeConfig(max_sr_hz=22_000)).code == "over-limit"
    wide = sounds.write("b.wav", np.zeros((30_000, 6), np.float32))
    assert "6 channels; allowed are 4" in str(refusal(wide, DecodeConfig(max_channels=4)))


def test_audio_of_exactly_the_limits_is_accepted(sounds):
    path = sounds.write("a.wav", sounds.tone(duration_s=2.0))
    decode(path, DecodeConfig(min_duration_s=2.0, max_duration_s=2.0, max_channels=1))


def test_a_header_that_announces_too_much_is_refused_before_decoding(sounds):
    path = sounds.write("a.flac", sounds.noise(0, sr=44_100), 44_100)
    data = bytearray(path.read_bytes())
    data[21:26] = bytes([data[21] | 0x0F, 0xFF, 0xFF, 0xFF, 0xFF])  # STREAMINFO: 2**36 - 1 samples
    path.write_bytes(data)
    with pytest.raises(DecodeError, match="the header announces 68719476735") as caught:
        AudioStream(os.open(path, os.O_RDONLY), DecodeConfig())
    assert caught.value.code == "truncated"


def test_audio_longer_than_its_header_says_stops_at_the_limit(sounds):
    path = sounds.write("a.flac", sounds.noise(0, duration_s=5, sr=44_100), 44_100)
    data = bytearray(path.read_bytes())
    data[21:26] = bytes([data[21] & 0xF0, 0, 0, 0, 0])  # STREAMINFO: length unknown, which is valid
    path.write_bytes(data)
    assert decode(path)[1].n_frames == 5 * 44_100
    assert refusal(path, DecodeConfig(max_duration_s=3)).code == "too-long"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min_duration_s": 5.0, "max_duration_s": 4.0}, "min_duration_s=5.0 exceeds"),
        ({"min_sr_hz": 50_000, "max_sr_hz": 40_000}, "min_sr_hz=50000 exceeds"),
        ({"max_duration_s": float("inf")}, "finite"),
    ],
)
def test_limits_that_nothing_can_meet_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        DecodeConfig(**settings)


# --- while it is being read ----------------------------------------------------------------------


def test_a_file_overwritten_while_it_is_read_is_refused(sounds):
    path = sounds.write("a.wav", sounds.noise(0, duration_s=8), subtype="FLOAT")
    with AudioStream(os.open(path, os.O_RDONLY), SHORT) as stream:
        blocks = stream.blocks()
        next(blocks)
        path.write_bytes(path.read_bytes())
        with pytest.raises(DecodeError, match="while it was read") as caught:
            list(blocks)
    assert caught.value.code == "changed-while-reading"


def test_a_file_replaced_while_it_is_read_gives_the_old_one(sounds):
    y = sounds.noise(0, duration_s=8)
    path = sounds.write("a.wav", y, subtype="FLOAT")
    other = sounds.write("b.wav", sounds.tone(duration_s=8), subtype="FLOAT")
    with AudioStream(os.open(path, os.O_RDONLY), SHORT) as stream:
        blocks = stream.blocks()
        first = next(blocks)
        other.replace(path)
        assert np.array_equal(np.concatenate([first, *blocks]), y)


def test_a_file_that_is_not_the_one_scanned_is_refused(sounds):
    path = sounds.write("a.wav", sounds.noise(0))
    seen = path.stat()
    with path.open("rb") as file:
        check_unchanged(file.fileno(), seen.st_size, seen.st_mtime_ns)
        with pytest.raises(DecodeError, match="the scan saw 7 bytes") as caught:
            check_unchanged(file.fileno(), 7, seen.st_mtime_ns)
        with pytest.raises(DecodeError, match="modification time differs"):
            check_unchanged(file.fileno(), seen.st_size, seen.st_mtime_ns + 1)
    assert caught.value.code == "changed-while-reading"


def test_errors_of_the_disk_are_not_blamed_on_the_file(sounds):
    path = sounds.write("a.flac", sounds.noise(0, duration_s=8))
    write_only = os.open(path, os.O_WRONLY)
    with pytest.raises(DecodeError, match="reading failed") as caught:
        AudioStream(write_only, SHORT)
    assert caught.value.code == "read-error"
    descriptor, write_only = os.open(path, os.O_RDONLY), os.open(path, os.O_WRONLY)
    with AudioStream(descriptor, SHORT) as stream:
        blocks = stream.blocks()
        next(blocks)
        os.dup2(write_only, descriptor)  # from here on every read of the decoder fails
        with pytest.raises(DecodeError) as caught:
            list(blocks)
    os.close(write_only)
    assert caught.value.code == "read-error"


def test_descriptors_do_not_leak(sounds):
    path = sounds.write("a.ogg", sounds.noise(0))
    before = open_descriptors()
    for _ in range(3):
        decode(path)
    stream = AudioStream(os.open(path, os.O_RDONLY), SHORT)
    stream.close()
    stream.close()
    assert open_descriptors() == before


# --- any damage at all ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["WAV", "AIFF", "FLAC", "OGG", "MP3", "CAF"])
@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_any_damage_ends_in_sound_or_in_a_reason(sounds, capfd, kind, data):
    whole = sounds.write("whole", sounds.noise(0, duration_s=0.4), format=kind).read_bytes()
    mutant = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(mutant) - 1))
        mutant[at : at + data.draw(st.integers(0, 8))] = data.draw(st.binary(max_size=8))
    path = sounds.folder / "mutant"
    path.write_bytes(mutant)
    try:
        y, _ = decode(path)
    except DecodeError as error:
        assert error.code in FAILURE_CODES  # noqa: PT017 - sound is as good an end
    else:
        assert np.isfinite(y).all()
    capfd.readouterr()  # mpg123 writes notes to stderr


def test_a_decompression_bomb_needs_little_memory(sounds):
    # Ten minutes of silence: 1.5 kB of FLAC per minute, 106 MB of samples.
    path = sounds.write("a.flac", np.zeros(600 * 44_100, np.float32), 44_100)
    program = (
        "import os, resource, sys\n"
        "from musichash_core.decode import AudioStream, DecodeConfig\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "with AudioStream(os.open(sys.argv[1], os.O_RDONLY), DecodeConfig()) as stream:\n"
        "    n_samples = sum(len(block) for block in stream.blocks())\n"
        "print(n_samples, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    printed = subprocess.run(
        [sys.executable, "-c", program, path], capture_output=True, text=True, check=True
    )
    n_samples, grown_kib = map(int, printed.stdout.split())
    assert n_samples == 600 * 44_100
    assert grown_kib < 20_000
