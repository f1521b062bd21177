"""RIFF files written by hand, so that each field can say what a case needs.

Public: `chunk`, `fmt`, `data`, `wav`, `rf64`, `pcm16`, `SR`.
"""

import struct

from nasty.sounds import steps

SR = 44_100
"""Sample rate where a case does not say, Hz."""


def chunk(name: bytes, body: bytes) -> bytes:
    """Give a RIFF chunk with its padding."""
    return name + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)


def pcm16(duration_s: float = 2.0, sr: int = SR, *, first: int = 0, n_channels: int = 1) -> bytes:
    """Give the signal as 16-bit little-endian PCM."""
    y = steps(duration_s, sr, first=first, n_channels=n_channels)
    return (y * 32_767).astype("<i2").tobytes()


def fmt(
    *,
    tag: int = 1,
    n_channels: int = 1,
    sr: int = SR,
    block: int | None = None,
    bits: int = 16,
) -> bytes:
    """Give a format chunk."""
    size = n_channels * bits // 8 if block is None else block
    rate = sr * size & 0xFFFF_FFFF
    body = struct.pack("<HHIIHH", tag, n_channels, sr, rate, size & 0xFFFF, bits)
    return chunk(b"fmt ", body)


def wav(*chunks: bytes, size: int | None = None) -> bytes:
    """Give a WAV file of some chunks."""
    body = b"WAVE" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body) if size is None else size) + body


def data(content: bytes, size: int) -> bytes:
    """Give a data chunk that announces some size."""
    return b"data" + struct.pack("<I", size) + content


def rf64(size: int, content: bytes) -> bytes:
    """Give an RF64 file that announces some size."""
    ds64 = chunk(b"ds64", struct.pack("<QQQI", size + 72, size, size // 2, 0))
    return b"RF64\xff\xff\xff\xffWAVE" + ds64 + fmt() + data(content, 0xFFFF_FFFF)
