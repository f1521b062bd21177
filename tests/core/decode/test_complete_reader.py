"""Joined, chained and lying files: every sample comes out, compared with what soundfile reads."""

import io
import os
import struct

import numpy as np
import pytest
import soundfile

from musichash_core.decode import AudioStream, DecodeConfig
from musichash_core.decode.reader import TRAILER_BYTES
from musichash_core.errors import DecodeError

DOWN_MIX_ROUNDING = 2e-7  # two roundings to single precision, of values up to 1
SHORT = DecodeConfig(min_duration_s=0.01)
SR = 44_100


@pytest.fixture
def decode(tmp_path):
    def decode(content, config=SHORT):
        path = tmp_path / "sound"
        path.write_bytes(content)
        with AudioStream(os.open(path, os.O_RDONLY), config) as stream:
            y = np.concatenate([np.zeros(0, np.float32), *stream.blocks()])
        return y, stream.warnings

    return decode


@pytest.fixture
def refuse(decode):
    def refuse(content, config=SHORT):
        with pytest.raises(DecodeError) as caught:
            decode(content, config)
        return caught.value

    return refuse


def encode(kind, *, duration_s=1.0, seed=0, sr=SR, n_channels=2, **how):
    """Encode loud and quiet tenths of noise in turn, so that a variable bitrate varies."""
    n_frames = round(duration_s * sr)
    level = np.where(np.arange(n_frames) // (sr // 10) % 2, 0.2, 0.002)[:, None]
    y = level * np.random.default_rng(seed).uniform(-1, 1, (n_frames, n_channels))
    file = io.BytesIO()
    soundfile.write(file, y, sr, format=kind, **how)
    return file.getvalue()


def at_once(content):
    """What soundfile reads of a sound file, in mono."""
    return soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)[0].mean(axis=1)


def equal(y, reference):
    np.testing.assert_allclose(y, reference, atol=DOWN_MIX_ROUNDING, rtol=0)


# --- MP3 -----------------------------------------------------------------------------------------


def mp3(**how):
    return encode("MP3", **{"bitrate_mode": "VARIABLE", "n_channels": 1, **how})


def with_count(content, n_frames, flags=None):
    at = content.index(b"Xing")
    old_flags, old_count = struct.unpack_from(">II", content, at + 4)
    numbers = (flags or old_flags, old_count if n_frames is None else n_frames)
    return content[: at + 4] + struct.pack(">II", *numbers) + content[at + 12 :]


def frame_bytes(content):
    """The length of the first frame, MPEG-1 layer III at 44.1 kHz."""
    kbits = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)[content[2] >> 4]
    return 144_000 * kbits // SR + (content[2] >> 1 & 1)


def without_header(content):
    return content[frame_bytes(content) :]


@pytest.mark.parametrize("count", [0, 10, 30])
def test_an_mp3_whose_header_announces_too_little_is_decoded_to_the_end(decode, count):
    whole = mp3(duration_s=2)
    y, warnings = decode(with_count(whole, count))
    assert np.array_equal(y, at_once(whole))
    assert warnings == ("header-lies",)


def test_an_mp3_whose_header_announces_too_much_is_truncated(refuse):
    error = refuse(with_count(mp3(), 400))
    assert error.code == "truncated"
    assert "the encoder's header announces 400" in str(error)


@pytest.mark.parametrize("n_channels", [1, 2])
def test_a_variable_rate_mp3_without_a_header_is_decoded_to_the_end(decode, n_channels):
    # libsndfile guesses the length from the first frame, and stops there: here after a fraction.
    whole = mp3(duration_s=5, n_channels=n_channels)
    bare = without_header(whole)
    assert len(at_once(bare)) < 4.5 * SR
    y, warnings = decode(bare)
    assert warnings == ()
    assert abs(len(y) - 5 * SR) < 3 * 1152
    reference = at_once(whole)  # the same without the encoder's delay in front
    delay = len(y) - len(reference)
    lags = range(500, 1300)
    errors = [np.abs(y[lag : lag + SR] - reference[:SR]).max() for lag in lags]
    assert min(errors) < 1e-3 * np.abs(reference).max()
    assert 0 < lags[int(np.argmin(errors))] <= delay + 1152


def test_an_encoder_header_without_a_count_hides_nothing(decode):
    y, warnings = decode(with_count(mp3(duration_s=5), None, flags=0b1110))
    assert warnings == ()
    assert abs(len(y) - 5 * SR) < 3 * 1152


