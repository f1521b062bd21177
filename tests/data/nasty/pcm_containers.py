"""AIFF, AIFC, CAF and AU: sample codings, and headers that contradict their audio.

Public: `CASES`.
"""

import struct

from nasty.case import LOSSY_TOLERANCE_S, Case, decodes, either, refused
from nasty.riff_bytes import pcm16
from nasty.sounds import encode, encode_with_ffmpeg

N_FRAMES = 88_200
RATE_80_BIT = struct.pack(">HQ", 16_383 + 15, 44_100 << 48)
NOT_A_NUMBER_80_BIT = b"\x7f\xff" + b"\xff" * 8


def big_endian(content: bytes) -> bytes:
    """Swap the bytes of 16-bit PCM."""
    swapped = bytearray(content)
    swapped[::2], swapped[1::2] = content[1::2], content[::2]
    return bytes(swapped)


def aiff(
    *, n_frames: int = N_FRAMES, size: int = 2 * N_FRAMES + 8, rate: bytes = RATE_80_BIT
) -> bytes:
    """Give an AIFF file that announces what it is told to."""
    common = b"COMM" + struct.pack(">IHIH", 18, 1, n_frames, 16) + rate
    audio = b"SSND" + struct.pack(">III", size, 0, 0) + big_endian(pcm16())
    body = b"AIFF" + common + audio
    return b"FORM" + struct.pack(">I", len(body)) + body


def caf(*, sr: float = 44_100.0, size: int = 2 * N_FRAMES + 4, packet_bytes: int = 2) -> bytes:
    """Give a CAF file that announces what it is told to."""
    about = struct.pack(">d4sIIIII", sr, b"lpcm", 0, packet_bytes, 1, 1, 16)
    head = b"caff\0\1\0\0desc" + struct.pack(">q", 32) + about
    return head + b"data" + struct.pack(">qI", size, 0) + big_endian(pcm16())


def au(*, start: int = 24, size: int = 2 * N_FRAMES, coding: int = 3) -> bytes:
    """Give an AU file that announces what it is told to."""
    return struct.pack(">4sIIIII", b".snd", start, size, coding, 44_100, 1) + big_endian(pcm16())


def _coding(suffix: str, kind: str, subtype: str, n_channels: int, endian: str | None) -> Case:
    order = f"-{endian}" if endian else ""
    return decodes(
        f"{suffix}-{subtype}{order}.{suffix}".lower().replace("_", "-"),
        lambda: encode(kind, subtype, n_channels=n_channels, endian=endian),
        tolerance_s=LOSSY_TOLERANCE_S if "ADPCM" in subtype else 0.0,
    )


_CODINGS = [
    _coding(*entry)
    for entry in (
        ("aiff", "AIFF", "PCM_16", 2, None),
        ("aif", "AIFF", "PCM_24", 1, None),
        ("aiff", "AIFF", "PCM_S8", 1, None),
        ("aifc", "AIFF", "FLOAT", 2, None),
        ("aifc", "AIFF", "ULAW", 1, None),
        ("aifc", "AIFF", "IMA_ADPCM", 1, None),
        ("aifc", "AIFF", "PCM_16", 2, "LITTLE"),
        ("caf", "CAF", "PCM_16", 1, None),
        ("caf", "CAF", "FLOAT", 2, None),
        ("caf", "CAF", "ALAC_16", 2, None),
        ("caf", "CAF", "ALAC_24", 1, None),
        ("au", "AU", "PCM_16", 2, None),
        ("au", "AU", "ULAW", 1, None),
    )
]

_CONTRADICTIONS = [
    refused("aiff-claims-more-frames.aiff", lambda: aiff(n_frames=90_000), "truncated", "damaged"),
    either(
        "aiff-claims-half-the-frames.aiff",
        lambda: aiff(n_frames=N_FRAMES // 2),
        "damaged",
        warnings=("*",),
        because="two places announce a length and contradict each other: all of it, or nothing",
    ),
    refused("aiff-claims-more-bytes.aiff", lambda: aiff(size=200_000), "truncated", "damaged"),
    refused(
        "aiff-claims-four-gigabytes.aiff",
        lambda: aiff(size=4_000_000_000, n_frames=2_000_000_000),
        "truncated",
        "too-long",
        "damaged",
        because="12 hours are announced, 2 seconds are there",
    ),
    refused(
        "aiff-rate-is-no-number.aiff",
        lambda: aiff(rate=NOT_A_NUMBER_80_BIT),
        "damaged",
        "over-limit",
    ),
    refused("aiff-rate-zero.aiff", lambda: aiff(rate=bytes(10)), "damaged", "over-limit"),
    either(
        "caf-streamed.caf",
        lambda: caf(size=-1),
        "damaged",
        "unsupported-format",
        tolerance_s=0.0,
        because="legal, as a recorder leaves it, and beyond libsndfile",
    ),
    refused("caf-claims-more.caf", lambda: caf(size=200_000), "truncated"),
    refused("caf-rate-is-no-number.caf", lambda: caf(sr=float("nan")), "damaged", "over-limit"),
    refused("caf-rate-huge.caf", lambda: caf(sr=1e300), "damaged", "over-limit"),
    refused("caf-packets-of-three.caf", lambda: caf(packet_bytes=3), "damaged"),
    decodes("au-streamed.au", lambda: au(size=0xFFFF_FFFF), warnings=None),
    refused("au-claims-more.au", lambda: au(size=200_000), "truncated"),
    refused(
        "au-starts-behind-its-end.au",
        lambda: au(start=1_000_000),
        "damaged",
        "truncated",
        "empty",
        because="there is no audio; why, nobody can know",
    ),
    refused(
        "au-unknown-coding.au",
        lambda: au(coding=999),
        "unsupported-format",
        "damaged",
        because="the header can be read, the samples cannot",
    ),
    either(
        "caf-alac-of-ffmpeg.caf",
        lambda: encode_with_ffmpeg("caf", "alac"),
        "unsupported-format",
        made_by="ffmpeg",
        because="sound, but libsndfile does not know its header and FFmpeg loses its end",
    ),
    either(
        "au-little-endian.snd",
        lambda: encode("AU", "FLOAT", endian="LITTLE"),
        "unsupported-format",
        "not-audio",
        tolerance_s=0.0,
        because="nobody has written this for thirty years",
    ),
]

CASES: list[Case] = [*_CODINGS, *_CONTRADICTIONS]
"""All of them."""
