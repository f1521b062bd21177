"""The sound of an Ogg file: of every link of a chain, and apart from pictures beside it.

libsndfile plays the first link of a chain only. Here each link is shown to it by itself, without
the pages of other streams.

Public: `find_ogg_parts`, `name_ogg_codec`.
"""

from musichash_core.decode.ogg_pages import OggStream, walk_ogg_pages
from musichash_core.decode.reader import TRAILER_BYTES
from musichash_core.decode.sndfile.sound_parts import WHOLE_FILE, SoundPart, SoundParts
from musichash_core.errors import DecodeError

_CODECS: tuple[tuple[bytes, str], ...] = (
    (b"\x01vorbis", "Vorbis"),
    (b"OpusHead", "Opus"),
    (b"\x7fFLAC", "FLAC"),
    (b"Speex   ", "Speex"),
    (b"\x80theora", "Theora video"),
    (b"fishead\0", "Skeleton index"),
    (b"CELT    ", "CELT"),
    (b"\x80kate\0\0\0", "Kate subtitles"),
    (b"BBCD\0", "Dirac video"),
    (b"\x01video\0\0", "OGM video"),
    (b"PCM     ", "PCM"),
    (b"\x80daala", "Daala video"),
    (b"OVP80", "VP8 video"),
)

DECODED = frozenset({"Vorbis", "Opus", "FLAC"})
"""What libsndfile decodes from Ogg."""


def find_ogg_parts(descriptor: int, n_bytes: int) -> SoundParts:
    """Walk an Ogg file and give the sound of each of its links.

    Returns
    -------
    SoundParts
        One for each link. With warnings: ``several-streams`` (of sound, beside each other, of
        which the first is decoded), ``pages-missing`` (their numbers leave a gap before the first
        sound), ``no-end-mark`` (all pages are whole, the last one does not say that it is the
        last) and ``data-after-end`` (more than `TRAILER_BYTES` behind the last page).

    Raises
    ------
    DecodeError
        With code truncated, damaged or unsupported-format.
    OSError
        If the file cannot be read.
    """
    walk = walk_ogg_pages(descriptor, n_bytes)
    sounds = [_sound_streams(link) for link in walk.links]
    first_sounds = [streams[0] for streams in sounds]
    has_gap = any(stream.has_gap for stream in first_sounds)
    warnings = {
        "several-streams": any(len(streams) > 1 for streams in sounds),
        "pages-missing": has_gap,
        "no-end-mark": not all(stream.is_ended for stream in first_sounds),
        "data-after-end": walk.n_trailing_bytes > TRAILER_BYTES,
    }
    met = tuple(name for name, is_met in warnings.items() if is_met)
    if len(walk.links) == 1 and len(walk.links[0]) == 1:
        return SoundParts(WHOLE_FILE.parts, met)
    return SoundParts(tuple(SoundPart(tuple(stream.runs)) for stream in first_sounds), met)


def _sound_streams(link: dict[int, OggStream]) -> list[OggStream]:
    names = [name_ogg_codec(stream.first_packet) for stream in link.values()]
    sounds = [stream for stream, name in zip(link.values(), names, strict=True) if name in DECODED]
    if not any(stream.first_packet for stream in link.values()):
        raise DecodeError("damaged", "the page that begins the Ogg stream is missing")
    if not sounds:
        raise DecodeError(
            "unsupported-format",
            f"the Ogg streams are {', '.join(name or 'unknown' for name in names)}; decoded are "
            f"{', '.join(sorted(DECODED))}",
        )
    return sounds


def name_ogg_codec(first_packet: bytes) -> str | None:
    """Name the codec whose stream begins with some bytes; None when it is not known here."""
    for magic, name in _CODECS:
        if first_packet.startswith(magic):
            return name
    return None
