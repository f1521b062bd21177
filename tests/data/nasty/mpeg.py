"""MPEG audio: layers, rates and modes, lying Xing headers, tags, joined files, damage.

Public: `CASES`, `mp3`, `frame_starts`.
"""

import struct

import numpy as np
from nasty.case import LOSSY_TOLERANCE_S, Case, Content, either, refused
from nasty.case import decodes as decodes_exactly
from nasty.flac import id3, zeroed
from nasty.sounds import encode, encode_with_ffmpeg

BITRATES_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
BITRATES_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
RATES = (44_100, 48_000, 32_000)


LOW_RATE_TOLERANCE_S = 0.2
"""The silence that encoders add, at low sample rates: the same number of samples lasts longer."""


def decodes(name: str, content: Content, **how: float | tuple[int, ...] | str | None) -> Case:
    """Give a case that must decode, up to the silence that encoders add."""
    return decodes_exactly(name, content, **{"tolerance_s": LOSSY_TOLERANCE_S, **how})


def mp3(first: int = 0, **how: int | float | str) -> bytes:
    """Give 2 seconds of mono MP3 at a constant rate."""
    settings = {"bitrate_mode": "CONSTANT", "compression_level": 0.7, **how}
    return encode("MP3", "MPEG_LAYER_III", first=first, **settings)


def frame_starts(content: bytes) -> list[int]:
    """Give where the layer III frames begin."""
    starts = []
    at = 0
    while at + 4 <= len(content) and content[at] == 0xFF and content[at + 1] & 0xE0 == 0xE0:
        starts.append(at)
        at += _frame_bytes(content, at)
    return starts


def _frame_bytes(content: bytes, at: int) -> int:
    version = content[at + 1] >> 3 & 3  # 3: MPEG 1, 2: MPEG 2, 0: MPEG 2.5
    sr = RATES[content[at + 2] >> 2 & 3] >> {3: 0, 2: 1, 0: 2}[version]
    bitrates = BITRATES_1 if version == 3 else BITRATES_2
    per_frame = 144_000 if version == 3 else 72_000
    return per_frame * bitrates[content[at + 2] >> 4] // sr + (content[at + 2] >> 1 & 1)


def without_xing(content: bytes) -> bytes:
    """Leave away the first frame, which holds the Xing header and no audio."""
    return content[frame_starts(content)[1] :]


def with_xing_frames(content: bytes, n_frames: int) -> bytes:
    """Announce another number of frames."""
    at = max(content.find(b"Xing"), content.find(b"Info"))
    return content[: at + 8] + struct.pack(">I", n_frames) + content[at + 12 :]


def _without_frames(content: bytes) -> bytes:
    starts = frame_starts(content)
    return content[: starts[20]] + content[starts[40] :]


def _with_junk(content: bytes) -> bytes:
    at = frame_starts(content)[40]
    return content[:at] + b"junk" * 700 + content[at:]


