"""The walk over MPEG frames: counts against FFmpeg's demuxer, places by construction."""

import io
import os

import av
import pytest

from musichash_core.decode.sndfile.mpeg_walk import (
    MAX_GAPS,
    MAX_STREAMS,
    WINDOW_BYTES,
    walk_mpeg_frames,
)
from musichash_core.errors import DecodeError

HEADER = bytes.fromhex("fffb9064")  # MPEG-1 layer III, 128 kbit/s, 44.1 kHz, stereo: 417 bytes
FRAME = HEADER + bytes(413)
WIDER = bytes.fromhex("fffba064") + bytes(518)  # 160 kbit/s: 522 bytes
MONO = bytes.fromhex("fffb90c4") + bytes(413)
OTHER_RATE = bytes.fromhex("fffb9464") + bytes(380)  # 48 kHz: 384 bytes
XING = HEADER + bytes(32) + b"Xing\0\0\0\1\0\0\0\5" + bytes(417 - 48)
ID3V1 = b"TAG" + bytes(125)
ID3V2 = b"ID3\4\0\0\0\0\1\0" + bytes(128)
APE_FOOTER = b"APETAGEX" + bytes.fromhex("d0070000 d0070000 01000000 00000080") + bytes(8)


@pytest.fixture
def walk(tmp_path):
    def walk(content):
        path = tmp_path / "a.mp3"
        path.write_bytes(content)
        descriptor = os.open(path, os.O_RDONLY)
        try:
            return walk_mpeg_frames(descriptor, len(content))
        finally:
            os.close(descriptor)

    return walk


def test_a_plain_row_of_frames_is_one_run(walk):
    found = walk(FRAME * 10)
    (stream,) = found.streams
    assert (stream.n_frames, stream.runs, stream.encoder_header) == (10, [(0, 4170)], None)
    assert (stream.n_samples, stream.is_constant) == (11_520, True)
    assert (found.n_junk_bytes, found.n_trailing_bytes, found.is_last_frame_cut) == (0, 0, False)


def test_bitrates_may_vary(walk):
    (stream,) = walk(FRAME * 3 + WIDER * 4 + FRAME).streams
    assert (stream.n_frames, stream.is_constant) == (8, False)


def test_an_encoder_header_is_no_sound(walk):
    (stream,) = walk(XING + FRAME * 5).streams
    assert (stream.n_frames, stream.encoder_header.n_frames) == (5, 5)
    assert (stream.encoder_frame, stream.runs) == ((0, 417), [(417, 5 * 417)])


@pytest.mark.parametrize("second", [XING + FRAME * 5, MONO * 5, OTHER_RATE * 5])
def test_what_is_joined_on_is_a_stream_of_its_own(walk, second):
    found = walk(FRAME * 7 + second)
    assert [stream.n_frames for stream in found.streams] == [7, 5]
    assert found.n_junk_bytes == 0


@pytest.mark.parametrize("tags", [ID3V2, ID3V1, ID3V1 + ID3V2 + ID3V2])
def test_tags_before_and_between_frames_are_no_junk(walk, tags):
    found = walk(tags + FRAME * 4 + tags + FRAME * 6)
    (stream,) = found.streams
    first = len(tags)
    second = first + 4 * 417 + len(tags)
    assert stream.runs == [(first, 4 * 417), (second, 6 * 417)]
    assert (found.n_junk_bytes, found.n_trailing_bytes) == (0, 0)


LYRICS = b"LYRICSBEGIN" + bytes(89) + b"000100LYRICS200"
APE_TAG = bytes(2000) + APE_FOOTER  # the footer says 2,000 bytes, and that a header of 32 is there


@pytest.mark.parametrize("tags", [ID3V1, LYRICS, LYRICS + ID3V1, APE_TAG, APE_TAG + ID3V1])
def test_tags_behind_the_audio_are_left_out(walk, tags):
    found = walk(FRAME * 10 + tags)
    assert found.streams[0].n_frames == 10
    assert found.n_trailing_bytes == 0


