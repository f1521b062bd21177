"""Tags: written by libsndfile, by FFmpeg and by hand; read the same, and never a danger."""

import os
import struct
import time
import tracemalloc

import av
import numpy as np
import pytest
import soundfile

from musichash_core.decode.sniffing import find_container
from musichash_core.decode.tags import (
    MAX_READ_BYTES,
    MAX_TEXT_CHARACTERS,
    AudioTags,
    read_tags,
    tags_from_metadata,
)

FULL = AudioTags("Für Elise №5", "Ludwig van B.", "Bagatelles 日本", "Classical", 1810)
HOSTILE_S = 5.0
"""CPU seconds; a reader that compares every field with all others takes minutes for such files."""


def tags_of(path):
    descriptor = os.open(path, os.O_RDONLY)
    try:
        found = read_tags(descriptor, find_container(descriptor))
        assert os.lseek(descriptor, 0, os.SEEK_CUR) == 0
    finally:
        os.close(descriptor)
    return found


@pytest.fixture
def bare(sounds):
    """Write a second of sound without tags."""
    return lambda name, **how: sounds.write(name, sounds.tone(duration_s=1.0), **how)


# --- written by libsndfile ---


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("x.flac", {}),
        ("x.ogg", {}),
        ("x.opus", {"format": "OGG", "subtype": "OPUS", "sr": 48_000}),
        ("x.wav", {}),
    ],
)
def test_tags_that_libsndfile_writes_are_read(tmp_path, name, how):
    sr = how.pop("sr", 44_100)
    with soundfile.SoundFile(tmp_path / name, "w", sr, 1, **how) as file:
        file.title, file.artist, file.album = FULL.title, FULL.artist, FULL.album
        file.genre, file.date = FULL.genre, "1810-04-27"
        file.write(np.zeros(sr))
    assert tags_of(tmp_path / name) == FULL


def test_the_title_and_author_of_an_aiff_file_are_read(tmp_path):
    with soundfile.SoundFile(tmp_path / "x.aiff", "w", 44_100, 1) as file:
        file.title, file.artist = "Title", "Artist"
        file.write(np.zeros(44_100))
    assert tags_of(tmp_path / "x.aiff") == AudioTags(title="Title", artist="Artist")


# --- written by FFmpeg ---


def write_with_ffmpeg(path, codec, metadata, **options):
    with av.open(str(path), "w", options=options) as output:
        output.metadata.update(metadata)
        stream = output.add_stream(codec, rate=48_000, layout="stereo")
        stream.bit_rate = 128_000
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, 2 * 48_000), np.int16), format="s16", layout="stereo"
        )
        frame.sample_rate, frame.pts = 48_000, 0
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))


AS_FFMPEG = {
    "title": FULL.title,
    "artist": FULL.artist,
    "album": FULL.album,
    "genre": FULL.genre,
    "date": "1810",
}


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("x.mp3", "libmp3lame", {"id3v2_version": "3"}),
        ("x.mp3", "libmp3lame", {"id3v2_version": "4"}),
        ("x.m4a", "aac", {}),
        ("x.m4a", "alac", {"movflags": "faststart"}),
        ("x.flac", "flac", {}),
        ("x.opus", "libopus", {}),
        ("x.wma", "wmav2", {}),
        ("x.aiff", "pcm_s16be", {"write_id3v2": "1"}),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value.values()) or "-",
)
def test_tags_that_ffmpeg_writes_are_read(tmp_path, name, codec, options):
    path = tmp_path / name
    write_with_ffmpeg(path, codec, AS_FFMPEG, **options)
    assert tags_of(path) == FULL


def test_metadata_that_ffmpeg_gives_is_taken_in_any_case(tmp_path):
    write_with_ffmpeg(tmp_path / "x.mka", "flac", AS_FFMPEG)
    with av.open(str(tmp_path / "x.mka")) as container:
        metadata = dict(container.metadata)
    assert "DATE" in metadata  # Matroska's way of writing
    assert tags_from_metadata(metadata) == FULL
    assert tags_of(tmp_path / "x.mka") == AudioTags()  # no container of this reader's


# --- written by hand ---


def synchsafe(number):
    return bytes((number >> shift) & 0x7F for shift in (21, 14, 7, 0))


def id3v2(version, *frames, flags=0):
    """An ID3v2.3 or v2.4 tag, by https://id3.org/id3v2.3.0 and https://id3.org/id3v2.4.0-structure."""
    body = b""
    for name, content in frames:
        size = len(content)
        coded = synchsafe(size) if version == 4 else struct.pack(">I", size)
        body += name + coded + b"\0\0" + content
    body += bytes(64)
    return b"ID3" + bytes([version, 0, flags]) + synchsafe(len(body)) + body


def id3v1(title, artist, album, year, genre):
    fields = [text.encode("latin-1").ljust(30, b"\0") for text in (title, artist, album)]
    return b"TAG" + b"".join(fields) + year.encode() + bytes(30) + bytes([genre])