def test_ten_joined_mp3s_are_decoded_one_after_the_other(decode):
    parts = [mp3(seed=seed, duration_s=0.5 + seed / 10) for seed in range(10)]
    y, warnings = decode(b"".join(parts))
    assert np.array_equal(y, np.concatenate([at_once(part) for part in parts]))
    assert warnings == ("joined-streams",)


def test_joined_mp3s_of_other_rates_and_channels_become_those_of_the_first(decode):
    first, second = mp3(duration_s=1), mp3(duration_s=2, sr=22_050, n_channels=2)
    y, warnings = decode(first + second)
    assert warnings == ("joined-streams",)
    equal(y[:SR], at_once(first))
    assert abs(len(y) - 3 * SR) <= 2
    halves = y[SR : SR + 2 * (len(y[SR:]) // 2) : 2]  # back at 22,050 Hz, without a filter
    reference = at_once(second)[: len(halves)]
    assert np.corrcoef(halves, reference[: len(halves)])[0, 1] > 0.999


def test_a_joined_mp3_that_is_cut_is_truncated(refuse):
    whole = mp3(duration_s=3)
    assert refuse(whole + whole[: len(whole) // 2]).code == "truncated"


def test_a_little_junk_between_frames_is_marked_and_much_refused(decode, refuse):
    whole = mp3(duration_s=5, bitrate_mode="CONSTANT")
    at = whole.index(whole[:2], len(whole) // 2)
    y, warnings = decode(whole[:at] + bytes(100) + whole[at:])
    assert len(y) == 5 * SR
    assert warnings == ("junk-skipped",)
    assert refuse(whole[:at] + bytes(20_000) + whole[at:]).code == "damaged"


def test_what_lies_behind_the_last_frame_is_marked_when_it_is_much(decode):
    whole = mp3()
    noise = np.random.default_rng(0).bytes(TRAILER_BYTES + 1)
    assert decode(whole + noise[:1000])[1] == ()
    assert decode(whole + noise)[1] == ("data-after-end",)


def test_an_mp3_without_header_that_ends_inside_a_frame_is_marked(decode):
    assert decode(without_header(mp3())[:-10])[1] == ("last-frame-cut",)


def test_free_format_is_refused_by_name(refuse):
    error = refuse((bytes.fromhex("fffb0064") + bytes(413)) * 100)
    assert (error.code, "free format" in str(error)) == ("unsupported-format", True)


# --- Ogg -----------------------------------------------------------------------------------------


def ogg(subtype="VORBIS", **how):
    return encode("OGG", subtype=subtype, **how)


@pytest.mark.parametrize("subtypes", [("VORBIS", "VORBIS", "VORBIS"), ("OPUS", "OPUS")])
def test_every_link_of_a_chain_is_decoded(decode, subtypes):
    parts = [ogg(name, seed=n, sr=48_000) for n, name in enumerate(subtypes)]
    y, warnings = decode(b"".join(parts))
    equal(y, np.concatenate([at_once(part) for part in parts]))
    assert warnings == ("chained-streams",)


def test_links_may_have_other_codecs_and_channels(decode):
    parts = [ogg("VORBIS", sr=48_000), ogg("OPUS", sr=48_000, n_channels=1)]
    y, _ = decode(b"".join(parts))
    equal(y, np.concatenate([at_once(part) for part in parts]))


def test_rates_too_far_apart_are_refused(refuse):
    error = refuse(ogg(sr=96_000) + ogg(sr=4000))
    assert (error.code, "a stream of 4000 Hz is joined" in str(error)) == ("damaged", True)


def test_damage_in_the_second_link_is_found_before_anything_is_decoded(refuse):
    whole = ogg()
    assert refuse(whole + whole[:-20]).code == "truncated"
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    assert refuse(whole + flipped).code == "damaged"


def pages_of(content):
    at = 0
    while at < len(content):
        body = at + 27 + content[at + 26]
        end = body + sum(content[at + 27 : body])
        yield content[at:end]
        at = end


def page(sequence, body, *, flags=0, serial=77):
    table = bytes([255] * (len(body) // 255) + [len(body) % 255])
    head = struct.pack("<4sBBqII", b"OggS", 0, flags, 0, serial, sequence)
    tail = bytes([len(table)]) + table + body
    crc = 0
    for byte in head + bytes(4) + tail:
        crc ^= byte << 24
        for _ in range(8):
            crc = ((crc << 1) ^ (0x04C1_1DB7 if crc & 0x8000_0000 else 0)) & 0xFFFF_FFFF
    return head + struct.pack("<I", crc) + tail


THEORA = page(0, b"\x80theora" + bytes(35), flags=2)


def test_sound_beside_a_picture_is_decoded(decode):
    sound = ogg()
    first, *others = pages_of(sound)
    mixed = [THEORA, page(0, b"fishead\0" + bytes(56), flags=2, serial=99), first]
    for number, other in enumerate(others, 1):
        mixed += [page(number, bytes(300)), other]
    y, warnings = decode(b"".join(mixed) + page(1, b"", flags=4, serial=99))
    equal(y, at_once(sound))
    assert warnings == ()


def test_ogg_without_sound_is_named(refuse):
    error = refuse(THEORA + page(1, bytes(100), flags=4))
    assert error.code == "unsupported-format"
    assert "the Ogg streams are Theora video" in str(error)


# --- FLAC ----------------------------------------------------------------------------------------


def flac(subtype="PCM_16", **how):
    return encode("FLAC", subtype=subtype, **how)


def with_total(content, n_frames):
    (packed,) = struct.unpack_from(">Q", content, 18)
    packed = packed >> 36 << 36 | n_frames
    return content[:18] + struct.pack(">Q", packed) + content[26:]


@pytest.mark.parametrize("sizes", [(1, 1), (1, 2), (2, 1), (1, 1, 1)])
@pytest.mark.parametrize("tag", [b"", b"ID3\4\0\0\0\0\1\0" + bytes(128)])
def test_joined_flacs_are_decoded_one_after_the_other(decode, sizes, tag):
    parts = [flac(seed=n, duration_s=size) for n, size in enumerate(sizes)]
    y, warnings = decode(tag + b"".join(parts))
    equal(y, np.concatenate([at_once(part) for part in parts]))
    assert warnings == ("joined-streams",)


def test_a_flac_that_announces_too_little_is_decoded_to_the_end(decode):
    whole = flac(duration_s=2)
    y, warnings = decode(with_total(whole, 1000))
    equal(y, at_once(whole))
    assert warnings == ("header-lies",)
    y, warnings = decode(with_total(whole, 1000) + with_total(whole, 0))
    equal(y, np.concatenate([at_once(whole), at_once(whole)]))
    assert warnings == ("header-lies", "joined-streams")


@pytest.mark.parametrize("total", [2 * SR + 1, 10 * SR, 2**36 - 1])
def test_a_flac_that_announces_too_much_is_truncated_whatever_the_limit(refuse, total):
    error = refuse(with_total(flac(duration_s=2), total))
    assert (error.code, "the last FLAC frame ends at 88200" in str(error)) == ("truncated", True)


def test_a_flac_of_unknown_length_is_whole(decode):
    whole = flac(duration_s=2)
    for tag in (b"", b"TAG" + bytes(125)):
        y, warnings = decode(with_total(whole, 0) + tag)
        equal(y, at_once(whole))
        assert warnings == ()


@pytest.mark.parametrize("subtype", ["PCM_S8", "PCM_16", "PCM_24"])
@pytest.mark.parametrize("n_channels", [1, 2, 5])
def test_the_md5_of_the_samples_is_compared(decode, refuse, subtype, n_channels):
    whole = flac(subtype, n_channels=n_channels)
    equal(decode(whole)[0], at_once(whole))
    wrong = bytearray(whole)
    wrong[26] ^= 1
    error = refuse(bytes(wrong))
    assert (error.code, "do not match the MD5" in str(error)) == ("damaged", True)
    assert decode(whole[:26] + bytes(16) + whole[42:])[1] == ()  # none was computed


def test_junk_behind_a_flac_is_marked_when_it_is_much(decode):
    whole = flac()
    noise = np.random.default_rng(0).bytes(20 * TRAILER_BYTES)  # the decoder reads ahead
    assert decode(whole + noise)[1] == ("data-after-end",)


def test_real_flac_is_whole(decode, music_root):
    for path in sorted(music_root.rglob("*.flac")):
        y, warnings = decode(path.read_bytes())
        equal(y, at_once(path.read_bytes()))
        assert warnings == ()
