"""Headers of MPEG audio: the four bytes of each frame, and the encoder's header in the first one.

Encoders put a frame without sound before the others that says how many follow (Xing or Info; VBRI
by Fraunhofer's encoder). Decoders believe it.

Public: `FrameHeader`, `parse_frame_header`, `EncoderHeader`, `find_encoder_header`,
`mark_offset`, `make_count_frame`, `ENCODER_MARKS`, `HEADER_BYTES`, `ENCODER_HEADER_BYTES`.
"""

import struct
from dataclasses import dataclass

HEADER_BYTES = 4

ENCODER_HEADER_BYTES = 64
"""As much of a frame as `find_encoder_header` needs to see."""

_KBITS_PER_S = {
    (1, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""Bitrates by (version, layer) and index; versions 2 and 2.5 share theirs (ISO 13818-3)."""

ENCODER_MARKS = frozenset({b"Xing", b"Info", b"VBRI"})

_SAMPLE_RATES = {
    3: (44_100, 48_000, 32_000),
    2: (22_050, 24_000, 16_000),
    0: (11_025, 12_000, 8000),
}
"""Sample rates in Hz by the version's bits: MPEG-1, MPEG-2, MPEG-2.5."""

_MONO = 3
_VBRI_OFFSET = 36
_COUNT_FRAME_BITRATE_INDEX = 9
"""128 kbit/s for MPEG-1, 80 for MPEG-2: the frame then has room for the encoder's header."""


@dataclass(frozen=True, slots=True)
class FrameHeader:
    """One frame's header.

    Attributes
    ----------
    version_bits : int
        3 for MPEG-1, 2 for MPEG-2, 0 for MPEG-2.5.
    layer : int
        1, 2 or 3.
    sr : int
        Sample rate, Hz.
    n_channels : int
        1 or 2.
    n_bytes : int
        Length of the frame with its header; 0 for free format, where the header does not tell.
    n_samples : int
        Samples per channel.
    """

    version_bits: int
    layer: int
    sr: int
    n_channels: int
    n_bytes: int
    n_samples: int

    def is_like(self, other: "FrameHeader") -> bool:
        """Whether both can be frames of one stream."""
        return (self.version_bits, self.layer, self.sr, self.n_channels) == (
            other.version_bits,
            other.layer,
            other.sr,
            other.n_channels,
        )


def parse_frame_header(header: bytes) -> FrameHeader | None:
    """Read the first four bytes of a frame; None when they cannot begin one."""
    if len(header) < HEADER_BYTES or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return None
    version_bits, layer = (header[1] >> 3) & 3, 4 - ((header[1] >> 1) & 3)
    bitrate_index, rate_index = header[2] >> 4, (header[2] >> 2) & 3
    if version_bits == 1 or layer == 4 or bitrate_index == 15 or rate_index == 3:
        return None
    sr = _SAMPLE_RATES[version_bits][rate_index]
    is_mpeg_1 = version_bits == 3
    kbits = _KBITS_PER_S[1 if is_mpeg_1 else 2, layer][bitrate_index]
    n_samples = {1: 384, 2: 1152, 3: 1152 if is_mpeg_1 else 576}[layer]
    slot_bytes = 4 if layer == 1 else 1
    n_slots = n_samples // 8 * 1000 * kbits // (sr * slot_bytes) + ((header[2] >> 1) & 1)
    return FrameHeader(
        version_bits=version_bits,
        layer=layer,
        sr=sr,
        n_channels=1 if header[3] >> 6 == _MONO else 2,
        n_bytes=n_slots * slot_bytes if kbits else 0,
        n_samples=n_samples,
    )


@dataclass(frozen=True, slots=True)
class EncoderHeader:
    """What the encoder's header says.

    Attributes
    ----------
    n_frames : int or None
        Frames behind it; None when it does not say.
    count_at : int or None
        Where in the frame the count stands, as four bytes, the most significant first.
    """

    n_frames: int | None
    count_at: int | None


def find_encoder_header(frame: bytes, header: FrameHeader) -> EncoderHeader | None:
    """Look for an encoder's header in the first `ENCODER_HEADER_BYTES` of a frame of layer III."""
    if header.layer != 3:
        return None
    for crc_bytes in (0, 2):
        at = mark_offset(header) + crc_bytes
        if frame[at : at + 4] in {b"Xing", b"Info"}:
            has_count = len(frame) >= at + 12 and bool(frame[at + 7] & 1)
            return _counted(frame, at + 8) if has_count else EncoderHeader(None, None)
    if frame[_VBRI_OFFSET : _VBRI_OFFSET + 4] == b"VBRI":
        return _counted(frame, _VBRI_OFFSET + 14)
    return None


def _counted(frame: bytes, at: int) -> EncoderHeader:
    if len(frame) < at + 4:
        return EncoderHeader(None, None)
    return EncoderHeader(int(struct.unpack_from(">I", frame, at)[0]), at)


def mark_offset(header: FrameHeader) -> int:
    """Give where the Xing or Info header stands in a frame: behind the side information."""
    if header.version_bits == 3:
        return HEADER_BYTES + (17 if header.n_channels == 1 else 32)
    return HEADER_BYTES + (9 if header.n_channels == 1 else 17)


def make_count_frame(first: bytes, n_frames: int) -> bytes:
    """Make a frame without sound whose Xing header announces the number of frames behind it.

    Parameters
    ----------
    first : bytes
        The header of the first frame of sound, layer III.
    n_frames : int
        Frames that follow.
    """
    without_padding = (first[2] & 0x0D) | (_COUNT_FRAME_BITRATE_INDEX << 4)
    lead = bytes([first[0], first[1] | 1, without_padding, first[3]])  # | 1: no checksum
    header = parse_frame_header(lead)
    assert header is not None  # the caller has parsed it before
    frame = bytearray(header.n_bytes)
    frame[:HEADER_BYTES] = lead
    at = mark_offset(header)
    frame[at : at + 12] = b"Xing" + struct.pack(">II", 1, n_frames)
    return bytes(frame)