def _picture_tag() -> bytes:
    picture = b"\0image/png\0\3\0" + b"\x89PNG\r\n" + bytes(range(256)) * 2_000
    size = len(picture)
    frame = b"APIC" + bytes((size >> shift) & 0x7F for shift in (21, 14, 7, 0)) + b"\0\0" + picture
    tag = bytes((len(frame) >> shift) & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\4\0\0" + tag + frame


def _ape_tag() -> bytes:
    return b"APETAGEX\xd0\7\0\0" + struct.pack("<IIQ", 132, 1, 0) + bytes(100) + _ape_footer()


def _ape_footer() -> bytes:
    return b"APETAGEX\xd0\7\0\0" + struct.pack("<IIQ", 132, 1, 0)


ID3V1 = b"TAG" + b"title".ljust(125, b"\0")
_STEPS_PER_PART = 4


def _joined(n_parts: int, *, between: bytes = b"", keep_xing: bool = True) -> bytes:
    parts = [mp3(first=_STEPS_PER_PART * place) for place in range(n_parts)]
    return between.join(part if keep_xing else without_xing(part) for part in parts)


_KINDS = [
    decodes(
        f"mp3-{name}.mp3",
        lambda how=how: mp3(**how),
        tolerance_s=LOW_RATE_TOLERANCE_S if how.get("sr", 44_100) < 16_000 else LOSSY_TOLERANCE_S,
    )
    for name, how in (
        ("constant", {}),
        ("variable", {"bitrate_mode": "VARIABLE", "compression_level": 0.3}),
        ("average", {"bitrate_mode": "AVERAGE"}),
        ("stereo", {"n_channels": 2}),
        ("8-khz", {"sr": 8_000}),
        ("11-khz", {"sr": 11_025}),
        ("22-khz-stereo", {"sr": 22_050, "n_channels": 2}),
        ("48-khz", {"sr": 48_000}),
    )
]

_FFMPEG = [
    decodes("layer-two.mp2", lambda: encode_with_ffmpeg("mp2", "mp2"), made_by="ffmpeg"),
    decodes("layer-two.mp3", lambda: encode_with_ffmpeg("mp2", "mp2", first=1), order=(1, 2, 3, 4),
            made_by="ffmpeg"),
    decodes("mp3-of-ffmpeg.mp3", lambda: encode_with_ffmpeg("mp3", "libmp3lame"), made_by="ffmpeg"),
]  # fmt: skip

_HEADERS = [
    decodes("mp3-without-xing.mp3", lambda: without_xing(mp3())),
    decodes(
        "mp3-variable-without-xing.mp3",
        lambda: without_xing(mp3(bitrate_mode="VARIABLE", compression_level=0.3, first=2)),
        order=(2, 3, 4, 5),
        warnings=None,
        because="a length guessed from the first frame's bit rate is nobody's promise",
    ),
    *(
        either(
            f"xing-says-{name}.mp3",
            lambda n_frames=n_frames: with_xing_frames(mp3(), n_frames),
            "damaged",
            "truncated",
            *more,
            warnings=("*",),
            because="all of it with a mark, or nothing; never what the header says",
        )
        for name, n_frames, more in (
            ("ten-frames", 10, ()),
            ("half", 39, ()),
            ("many-frames", 0xFFFF_FFFF, ("too-long",)),
            ("twice", 156, ()),
        )
    ),
    either(
        "xing-says-no-frames.mp3",
        lambda: with_xing_frames(mp3(), 0),
        "damaged",
        because="0 may mean unknown",
    ),
]

_TAGS = [
    decodes(f"{name}.mp3", content, warnings=warnings, because=because)
    for name, content, warnings, because in (
        ("id3-picture", lambda: _picture_tag() + mp3(), (), ""),
        ("two-id3", lambda: id3(900) + id3(5_000) + mp3(), (), ""),
        ("id3v1", lambda: mp3() + ID3V1, (), ""),
        ("ape", lambda: mp3() + _ape_tag(), (), ""),
        ("ape-and-id3v1", lambda: mp3() + _ape_tag() + ID3V1, (), ""),
        ("lyrics-and-id3v1", lambda: mp3() + b"LYRICSBEGIN" + b"la " * 99 + b"000312LYRICS200"
         + ID3V1, None, "may be marked"),
        ("id3-behind", lambda: mp3() + id3(3_000), None, "may be marked"),
        ("riff-behind", lambda: mp3() + b"RIFF\x24\0\0\0WAVELIST" + bytes(200), None,
         "may be marked"),
        ("zeros-before", lambda: bytes(3_000) + mp3(), None, "may be marked"),
        ("zeros-behind", lambda: mp3() + bytes(3_000), None, "may be marked"),
    )
]  # fmt: skip

_TAGS += [
    refused(
        "id3-longer-than-the-file.mp3",
        lambda: b"ID3\4\0\0\x7f\x7f\x7f\x7f" + mp3(),
        "truncated",
        "damaged",
    ),
    refused("nothing-but-id3.mp3", lambda: id3(5_000), "truncated", "not-audio", "empty"),
    either(
        "starts-inside-a-frame.mp3",
        lambda: mp3()[1_100:],
        "damaged",
        "not-audio",
        duration_s=1.8,
        tolerance_s=0.2,
        heard="anything",
        because="the start of a recorded radio stream: the first frame is half",
    ),
]

_JOINED = [
    decodes(
        f"{name}.mp3",
        content,
        duration_s=2.0 * n_parts,
        tolerance_s=LOSSY_TOLERANCE_S * n_parts,
        warnings=("*",),
        because="every player plays it to its end",
    )
    for name, n_parts, content in (
        ("two-joined", 2, lambda: _joined(2)),
        ("ten-joined", 10, lambda: _joined(10)),
        ("two-joined-with-tags", 2, lambda: _joined(2, between=ID3V1 + id3(800))),
    )
]

_JOINED += [
    decodes(
        "two-joined-without-xing.mp3",
        lambda: _joined(2, keep_xing=False),
        duration_s=4.0,
        tolerance_s=2 * LOSSY_TOLERANCE_S,
        warnings=None,
        because="nothing shows where the first ends",
    ),
    *(
        either(
            f"joined-{name}.mp3",
            lambda how=how: mp3() + mp3(first=4, **how),
            "damaged",
            "unsupported-format",
            duration_s=4.0,
            tolerance_s=2 * LOSSY_TOLERANCE_S,
            warnings=("*",),
            because="all four seconds at their own pitch with a mark, or nothing",
        )
        for name, how in (
            ("with-another-rate", {"sr": 48_000}),
            ("with-stereo", {"n_channels": 2}),
            ("with-half-the-rate", {"sr": 22_050}),
        )
    ),
]

_DAMAGE = [
    refused(
        "mp3-frames-missing.mp3",
        lambda: _without_frames(mp3()),
        "damaged",
        "truncated",
        because="20 of 78 announced frames are gone, from where does not matter to the remedy",
    ),
    refused(
        "mp3-zeros-in-the-middle.mp3",
        lambda: zeroed(mp3(duration_s=6.0), 20_000),
        "damaged",
        "truncated",
        because="a second is gone, from where does not matter to the remedy",
    ),
    either(
        "mp3-few-zeros-in-the-middle.mp3",
        lambda: zeroed(mp3(duration_s=6.0), 3_000),
        "damaged",
        "truncated",
        duration_s=6.0,
        tolerance_s=0.3,
        warnings=("*",),
        because="a fifth of a second is gone: a mark is enough",
    ),
    either(
        "mp3-junk-in-the-middle.mp3",
        lambda: _with_junk(mp3()),
        "damaged",
        "truncated",
        warnings=("*",),
        because="every frame is there: all of it with a mark, or nothing",
    ),
    refused(
        "text-behind-two-sync-bytes.mp3",
        lambda: b"\xff\xfb\x90\x64" + b"not a frame " * 500,
        "not-audio",
        "damaged",
        because="it begins as MPEG audio does, and is none",
    ),
    refused(
        "random-behind-sync.mp3",
        lambda: b"\xff\xfb\x90\x64" + np.random.default_rng(0).bytes(20_000),
        "not-audio",
        "damaged",
    ),
]

CASES: list[Case] = [*_KINDS, *_FFMPEG, *_HEADERS, *_TAGS, *_JOINED, *_DAMAGE]
"""All of them."""
