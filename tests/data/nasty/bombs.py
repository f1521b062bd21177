"""Small files that unfold into hours: refused in little time and memory.

Public: `CASES`.
"""

from dataclasses import replace

from nasty.case import Case, decodes, refused
from nasty.flac import silence, with_total
from nasty.ogg import opus, vorbis
from nasty.ogg_bytes import ENDS, OggPage, join_pages, split_pages
from nasty.riff_bytes import chunk, fmt, wav

FOUR_HOURS_S = 4 * 3600
OPUS_SR = 48_000
OPUS_PACKET_FRAMES = 5_760
SILENT_PACKET = b"\x1b\x02"
"""Configuration 3 (60 ms, SILK), two empty frames: 120 ms of nothing in two bytes."""


def _opus(duration_s: float, *, claimed_s: float) -> bytes:
    """Give an Opus file of empty packets."""
    pages: list[OggPage] = [*split_pages(opus())[:2]]
    n_packets = round(duration_s * OPUS_SR / OPUS_PACKET_FRAMES)
    n_done = 0
    while n_done < n_packets:
        n_here = min(255, n_packets - n_done)
        n_done += n_here
        body = SILENT_PACKET * n_here
        sizes = bytes([len(SILENT_PACKET)]) * n_here
        granule = n_done * OPUS_PACKET_FRAMES
        pages.append(OggPage(0, granule, 1, len(pages), sizes, body))
    pages[-1] = replace(pages[-1], flags=ENDS, granule=round(claimed_s * OPUS_SR))
    return join_pages(pages)


def _vorbis(claimed_s: float) -> bytes:
    """Repeat a page of Vorbis at ever later positions."""
    pages = split_pages(vorbis())
    heads = [page for page in pages if page.granule == 0]
    body = pages[len(heads)]
    bodies = [
        replace(body, sequence=len(heads) + n, granule=body.granule * (n + 1), flags=0)
        for n in range(100)
    ]
    last = replace(bodies[-1], flags=ENDS, granule=round(claimed_s * 44_100))
    return join_pages([*heads, *bodies[:-1], last])


CASES: list[Case] = [
    refused(
        "four-hours-and-a-second.flac",
        lambda: silence(FOUR_HOURS_S + 1),
        "too-long",
    ),
    refused(
        "four-hours-and-a-second-unannounced.flac",
        lambda: with_total(silence(FOUR_HOURS_S + 1), 0),
        "too-long",
        because="nothing announces it: the limit must hold while reading",
    ),
    refused(
        "four-hours-announced-as-two-seconds.flac",
        lambda: with_total(silence(FOUR_HOURS_S + 1), 8_000),
        "too-long",
        "damaged",
        because="it ends by the limit, or at the first sample more than announced",
    ),
    decodes(
        "two-minutes-of-silence.flac",
        lambda: silence(120, sr=44_100),
        duration_s=120.0,
        heard="silence",
        because="long and quiet is legal",
    ),
    refused(
        "five-hours.opus",
        lambda: _opus(5 * 3600, claimed_s=5 * 3600),
        "too-long",
    ),
    refused(
        "minutes-announced-as-seconds.opus",
        lambda: _opus(600, claimed_s=10),
        "damaged",
        "truncated",
        because="the last position lies minutes before the one before it",
    ),
    refused(
        "announces-five-hours.ogg",
        lambda: _vorbis(5 * 3600),
        "too-long",
    ),
    refused(
        "a-day-at-one-hertz.wav",
        lambda: wav(fmt(sr=1), chunk(b"data", bytes(172_800))),
        "over-limit",
        "too-long",
        because="22,050 samples would be made of each of its own",
    ),
]
"""All of them; those of hours are short, because each second is a few bytes."""
