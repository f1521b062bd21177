"""Formats that libsndfile lacks: M4A, ALAC, WMA, Matroska, AC-3, WavPack, TTA, ADTS, DSF.

Public: `CASES`, `WRITTEN`.
"""

import struct
from functools import cache

import numpy as np
from nasty.case import LOSSY_TOLERANCE_S, Case, Content, either, refused
from nasty.case import decodes as decodes_by_hand
from nasty.flac import flipped, id3
from nasty.sounds import encode_with_ffmpeg, steps

DSD_RATE = 2_822_400
DSD_BLOCK_BYTES = 4096
DSD_REVERSED = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))
FRAGMENTED = (("movflags", "frag_keyframe+empty_moov"),)


def decodes(name: str, content: Content, **how: float | tuple[int, ...] | str | None) -> Case:
    """Give a case of FFmpeg's making that must decode, up to the silence that encoders add."""
    settings = {"tolerance_s": LOSSY_TOLERANCE_S, "made_by": "ffmpeg", **how}
    return decodes_by_hand(name, content, **settings)


@cache
def dsf(duration_s: float = 2.0) -> bytes:
    """Give a DSF file: one bit per sample, by the simplest of modulators."""
    level = np.cumsum((steps(duration_s, DSD_RATE)[:, 0].astype(np.float64) + 1) / 2)
    bits = np.diff(np.floor(level), prepend=0).astype(np.uint8)
    packed = np.packbits(bits, bitorder="little").tobytes()
    padded = packed + bytes(-len(packed) % DSD_BLOCK_BYTES)
    about = struct.pack("<IIIIIIQII", 1, 0, 1, 1, DSD_RATE, 1, len(bits), DSD_BLOCK_BYTES, 0)
    form = b"fmt " + struct.pack("<Q", 12 + len(about)) + about
    data = b"data" + struct.pack("<Q", 12 + len(padded)) + padded
    n_bytes = 28 + len(form) + len(data)
    return b"DSD " + struct.pack("<QQQ", 28, n_bytes, 0) + form + data


def m4a(first: int = 0, options: tuple[tuple[str, str], ...] = ()) -> bytes:
    """Give 2 seconds of AAC in MP4."""
    return encode_with_ffmpeg("ipod", "aac", first=first, muxer_options=options)


def fast_start(first: int = 0) -> bytes:
    """Give M4A with its index before its audio, as shops deliver it."""
    content = m4a(first)
    at, audio_at = box_at(content, b"moov"), box_at(content, b"mdat")
    index = bytearray(content[at:])
    table = index.index(b"stco") + 8
    (n_chunks,) = struct.unpack_from(">I", index, table)
    for place in range(table + 4, table + 4 + 4 * n_chunks, 4):
        (offset,) = struct.unpack_from(">I", index, place)
        struct.pack_into(">I", index, place, offset + len(index))
    return content[:audio_at] + bytes(index) + content[audio_at:at]


def adts(first: int = 0) -> bytes:
    """Give 2 seconds of bare AAC."""
    return encode_with_ffmpeg("adts", "aac", first=first)


def box_at(content: bytes, name: bytes) -> int:
    """Give where the header of an MP4 box begins."""
    return content.index(name) - 4


def without_box(content: bytes, name: bytes) -> bytes:
    """Leave a top-level MP4 box away."""
    at = box_at(content, name)
    (size,) = struct.unpack_from(">I", content, at)
    return content[:at] + content[at + size :]


def patched(content: bytes, name: bytes, offset: int, value: bytes) -> bytes:
    """Overwrite bytes at some offset behind a name."""
    at = content.index(name) + offset
    return content[:at] + value + content[at + len(value) :]


WRITTEN: list[tuple[str, Content]] = [
    ("aac.m4a", m4a),
    ("aac-fast-start.m4a", fast_start),
    ("aac-in-fragments.m4a", lambda: m4a(options=FRAGMENTED)),
    ("aac-mono.mp4", lambda: encode_with_ffmpeg("mp4", "aac", layout="mono", sr=22_050)),
    ("aac-five-one.m4a", lambda: encode_with_ffmpeg("ipod", "aac", layout="5.1", sr=48_000)),
    ("alac.m4a", lambda: encode_with_ffmpeg("ipod", "alac")),
    ("flac.mp4", lambda: encode_with_ffmpeg("mp4", "flac")),
    ("wma-1.wma", lambda: encode_with_ffmpeg("asf", "wmav1")),
    ("wma-2.wma", lambda: encode_with_ffmpeg("asf", "wmav2")),
    ("opus.webm", lambda: encode_with_ffmpeg("webm", "libopus", sr=48_000)),
    ("opus.mka", lambda: encode_with_ffmpeg("matroska", "libopus", sr=48_000, first=1)),
    ("flac.mka", lambda: encode_with_ffmpeg("matroska", "flac")),
    ("aac.mka", lambda: encode_with_ffmpeg("matroska", "aac")),
    ("pcm.mka", lambda: encode_with_ffmpeg("matroska", "pcm_s16le")),
    ("mp3.mka", lambda: encode_with_ffmpeg("matroska", "libmp3lame")),
    ("ac3.ac3", lambda: encode_with_ffmpeg("ac3", "ac3")),
    ("eac3.eac3", lambda: encode_with_ffmpeg("eac3", "eac3")),
    ("wavpack.wv", lambda: encode_with_ffmpeg("wv", "wavpack")),
    ("tta.tta", lambda: encode_with_ffmpeg("tta", "tta")),
    ("adts.aac", adts),
    ("dsf.dsf", dsf),
]
"""Sound files by name, as their encoders write them."""

