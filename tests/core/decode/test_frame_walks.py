"""Frames of bare streams put together by hand, after ISO/IEC 13818-7 and ATSC A/52."""

import os

import pytest

from musichash_core.decode.ffmpeg.file_window import FileWindow
from musichash_core.decode.ffmpeg.frame_walks import check_ac3, check_adts
from musichash_core.errors import DecodeError


def adts(n_bytes=200, *, rate_index=4, n_blocks=1):
    """Give a frame of AAC LC, stereo; index 4 means 44.1 kHz."""
    return bytes(
        [
            0xFF,
            0xF1,
            1 << 6 | rate_index << 2,
            2 << 6 | n_bytes >> 11,
            (n_bytes >> 3) & 255,
            (n_bytes & 7) << 5 | 31,
            63 << 2 | n_blocks - 1,
        ]
    ) + bytes(n_bytes - 7)


def ac3(rate_code=0, size_code=18, version=8):
    """Give a frame; codes 0 and 18 mean 48 kHz and 160 kbit/s."""
    n_words = {(0, 18): 320, (1, 18): 348, (1, 19): 349, (2, 18): 480}[rate_code, size_code]
    head = b"\x0b\x77\0\0" + bytes([rate_code << 6 | size_code, version << 3])
    return head + bytes(2 * n_words - 6)


def eac3(*, kind=0, substream=0, n_words=100, codes=0b0011, version=16):
    """Give a frame; codes 0b0011 mean 48 kHz and six blocks."""
    size = n_words - 1
    head = bytes([kind << 6 | substream << 3 | size >> 8, size & 255, codes << 4, version << 3])
    return b"\x0b\x77" + head + bytes(2 * n_words - 6)


@pytest.fixture
def walk(tmp_path):
    def walk_bytes(check, data, start=0):
        path = tmp_path / "a"
        path.write_bytes(data)
        descriptor = os.open(path, os.O_RDONLY)
        try:
            return check(FileWindow(descriptor), start)
        finally:
            os.close(descriptor)

    return walk_bytes


STREAMS = [
    (check_adts, adts(200) + adts(300) + adts(150), 3 * 1024 / 44_100),
    (check_adts, adts(200, n_blocks=4) + adts(8191), 5 * 1024 / 44_100),
    (check_adts, 2 * adts(200, rate_index=6), 2 * 1024 / 24_000),
    (check_ac3, 3 * ac3(), 3 * 1536 / 48_000),
    (check_ac3, ac3(1, 18) + ac3(1, 19), 2 * 1536 / 44_100),
    (check_ac3, 2 * ac3(2), 2 * 1536 / 32_000),
    (check_ac3, 3 * eac3(), 3 * 1536 / 48_000),
    (check_ac3, 6 * eac3(codes=0b0000), 6 * 256 / 48_000),
    (check_ac3, 2 * eac3(codes=0b1100), 2 * 1536 / 24_000),
    (check_ac3, 2 * (eac3() + eac3(kind=1) + eac3(substream=1)), 2 * 1536 / 48_000),
    (check_ac3, 2 * (ac3() + eac3(kind=1)), 2 * 1536 / 48_000),
]


@pytest.mark.parametrize(("check", "data", "length_s"), STREAMS)
def test_the_length_is_the_sum_over_the_frames(walk, check, data, length_s):
    facts = walk(check, data)
    assert facts.length_s == pytest.approx(length_s)
    assert facts.audio_end == len(data)
    assert walk(check, b"ID3" + data, 3).length_s == pytest.approx(length_s)


@pytest.mark.parametrize(("check", "data", "length_s"), STREAMS)
@pytest.mark.parametrize(
    "rest", [b"TAG" + bytes(125), b"APETAGEX\xd0\7\0\0 \0\0\0" + bytes(16) + bytes(12), bytes(900)]
)
def test_tags_and_zeros_behind_the_last_frame_pass(walk, check, data, length_s, rest):
    facts = walk(check, data + rest)
    assert facts.length_s == pytest.approx(length_s)
    assert facts.audio_end == len(data)


@pytest.mark.parametrize(("check", "data", "length_s"), STREAMS)
def test_a_cut_inside_a_frame_is_truncated(walk, check, data, length_s):
    for n_bytes in (len(data) - 1, len(data) - 50):
        with pytest.raises(DecodeError) as caught:
            walk(check, data[:n_bytes])
        assert caught.value.code == "truncated"


@pytest.mark.parametrize(("check", "data", "length_s"), STREAMS)
def test_a_chain_that_breaks_is_damaged(walk, check, data, length_s):
    for rubbish in (b"\x01", bytes(50) + b"\x01", b"sixteen bytes or more of text"):
        with pytest.raises(DecodeError) as caught:
            walk(check, data + rubbish + data)
        assert caught.value.code == "damaged"


def test_a_change_of_rate_is_damage(walk):
    with pytest.raises(DecodeError, match="from 44100 to 24000 Hz") as caught:
        walk(check_adts, adts() + adts(rate_index=6))
    assert caught.value.code == "damaged"
