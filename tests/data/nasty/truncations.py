"""Every container cut at several places: half a download must never pass for the whole.

Public: `CASES`.
"""

from nasty.case import Case, Content, MadeBy, either, refused
from nasty.ffmpeg_formats import WRITTEN
from nasty.flac import plain
from nasty.mpeg import mp3, without_xing
from nasty.ogg import long_vorbis, opus, vorbis
from nasty.sounds import encode, encode_with_ffmpeg

_FFMPEG = dict(WRITTEN)

WHOLE: list[tuple[str, Content]] = [
    ("wav", lambda: encode("WAV", "PCM_16")),
    ("wavex.wav", lambda: encode("WAVEX", "PCM_24", n_channels=2)),
    ("ima.wav", lambda: encode("WAV", "IMA_ADPCM")),
    ("rf64", lambda: encode("RF64", "PCM_16")),
    ("w64", lambda: encode("W64", "PCM_16")),
    ("aiff", lambda: encode("AIFF", "PCM_16")),
    ("caf", lambda: encode("CAF", "PCM_16")),
    ("alac.caf", lambda: encode("CAF", "ALAC_16")),
    ("au", lambda: encode("AU", "PCM_16")),
    ("flac", plain),
    ("ogg", vorbis),
    ("long.ogg", long_vorbis),
    ("opus", opus),
    ("oga", lambda: encode_with_ffmpeg("ogg", "flac")),
    ("mp3", mp3),
    ("fast-start.m4a", _FFMPEG["aac-fast-start.m4a"]),
    ("fragments.m4a", _FFMPEG["aac-in-fragments.m4a"]),
    ("alac.m4a", _FFMPEG["alac.m4a"]),
    ("wma", _FFMPEG["wma-2.wma"]),
    ("webm", _FFMPEG["opus.webm"]),
    ("mka", _FFMPEG["flac.mka"]),
    ("wv", _FFMPEG["wavpack.wv"]),
    ("tta", _FFMPEG["tta.tta"]),
    ("dsf", _FFMPEG["dsf.dsf"]),
]
"""Containers that say how much audio they hold."""

ENDLESS: list[tuple[str, Content]] = [
    ("ac3", _FFMPEG["ac3.ac3"]),
    ("eac3", _FFMPEG["eac3.eac3"]),
    ("aac", _FFMPEG["adts.aac"]),
    ("no-xing.mp3", lambda: without_xing(mp3())),
]
"""Bare frames, one after the other: only the last one shows that it was cut."""

_BY_FFMPEG = {
    "oga",
    "fast-start.m4a",
    "fragments.m4a",
    "alac.m4a",
    "wma",
    "webm",
    "mka",
    "wv",
    "tta",
}
_BY_FFMPEG |= {"ac3", "eac3", "aac"}

INDEX_AT_THE_END = {"wma", "webm", "mka", "alac.caf"}
"""Formats that end in an index, whose last byte nobody needs for listening."""

HEAD_CODES = {
    10: ("truncated", "damaged", "not-audio", "unsupported-format"),
    44: ("truncated", "damaged", "not-audio", "empty"),
}
"""So few bytes may be anything, but none of it needs a conversion when 44 are there."""


def _made_by(name: str) -> MadeBy:
    return "ffmpeg" if name in _BY_FFMPEG else "soundfile"


def _head(name: str, content: Content, n_bytes: int) -> Case:
    return refused(
        f"first-{n_bytes}-bytes.{name}",
        lambda: content()[:n_bytes],
        *HEAD_CODES[n_bytes],
        made_by=_made_by(name),
        because="so few bytes may be anything",
    )


def _half(name: str, content: Content) -> Case:
    return refused(
        f"first-half.{name}",
        lambda: content()[: len(content()) // 2],
        "truncated",
        "damaged",
        made_by=_made_by(name),
        because="the decoder may stumble over the cut before its length is compared",
    )


def _without_last_byte(name: str, content: Content) -> Case:
    if name in INDEX_AT_THE_END or name.endswith("mp3"):
        return either(
            f"without-last-byte.{name}",
            lambda: content()[:-1],
            "truncated",
            "damaged",
            warnings=None if name in INDEX_AT_THE_END else ("*",),
            made_by=_made_by(name),
            because="at most one last frame of 26 ms is gone: a mark is enough",
        )
    return refused(
        f"without-last-byte.{name}",
        lambda: content()[:-1],
        "truncated",
        "damaged",
        made_by=_made_by(name),
        because="the decoder may stumble over the cut before its length is compared",
    )


def _endless_part(name: str, content: Content) -> Case:
    return either(
        f"three-quarters.{name}",
        lambda: content()[: len(content()) * 3 // 4 - 30],
        "truncated",
        "damaged",
        duration_s=1.5,
        order=(0, 1, 2),
        warnings=("*",),
        made_by=_made_by(name),
        because="nothing announces a length: the cut frame at the end deserves a mark",
    )


CASES: list[Case] = [
    refused("no-bytes-at-all.flac", lambda: b"", "empty"),
    *(_head(name, content, n) for name, content in WHOLE for n in (10, 44)),
    *(_half(name, content) for name, content in WHOLE),
    *(_without_last_byte(name, content) for name, content in WHOLE),
    *(_endless_part(name, content) for name, content in ENDLESS),
]
"""All of them."""
