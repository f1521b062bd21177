"""WAV and its relatives WAVEX, RF64, W64 and RIFX: sound codings, rates, channels, lying headers.

Public: `CASES`.
"""

import struct
from pathlib import Path

from nasty.case import LOSSY_TOLERANCE_S, Case, Content, decodes, either, refused
from nasty.riff_bytes import SR, chunk, data, fmt, pcm16, rf64, wav
from nasty.sounds import encode, encode_with_ffmpeg

UNKNOWN_SIZES = {"zero": 0, "minus-one": 0xFFFF_FFFF, "sox": 0x7FFF_FFFF, "ffmpeg": 0x7FFF_F000}


def _coding(suffix: str, kind: str, subtype: str, sr: int, n_channels: int) -> Case:
    is_blocked = "ADPCM" in subtype or "GSM" in subtype
    return decodes(
        f"{kind}-{subtype}-{n_channels}ch.{suffix}".lower().replace("_", "-"),
        lambda: encode(kind, subtype, sr=sr, n_channels=n_channels),
        tolerance_s=LOSSY_TOLERANCE_S if is_blocked else 0.0,
    )


_CODINGS = [
    _coding(*entry)
    for entry in (
        *(("wav", "WAV", subtype, SR, 1) for subtype in ("PCM_U8", "PCM_16", "ALAW", "ULAW")),
        *(("wav", "WAV", subtype, SR, 2) for subtype in ("PCM_24", "PCM_32", "FLOAT", "DOUBLE")),
        *(("wav", "WAV", subtype, SR, 2) for subtype in ("IMA_ADPCM", "MS_ADPCM")),
        ("wav", "WAV", "GSM610", 8_000, 1),
        ("wav", "WAVEX", "PCM_16", 22_050, 6),
        ("wav", "WAVEX", "FLOAT", SR, 3),
        ("rf64", "RF64", "PCM_16", SR, 2),
        ("w64", "W64", "PCM_24", SR, 2),
    )
]


def _channels(n_channels: int, sr: int = 8_000) -> bytes:
    return wav(
        fmt(n_channels=n_channels, sr=sr), chunk(b"data", pcm16(2.0, sr, n_channels=n_channels))
    )


_CHANNELS = [decodes(f"{n}-channels.wav", lambda n=n: _channels(n)) for n in (5, 7, 32)]


def _many(n_channels: int, duration_s: float = 2.0) -> bytes:
    return chunk(b"data", pcm16(duration_s, n_channels=n_channels))


_LIMITS: list[Case] = [
    *_CHANNELS,
    refused("33-channels.wav", lambda: _channels(33), "over-limit"),
    refused(
        "1025-channels.wav",
        lambda: wav(fmt(n_channels=1025), _many(1025, 0.01)),
        "over-limit",
        "damaged",
        because="libsndfile knows no more than 1024 channels",
    ),
    refused("no-channels.wav", lambda: wav(fmt(n_channels=0, block=2), _many(1)), "damaged"),
    *(
        refused(f"{sr}-hz.wav", lambda sr=sr: wav(fmt(sr=sr), _many(1)), "over-limit")
        for sr in (1, 3_999, 768_001)
    ),
    refused(
        "two-gigahertz.wav",
        lambda: wav(fmt(sr=1 << 31), _many(1)),
        "over-limit",
        "damaged",
        because="libsndfile reads the rate as a negative number",
    ),
    refused("no-rate.wav", lambda: wav(fmt(sr=0), _many(1)), "damaged", "over-limit"),
    *(
        decodes(f"{sr}-hz.wav", lambda sr=sr: wav(fmt(sr=sr), chunk(b"data", pcm16(2.0, sr))))
        for sr in (4_000, 11_025, 192_000, 768_000)
    ),
]


def _too_short_by(n_frames: int) -> bytes:
    return wav(fmt(), chunk(b"data", pcm16(1.0)[: -2 * n_frames]))


_LENGTHS = [
    refused("no-samples.wav", lambda: wav(fmt(), chunk(b"data", b"")), "empty"),
    refused("one-sample.wav", lambda: wav(fmt(), chunk(b"data", b"\1\2")), "too-short"),
    refused("ten-milliseconds.wav", lambda: wav(fmt(), chunk(b"data", pcm16(0.01))), "too-short"),
    decodes("exactly-the-least.wav", lambda: wav(fmt(), _many(1, 1.0)), duration_s=1.0),
    refused("one-sample-too-short.wav", lambda: _too_short_by(1), "too-short"),
]


def _one_size(name: str, size: int) -> Case:
    return either(
        f"size-{name}.wav",
        lambda: wav(fmt(), data(pcm16(), size), size=size),
        "damaged",
        tolerance_s=0.0,
        because="writers to a pipe leave such a size: all is there, but nothing says so",
    )


def _lie(name: str, content: Content, *codes: str, because: str = "") -> Case:
    return refused(f"{name}.wav", content, *codes, because=because)


