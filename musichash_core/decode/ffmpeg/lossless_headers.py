"""Check the headers of WavPack, TTA and DSF files, which count every sample.

Public: `check_wavpack`, `check_tta`, `check_dsf`.
"""

import struct
import zlib

from musichash_core.decode.ffmpeg.container_facts import ContainerFacts
from musichash_core.decode.ffmpeg.file_window import FileWindow
from musichash_core.errors import DecodeError

WAVPACK_HEADER_BYTES = 32
WAVPACK_UNKNOWN = 0xFFFF_FFFF
WAVPACK_BEGINS = 0x800
"""Flag of the first of the blocks that hold the channels of the same frames."""

TTA_HEADER_BYTES = 22
TTA_PLAIN, TTA_PASSWORD = 1, 2

DSF_HEADER_BYTES = 28
DSF_FORMAT_BYTES = 52


def check_wavpack(file: FileWindow, start: int) -> ContainerFacts:
    """Check that the blocks of a WavPack file follow each other and hold all frames.

    The checksums inside the blocks are left to the decoder.

    Parameters
    ----------
    file : FileWindow
        The file.
    start : int
        Where the first block begins.

    Returns
    -------
    ContainerFacts
        With `length_frames`, the sum over the blocks, and `audio_end`.

    Raises
    ------
    DecodeError
        With code truncated or damaged.
    """
    at, n_frames, announced = start, 0, -1
    while at < file.n_bytes:
        if file.read_at(at, 4) != b"wvpk":
            _check_tag_follows(file, at)
            break
        block = file.read_exactly(at, WAVPACK_HEADER_BYTES, "the WavPack block")
        n_bytes, high, total_high, total, low, n_block, flags = struct.unpack(
            "<4xI2xBBIIII4x", block
        )
        end = at + 8 + n_bytes
        if end < at + WAVPACK_HEADER_BYTES:
            raise DecodeError("damaged", f"the WavPack block at byte {at} claims {n_bytes} bytes")
        file.check_end(at, end, "the WavPack block")
        if n_block and flags & WAVPACK_BEGINS:
            if announced < 0:  # taken from the first block with audio: others may leave it at 0
                announced = _wavpack_total(total, total_high)
                n_frames = low + (high << 32)
            if low + (high << 32) != n_frames:
                raise DecodeError(
                    "damaged",
                    f"the WavPack block at byte {at} begins at frame {low + (high << 32)}; "
                    f"{n_frames} frames stand before it",
                )
            n_frames += n_block
        at = end
    if n_frames < announced:
        raise DecodeError(
            "truncated", f"the WavPack blocks hold {n_frames} of the {announced} frames announced"
        )
    return ContainerFacts(length_frames=n_frames, audio_end=at)


def _wavpack_total(low: int, high: int) -> int:
    """Put the announced length together: 40 bits of which all ones in the lower 32 are unknown."""
    return 0 if low == WAVPACK_UNKNOWN else low + (high << 32) - high


def check_tta(file: FileWindow, start: int) -> ContainerFacts:
    """Check the header and the seek table of a TTA file, and that its frames are all there.

    The checksums of the frames are left to the decoder. Parameters and errors as in
    `check_wavpack`.

    Returns
    -------
    ContainerFacts
        With `length_frames`. Warning: ``data-after-end``.
    """
    header = file.read_exactly(start, TTA_HEADER_BYTES, "the TTA header")
    kind, _, _, sr, n_frames, crc = struct.unpack("<4xHHHIII", header)
    if kind == TTA_PASSWORD:
        raise DecodeError(
            "unsupported-format", "the TTA audio is encrypted: protected files are not decoded"
        )
    if zlib.crc32(header[:-4]) != crc:
        raise DecodeError("damaged", "the TTA header does not match its checksum")
    packet_frames = 256 * sr // 245  # 1.04 s, fixed by the format
    if packet_frames == 0:
        raise DecodeError("damaged", f"the TTA header gives a sample rate of {sr} Hz")
    n_packets = -(-n_frames // packet_frames)
    table_at = start + TTA_HEADER_BYTES
    table = file.read_exactly(table_at, 4 * n_packets + 4, "the TTA seek table")
    if zlib.crc32(table[:-4]) != int.from_bytes(table[-4:], "little"):
        raise DecodeError("damaged", "the TTA seek table does not match its checksum")
    audio_bytes = sum(struct.unpack(f"<{n_packets}I", table[:-4]))
    audio_at = table_at + len(table)
    audio_end = audio_at + audio_bytes
    file.check_end(audio_at, audio_end, "the TTA audio")
    has_more = audio_end < file.n_bytes and not file.is_end_of_audio(audio_end)
    return ContainerFacts(length_frames=n_frames, warnings=("data-after-end",) if has_more else ())


def check_dsf(file: FileWindow) -> ContainerFacts:
    """Check the sizes in the header of a DSF file (DSD audio, 1 bit per sample).

    Returns
    -------
    ContainerFacts
        With `length_frames` at the decoder's rate, an eighth of the DSD rate.

    Raises
    ------
    DecodeError
        With code truncated or damaged.
    """
    header = file.read_exactly(0, DSF_HEADER_BYTES, "the DSF header")
    _, total_bytes, tag_at = struct.unpack("<4xQQQ", header)
    file.check_end(0, total_bytes, "the DSF file")
    if tag_at:
        file.check_end(tag_at, tag_at, "the tag of the DSF file")
    format_chunk = file.read_exactly(DSF_HEADER_BYTES, DSF_FORMAT_BYTES, "the DSF format")
    name, n_channels, n_samples, block_bytes = struct.unpack("<4s20xI8xQI4x", format_chunk)
    if name != b"fmt " or not 1 <= n_channels <= 6 or block_bytes == 0:
        raise DecodeError("damaged", "the DSF file has no valid format chunk")
    data_at = DSF_HEADER_BYTES + DSF_FORMAT_BYTES
    name, data_bytes = struct.unpack("<4sQ", file.read_exactly(data_at, 12, "the DSF data"))
    if name != b"data":
        raise DecodeError("damaged", f"there is no DSF data chunk at byte {data_at}")
    file.check_end(data_at, data_at + data_bytes, "the DSF data")
    needed = 12 + n_channels * -(-n_samples // (8 * block_bytes)) * block_bytes
    if data_bytes < needed:
        raise DecodeError(
            "truncated", f"the DSF data hold {data_bytes} bytes; the header announces {needed}"
        )
    return ContainerFacts(length_frames=n_samples // 8)


def _check_tag_follows(file: FileWindow, at: int) -> None:
    """Refuse what stands behind the last WavPack block, unless it is a tag or zeros."""
    if file.is_end_of_audio(at):
        return
    if b"wvpk".startswith(file.read_at(at, 4)):
        raise DecodeError("truncated", f"the file ends inside the WavPack block at byte {at}")
    raise DecodeError("damaged", f"there is no WavPack block at byte {at}, where one should follow")
