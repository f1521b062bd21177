"""Walk the frames of bare AAC (ADTS), AC-3 and E-AC-3 streams, which have no container.

Each frame says how long it is, so that the next must follow it; a file that was cut ends in one.
These streams say nothing of their whole length: one cut between two frames cannot be told.

Public: `check_adts`, `check_ac3`.
"""

from collections.abc import Callable
from dataclasses import dataclass

from musichash_core.decode.ffmpeg.container_facts import ContainerFacts
from musichash_core.decode.ffmpeg.file_window import FileWindow
from musichash_core.errors import DecodeError

ADTS_RATES_HZ = (
    96_000,
    88_200,
    64_000,
    48_000,
    44_100,
    32_000,
    24_000,
    22_050,
    16_000,
    12_000,
    11_025,
    8_000,
    7_350,
)
"""By the index in the header, ISO/IEC 13818-7."""

AC3_RATES_HZ = (48_000, 44_100, 32_000)
"""By the code in the header, ATSC A/52; E-AC-3 also has the halves."""

AC3_BIT_RATES_KBPS = (
    32,
    40,
    48,
    56,
    64,
    80,
    96,
    112,
    128,
    160,
    192,
    224,
    256,
    320,
    384,
    448,
    512,
    576,
    640,
)
"""Two frame sizes of AC-3 in turn have the same of these, ATSC A/52 table 5.18."""

HEAD_BYTES = 7
"""What is read of a frame: the header of ADTS, and enough of AC-3."""

ADTS_FRAMES = 1024
AC3_BLOCK_FRAMES = 256


@dataclass(frozen=True, slots=True)
class _Frame:
    """One frame: its length in the file and in time (0 where another frame covers the time)."""

    n_bytes: int
    n_frames: int
    sr: int


def check_adts(file: FileWindow, start: int) -> ContainerFacts:
    """Check that the frames of an ADTS stream follow each other to the end of the file.

    Parameters
    ----------
    file : FileWindow
        The file.
    start : int
        Where the first frame begins, behind any ID3v2 tag.

    Returns
    -------
    ContainerFacts
        With `length_s`, the sum over the frames, and `audio_end`.

    Raises
    ------
    DecodeError
        With code truncated or damaged.
    """
    return _walk(file, start, _parse_adts, "ADTS")


def check_ac3(file: FileWindow, start: int) -> ContainerFacts:
    """Check that the frames of an AC-3 or E-AC-3 stream follow each other to the end of the file.

    Their checksums are left to the decoder. Parameters, result and errors as in `check_adts`.
    """
    return _walk(file, start, _parse_ac3, "AC-3")


def _walk(
    file: FileWindow,
    start: int,
    parse: Callable[[bytes], _Frame | None],
    name: str,
) -> ContainerFacts:
    at, length_s, sr = start, 0.0, 0
    while at < file.n_bytes:
        head = file.read_at(at, HEAD_BYTES)
        frame = parse(head) if len(head) == HEAD_BYTES else None
        if frame is None:
            _check_nothing_follows(file, at, name)
            break
        if sr and frame.sr != sr:
            raise DecodeError(
                "damaged", f"the sample rate changes from {sr} to {frame.sr} Hz at byte {at}"
            )
        sr = frame.sr
        file.check_end(at, at + frame.n_bytes, f"the {name} frame")
        length_s += frame.n_frames / sr
        at += frame.n_bytes
    return ContainerFacts(length_s=length_s, audio_end=at)


def _check_nothing_follows(file: FileWindow, at: int, name: str) -> None:
    """Let tags and zeros pass, which writers leave behind the last frame."""
    if file.is_end_of_audio(at):
        return
    if file.n_bytes - at < HEAD_BYTES:
        raise DecodeError("truncated", f"the file ends inside the {name} frame at byte {at}")
    raise DecodeError("damaged", f"there is no {name} frame at byte {at}, where one should follow")


def _parse_adts(head: bytes) -> _Frame | None:
    """Read a frame's header; None when there is none."""
    if head[0] != 0xFF or head[1] & 0xF6 != 0xF0:
        return None
    rate_index = (head[2] >> 2) & 15
    n_bytes = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    if n_bytes < HEAD_BYTES or rate_index >= len(ADTS_RATES_HZ):
        return None
    n_blocks = (head[6] & 3) + 1
    return _Frame(n_bytes, n_blocks * ADTS_FRAMES, ADTS_RATES_HZ[rate_index])


def _parse_ac3(head: bytes) -> _Frame | None:
    """Read a frame's header, of AC-3 or E-AC-3 by the version in it; None when there is none."""
    if head[:2] != b"\x0b\x77":
        return None
    version = head[5] >> 3
    if version > 16:
        return None
    return _parse_plain_ac3(head) if version <= 10 else _parse_enhanced_ac3(head)


def _parse_plain_ac3(head: bytes) -> _Frame | None:
    rate_code, size_code = head[4] >> 6, head[4] & 63
    if rate_code == 3 or size_code >> 1 >= len(AC3_BIT_RATES_KBPS):
        return None
    sr = AC3_RATES_HZ[rate_code]
    n_words = AC3_BIT_RATES_KBPS[size_code >> 1] * 96_000 // sr
    if rate_code == 1:
        n_words += size_code & 1  # at 44.1 kHz frames of two lengths alternate
    halvings = max(0, (head[5] >> 3) - 8)
    return _Frame(2 * n_words, 6 * AC3_BLOCK_FRAMES, sr >> halvings)


def _parse_enhanced_ac3(head: bytes) -> _Frame | None:
    n_bytes = 2 * (((head[2] & 7) << 8 | head[3]) + 1)
    rate_code, second_code = head[4] >> 6, (head[4] >> 4) & 3
    if rate_code == 3:
        if second_code == 3:
            return None
        sr, n_blocks = AC3_RATES_HZ[second_code] // 2, 6
    else:
        sr, n_blocks = AC3_RATES_HZ[rate_code], (1, 2, 3, 6)[second_code]
    is_first_stream = head[2] >> 6 != 1 and (head[2] >> 3) & 7 == 0
    return _Frame(n_bytes, n_blocks * AC3_BLOCK_FRAMES if is_first_stream else 0, sr)
