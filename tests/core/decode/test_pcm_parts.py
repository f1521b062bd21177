"""Headers of sample files, written by hand from the formats' definitions, against the file."""

import os
import struct

import numpy as np
import pytest
import soundfile

from musichash_core.decode.byte_runs import ByteRuns
from musichash_core.decode.reader import TRAILER_BYTES
from musichash_core.decode.sndfile.pcm_chunks import MAX_CHUNKS, find_audio_chunk, is_row_of_chunks
from musichash_core.decode.sndfile.pcm_parts import find_pcm_parts
from musichash_core.errors import DecodeError

SAMPLES = np.arange(100, dtype="<i2")
AUDIO = SAMPLES.tobytes()
N_BYTES = len(AUDIO)


@pytest.fixture
def find(tmp_path):
    def find(content, container="wav"):
        path = tmp_path / "file"
        path.write_bytes(content)
        descriptor = os.open(path, os.O_RDONLY)
        try:
            return find_pcm_parts(descriptor, container, len(content))
        finally:
            os.close(descriptor)

    return find


@pytest.fixture
def refuse(find):
    def refuse(content, container="wav"):
        with pytest.raises(DecodeError) as caught:
            find(content, container)
        return caught.value.code, str(caught.value)

    return refuse


def fmt(*, tag=1, n_channels=1, bits=16, align=2, extra=b""):
    body = struct.pack("<HHIIHH", tag, n_channels, 8000, 8000 * align, align, bits) + extra
    return b"fmt " + struct.pack("<I", len(body)) + body


def wav(size=N_BYTES, *, described=None, chunks=b"", audio=AUDIO):
    lead = fmt() if described is None else described
    return b"RIFF\0\0\0\0WAVE" + lead + chunks + b"data" + struct.pack("<I", size) + audio


def aiff(size=N_BYTES + 8, *, n_frames=100, coding=b""):
    rate = struct.pack(">HQ", 16_383 + 12, 8000 << 51)
    body = struct.pack(">hIh", 1, n_frames, 16) + rate + coding
    comm = b"COMM" + struct.pack(">I", len(body)) + body
    kind = b"AIFC" if coding else b"AIFF"
    return b"FORM\0\0\0\0" + kind + comm + b"SSND" + struct.pack(">IQ", size, 0) + AUDIO


def rf64(size=N_BYTES, *, in_chunk=0xFFFF_FFFF):
    ds64 = b"ds64" + struct.pack("<IQQQI", 28, 0, size, 100, 0)
    data = b"data" + struct.pack("<I", in_chunk) + AUDIO
    return b"RF64\xff\xff\xff\xffWAVE" + ds64 + fmt() + data


def w64(size=N_BYTES):
    described = b"fmt " + bytes(12) + struct.pack("<Q", 24 + 16) + fmt()[8:]
    return bytes(40) + described + b"data" + bytes(12) + struct.pack("<Q", 24 + size) + AUDIO


def caf(size=N_BYTES + 4, *, packet_bytes=2, bits=16):
    body = struct.pack(">d4sIIIII", 8000, b"lpcm", 2, packet_bytes, 1, 1, bits)
    desc = b"desc" + struct.pack(">q", len(body)) + body
    return b"caff\0\1\0\0" + desc + b"data" + struct.pack(">qI", size, 0) + AUDIO


def au(size=N_BYTES):
    return struct.pack(">4sIIIII", b".snd", 24, size, 3, 8000, 1) + AUDIO


WRITERS = [
    pytest.param(wav, "wav", 0, id="wav"),
    pytest.param(aiff, "aiff", 8, id="aiff"),
    pytest.param(rf64, "rf64", 0, id="rf64"),
    pytest.param(w64, "w64", 0, id="w64"),
    pytest.param(caf, "caf", 4, id="caf"),
    pytest.param(au, "au", 0, id="au"),
]


@pytest.mark.parametrize(("write", "container", "lead"), WRITERS)
def test_audio_as_long_as_announced_is_whole(find, write, container, lead):
    (part,) = find(write(), container).parts
    assert (part.runs, part.n_frames) == (None, 100)
    assert find(write(), container).warnings == ()


