"""What an audio file is, told from its first bytes; the suffix of its name never decides.

Public: `find_container`, `sniff_container`, `skip_id3`, `id3_bytes`, `HEAD_BYTES`.
"""

import os

from musichash_core.decode.foreign_content import describe_content
from musichash_core.errors import DecodeError

HEAD_BYTES = 4096
"""How much of the file `sniff_container` needs to see."""

ID3_HEADER_BYTES = 10

MAX_TAGS = 8
"""ID3v2 tags that are skipped before the audio; more than two are not seen in the wild."""

UTF_16_MARK = b"\xff\xfe"
"""Begins UTF-16 text, and would begin an MPEG-1 layer I frame with a checksum, which nobody has."""

_FIXED_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"fLaC", "flac"),
    (0, b"RF64", "rf64"),
    (0, b"riff\x2e\x91\xcf\x11", "w64"),
    (0, b"caff", "caf"),
    (0, b".snd", "au"),
    (4, b"ftyp", "mp4"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "asf"),
    (0, b"\x1a\x45\xdf\xa3", "matroska"),
    (0, b"wvpk", "wavpack"),
    (0, b"TTA1", "tta"),
    (0, b"MAC ", "monkeys-audio"),
    (0, b"DSD ", "dsf"),
    (0, b"FRM8", "dsdiff"),
    (0, b"tBaK", "tak"),
    (0, b"OFR ", "optimfrog"),
    (0, b"ADIF", "aac-adif"),
    (0, b"MPCK", "musepack"),
    (0, b"MP+", "musepack"),
    (0, b"#!AMR", "amr"),
    (0, b"MThd", "midi"),
    (8, b"RMID", "midi"),
    (8, b"AVI ", "avi"),
    (8, b"8SVX", "svx"),
    (0, b"ajkg", "shorten"),
    (0, b"Creative Voice File", "voc"),
    (0, b"NIST_1A", "nist-sphere"),
    (0, b"IMPM", "tracker-module"),
    (0, b"Extended Module: ", "tracker-module"),
    (44, b"SCRM", "tracker-module"),
    (1080, b"M.K.", "tracker-module"),
    (0, b"FLV\x01", "flv"),
    (0, b"\0\0\x01\xba", "mpeg-video"),
    (0, b"RIFX", "rifx"),
    (0, b".RMF", "realmedia"),
    (0, b".ra\xfd", "realaudio"),
)

AC3_SYNC = b"\x0b\x77"
LAST_AC3_VERSION = 10
"""What stands in the sixth byte of an AC-3 frame; those of E-AC-3 have 11 to 16."""

_QUICKTIME_BOXES = frozenset({b"moov", b"mdat", b"wide", b"free", b"skip"})
"""What QuickTime files begin with that have no ``ftyp`` (before 2001, and some cameras)."""

_OGG_HEADER_BYTES = 27
_OGG_BEGINS_STREAM = 2

_OGG_CODECS: tuple[tuple[bytes, str], ...] = (
    (b"\x01vorbis", "ogg-vorbis"),
    (b"OpusHead", "ogg-opus"),
    (b"\x7fFLAC", "ogg-flac"),
    (b"Speex   ", "ogg-speex"),
)


def find_container(descriptor: int) -> str:
    """Look into an open file, behind any ID3v2 tags, and name its container.

    Raises
    ------
    DecodeError
        With code empty, truncated or not-audio.
    OSError
        If it cannot be read.
    """
    at = skip_id3(descriptor)
    head = os.pread(descriptor, HEAD_BYTES, at)
    if not head:
        if at == 0:
            raise DecodeError("empty", "the file has 0 bytes")
        raise DecodeError("truncated", "the file ends inside the ID3 tag that it begins with")
    container = sniff_container(head)
    if container is None:
        raise DecodeError("not-audio", describe_content(head))
    return container


def skip_id3(descriptor: int) -> int:
    """Give where an open file goes on behind the ID3v2 tags that it begins with.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    at = 0
    for _ in range(MAX_TAGS):
        tag_bytes = id3_bytes(os.pread(descriptor, ID3_HEADER_BYTES, at))
        if not tag_bytes:
            break
        at += tag_bytes
    return at


def id3_bytes(head: bytes) -> int:
    """Give the length of the ID3v2 tag that some bytes begin with; 0 when there is none.

    Such tags stand before MP3 most of all, but taggers put them before FLAC and AAC too, and a
    second one before the first. One with a cover picture is longer than `HEAD_BYTES`, so the reader
    has to look again behind it.
    """
    if head[:3] != b"ID3" or len(head) < ID3_HEADER_BYTES:
        return 0
    body = (head[6] << 21) | (head[7] << 14) | (head[8] << 7) | head[9]
    has_footer = bool(head[5] & 0x10)
    return ID3_HEADER_BYTES * (1 + has_footer) + body


def sniff_container(head: bytes) -> str | None:
    """Name the container that a file's first bytes announce.

    Parameters
    ----------
    head : bytes
        The first `HEAD_BYTES` bytes (fewer when the file is shorter), behind any ID3v2 tag.

    Returns
    -------
    str or None
        Its name, whether it can be decoded or not; None when the bytes are no audio format known
        here.
    """
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        return "wav"
    if head[:4] == b"FORM" and head[8:12] in {b"AIFF", b"AIFC"}:
        return "aiff"
    if head[:4] == b"OggS":
        return _ogg_codec(head)
    if head[:1] == b"\0" and head[4:8] in _QUICKTIME_BOXES:
        return "mp4"
    if head[:2] == AC3_SYNC:
        return "eac3" if len(head) > 5 and head[5] >> 3 > LAST_AC3_VERSION else "ac3"
    for offset, magic, name in _FIXED_MAGIC:
        if head[offset : offset + len(magic)] == magic:
            return name
    return _mpeg_container(head)


def _ogg_codec(head: bytes) -> str:
    """Name the first sound stream; the pages that begin the streams stand before all others."""
    at = 0
    while head[at : at + 4] == b"OggS" and len(head) > at + _OGG_HEADER_BYTES:
        if not head[at + 5] & _OGG_BEGINS_STREAM:
            break
        n_segments = head[at + _OGG_HEADER_BYTES - 1]
        body = at + _OGG_HEADER_BYTES + n_segments
        for magic, name in _OGG_CODECS:
            if head.startswith(magic, body):
                return name
        at = body + sum(head[at + _OGG_HEADER_BYTES : body])
    return "ogg-unknown"


def _mpeg_container(head: bytes) -> str | None:
    sync = head.lstrip(b"\0")[:2]  # encoders and taggers leave zeros before the first frame
    if len(sync) < 2 or sync[0] != 0xFF or sync[1] & 0xE0 != 0xE0:
        return None
    if sync == UTF_16_MARK:
        return None
    if sync[1] & 0xF6 == 0xF0:
        return "aac-adts"
    is_reserved = (sync[1] >> 3) & 3 == 1 or (sync[1] >> 1) & 3 == 0
    return None if is_reserved else "mp3"
