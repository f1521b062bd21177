"""Ogg: Vorbis, Opus and FLAC; chained, mixed and damaged pages, lying positions.

Public: `CASES`.
"""

from collections.abc import Callable
from dataclasses import replace

from nasty.case import LOSSY_TOLERANCE_S, Case, Content, decodes, either, refused
from nasty.flac import flipped, id3, zeroed
from nasty.ogg_bytes import CONTINUES, ENDS, OggPage, join_pages, split_pages
from nasty.sounds import encode, encode_with_ffmpeg

HOURS = 3600 * 44_100


def vorbis(first: int = 0, *, sr: int = 44_100, n_channels: int = 1) -> bytes:
    """Give 2 seconds of Vorbis."""
    return encode("OGG", "VORBIS", sr=sr, n_channels=n_channels, first=first)


def opus(first: int = 0, *, n_channels: int = 1, sr: int = 48_000) -> bytes:
    """Give 2 seconds of Opus."""
    return encode("OGG", "OPUS", sr=sr, n_channels=n_channels, first=first)


def long_vorbis() -> bytes:
    """Give 6 seconds of Vorbis, which has several pages of audio."""
    return encode("OGG", "VORBIS", duration_s=6.0)


def edited(content: bytes, edit: Callable[[list[OggPage]], list[OggPage]]) -> bytes:
    """Change the list of pages, and make every checksum right."""
    return join_pages(edit(split_pages(content)))


def _edit_last(pages: list[OggPage], **change: int) -> list[OggPage]:
    return [*pages[:-1], replace(pages[-1], **change)]


def _audio_middle(pages: list[OggPage]) -> int:
    n_headers = sum(page.granule == 0 for page in pages)
    return (n_headers + len(pages)) // 2


def _without_page(pages: list[OggPage]) -> list[OggPage]:
    middle = _audio_middle(pages)
    return [*pages[:middle], *pages[middle + 1 :]]


def _without_page_renumbered(pages: list[OggPage]) -> list[OggPage]:
    return [replace(page, sequence=n) for n, page in enumerate(_without_page(pages))]


def _page_twice(pages: list[OggPage]) -> list[OggPage]:
    middle = _audio_middle(pages)
    return [*pages[: middle + 1], *pages[middle:]]


def _swapped(pages: list[OggPage]) -> list[OggPage]:
    middle = _audio_middle(pages)
    return [*pages[: middle - 1], pages[middle], pages[middle - 1], *pages[middle + 1 :]]


def _junk_between(content: bytes) -> bytes:
    pages = split_pages(content)
    middle = _audio_middle(pages)
    return join_pages(pages[:middle]) + b"junk" * 50 + join_pages(pages[middle:])


def _early_end(pages: list[OggPage]) -> list[OggPage]:
    middle = _audio_middle(pages)
    early = replace(pages[middle], flags=pages[middle].flags | ENDS)
    return [*pages[:middle], early, *pages[middle + 1 :]]


def _later(pages: list[OggPage], n_frames: int) -> list[OggPage]:
    return [
        replace(page, granule=page.granule + n_frames) if page.granule > 0 else page
        for page in pages
    ]


_KINDS = [
    *(
        decodes(f"{name}.ogg", content, tolerance_s=tolerance_s)
        for name, content, tolerance_s in (
            ("vorbis-mono", vorbis, 0.0),
            ("vorbis-stereo-48-khz", lambda: vorbis(sr=48_000, n_channels=2), 0.0),
            ("vorbis-8-khz", lambda: vorbis(sr=8_000), 0.0),
            ("vorbis-six-channels", lambda: vorbis(n_channels=6), 0.0),
        )
    ),
    decodes("opus-mono.opus", opus, tolerance_s=LOSSY_TOLERANCE_S),
    decodes("opus-stereo.opus", lambda: opus(n_channels=2), tolerance_s=LOSSY_TOLERANCE_S),
    decodes("opus-16-khz.ogg", lambda: opus(sr=16_000), tolerance_s=LOSSY_TOLERANCE_S),
    decodes(
        "opus-of-ffmpeg.opus",
        lambda: encode_with_ffmpeg("opus", "libopus", sr=48_000),
        tolerance_s=LOSSY_TOLERANCE_S,
        made_by="ffmpeg",
    ),
    decodes("ogg-flac.oga", lambda: encode_with_ffmpeg("ogg", "flac"), made_by="ffmpeg"),
]