_LIES = [
    *(_one_size(name, size) for name, size in UNKNOWN_SIZES.items()),
    _lie(
        "claims-four-gigabytes",
        lambda: wav(fmt(), data(pcm16(), 4_000_000_000), size=4_000_000_036),
        "truncated",
        "too-long",
        because="no writer leaves this number: 4 GB were meant, or 12 hours",
    ),
    _lie("claims-a-kilobyte-more", lambda: wav(fmt(), data(pcm16(), 177_400)), "truncated"),
    either(
        "half-of-it-announced.wav",
        lambda: wav(fmt(), data(pcm16(), 88_200), size=176_436),
        "damaged",
        duration_s=1.0,
        warnings=("*",),
        because="what lies behind the announced audio is no chunk: not silently half",
    ),
    _lie("seventeen-bits", lambda: wav(fmt(bits=17, block=2), _many(1)), "damaged"),
    _lie(
        "no-bits",
        lambda: wav(fmt(bits=0, block=2), _many(1)),
        "damaged",
        "unsupported-format",
        because="16 bits are meant, or it is a coding that nobody knows",
    ),
    _lie("block-of-three", lambda: wav(fmt(n_channels=2, block=3), _many(2)), "damaged"),
    _lie(
        "unknown-coding",
        lambda: wav(fmt(tag=0x1234), _many(1)),
        "unsupported-format",
        "damaged",
        because="the header can be read, the samples cannot",
    ),
    _lie("no-format-chunk", lambda: wav(_many(1)), "damaged"),
    _lie("format-behind-data", lambda: wav(_many(1), fmt()), "damaged"),
    _lie(
        "no-data-chunk",
        lambda: wav(fmt(), chunk(b"LIST", bytes(100))),
        "damaged",
        "empty",
        "truncated",
        because="there is no audio; why, nobody can know",
    ),
    _lie(
        "chunk-of-four-gigabytes",
        lambda: wav(fmt(), b"LIST" + b"\xf0\xff\xff\xff" + bytes(60), _many(1)),
        "damaged",
        "truncated",
        "empty",
        because="the announced chunk leads past the end of the file",
    ),
    either(
        "ends-inside-a-frame.wav",
        lambda: wav(fmt(n_channels=2), data(pcm16(n_channels=2) + b"\1\2", 352_802)),
        "damaged",
        "truncated",
        warnings=("*",),
        because="all frames but half of one: a mark is enough",
    ),
    refused(
        "rf64-claims-five-gigabytes.rf64",
        lambda: rf64(5_000_000_000, pcm16()),
        "truncated",
        "too-long",
        because="15 hours are announced, 2 seconds are there",
    ),
    refused("rf64-claims-more.rf64", lambda: rf64(180_000, pcm16()), "truncated"),
    refused(
        "rf64-without-sizes.rf64",
        lambda: b"RF64\xff\xff\xff\xffWAVE" + fmt() + data(pcm16(), 0xFFFF_FFFF),
        "damaged",
        "truncated",
    ),
]

_ODD_BUT_SOUND = [
    decodes("riff-size-zero.wav", lambda: wav(fmt(), _many(1), size=0), warnings=None),
    decodes("list-before.wav", lambda: wav(chunk(b"LIST", b"INFOx"), fmt(), _many(1))),
    decodes("list-behind.wav", lambda: wav(fmt(), _many(1), chunk(b"LIST", b"INFO" + bytes(40)))),
    decodes("big-junk.wav", lambda: wav(fmt(), chunk(b"JUNK", bytes(300_000)), _many(1))),
    decodes("id3-chunk.wav", lambda: wav(fmt(), _many(1), chunk(b"id3 ", b"ID3\3" + bytes(600)))),
    decodes("id3v1-behind.wav", lambda: wav(fmt(), _many(1)) + b"TAG" + bytes(125)),
    decodes(
        "wrong-byte-rate.wav",
        lambda: wav(fmt(), _many(1)).replace(struct.pack("<I", 2 * SR), b"\7\0\0\0", 1),
        warnings=None,
        because="nobody needs the byte rate of PCM",
    ),
    decodes(
        "zeros-in-the-middle.wav",
        lambda: _zeroed(wav(fmt(), _many(1))),
        because="PCM has no checksum: only the source's can tell",
    ),
    either(
        "rifx.wav",
        lambda: encode("WAV", "PCM_16", endian="BIG"),
        "unsupported-format",
        tolerance_s=0.0,
        because="nobody has written this for thirty years",
    ),
    either(
        "mp3-inside.wav",
        lambda: encode_with_ffmpeg("wav", "libmp3lame"),
        "unsupported-format",
        because="rare: a refusal that names the coding is honest",
        made_by="ffmpeg",
    ),
]


def _zeroed(content: bytes) -> bytes:
    half = len(content) // 2
    return content[:half] + bytes(4096) + content[half + 4096 :]


def _sparse(head: bytes, n_bytes: int, *, name: str, codes: set[str], because: str) -> Case:
    def build(path: Path) -> None:
        with path.open("wb") as file:
            file.write(head)
            file.truncate(n_bytes)

    return Case(
        name=name,
        path_raw=name.encode(),
        build=build,
        codes=frozenset(codes),
        made_by="hand",
        is_heavy=True,
        because=because,
    )


_SPARSE = [
    _sparse(
        wav(fmt(n_channels=2), data(b"", 3_000_000_000), size=3_000_000_036),
        3_000_000_044,
        name="three-sparse-gigabytes.wav",
        codes={"too-long"},
        because="its header is right: 17,000 s of silence",
    ),
    _sparse(
        wav(fmt(), data(b"", 0xFFFF_FFFF)),
        17_000_000_000,
        name="seventeen-sparse-gigabytes.wav",
        codes={"over-limit", "too-long"},
        because="over the largest file, whatever it holds, and over the longest",
    ),
    _sparse(
        wav(
            chunk(b"fmt ", struct.pack("<HHIIHHHH", 17, 1, SR, SR // 2, 32_772, 4, 2, 65_535)),
            data(b"", 2_149_843_200),
            size=2_149_843_236,
        ),
        2_149_843_248,
        name="ima-blocks-overflow.wav",
        codes={"too-long", "damaged"},
        because="65,600 blocks of 65,535 samples are 27 hours; in 32 bits they are 94 s",
    ),
]

CASES: list[Case] = [*_CODINGS, *_LIMITS, *_LENGTHS, *_LIES, *_ODD_BUT_SOUND, *_SPARSE]
"""All of them; the sound of each is right to the sample unless its coding works in blocks."""
