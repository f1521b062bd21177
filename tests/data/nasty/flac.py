"""FLAC: what STREAMINFO may say, tags around the audio, damage that the checksums must show.

Public: `CASES`, `with_total`, `id3`.
"""

from functools import cache

import numpy as np
from nasty.case import Case, decodes, either, refused
from nasty.sounds import encode, encode_samples

TOTAL_AT = 21
"""Byte of the file whose low half begins the 36 bits of the number of samples."""

MD5_AT = 26
STREAMINFO_END = 42


def plain(first: int = 0) -> bytes:
    """Give 2 seconds of mono FLAC."""
    return encode("FLAC", "PCM_16", first=first)


def with_total(content: bytes, n_frames: int) -> bytes:
    """Announce another number of samples."""
    field = (content[TOTAL_AT] >> 4 << 36 | n_frames).to_bytes(5, "big")
    return content[:TOTAL_AT] + field + content[TOTAL_AT + 5 :]


def with_md5(content: bytes, digest: bytes) -> bytes:
    """Announce another MD5 of the samples."""
    return content[:MD5_AT] + digest + content[STREAMINFO_END:]


def with_block(content: bytes, kind: int, body: bytes) -> bytes:
    """Put a metadata block behind STREAMINFO."""
    header = bytes([kind]) + len(body).to_bytes(3, "big")
    return content[:STREAMINFO_END] + header + body + content[STREAMINFO_END:]