@pytest.mark.parametrize(("write", "container", "lead"), WRITERS)
def test_one_byte_less_than_announced_is_truncated(refuse, write, container, lead):
    code, message = refuse(write(lead + len(AUDIO) + 1), container)
    assert (code, "its audio would end at" in message) == ("truncated", True)


@pytest.mark.parametrize(("write", "container", "lead"), WRITERS)
def test_audio_that_ends_inside_a_frame_is_truncated(refuse, write, container, lead):
    code, message = refuse(write(lead + len(AUDIO) - 3)[:-3], container)
    assert (code, "1 bytes inside a sample frame of 2 bytes" in message) == ("truncated", True)


def test_a_padding_byte_counted_as_audio_is_harmless(find):
    assert find(wav(201, audio=AUDIO + b"\0")).parts[0].n_frames == 100


UNKNOWN = [
    *((wav, "wav", size) for size in (0, 0xFFFF_FFFF, 0x7FFF_F000, 0x7FFF_FFFF, 0x8000_0000)),
    (aiff, "aiff", 0),
    (aiff, "aiff", 0xFFFF_FFFF),
    (au, "au", 0),
    (au, "au", 0xFFFF_FFFF),
    (caf, "caf", -1),
]


@pytest.mark.parametrize(("write", "container", "size"), UNKNOWN)
def test_a_length_left_open_is_filled_in_and_all_is_decoded(tmp_path, write, container, size):
    path = tmp_path / "file"
    path.write_bytes(write(size))
    descriptor = os.open(path, os.O_RDONLY)
    found = find_pcm_parts(descriptor, container, path.stat().st_size)
    (part,) = found.parts
    assert found.warnings == ("length-unknown",)
    assert part.n_frames == 100
    source = descriptor if part.runs is None else ByteRuns(descriptor, part.runs)
    y, _ = soundfile.read(source, dtype="int16", closefd=False)
    os.close(descriptor)
    stored = np.frombuffer(AUDIO, dtype="<i2" if container in {"wav", "caf"} else ">i2")
    assert np.array_equal(y, stored)


def test_an_empty_file_with_chunks_behind_is_not_played_as_noise(find):
    chunk = b"LIST" + struct.pack("<I", 40) + b"INFOISFT" + bytes(32)
    found = find(wav(0, audio=chunk))
    assert (found.parts[0].runs, found.warnings) == (None, ())


def test_numbers_that_no_writer_leaves_are_claims(refuse):
    assert refuse(wav(4_000_000_000))[0] == "truncated"


def test_chunks_before_the_audio_are_passed_with_their_padding(find, refuse):
    odd = b"LIST" + struct.pack("<I", 5) + bytes(6)
    assert find(wav(chunks=odd)).parts[0].n_frames == 100
    assert refuse(wav(len(AUDIO) + 1, chunks=odd))[0] == "truncated"


CHUNK = b"LIST" + struct.pack("<I", 40) + bytes(40)


@pytest.mark.parametrize("rest", [b"", b"\0", CHUNK, CHUNK * 3, b"TAG" + bytes(125), bytes(50)])
def test_chunks_and_tags_behind_the_audio_belong_there(find, rest):
    assert find(wav() + rest).warnings == ()


def test_chunks_may_follow_an_odd_length_without_padding(find):
    described = fmt(bits=8, align=1)
    for padding in (b"", b"\0"):
        found = find(wav(199, described=described, audio=AUDIO[:199]) + padding + CHUNK * 300)
        assert (found.parts[0].n_frames, found.warnings) == (199, ())


def test_what_is_no_chunk_behind_the_audio_is_marked_and_much_of_it_refused(find, refuse):
    assert find(wav() + b"\1" * TRAILER_BYTES).warnings == ("data-after-end",)
    code, message = refuse(wav() + b"\1" * (TRAILER_BYTES + 1))
    assert (code, "so audio may be among them" in message) == ("damaged", True)