_POSITIONS = [
    refused(
        "vorbis-ends-after-a-thousand-hours.ogg",
        lambda: edited(long_vorbis(), lambda pages: _edit_last(pages, granule=1000 * HOURS)),
        "too-long",
        "truncated",
        "damaged",
        because="1,000 hours are announced, 6 seconds are there",
    ),
    refused(
        "opus-ends-after-a-thousand-hours.opus",
        lambda: edited(opus(), lambda pages: _edit_last(pages, granule=1000 * 3600 * 48_000)),
        "too-long",
        "truncated",
        "damaged",
        because="1,000 hours are announced, 2 seconds are there",
    ),
    refused(
        "vorbis-ends-two-seconds-late.ogg",
        lambda: edited(long_vorbis(), lambda pages: _edit_last(pages, granule=8 * 44_100)),
        "truncated",
        "damaged",
    ),
    either(
        "vorbis-ends-early.ogg",
        lambda: edited(long_vorbis(), lambda pages: _edit_last(pages, granule=44_100)),
        "damaged",
        duration_s=6.0,
        warnings=("*",),
        because="positions that run backwards: all of it with a mark, or nothing",
    ),
    decodes(
        "vorbis-recorded-from-a-stream.ogg",
        lambda: edited(vorbis(), lambda pages: _later(pages, HOURS)),
        tolerance_s=LOSSY_TOLERANCE_S,
        warnings=None,
        because="a recording that began an hour into a broadcast keeps its positions",
    ),
    decodes(
        "vorbis-no-end-mark.ogg",
        lambda: edited(vorbis(), lambda pages: _edit_last(pages, flags=0)),
        tolerance_s=LOSSY_TOLERANCE_S,
        warnings=("no-end-mark",),
    ),
    refused(
        "vorbis-headers-only.ogg",
        lambda: edited(
            vorbis(), lambda pages: _edit_last([p for p in pages if p.granule == 0], flags=ENDS)
        ),
        "empty",
        "truncated",
        "damaged",
        because="it has no audio; why, nobody can know",
    ),
]


def _broken(name: str, content: Content, *more: str, because: str = "") -> Case:
    return refused(f"{name}.ogg", content, "damaged", *more, because=because)


_DAMAGE = [
    *(
        _broken(f"vorbis-bit-flipped-at-{share}", lambda s=share: flipped(vorbis(), s))
        for share in (0.4, 0.7, 0.99)
    ),
    refused("opus-bit-flipped.opus", lambda: flipped(opus(), 0.5), "damaged"),
    _broken("vorbis-zeros-in-the-middle", lambda: zeroed(long_vorbis(), 4_096)),
    _broken(
        "vorbis-page-missing",
        lambda: edited(long_vorbis(), _without_page),
        "truncated",
        because="a second is gone: the audio is not all there",
    ),
    _broken(
        "vorbis-page-missing-renumbered",
        lambda: edited(long_vorbis(), _without_page_renumbered),
        "truncated",
        because="the positions leave a hole though the page numbers do not",
    ),
    either(
        "vorbis-page-twice.ogg",
        lambda: edited(long_vorbis(), _page_twice),
        "damaged",
        "truncated",
        duration_s=6.0,
        warnings=("*",),
        because="the page's number shows which of the two is too many",
    ),
    _broken("vorbis-pages-swapped", lambda: edited(long_vorbis(), _swapped), "truncated"),
    either(
        "vorbis-junk-between-pages.ogg",
        lambda: _junk_between(long_vorbis()),
        "damaged",
        duration_s=6.0,
        warnings=("*",),
        because="every page is there: all of it with a mark, or nothing",
    ),
    either(
        "vorbis-ends-twice.ogg",
        lambda: edited(long_vorbis(), _early_end),
        "damaged",
        "truncated",
        duration_s=6.0,
        warnings=("*",),
        because="every page is there: all of it with a mark, or nothing",
    ),
    _broken(
        "vorbis-starts-in-the-middle",
        lambda: join_pages(split_pages(long_vorbis())[3:]),
        "unsupported-format",
        because="without its headers no Vorbis can be decoded",
    ),
    either(
        "vorbis-page-continues-nothing.ogg",
        lambda: edited(
            long_vorbis(),
            lambda pages: [
                replace(page, flags=page.flags | CONTINUES) if n == 3 else page
                for n, page in enumerate(pages)
            ],
        ),
        "damaged",
        "truncated",
        duration_s=6.0,
        warnings=("*",),
        because="a packet begins in the middle, and is dropped: 23 ms, for which a mark is enough",
    ),
    decodes("id3v1-behind-ogg.ogg", lambda: vorbis() + b"TAG" + bytes(125), warnings=None),
    either(
        "id3-before-ogg.ogg",
        lambda: id3(500) + vorbis(),
        "damaged",
        "unsupported-format",
        because="no tagger does this",
    ),
]

CASES: list[Case] = [*_KINDS, *_POSITIONS, *_DAMAGE]
"""All of them."""
