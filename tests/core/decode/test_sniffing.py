"""Containers are told by content, as libsndfile and the formats' own definitions name them."""

import os
import struct

import numpy as np
import pytest
import soundfile

from musichash_core.decode.foreign_content import FORMAT_NAMES, describe_content
from musichash_core.decode.sndfile.sndfile_reader import SNDFILE_CONTAINERS
from musichash_core.decode.sniffing import (
    _FIXED_MAGIC,
    HEAD_BYTES,
    id3_bytes,
    skip_id3,
    sniff_container,
)

WRITTEN_BY_LIBSNDFILE = [
    ("WAV", "PCM_16", "wav"),
    ("WAVEX", "FLOAT", "wav"),
    ("RF64", "PCM_16", "rf64"),
    ("W64", "PCM_16", "w64"),
    ("AIFF", "PCM_24", "aiff"),
    ("FLAC", "PCM_16", "flac"),
    ("OGG", "VORBIS", "ogg-vorbis"),
    ("OGG", "OPUS", "ogg-opus"),
    ("MP3", "MPEG_LAYER_III", "mp3"),
    ("CAF", "ALAC_16", "caf"),
    ("AU", "PCM_16", "au"),
]

HEADS = [
    (b"\0\0\0\x20ftypM4A \0\0\0\0", "mp4"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\0\xaa\0\x62\xce\x6c", "asf"),
    (b"\x1a\x45\xdf\xa3\x01\0\0\0", "matroska"),
    (b"wvpk" + bytes(28), "wavpack"),
    (b"MAC \x96\x0f", "monkeys-audio"),
    (b"DSD \x1c" + bytes(7), "dsf"),
    (b"\x0b\x77\x12\x34", "ac3"),
    (b"\xff\xf1\x50\x80", "aac-adts"),
    (b"MThd\0\0\0\6", "midi"),
    (b".ra\xfd\0\4", "realaudio"),
    (b"OggS\0\2" + bytes(20) + b"\1\x50Speex   1.2", "ogg-speex"),
    (b"OggS\0\2" + bytes(20) + b"\1\x2a\x80theora", "ogg-unknown"),
    (b"<!DOCTYPE html><html>", None),
    (b"#EXTM3U\nhttp://example.org/a.mp3\n", None),
    (b"ffconcat version 1.0\nfile other.wav\n", None),
    ("not a track".encode("utf-16"), None),
    (b"\xff\xd8\xff\xe0\0\x10JFIF", None),
    (b"RIFF\x24\0\0\0AVI LIST", "avi"),
    (b"RIFF\x24\0\0\0RMIDdata", "midi"),
    (b"Extended Module: a tune", "tracker-module"),
    (b"FORM\0\0\0\x208SVXVHDR", "svx"),
    (b"RIFF\x24\0\0\0WEBPVP8 ", None),
    (b"\0" * 64, None),
    (b"", None),
    (b"R", None),
]


@pytest.mark.parametrize(("kind", "subtype", "container"), WRITTEN_BY_LIBSNDFILE)
def test_what_libsndfile_writes_is_named(tmp_path, kind, subtype, container):
    path = tmp_path / "sound"
    soundfile.write(path, np.zeros(4800, np.float32), 48_000, format=kind, subtype=subtype)
    assert sniff_container(path.read_bytes()[:HEAD_BYTES]) == container
    assert container in SNDFILE_CONTAINERS


@pytest.mark.parametrize(("head", "container"), HEADS)
def test_other_content_is_named_or_not_known(head, container):
    assert sniff_container(head) == container
    assert container not in SNDFILE_CONTAINERS


@pytest.mark.parametrize("third", [b"\x90", b"\x30", b"\xe0"])
@pytest.mark.parametrize("second", [b"\xfb", b"\xfa", b"\xf3", b"\xe3", b"\xfd"])
def test_mpeg_frames_of_layers_two_and_three_are_mp3(second, third):
    assert sniff_container(b"\xff" + second + third) == "mp3"
    assert sniff_container(bytes(100) + b"\xff" + second + third) == "mp3"


def test_an_id3_tag_is_as_long_as_its_synchsafe_size_says():
    tag = b"ID3\4\0\0" + bytes([0, 1, 2, 3])  # 1 * 128 * 128 + 2 * 128 + 3
    assert id3_bytes(tag) == 10 + 16_384 + 256 + 3


def test_an_id3_footer_counts():
    assert id3_bytes(b"ID3\4\0\x10\0\0\0\x05") == 10 + 5 + 10


@pytest.mark.parametrize("head", [b"", b"ID3", b"ID3\4\0\0\0\0\0", b"TAG" + bytes(125), b"fLaC"])
def test_what_is_no_id3_tag_has_length_zero(head):
    assert id3_bytes(head) == 0


def test_the_riff_size_does_not_matter():
    for size in (0, 36, 0xFFFF_FFFF):
        assert sniff_container(b"RIFF" + struct.pack("<I", size) + b"WAVEfmt ") == "wav"


def ogg_page(body, *, flags=2):
    return b"OggS\0" + bytes([flags]) + bytes(20) + bytes([1, len(body)]) + body


SKELETON, THEORA = b"fishead\0" + bytes(56), b"\x80theora" + bytes(35)
VORBIS, OPUS = b"\x01vorbis" + bytes(23), b"OpusHead" + bytes(11)


@pytest.mark.parametrize(
    ("packets", "container"),
    [
        ([SKELETON, THEORA, VORBIS], "ogg-vorbis"),
        ([THEORA, OPUS, VORBIS], "ogg-opus"),
        ([SKELETON, THEORA], "ogg-unknown"),
    ],
)
def test_the_first_sound_stream_of_an_ogg_file_names_it(packets, container):
    pages = b"".join(map(ogg_page, packets))
    comment = ogg_page(b"a song about \x01vorbis, OpusHead and \x7fFLAC", flags=0)
    assert sniff_container(pages + comment) == container


def test_tags_in_front_are_skipped_up_to_their_stated_end(tmp_path):
    path = tmp_path / "a"
    path.write_bytes((b"ID3\4\0\0\0\0\0\x07" + bytes(7)) * 2 + b"fLaC")
    descriptor = os.open(path, os.O_RDONLY)
    assert skip_id3(descriptor) == 34
    os.close(descriptor)


def test_every_container_has_a_name_that_people_know():
    assert {name for _, _, name in _FIXED_MAGIC} | SNDFILE_CONTAINERS <= set(FORMAT_NAMES)


@pytest.mark.parametrize(
    ("head", "looks_like"),
    [
        (b"#EXTM3U\nhttp://example.org/a.mp3\n", "playlist (M3U)"),
        (b"[playlist]\nFile1=a.mp3\n", "playlist (PLS)"),
        (b"music/one.mp3\r\nmusic/two.mp3\r\n", "list of files"),
        (b"ffconcat version 1.0\nfile other.wav\n", "ffconcat"),
        (b"\xef\xbb\xbf \n<!DOCTYPE HTML><html>", "HTML page"),
        (b"<?xml version='1.0'?><playlist/>", "XML document"),
        ("nur ein Text über Musik".encode(), "plain text"),
        ("nur ein Text über Musik".encode()[:15], "plain text"),  # ends inside a character
        ("not a track".encode("utf-16"), "plain text"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "JPEG image"),
        (b"\x89PNG\r\n\x1a\n\0\0", "PNG image"),
        (b"RIFF\x24\0\0\0WEBPVP8 ", "WebP image"),
        (b"PK\3\4\x14\0", "ZIP archive"),
        (b"\x1f\x8b\x08\0", "gzip archive"),
        (bytes(257) + b"ustar", "tar archive"),
        (b"\x7fELF\2\1\1", "executable program"),
        (b"MZ\x90\0\3", "executable program"),
        (bytes(4096), "zeros"),
        (b"\x93\x01\x02\xfe\x80" * 10, "no audio format"),
        (b"\x93", "no audio format"),
    ],
)
def test_what_is_no_audio_is_described(head, looks_like):
    assert sniff_container(head) is None
    assert looks_like in describe_content(head)
