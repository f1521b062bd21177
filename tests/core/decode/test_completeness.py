"""Announced against found: headers written by hand, from the formats' definitions."""

import os
import struct

import pytest
import soundfile

from musichash_core.decode.completeness import (
    MAX_CHUNKS,
    SLACK_S,
    TRAILER_BYTES,
    check_complete,
)
from musichash_core.decode.reader import UNKNOWN_FRAMES
from musichash_core.errors import DecodeError

AUDIO = bytes(200)


@pytest.fixture
def check(tmp_path):
    def check(content, container, *, claimed=1000, decoded=1000, at_end=True):
        path = tmp_path / "file"
        path.write_bytes(content)
        descriptor = os.open(path, os.O_RDONLY)
        try:
            if at_end:
                os.lseek(descriptor, 0, os.SEEK_END)
            return check_complete(descriptor, container, claimed, decoded, sr=1000)
        finally:
            os.close(descriptor)

    return check


def wav(size, *, chunks=b""):
    return b"RIFF\0\0\0\0WAVE" + chunks + b"data" + struct.pack("<I", size) + AUDIO


def aiff(size):
    return (
        b"FORM\0\0\0\0AIFF"
        + b"COMM"
        + struct.pack(">I", 18)
        + bytes(18)
        + b"SSND"
        + (struct.pack(">I", size) + AUDIO)
    )


def rf64(size, *, in_chunk=0xFFFF_FFFF):
    ds64 = b"ds64" + struct.pack("<IQQQI", 28, 0, size, 50, 0)
    return b"RF64\xff\xff\xff\xffWAVE" + ds64 + b"data" + struct.pack("<I", in_chunk) + AUDIO


def w64(size):
    fmt = b"fmt " + bytes(12) + struct.pack("<Q", 24 + 18) + bytes(18 + 6)  # padded to 8 bytes
    return bytes(40) + fmt + b"data" + bytes(12) + struct.pack("<Q", 24 + size) + AUDIO


def caf(size):
    desc = b"desc" + struct.pack(">q", 32) + bytes(32)
    return b"caff\0\1\0\0" + desc + b"data" + struct.pack(">q", size) + AUDIO


def au(size):
    return struct.pack(">4sIIIII", b".snd", 24, size, 3, 44_100, 1) + AUDIO


HEADERS = [
    (wav, "wav"),
    (aiff, "aiff"),
    (rf64, "rf64"),
    (w64, "w64"),
    (caf, "caf"),
    (au, "au"),
]


@pytest.mark.parametrize(("header", "container"), HEADERS)
def test_audio_as_long_as_announced_is_whole(check, header, container):
    assert check(header(len(AUDIO)), container) == ()
    assert check(header(len(AUDIO) - 1), container) == ()
    assert check(header(len(AUDIO)) + b"LIST" + bytes(40), container) == ()


@pytest.mark.parametrize(("header", "container"), HEADERS)
def test_one_byte_less_than_announced_is_truncated(check, header, container):
    with pytest.raises(DecodeError, match="its audio would end at") as caught:
        check(header(len(AUDIO) + 1), container)
    assert caught.value.code == "truncated"


@pytest.mark.parametrize(
    ("content", "container"),
    [
        *((wav(size), "wav") for size in (0, 0xFFFF_FFFF, 0x7FFF_F000, 0x7FFF_FFFF)),
        (aiff(0x7F00_0000), "aiff"),
        (rf64(0, in_chunk=0), "rf64"),
        (caf(-1), "caf"),
        (au(0xFFFF_FFFF), "au"),
    ],
)
def test_the_lengths_that_writers_to_a_pipe_leave_say_nothing(check, content, container):
    assert check(content, container) == ()


def test_chunks_before_the_audio_are_passed_with_their_padding(check):
    odd = b"LIST" + struct.pack("<I", 5) + bytes(6)
    assert check(wav(len(AUDIO), chunks=odd), "wav") == ()
    with pytest.raises(DecodeError, match="its audio would end at"):
        check(wav(len(AUDIO) + 1, chunks=odd), "wav")


@pytest.mark.timeout(5)
def test_a_hostile_row_of_chunks_is_not_followed_for_ever(check):
    assert check(bytes(12) + bytes(8) * (MAX_CHUNKS * 100), "wav") == ()
    assert check(bytes(8) + b"free" + struct.pack(">q", -20) + bytes(100), "caf") == ()
    assert check(bytes(40) + bytes(200), "w64") == ()


def test_a_header_without_audio_says_nothing(check):
    assert check(b"RIFF\0\0\0\0WAVE", "wav") == ()


@pytest.mark.parametrize("container", ["mp3"])
def test_a_little_less_than_the_header_estimates_is_marked_and_much_less_refused(check, container):
    assert check(b"x", container, claimed=1000, decoded=1000) == ()
    slack = int(SLACK_S * 1000)
    assert check(b"x", container, claimed=2000, decoded=2000 - slack) == ("length-differs",)
    with pytest.raises(DecodeError, match="1499 frames decoded, the header announces 2000"):
        check(b"x", container, claimed=2000, decoded=2000 - slack - 1)


@pytest.mark.parametrize("container", ["flac", "wav"])
def test_exact_headers_allow_nothing_to_be_missing(check, container):
    with pytest.raises(DecodeError, match="999 frames decoded"):
        check(wav(len(AUDIO)), container, claimed=1000, decoded=999)


def test_an_unknown_length_is_no_claim(check):
    assert check(b"x", "flac", claimed=UNKNOWN_FRAMES, decoded=5) == ()
    assert check(b"x", "mp3", claimed=(1 << 63) - 1, decoded=5) == ()


def test_more_than_the_header_estimates_is_fine(check):
    assert check(b"x", "mp3", claimed=900, decoded=1000) == ()


@pytest.mark.parametrize("container", ["mp3", "flac"])
def test_much_behind_the_end_of_a_stream_is_marked(check, container):
    assert check(bytes(TRAILER_BYTES), container, at_end=False) == ()
    assert check(bytes(TRAILER_BYTES + 1), container, at_end=False) == ("data-after-end",)


def test_real_files_are_complete(check, music_root):
    for path in sorted(music_root.rglob("*.wav")) + sorted(music_root.rglob("*.aiff")):
        n_frames = soundfile.info(path).frames
        container = path.suffix[1:]
        assert check(path.read_bytes(), container, claimed=n_frames, decoded=n_frames) == ()