@pytest.fixture
def mp3(bare, tmp_path):
    """Write an MP3 file with bytes before and after the audio."""

    def write(before=b"", after=b""):
        path = tmp_path / "tagged.mp3"
        path.write_bytes(before + bare("bare.mp3").read_bytes() + after)
        return path

    return write


def utf16(text):
    return b"\x01" + text.encode("utf-16")


def test_id3v2_3_with_utf_16_and_a_genre_by_number(mp3):
    before = id3v2(
        3,
        (b"TIT2", utf16("Für Elise")),
        (b"TPE1", b"\0Ludwig van B\xfclow"),
        (b"TALB", utf16("日本")),
        (b"TCON", b"\0(17)"),
        (b"TYER", b"\x001998"),
        (b"APIC", b"\0image/png\0\3\0" + bytes(100_000)),
    )
    assert tags_of(mp3(before)) == AudioTags("Für Elise", "Ludwig van Bülow", "日本", "Rock", 1998)


def test_id3v2_4_with_utf_8_and_a_whole_date(mp3):
    before = id3v2(
        4,
        (b"APIC", b"\0image/png\0\3\0" + bytes(100_000)),
        (b"TIT2", b"\x03" + "Für Elise".encode()),
        (b"TCON", b"\x0317"),
        (b"TDRC", b"\x032004-05-01T12:00:00"),
    )
    assert tags_of(mp3(before)) == AudioTags(title="Für Elise", genre="Rock", year=2004)


def test_of_several_values_the_first_counts_and_a_year_may_be_called_year(bare, tmp_path):
    comments = [b"TITLE=First", b"title=Second", b"YEAR=2009", b"ARTIST=A", b"X=Y"]
    content = bare("bare.flac").read_bytes()
    path = tmp_path / "x.flac"
    block = vorbis_comment(comments)
    path.write_bytes(content[:42] + b"\x04" + len(block).to_bytes(3, "big") + block + content[42:])
    assert tags_of(path) == AudioTags(title="First", artist="A", year=2009)


def test_id3v1_at_the_end_is_read_and_yields_to_id3v2(mp3):
    after = id3v1("Fifteen", "Old Player", "Old Album", "1959", 8)
    assert tags_of(mp3(after=after)) == AudioTags(
        "Fifteen", "Old Player", "Old Album", "Jazz", 1959
    )
    both = tags_of(mp3(id3v2(3, (b"TIT2", b"\0The Longer Title")), after))
    assert both == AudioTags("The Longer Title", "Old Player", "Old Album", "Jazz", 1959)


def test_an_id3_tag_before_flac_is_read_too(bare, tmp_path):
    path = tmp_path / "x.flac"
    path.write_bytes(id3v2(3, (b"TIT2", b"\0In Front")) + bare("bare.flac").read_bytes())
    assert tags_of(path) == AudioTags(title="In Front")


def chunk(name, content):
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def test_list_info_behind_the_samples_of_a_wav_file_is_read(bare):
    path = bare("x.wav")
    info = (
        b"INFO" + chunk(b"INAM", b"Title\0") + chunk(b"IART", b"Artist") + chunk(b"ICRD", b"1999")
    )
    content = path.read_bytes() + chunk(b"LIST", info)
    path.write_bytes(content[:4] + struct.pack("<I", len(content) - 8) + content[8:])
    assert tags_of(path) == AudioTags(title="Title", artist="Artist", year=1999)


# --- odd values ---


@pytest.mark.parametrize(
    ("text", "year"),
    [
        ("2004", 2004),
        ("2004-05-01", 2004),
        ("20040501", 2004),
        ("2004-05-01T07:00:00Z", 2004),
        ("1 May 2004", 2004),
        ("05/01/2004", 2004),
        (" 1984\0", 1984),
        ("0000", None),
        ("0019", None),
        ("04", None),
        ("20045", None),
        ("9999", None),
        ("unknown", None),
        ("", None),
        ("²⁰⁰⁴", None),
        ("٢٠٠٤", None),
    ],
)
def test_a_year_is_found_in_a_date(text, year):
    assert tags_from_metadata({"date": text}).year == year


def test_the_first_key_that_holds_a_year_counts():
    assert tags_from_metadata({"DATE": "soon", "year": "1999", "TYER": "2000"}).year == 1999
    assert tags_from_metadata({"TDRC": "2004-05-01"}).year == 2004


def test_texts_are_one_line_without_controls_and_not_too_long():
    found = tags_from_metadata(
        {
            "TITLE": "a\0b\r\nc\x1b[2J",
            "artist": "x" * 10_000_000,
            "album": "\0 \n",
            "genre": " " * 2_000 + "late",
        }
    )
    assert found == AudioTags(title="a b c [2J", artist="x" * MAX_TEXT_CHARACTERS)


def test_marks_of_direction_stay_as_data():
    assert tags_from_metadata({"title": "שלום \u202etfos"}).title == "שלום \u202etfos"


# --- files made to hurt ---


def ogg_page(content, number, *, flags=0, serial=7):
    pieces = []
    left = len(content)
    while left >= 255:
        pieces.append(255)
        left -= 255
    pieces.append(left)
    header = b"OggS\0" + bytes([flags]) + struct.pack("<qIII", 0, serial, number, 0)
    return header + bytes([len(pieces)]) + bytes(pieces) + content


