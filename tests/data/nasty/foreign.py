"""What is no audio, or audio that nobody promised to decode, under the name of a track.

Public: `CASES`.
"""

import struct

import numpy as np
from nasty.case import Case, Content, refused
from nasty.ogg_bytes import BEGINS, OggPage, join_pages
from nasty.sounds import encode_with_ffmpeg

HTML = b"<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head><body></body></html>\n"
PLAYLIST = b"#EXTM3U\n#EXTINF:120,Song\nhttp://example.org/song.mp3\n/etc/passwd\n"
SEGMENTS = b"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nlist-before.wav\n#EXT-X-ENDLIST\n"
CONCAT = b"ffconcat version 1.0\nfile list-before.wav\n"
ZIP = b"PK\3\4\x14\0\0\0\0\0" + bytes(200)
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(200)
ELF = b"\x7fELF\2\1\1" + bytes(200)
TEXT = b"Side A, take three. The drummer was late again.\n" * 200


def _speex() -> bytes:
    body = b"Speex   1.2.0" + bytes(67)
    return join_pages([OggPage(BEGINS, 0, 1, 0, bytes([len(body)]), body)])


_NO_AUDIO: list[tuple[str, bytes]] = [
    ("html.mp3", HTML),
    ("html.flac", b"\n\n" + HTML),
    ("text.wav", TEXT),
    ("text.snd", TEXT + b"2"),
    ("playlist.mp3", PLAYLIST),
    ("playlist.m4a", SEGMENTS),
    ("playlist-with-mark.ogg", b"\xef\xbb\xbf" + PLAYLIST),
    ("pls.mp3", b"[playlist]\nFile1=http://example.org/a.mp3\nNumberOfEntries=1\n"),
    ("ffconcat.mp3", CONCAT),
    ("ffconcat.wav", CONCAT + b"file id3v1.mp3\n"),
    ("ffmetadata.m4a", b";FFMETADATA1\ntitle=Song\n"),
    ("sdp.wav", b"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=audio 5004 RTP/AVP 0\n"),
    ("zip.mp3", ZIP),
    ("zip.flac", ZIP + b"2"),
    ("png.mp3", PNG),
    ("jpeg.mp3", b"\xff\xd8\xff\xe0\0\x10JFIF" + bytes(200)),
    ("elf.wav", ELF),
    ("elf.ogg", ELF + b"2"),
    ("pdf.flac", b"%PDF-1.7\n" + bytes(200)),
    ("gzip.mp3", b"\x1f\x8b\x08" + bytes(200)),
    ("script.wav", b"#!/bin/sh\nrm -rf ~\n"),
    ("utf-16.mp3", "no audio at all, ".encode("utf-16") * 100),
    ("utf-16-big-endian.mp3", b"\xfe\xff" + "no audio at all, ".encode("utf-16-be") * 100),
    ("apple-double.mp3", b"\0\5\x16\7\0\2\0\0Mac OS X" + bytes(200)),
    ("zeros.mp3", bytes(50_000)),
    ("zeros.wav", bytes(50_001)),
    ("one-byte.mp3", b"\xff"),
    ("riff-picture.wav", b"RIFF\xe8\0\0\0WEBPVP8 " + bytes(220)),
    ("form-picture.aiff", b"FORM" + struct.pack(">I", 204) + b"ILBM" + bytes(200)),
]

_NOT_LOOKED_AT: list[tuple[str, bytes]] = [
    ("text.vox", TEXT + b"3"),
    ("text.gsm", TEXT + b"4"),
    ("text.raw", TEXT + b"5"),
    ("text.al", TEXT + b"6"),
    ("cover.jpg", PNG + b"2"),
    ("notes.txt", TEXT + b"7"),
]

_NAMED: list[tuple[str, Content]] = [
    ("midi.mid", lambda: b"MThd\0\0\0\6\0\0\0\1\0\x60MTrk\0\0\0\4\0\xff\x2f\0"),
    ("midi.mp3", lambda: b"MThd\0\0\0\6\0\1\0\1\0\x60MTrk\0\0\0\4\0\xff\x2f\0"),
    ("monkeys-audio.ape", lambda: b"MAC \x96\x0f\0\0" + bytes(500)),
    ("musepack-7.mpc", lambda: b"MP+\x07" + bytes(500)),
    ("musepack-8.mpc", lambda: b"MPCKSH\x10" + bytes(500)),
    ("realaudio.ra", lambda: b".ra\xfd\0\4\0\0.ra4" + bytes(500)),
]

_NAMED_BY_FFMPEG: list[tuple[str, Content]] = [
    ("realmedia.rm", lambda: encode_with_ffmpeg("rm", "ac3")),
    ("speech.amr", lambda: encode_with_ffmpeg("amr", "libopencore_amrnb", sr=8_000, layout="mono")),
]

_VIDEO: list[tuple[str, Content]] = [
    ("avi.wav", lambda: encode_with_ffmpeg("avi", "pcm_s16le")),
    ("flash-video.mp3", lambda: encode_with_ffmpeg("flv", "aac")),
    ("transport-stream.mp3", lambda: encode_with_ffmpeg("mpegts", "aac")),
]


CASES: list[Case] = [
    *(
        refused(f"foreign-{name}", lambda content=content: content, "not-audio", made_by="hand")
        for name, content in _NO_AUDIO
    ),
    *(
        refused(
            f"foreign-{name}",
            lambda content=content: content,
            "not-audio",
            made_by="hand",
            is_scanned=False,
        )
        for name, content in _NOT_LOOKED_AT
    ),
    refused(
        "foreign-random.mp3",
        lambda: b"\x01" + np.random.default_rng(7).bytes(30_000),
        "not-audio",
        made_by="hand",
    ),
    *(
        refused(f"foreign-{name}", content, "unsupported-format", made_by="hand")
        for name, content in _NAMED
    ),
    *(
        refused(f"foreign-{name}", content, "unsupported-format", made_by="ffmpeg")
        for name, content in _NAMED_BY_FFMPEG
    ),
    *(
        refused(
            f"foreign-{name}",
            content,
            "not-audio",
            "unsupported-format",
            made_by="ffmpeg",
            because="a container for video: named, or not known here",
        )
        for name, content in _VIDEO
    ),
    refused(
        "foreign-ones.mp3",
        lambda: b"\xff" * 50_000,
        "not-audio",
        "damaged",
        made_by="hand",
        because="each of its bytes could begin a frame",
    ),
    refused(
        "foreign-speex.spx",
        _speex,
        "unsupported-format",
        "damaged",
        "truncated",
        "empty",
        made_by="hand",
        because="a header of an old codec, and no speech",
    ),
    refused(
        "foreign-dsd-interchange.dff",
        lambda: b"FRM8" + struct.pack(">Q", 500) + b"DSD " + bytes(488),
        "unsupported-format",
        "damaged",
        made_by="hand",
        because="a name and nothing in it",
    ),
]
"""All of them."""
