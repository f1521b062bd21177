"""Several Ogg streams in one file: one after the other, or mixed.

Public: `CASES`.
"""

from nasty.case import Case, either
from nasty.ogg import opus, vorbis
from nasty.ogg_bytes import BEGINS, ENDS, OggPage, join_pages, split_pages, with_serial


def _mixed() -> bytes:
    one, two = split_pages(vorbis()), split_pages(with_serial(vorbis(first=8), 2))
    heads = [one[0], two[0]]
    rest = [page for pair in zip(one[1:], two[1:], strict=False) for page in pair]
    n_paired = min(len(one), len(two))
    return join_pages([*heads, *rest, *one[n_paired:], *two[n_paired:]])


def _with_skeleton() -> bytes:
    body = b"fishead\0" + bytes(56)
    start = OggPage(BEGINS, 0, 99, 0, bytes([len(body)]), body)
    end = OggPage(ENDS, 0, 99, 1, b"\0", b"")
    pages = split_pages(vorbis())
    return join_pages([start, pages[0], end, *pages[1:]])


def _chain(*parts: bytes) -> bytes:
    return b"".join(with_serial(part, serial) for serial, part in enumerate(parts, start=1))


CASES: list[Case] = [
    either(
        f"chained-{name}",
        content,
        "damaged",
        "unsupported-format",
        duration_s=duration_s,
        tolerance_s=0.5,
        warnings=("*",),
        because="all links at their own pitch with a mark, or nothing",
    )
    for name, duration_s, content in (
        ("vorbis.ogg", 4.0, lambda: _chain(vorbis(), vorbis(first=4))),
        ("opus.opus", 4.0, lambda: _chain(opus(), opus(first=4))),
        (
            "ten-vorbis.ogg",
            20.0,
            lambda: _chain(*(vorbis(first=4 * place) for place in range(10))),
        ),
        ("vorbis-of-two-rates.ogg", 4.0, lambda: _chain(vorbis(), vorbis(first=4, sr=48_000))),
        ("mono-and-stereo.ogg", 4.0, lambda: _chain(vorbis(), vorbis(first=4, n_channels=2))),
        ("vorbis-and-opus.ogg", 4.0, lambda: _chain(vorbis(), opus(first=4))),
    )
]

CASES += [
    either(
        "same-serial-twice.ogg",
        lambda: vorbis() + vorbis(first=4),
        "damaged",
        "unsupported-format",
        duration_s=4.0,
        tolerance_s=0.5,
        warnings=("*",),
        because="forbidden, and what `cat a.ogg a.ogg` makes: all with a mark, or nothing",
    ),
    either(
        "two-streams-mixed.ogg",
        _mixed,
        "damaged",
        "unsupported-format",
        warnings=("*",),
        because="the first stream with a mark, or nothing; never both in a row",
    ),
    either(
        "skeleton.oga",
        _with_skeleton,
        "unsupported-format",
        because="an Ogg Skeleton stands before the audio: rare, and naming it is honest",
    ),
]
"""All of them."""