def test_junk_is_counted_where_it_lies(walk):
    found = walk(bytes(100) + FRAME * 4 + b"junk" * 25 + FRAME * 6 + b"x" * 1000)
    (stream,) = found.streams
    assert stream.runs == [(100, 4 * 417), (200 + 4 * 417, 6 * 417)]
    assert (found.n_leading_bytes, found.n_junk_bytes, found.n_trailing_bytes) == (100, 100, 1000)


def test_a_flipped_header_costs_its_frame(walk):
    content = bytearray(FRAME * 20)
    content[417 * 10] ^= 0x80
    found = walk(bytes(content))
    assert (found.streams[0].n_frames, found.n_junk_bytes) == (19, 417)


@pytest.mark.parametrize("n_missing", [1, 100, 413])
def test_a_cut_last_frame_does_not_count(walk, n_missing):
    found = walk((FRAME * 10)[:-n_missing])
    assert (found.streams[0].n_frames, found.is_last_frame_cut) == (9, True)
    assert found.streams[0].runs == [(0, 9 * 417)]


def test_frames_across_the_reading_window_are_all_counted(walk):
    n_frames = 5 * WINDOW_BYTES // 2 // 417
    (stream,) = walk(FRAME * n_frames).streams
    assert (stream.n_frames, len(stream.runs)) == (n_frames, 1)


@pytest.mark.parametrize("n_bytes", [60, 417])
@pytest.mark.parametrize("before", [b"", FRAME * 5])
def test_an_encoder_header_without_any_frame_is_truncated(walk, n_bytes, before):
    with pytest.raises(DecodeError, match="announces 5 MPEG frames, and none follows") as caught:
        walk(before + XING[:n_bytes])
    assert caught.value.code == "truncated"


def test_an_older_encoder_header_before_the_valid_one_is_passed(walk):
    found = walk(XING + XING + FRAME * 5)
    assert [stream.runs for stream in found.streams] == [[(834, 5 * 417)]]
    assert found.n_leading_bytes == 417  # so libsndfile is not shown the old one


def test_free_format_is_named(walk):
    with pytest.raises(DecodeError, match="free format") as caught:
        walk((bytes.fromhex("fffb0064") + bytes(413)) * 10)
    assert caught.value.code == "unsupported-format"


@pytest.mark.parametrize("content", [b"", b"\xff", HEADER[:3], b"\xff\xfb" * 1000, bytes(5000)])
def test_what_holds_no_frame_is_damaged(walk, content):
    with pytest.raises(DecodeError, match="no frame of MPEG audio"):
        walk(content)


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"".join(FRAME * 3 + b"x" for _ in range(50_000)), "is broken 1001 times"),
        (FRAME * 3 + b"ID3\4\0\0\0\0\0\0" * 1_000_000 + FRAME, "is broken 1001 times"),
        (XING * (MAX_STREAMS + 2), "more than 1000 MPEG streams"),
        (b"\xff\xfb" * 2_000_000, "no frame"),
        (HEADER * 1_000_000, "no frame"),
    ],
    ids=["junk", "tags", "streams", "sync", "headers"],
)
def test_hostile_files_end_soon(walk, content, message):
    assert MAX_GAPS == 1000
    with pytest.raises(DecodeError, match=message):
        walk(content)


@pytest.mark.timeout(20)
def test_dense_false_headers_behind_the_audio_are_given_up(walk):
    found = walk(FRAME * 10 + b"\xff\xfb" * 2_000_000)
    assert (found.streams[0].n_frames, found.n_trailing_bytes) == (10, 4_000_000)


def test_real_music_has_as_many_frames_as_ffmpeg_finds(walk, music_root):
    paths = sorted(music_root.rglob("*.mp3"))
    assert paths
    for path in paths:
        content = path.read_bytes()
        with av.open(io.BytesIO(content), format="mp3") as container:
            n_packets = sum(packet.size > 0 for packet in container.demux())
        found = walk(content)
        assert [stream.n_frames for stream in found.streams] == [n_packets]
        assert found.n_junk_bytes == 0
