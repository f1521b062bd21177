"""Headers of WavPack, TTA and DSF put together by hand, after their own specifications."""

import os
import struct
import zlib

import pytest

from musichash_core.decode.ffmpeg.file_window import FileWindow
from musichash_core.decode.ffmpeg.lossless_headers import check_dsf, check_tta, check_wavpack
from musichash_core.errors import DecodeError

ALL_CHANNELS = 0x1800  # first and last block of its frames


def wavpack(first, n_frames, total, *, flags=ALL_CHANNELS, n_bytes=100):
    head = struct.pack(
        "<4sIHBBIIIII", b"wvpk", 24 + n_bytes, 0x410, 0, 0, total, first, n_frames, flags, 0
    )
    return head + bytes(n_bytes)


def tta(n_frames, sr=44_100, *, kind=1, n_bytes=90):
    packet_frames = 256 * sr // 245
    n_packets = -(-n_frames // packet_frames)
    header = struct.pack("<4sHHHII", b"TTA1", kind, 2, 16, sr, n_frames)
    table = struct.pack(f"<{n_packets}I", *[n_bytes] * n_packets)
    parts = [header, table]
    body = b"".join(part + struct.pack("<I", zlib.crc32(part)) for part in parts)
    return body + bytes(n_bytes * n_packets)


def dsf(n_bits, *, n_channels=2, data_bytes=None, total=None, tag_at=0):
    n_audio = n_channels * -(-n_bits // (8 * 4096)) * 4096
    claimed = 12 + n_audio if data_bytes is None else data_bytes
    form = struct.pack(
        "<4sQIIIIIIQII", b"fmt ", 52, 1, 0, n_channels, n_channels, 2_822_400, 1, n_bits, 4096, 0
    )
    body = form + struct.pack("<4sQ", b"data", claimed) + bytes(n_audio)
    n_bytes = 28 + len(body) if total is None else total
    return struct.pack("<4sQQQ", b"DSD ", 28, n_bytes, tag_at) + body


@pytest.fixture
def check(tmp_path):
    def check_bytes(function, data, *start):
        path = tmp_path / "a"
        path.write_bytes(data)
        descriptor = os.open(path, os.O_RDONLY)
        try:
            return function(FileWindow(descriptor), *start)
        finally:
            os.close(descriptor)

    return check_bytes


def refusal(check, function, data, *start):
    with pytest.raises(DecodeError) as caught:
        check(function, data, *start)
    return caught.value


def test_wavpack_blocks_that_hold_all_frames(check):
    data = wavpack(0, 500, 1200) + wavpack(500, 500, 1200) + wavpack(1000, 200, 1200)
    assert check(check_wavpack, data, 0).length_frames == 1200
    assert check(check_wavpack, b"ID3" + data, 3).audio_end == 3 + len(data)


def test_wavpack_of_several_blocks_for_the_same_frames(check):
    data = b"".join(
        wavpack(first, 500, 1000, flags=flags) for first in (0, 500) for flags in (0x800, 0, 0x1000)
    )
    assert check(check_wavpack, data + wavpack(1000, 0, 1000), 0).length_frames == 1000


def test_wavpack_of_unknown_length(check):
    data = wavpack(0, 500, 0xFFFF_FFFF) + wavpack(500, 100, 0xFFFF_FFFF)
    assert check(check_wavpack, data, 0).length_frames == 600


def test_wavpack_without_its_last_block_is_truncated(check):
    error = refusal(check, check_wavpack, wavpack(0, 500, 1200) + wavpack(500, 500, 1200), 0)
    assert error.code == "truncated"
    assert "1000 of the 1200" in str(error)


def test_wavpack_with_a_block_left_out_is_damaged(check):
    error = refusal(check, check_wavpack, wavpack(0, 500, 1200) + wavpack(1000, 200, 1200), 0)
    assert error.code == "damaged"


def test_wavpack_cut_inside_a_block_is_truncated(check):
    data = wavpack(0, 500, 1000) + wavpack(500, 500, 1000)
    for n_bytes in (len(data) - 1, 134, 150, 170):
        assert refusal(check, check_wavpack, data[:n_bytes], 0).code == "truncated"


def test_wavpack_blocks_that_do_not_follow_each_other_are_damaged(check):
    data = wavpack(0, 500, 1000) + b"rubbish" + wavpack(500, 500, 1000)
    assert refusal(check, check_wavpack, data, 0).code == "damaged"
    assert refusal(check, check_wavpack, b"wvpk" + bytes(60), 0).code == "damaged"


@pytest.mark.parametrize("n_frames", [1, 46_080, 46_081, 100_000])
def test_tta_announces_its_frames(check, n_frames):
    facts = check(check_tta, tta(n_frames), 0)
    assert (facts.length_frames, facts.warnings) == (n_frames, ())
    assert check(check_tta, tta(n_frames) + b"TAG" + bytes(125), 0).warnings == ()
    assert check(check_tta, tta(n_frames) + b"more", 0).warnings == ("data-after-end",)


def test_every_cut_of_tta_is_truncated(check):
    whole = tta(100_000)
    for n_bytes in (10, 21, 22, 30, 37, 38, 150, len(whole) - 1):
        assert refusal(check, check_tta, whole[:n_bytes], 0).code == "truncated"


@pytest.mark.parametrize("at", [8, 12, 17, 20, 24, 33, 35])
def test_a_flipped_bit_in_the_header_or_the_table_of_tta_is_damage(check, at):
    data = bytearray(tta(100_000))
    data[at] ^= 1
    assert refusal(check, check_tta, bytes(data), 0).code == "damaged"


def test_tta_under_a_password_is_named(check):
    assert refusal(check, check_tta, tta(1000, kind=2), 0).code == "unsupported-format"


def test_a_seek_table_of_gigabytes_is_not_read(check):
    header = struct.pack("<4sHHHII", b"TTA1", 1, 2, 16, 1, 0xFFFF_FFFF)
    data = header + struct.pack("<I", zlib.crc32(header)) + bytes(100)
    assert refusal(check, check_tta, data, 0).code == "truncated"


@pytest.mark.parametrize("n_bits", [8, 32_768, 32_776, 100_000])
def test_dsf_announces_its_frames(check, n_bits):
    assert check(check_dsf, dsf(n_bits)).length_frames == n_bits // 8


def test_every_cut_of_dsf_is_truncated(check):
    whole = dsf(100_000)
    for n_bytes in (20, 28, 79, 80, 91, 5000, len(whole) - 1):
        assert refusal(check, check_dsf, whole[:n_bytes]).code == "truncated"


@pytest.mark.parametrize(
    "sizes",
    [{"total": 1 << 40}, {"data_bytes": 1 << 40}, {"data_bytes": 4108}, {"tag_at": 1 << 40}],
)
def test_sizes_that_the_dsf_file_does_not_have_are_truncated(check, sizes):
    assert refusal(check, check_dsf, dsf(100_000, **sizes)).code == "truncated"


def test_dsf_without_its_chunks_is_damaged(check):
    for at in (28, 80):
        data = bytearray(dsf(1000))
        data[at] ^= 1
        assert refusal(check, check_dsf, bytes(data)).code == "damaged"