@pytest.mark.parametrize(
    ("described", "code", "message"),
    [
        (fmt(bits=17), "damaged", "17 bits per sample"),
        (fmt(bits=20, align=3), "damaged", "20 bits per sample"),
        (fmt(bits=0), "damaged", "0 bits per sample"),
        (fmt(align=4), "damaged", "4 bytes per sample frame, and 1 channels of 16 bits"),
        (fmt(n_channels=2, align=2), "damaged", "which need 4"),
        (fmt(tag=0x2000), "unsupported-format", "coding AC-3 (format tag 0x2000)"),
        (fmt(tag=0x55, bits=0, align=1), "unsupported-format", "coding MP3"),
        (fmt(tag=0x9999), "unsupported-format", "coding unknown (format tag 0x9999)"),
        (b"", "damaged", "does not lead to any audio"),
    ],
)
def test_codings_that_contradict_themselves_or_are_not_decoded(refuse, described, code, message):
    audio = wav(described=described) if described else b"RIFF\0\0\0\0WAVE" + fmt()
    assert refuse(audio)[0] == code
    assert message in refuse(audio)[1]


def test_the_sub_format_of_an_extensible_header_counts(find, refuse):
    def extensible(tag):
        guid = struct.pack("<H", tag) + bytes.fromhex("000000001000800000aa00389b71")
        return wav(described=fmt(tag=0xFFFE, extra=struct.pack("<HHI", 22, 16, 0) + guid))

    assert find(extensible(1)).parts[0].n_frames == 100
    assert "coding AC-3" in refuse(extensible(0x2000))[1]


def test_blocks_of_adpcm_are_counted_in_full(find):
    # 32 bits are too few for this product: libsndfile 1.2.2 announces 4,128,704 frames.
    described = fmt(tag=0x11, bits=4, align=1, extra=struct.pack("<HH", 2, 65_535))
    (part,) = find(wav(65_600, described=described, audio=bytes(65_600))).parts
    assert part.n_frames == 65_535 * 65_600


def test_aiff_says_its_length_twice(find, refuse):
    code, message = refuse(aiff(n_frames=101), "aiff")
    assert (code, "announces 101 frames" in message) == ("truncated", True)
    found = find(aiff(n_frames=50), "aiff")
    assert (found.parts[0].n_frames, found.warnings) == (100, ("header-lies",))


def test_codings_of_aifc_are_named(find, refuse):
    assert find(aiff(coding=b"sowt\0\0"), "aiff").parts[0].n_frames == 100
    code, message = refuse(aiff(coding=b"MAC3\0\0"), "aiff")
    assert (code, "'MAC3'" in message) == ("unsupported-format", True)


def test_caf_that_contradicts_itself_is_refused(refuse):
    assert refuse(caf(packet_bytes=3), "caf")[0] == "damaged"
    assert refuse(caf(bits=12), "caf")[0] == "damaged"


@pytest.mark.timeout(5)
def test_a_hostile_row_of_chunks_is_not_followed_for_ever(tmp_path):
    path = tmp_path / "file"
    for content, container in [
        (bytes(12) + bytes(8) * (MAX_CHUNKS * 100), "wav"),
        (bytes(8) + b"free" + struct.pack(">q", -20) + bytes(100), "caf"),
        (bytes(40) + bytes(200), "w64"),
    ]:
        path.write_bytes(content)
        descriptor = os.open(path, os.O_RDONLY)
        assert find_audio_chunk(descriptor, container, len(content)) is None
        os.close(descriptor)
    path.write_bytes((b"aaaa" + bytes(4)) * (MAX_CHUNKS * 100))
    descriptor = os.open(path, os.O_RDONLY)
    assert not is_row_of_chunks(descriptor, "wav", 0, path.stat().st_size)
    os.close(descriptor)


def test_real_files_are_complete(find, music_root):
    for path in sorted(music_root.rglob("*.wav")) + sorted(music_root.rglob("*.aiff")):
        found = find(path.read_bytes(), path.suffix[1:])
        assert found.parts[0].n_frames == soundfile.info(path).frames
        assert found.warnings == ()