def id3(n_bytes: int, fill: bytes = b"\0") -> bytes:
    """Give an ID3v2 tag with a body of some length."""
    size = bytes((n_bytes >> shift) & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\4\0\0" + size + fill * n_bytes


def flipped(content: bytes, share: float, bit: int = 4) -> bytes:
    """Flip one bit at some share of the length."""
    mutant = bytearray(content)
    mutant[int(len(content) * share)] ^= bit
    return bytes(mutant)


def zeroed(content: bytes, n_bytes: int = 1024) -> bytes:
    """Overwrite the middle with zeros."""
    half = len(content) // 2
    return content[:half] + bytes(n_bytes) + content[half + n_bytes :]


def frame_starts(content: bytes) -> list[int]:
    """Give where the frames begin: sync code, fixed block size, numbers in a row."""
    starts: list[int] = []
    at = STREAMINFO_END
    while (at := content.find(content_sync(content), at)) >= 0:
        if content[at + 4] == len(starts):  # frame numbers below 128 take one byte
            starts.append(at)
        at += 1
    return starts


def content_sync(content: bytes) -> bytes:
    """Give the first two bytes of every frame."""
    return b"\xff\xf8" if b"\xff\xf8" in content[STREAMINFO_END:] else b"\xff\xf9"


def _without_frame(content: bytes) -> bytes:
    starts = frame_starts(content)
    middle = len(starts) // 2
    return content[: starts[middle]] + content[starts[middle + 1] :]


def _with_frame_twice(content: bytes) -> bytes:
    starts = frame_starts(content)
    middle = len(starts) // 2
    end = starts[middle + 1]
    return content[:end] + content[starts[middle] : end] + content[end:]


@cache
def silence(duration_s: float, sr: int = 4_000) -> bytes:
    """Give silence: a few bytes for each second."""
    return encode_samples(np.zeros(round(duration_s * sr), np.float32), sr, "FLAC", "PCM_16")


def _ape_tag(n_bytes: int) -> bytes:
    size = (n_bytes + 32).to_bytes(4, "little")
    return bytes(n_bytes) + b"APETAGEX\xd0\7\0\0" + size + bytes(16)


def _picture(n_bytes: int) -> bytes:
    mime = b"image/png"
    kind = (3).to_bytes(4, "big") + len(mime).to_bytes(4, "big") + mime
    size = bytes(4 + 4 * 4) + n_bytes.to_bytes(4, "big")
    return kind + size + b"\x89" * n_bytes


_CODINGS = [
    decodes(
        f"flac-{subtype}-{n_channels}ch.flac".lower().replace("_", "-"),
        lambda subtype=subtype, n_channels=n_channels: encode(
            "FLAC", subtype, n_channels=n_channels, sr=48_000
        ),
    )
    for subtype, n_channels in (("PCM_S8", 1), ("PCM_16", 2), ("PCM_24", 2), ("PCM_16", 8))
]

_HEADERS = [
    decodes("flac-total-unknown.flac", lambda: with_total(plain(), 0)),
    refused(
        "flac-total-huge.flac",
        lambda: with_total(plain(), (1 << 36) - 1),
        "too-long",
        "truncated",
        "damaged",
        because="18 days are announced, 2 seconds are there",
    ),
    refused(
        "flac-total-a-block-more.flac",
        lambda: with_total(plain(), 88_200 + 4_096),
        "truncated",
        "damaged",
    ),
    either(
        "flac-total-half.flac",
        lambda: with_total(plain(), 44_100),
        "damaged",
        warnings=("*",),
        because="more audio than announced: all of it with a mark, or nothing",
    ),
    refused("flac-md5-wrong.flac", lambda: with_md5(plain(), bytes(range(16))), "damaged"),
    decodes(
        "flac-md5-unset.flac",
        lambda: with_md5(plain(), bytes(16)),
        because="encoders to a pipe leave it zero",
    ),
    refused(
        "flac-rate-zero.flac",
        lambda: plain()[:18] + b"\0\0" + bytes([plain()[20] & 0x0F]) + plain()[21:],
        "damaged",
        "over-limit",
    ),
    decodes(
        "flac-big-picture.flac",
        lambda: with_block(plain(), 6, _picture(1_000_000)),
    ),
    decodes("flac-padding.flac", lambda: with_block(plain(), 1, bytes(1_000_000))),
    refused(
        "flac-block-past-the-end.flac",
        lambda: plain()[:STREAMINFO_END] + b"\1\xff\xff\xff" + plain()[STREAMINFO_END:],
        "damaged",
        "truncated",
        "empty",
    ),
    refused("flac-samples-none.flac", lambda: silence(0), "empty"),
    refused("flac-too-short.flac", lambda: silence(0.9), "too-short"),
    decodes("flac-exactly-the-least.flac", lambda: silence(1.0), duration_s=1.0, heard="silence"),
]

_AROUND = [
    *(
        decodes(f"{name}.flac", lambda tags=tags: b"".join(map(id3, tags)) + plain())
        for name, tags in (("id3-before-flac", [300]), ("two-id3-before-flac", [300, 200_000]))
    ),
    decodes("id3v1-behind-flac.flac", lambda: plain() + b"TAG" + bytes(125)),
    *(
        decodes(
            f"{name}-behind-flac.flac",
            lambda tag=tag: plain() + tag,
            warnings=None,
            because="tags may be marked, the audio is all there",
        )
        for name, tag in (
            ("id3", id3(2_000)),
            ("big-id3", id3(300_000, b"\x89")),
            ("ape", _ape_tag(600)),
            ("zeros", bytes(100_000)),
        )
    ),
    refused(
        "junk-before-flac.flac",
        lambda: b"junk" * 30 + plain(),
        "not-audio",
        "damaged",
        because="its first bytes are no format; the FLAC behind them is nobody's promise",
    ),
    either(
        "two-joined.flac",
        lambda: plain() + plain(first=4),
        "damaged",
        "unsupported-format",
        duration_s=4.0,
        warnings=("*",),
        because="all four seconds with a mark, or nothing",
    ),
]

_DAMAGE = [
    *(
        refused(f"flac-bit-flipped-at-{share}.flac", lambda s=share: flipped(plain(), s), "damaged")
        for share in (0.3, 0.6, 0.99)
    ),
    refused("flac-zeros-in-the-middle.flac", lambda: zeroed(plain()), "damaged"),
    refused("flac-frame-missing.flac", lambda: _without_frame(plain()), "damaged", "truncated"),
    either(
        "flac-frame-twice.flac",
        lambda: _with_frame_twice(plain()),
        "damaged",
        tolerance_s=0.0,
        because="the frame's number shows which of the two is too many",
    ),
    refused(
        "flac-frame-missing-total-unknown.flac",
        lambda: with_total(_without_frame(plain()), 0),
        "damaged",
        because="frame numbers and the MD5 tell, though no length is announced",
    ),
    refused(
        "flac-half-total-unknown.flac",
        lambda: with_total(plain(), 0)[: len(plain()) // 2],
        "damaged",
        "truncated",
        because="the last frame is cut and the MD5 differs, though no length is announced",
    ),
]

CASES: list[Case] = [*_CODINGS, *_HEADERS, *_AROUND, *_DAMAGE]
"""All of them."""