def vorbis_comment(comments):
    listed = b"".join(struct.pack("<I", len(comment)) + comment for comment in comments)
    return struct.pack("<I", 0) + struct.pack("<I", len(comments)) + listed


MANY = [b"X=%d" % number for number in range(60_000)]


def flac_with(content):
    info = b"\0\0\0\x22" + bytes(34)
    return b"fLaC" + info + b"\x84" + len(content).to_bytes(3, "big") + content


def id3_with_many_frames():
    body = b"".join(b"TXXX" + struct.pack(">I", 12) + b"\0\0\0x\0%09d" % n for n in range(60_000))
    return b"ID3\x03\0\0" + synchsafe(len(body)) + body + b"\xff\xfb\x90\0"


def aiff_with_many_frames():
    tag = id3_with_many_frames()[:-4]
    content = b"AIFF" + b"ID3 " + struct.pack(">I", len(tag)) + tag
    return b"FORM" + struct.pack(">I", len(content)) + content


def asf_with_many_fields():
    def field(n):
        name = "X\0".encode("utf-16-le")
        value = f"{n}\0".encode("utf-16-le")
        return struct.pack("<H", len(name)) + name + struct.pack("<HH", 0, len(value)) + value

    fields = b"".join(field(n) for n in range(60_000))
    guid = bytes.fromhex("40a4d0d207e3d211 97f000a0c95ea850")
    content = struct.pack("<H", 60_000) + fields
    head = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c") + bytes(12) + b"\1\2"
    return head + guid + struct.pack("<Q", 24 + len(content)) + content


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(flac_with(vorbis_comment(MANY)), id="flac: 60,000 comments"),
        pytest.param(id3_with_many_frames(), id="mp3: 60,000 frames"),
        pytest.param(aiff_with_many_frames(), id="aiff: 60,000 frames"),
        pytest.param(asf_with_many_fields(), id="asf: 60,000 fields"),
        pytest.param(
            b"".join(
                ogg_page(b"\x01vorbis" + bytes(23) if n == 0 else b"x" * 65_000, n)
                for n in range(200)
            ),
            id="ogg: no comment in 13 MB",
        ),
        pytest.param(
            b"fLaC\x84\xff\xff\xff" + struct.pack("<II", 0, 2**32 - 1) + b"\xff" * 1_000, id="flac"
        ),
        pytest.param(b"RIFF\xff\xff\xff\xffWAVE" + b"LIST\xff\xff\xff\xffINFO" * 1_000, id="wav"),
        pytest.param(b"\0\0\0\x08ftyp" + b"\0\0\0\x08moov" * 100_000, id="mp4: moov in moov"),
    ],
)
def test_a_tag_made_to_hurt_costs_little_time_and_memory(tmp_path, content):
    path = tmp_path / "hostile"
    path.write_bytes(content)
    os.truncate(path, max(len(content), 300_000_000))  # a hole: it takes no room
    tracemalloc.start()
    started = time.process_time()
    descriptor = os.open(path, os.O_RDONLY)
    try:
        read_tags(descriptor, find_container(descriptor))
    finally:
        os.close(descriptor)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert time.process_time() - started < HOSTILE_S
    assert peak < 8 * MAX_READ_BYTES


@pytest.mark.parametrize("name", ["x.flac", "x.ogg", "x.mp3", "x.wav", "x.aiff"])
def test_damaged_files_give_tags_or_none_and_never_an_error(tmp_path, name):
    with soundfile.SoundFile(tmp_path / name, "w", 44_100, 1) as file:
        file.title, file.artist = "Title", "Artist"
        file.write(np.zeros(4_410))
    sound = (tmp_path / name).read_bytes()
    container = {"x.ogg": "ogg-vorbis"}.get(name, name[2:])
    rng = np.random.default_rng(3)
    path = tmp_path / "mutant"
    for _ in range(300):
        mutant = bytearray(sound[:2_000])
        for place in rng.integers(0, len(mutant), 8):
            mutant[place] = rng.integers(256)
        path.write_bytes(mutant[: rng.integers(len(mutant))])
        descriptor = os.open(path, os.O_RDONLY)
        assert isinstance(read_tags(descriptor, container), AudioTags)
        os.close(descriptor)


def test_an_empty_file_and_another_container_have_no_tags(tmp_path):
    (tmp_path / "empty").touch()
    descriptor = os.open(tmp_path / "empty", os.O_RDONLY)
    assert read_tags(descriptor, "mp3") == AudioTags()
    assert read_tags(descriptor, "caf") == AudioTags()
    os.close(descriptor)


def test_ffmpeg_finds_the_same_in_the_sample_catalogue(music_root):
    n_tagged = 0
    for path in sorted(music_root.glob("*/*.*")):
        with av.open(str(path)) as container:
            metadata = dict(container.metadata)
            for stream in container.streams.audio:
                metadata |= dict(stream.metadata)
        found = tags_of(path)
        assert found == tags_from_metadata(metadata), path.name
        n_tagged += found != AudioTags()
    assert n_tagged == 10
