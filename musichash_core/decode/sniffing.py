"""What an audio file is, told from its first bytes; the suffix of its name never decides.

Public: `find_container`, `sniff_container`, `id3_bytes`, `HEAD_BYTES`.
"""

import os

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
    (0, b"MPCK", "musepack"),
    (0, b"MP+", "musepack"),
    (0, b"\x0b\x77", "ac3"),
    (0, b"#!AMR", "amr"),
    (0, b"MThd", "midi"),
    (0, b"RIFX", "rifx"),
    (0, b".RMF", "realmedia"),
    (0, b".ra\xfd", "realaudio"),
)

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
    head = os.pread(descriptor, HEAD_BYTES, 0)
    if not head:
        raise DecodeError("empty", "the file has 0 bytes")
    at = 0
    for _ in range(MAX_TAGS):
        if not (tag_bytes := id3_bytes(head)):
            break
        at += tag_bytes
        head = os.pread(descriptor, HEAD_BYTES, at)
    if not head:
        raise DecodeError("truncated", "the file ends inside the ID3 tag that it begins with")
    container = sniff_container(head)
    if container is None:
        raise DecodeError("not-audio", f"the content begins with {head[:16]!r}: no audio format")
    return container


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
    for offset, magic, name in _FIXED_MAGIC:
        if head[offset : offset + len(magic)] == magic:
            return name
    return _mpeg_container(head)


def _ogg_codec(head: bytes) -> str:
    first_page = head[:512]
    for magic, name in _OGG_CODECS:
        if magic in first_page:
            return name
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
