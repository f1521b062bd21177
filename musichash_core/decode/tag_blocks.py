"""How long the tags are that stand before, behind and between MPEG frames.

Public: `front_tag_bytes`, `audio_end`.
"""

import os
import struct

from musichash_core.decode.sniffing import id3_bytes

APE_FOOTER_BYTES = 32
ID3V1_BYTES = 128

_APE_MARK = b"APETAGEX"
_LYRICS_END = b"LYRICS200"
_LYRICS_END_BYTES = 15  # six digits, then the mark

MAX_TAGS_BEHIND = 8
"""Files in the wild have up to three kinds behind the audio, each once."""


def front_tag_bytes(head: bytes) -> int:
    """Give the length of the tag (ID3v2, APEv2, ID3v1) that some bytes begin with; 0 for none.

    Parameters
    ----------
    head : bytes
        At least 32 bytes, unless the file ends before.
    """
    if head.startswith(b"TAG"):
        return ID3V1_BYTES
    if head.startswith(_APE_MARK) and len(head) >= APE_FOOTER_BYTES:
        size, _, flags = struct.unpack_from("<III", head, 12)
        is_header = bool(flags & 0x2000_0000)
        return int(size) + (APE_FOOTER_BYTES if is_header else 0)
    return id3_bytes(head)


def audio_end(descriptor: int, n_bytes: int) -> int:
    """Give where the audio of a file ends: before the ID3v1, APEv2 and Lyrics3 tags behind it."""
    end = n_bytes
    for _ in range(MAX_TAGS_BEHIND):
        tag_bytes = _last_tag_bytes(descriptor, end)
        if not 0 < tag_bytes <= end:
            break
        end -= tag_bytes
    return end


def _last_tag_bytes(descriptor: int, end: int) -> int:
    start = max(0, end - ID3V1_BYTES)
    tail = os.pread(descriptor, end - start, start)
    if len(tail) == ID3V1_BYTES and tail.startswith(b"TAG"):
        return ID3V1_BYTES
    footer = tail[-APE_FOOTER_BYTES:]
    if len(footer) == APE_FOOTER_BYTES and footer.startswith(_APE_MARK):
        size, _, flags = struct.unpack_from("<III", footer, 12)
        has_header = bool(flags & 0x8000_0000)
        return int(size) + (APE_FOOTER_BYTES if has_header else 0)
    if tail.endswith(_LYRICS_END):
        digits = tail[-_LYRICS_END_BYTES : -len(_LYRICS_END)]
        return int(digits) + _LYRICS_END_BYTES if digits.isdigit() else 0
    return 0