FIRST_STEP = {"opus.mka": 1}

_SOUND = [
    decodes(
        name,
        content,
        order=tuple(range(FIRST_STEP.get(name, 0), FIRST_STEP.get(name, 0) + 4)),
        warnings=None if name.endswith(".wma") else (),  # the last frame of WMA never comes out
    )
    for name, content in WRITTEN
]

_MP4 = [
    refused(
        "m4a-without-moov.m4a",
        lambda: without_box(m4a(), b"moov"),
        "damaged",
        "truncated",
        because="a download that stopped, or a recorder that crashed",
        made_by="ffmpeg",
    ),
    refused(
        "m4a-without-audio-data.m4a",
        lambda: without_box(fast_start(), b"mdat"),
        "damaged",
        "truncated",
        "empty",
        because="its index leads past the end; why, nobody can know",
        made_by="ffmpeg",
    ),
    either(
        "m4a-claims-a-thousand-hours.m4a",
        lambda: patched(
            patched(m4a(), b"mdhd", 16, struct.pack(">II", 44_100, 0xFFFF_0000)),
            b"mvhd",
            16,
            struct.pack(">II", 1, 3_600_000),
        ),
        "too-long",
        "truncated",
        "damaged",
        because="the duration is a lie, the sample table is not",
        made_by="ffmpeg",
    ),
    refused(
        "m4a-four-billion-samples.m4a",
        lambda: patched(m4a(), b"stsz", 8, b"\xff\xff\xff\xf0"),
        "damaged",
        "truncated",
        "too-long",
        "memory",
        because="a table of 4 billion entries is announced and is not there",
        made_by="ffmpeg",
    ),
    refused(
        "m4a-encrypted.m4a",
        lambda: m4a().replace(b"mp4a", b"enca"),
        "unsupported-format",
        "damaged",
        because="bought with copy protection: nothing but its shop's program can play it",
        made_by="ffmpeg",
    ),
    refused(
        "m4a-index-past-the-end.m4a",
        lambda: patched(m4a(), b"stco", 12, b"\x7f\xff\xff\x00"),
        "damaged",
        "truncated",
        "empty",
        made_by="ffmpeg",
    ),
    refused(
        "m4a-no-rate.m4a",
        lambda: patched(patched(m4a(), b"mdhd", 16, bytes(4)), b"mp4a", 28, bytes(4)).replace(
            b"\x12\x10", b"\x17\x90"
        ),
        "damaged",
        "over-limit",
        "unsupported-format",
        because="every place that says the rate says something absurd",
        made_by="ffmpeg",
    ),
    refused(
        "mp4-without-any-track.m4a",
        lambda: b"\0\0\0\x18ftypM4A \0\0\2\0isomM4A \0\0\0\x08mdat\0\0\0\x08moov",
        "damaged",
        "empty",
        "unsupported-format",
        made_by="hand",
        because="a box for audio with none in it",
    ),
]

_OTHERS = [
    either(
        "matroska-claims-a-thousand-hours.mka",
        lambda: patched(
            encode_with_ffmpeg("matroska", "pcm_s16le"),
            b"\x44\x89\x88",
            3,
            struct.pack(">d", 3.6e9),
        ),
        "too-long",
        "truncated",
        "damaged",
        because="the duration is a lie, the audio is not",
        made_by="ffmpeg",
    ),
    decodes("id3-before.aac", lambda: id3(700) + adts()),
    decodes("id3v1-behind.wv", lambda: encode_with_ffmpeg("wv", "wavpack", first=3) + b"TAG"
            + bytes(125), order=(3, 4, 5, 6), warnings=None),
    decodes(
        "adts-joined.aac",
        lambda: adts() + adts(first=4),
        duration_s=4.0,
        tolerance_s=2 * LOSSY_TOLERANCE_S,
        warnings=None,
        because="nothing shows where the first ends",
    ),
    *(
        refused(
            f"{name}-bit-flipped.{suffix}",
            lambda kind=kind, codec=codec: flipped(encode_with_ffmpeg(kind, codec), 0.5),
            "damaged",
            because="every frame has a checksum",
            made_by="ffmpeg",
        )
        for name, suffix, kind, codec in (
            ("wavpack", "wv", "wv", "wavpack"),
            ("tta", "tta", "tta", "tta"),
            ("ac3", "ac3", "ac3", "ac3"),
            ("ogg-flac", "oga", "ogg", "flac"),
        )
    ),
    refused(
        "dsf-channels-zero.dsf",
        lambda: dsf()[:52] + bytes(4) + dsf()[56:],
        "damaged",
        "over-limit",
        made_by="hand",
    ),
]  # fmt: skip

CASES: list[Case] = [*_SOUND, *_MP4, *_OTHERS]
"""All of them."""
