"""Check the header of a file of samples against the file, before any of it is played.

libsndfile believes the header: a wrong block size plays as noise, a length of 0 as nothing, and a
file cut short plays as far as it goes.

Public: `find_pcm_parts`.
"""

import os
import struct
from dataclasses import dataclass

from musichash_core.decode.reader import TRAILER_BYTES
from musichash_core.decode.sndfile.pcm_chunks import AudioChunk, find_audio_chunk, is_row_of_chunks
from musichash_core.decode.sndfile.sound_parts import WHOLE_FILE, SoundPart, SoundParts
from musichash_core.decode.tag_blocks import audio_end
from musichash_core.errors import DecodeError

_PCM, _MS_ADPCM, _FLOAT, _A_LAW, _MU_LAW, _IMA_ADPCM = 1, 2, 3, 6, 7, 0x11
_EXTENSIBLE = 0xFFFE
_SUB_FORMAT_AT = 24
_SAMPLES_PER_BLOCK_AT = 18

_DECODED_TAGS = frozenset({_PCM, _MS_ADPCM, _FLOAT, _A_LAW, _MU_LAW, _IMA_ADPCM, 0x31, 0x38, 0x40})
"""Format tags of WAV that libsndfile decodes; the last are GSM 6.10, NMS ADPCM and G.721."""

_OTHER_TAGS = {
    0x16: "G.723 ADPCM",
    0x22: "TrueSpeech",
    0x50: "MPEG layer II",
    0x55: "MP3",
    0x61: "Duck DK4 ADPCM",
    0x62: "Duck DK3 ADPCM",
    0x69: "Voxware",
    0x75: "Voxware",
    0xFF: "AAC",
    0x160: "WMA 1",
    0x161: "WMA 2",
    0x162: "WMA Pro",
    0x163: "WMA Lossless",
    0x270: "ATRAC3",
    0x566F: "Vorbis",
    0x674F: "Vorbis",
    0x6750: "Vorbis",
    0x6751: "Vorbis",
    0xA106: "AAC",
    0xA109: "Speex",
    0xF1AC: "FLAC",
    0x2000: "AC-3",
    0x2001: "DTS",
}

_DECODED_AIFC = frozenset(
    {b"NONE", b"twos", b"sowt", b"raw ", b"fl32", b"FL32", b"fl64", b"FL64", b"ulaw", b"ULAW"}
    | {b"alaw", b"ALAW", b"ima4", b"GSM ", b"DWVW", b"in24", b"ni24", b"42ni", b"in32", b"23ni"}
)
_WHOLE_SAMPLE_AIFC = {b"NONE", b"twos", b"sowt"}

_AU_SAMPLE_BYTES = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4, 6: 4, 7: 8, 27: 1}

_CAF_PCM = b"lpcm"


@dataclass(frozen=True, slots=True)
class _Coding:
    """How samples are packed: in blocks of so many bytes that hold so many frames.

    `announced` is the number of frames where the header states it beside the length in bytes.
    """

    block_bytes: int
    block_frames: int = 1
    announced: int | None = None


def find_pcm_parts(descriptor: int, container: str, n_bytes: int) -> SoundParts:
    """Check the header of a WAV, RF64, W64, AIFF, CAF or AU file.

    Returns
    -------
    SoundParts
        The file, or a view of it with the length filled in that its header leaves open; with
        warnings: ``length-unknown`` (that case: nothing tells whether the end is missing),
        ``header-lies`` (AIFF that holds more frames than it announces, all of them decoded) and
        ``data-after-end`` (up to `TRAILER_BYTES` behind the audio that are no chunk).

    Raises
    ------
    DecodeError
        With code truncated, damaged or unsupported-format.
    OSError
        If the file cannot be read.
    """
    chunk = find_audio_chunk(descriptor, container, n_bytes)
    if chunk is None and container in {"wav", "rf64"}:
        raise DecodeError("damaged", f"the {container} header does not lead to any audio")
    if chunk is None:
        return WHOLE_FILE  # libsndfile says what is wrong with the header, or that it is empty
    coding = _READ_CODING[container](chunk.format)
    available = n_bytes - chunk.start
    if chunk.n_bytes is None:
        return _fill_in_length(descriptor, container, chunk, coding, n_bytes)
    if chunk.n_bytes > available:
        raise DecodeError(
            "truncated",
            f"the {container} file has {n_bytes} bytes; its audio would end at "
            f"{chunk.start + chunk.n_bytes}",
        )
    end = chunk.start + chunk.n_bytes
    warnings = _check_rest(descriptor, container, end, n_bytes)
    n_frames = _frames(descriptor, chunk, coding, end)
    announced = coding.announced if coding else None
    if announced and n_frames and announced < n_frames:
        warnings += ("header-lies",)
    return SoundParts((SoundPart(None, n_frames),), warnings)


def _check_rest(descriptor: int, container: str, end: int, n_bytes: int) -> tuple[str, ...]:
    """Look at what lies behind the audio: chunks and tags belong there, more audio does not."""
    n_bytes = audio_end(descriptor, n_bytes)
    if n_bytes - end <= 1 or is_row_of_chunks(descriptor, container, end, n_bytes):
        return ()
    rest = os.pread(descriptor, TRAILER_BYTES, end)
    is_padding = n_bytes - end <= TRAILER_BYTES and not rest.strip(b"\0")
    if is_padding or rest[end % 2 :].startswith(b"ID3"):
        return ()
    if n_bytes - end > TRAILER_BYTES:
        raise DecodeError(
            "damaged",
            f"the {container} header announces audio up to byte {end}; {n_bytes - end} bytes "
            "follow that are no chunk, so audio may be among them",
        )
    return ("data-after-end",)


def _frames(descriptor: int, chunk: AudioChunk, coding: _Coding | None, end: int) -> int | None:
    if coding is None:
        return None
    n_blocks, over = divmod(end - chunk.start, coding.block_bytes)
    is_padding = over == 1 and os.pread(descriptor, 1, end - 1) == b"\0"
    if over and coding.block_frames == 1 and not is_padding:
        raise DecodeError(
            "truncated",
            f"the audio ends {over} bytes inside a sample frame of {coding.block_bytes} bytes",
        )
    n_frames = n_blocks * coding.block_frames
    if coding.announced is not None and coding.announced > n_frames:
        raise DecodeError(
            "truncated",
            f"the header announces {coding.announced} frames, its audio has room for {n_frames}",
        )
    return n_frames


def _fill_in_length(
    descriptor: int, container: str, chunk: AudioChunk, coding: _Coding | None, n_bytes: int
) -> SoundParts:
    """Take everything to the end of the file as audio, unless it is chunks of an empty file."""
    available = n_bytes - chunk.start
    if available <= 0 or is_row_of_chunks(descriptor, container, chunk.start, n_bytes):
        return WHOLE_FILE
    n_frames = _frames(descriptor, chunk, coding, n_bytes)
    warnings = ("length-unknown",)
    size = available + chunk.lead_bytes
    size_format = _SIZE_FORMATS.get(container)
    if size_format is None or (size >= 1 << 32 and size_format != _CAF_SIZE_FORMAT):
        return SoundParts((SoundPart(None, n_frames),), warnings)
    before = os.pread(descriptor, chunk.size_at, 0)
    stated = struct.pack(size_format, size)
    behind = chunk.size_at + len(stated)
    runs = (before + stated, (behind, n_bytes - behind))
    return SoundParts((SoundPart(runs, n_frames),), warnings)


_CAF_SIZE_FORMAT = ">q"
_SIZE_FORMATS = {"wav": "<I", "aiff": ">I", "au": ">I", "caf": _CAF_SIZE_FORMAT}
"""Headers in which libsndfile takes a length of 0 at its word, or refuses one of -1."""


def _riff_coding(described: bytes) -> _Coding | None:
    if len(described) < 16:
        return None
    tag, n_channels, _, _, align, bits = struct.unpack_from("<HHIIHH", described)
    if tag == _EXTENSIBLE and len(described) >= _SUB_FORMAT_AT + 2:
        (tag,) = struct.unpack_from("<H", described, _SUB_FORMAT_AT)
    if tag not in _DECODED_TAGS:
        raise DecodeError(
            "unsupported-format",
            f"WAV with the coding {_OTHER_TAGS.get(tag, 'unknown')} (format tag 0x{tag:04x}); "
            "decoded are PCM, float, A-law, mu-law, IMA and Microsoft ADPCM, GSM 6.10",
        )
    if tag in {_PCM, _FLOAT, _A_LAW, _MU_LAW}:
        return _whole_samples(n_channels, bits, align)
    if tag in {_MS_ADPCM, _IMA_ADPCM} and len(described) >= _SAMPLES_PER_BLOCK_AT + 2 and align:
        (block_frames,) = struct.unpack_from("<H", described, _SAMPLES_PER_BLOCK_AT)
        return _Coding(align, max(2, block_frames))
    return None


def _whole_samples(n_channels: int, bits: int, align: int | None) -> _Coding | None:
    if n_channels == 0:
        return None  # libsndfile refuses it
    if bits == 0 or bits % 8:
        raise DecodeError(
            "damaged", f"the header announces {bits} bits per sample: not a whole number of bytes"
        )
    expected = n_channels * bits // 8
    if align is not None and align != expected:
        raise DecodeError(
            "damaged",
            f"the header announces {align} bytes per sample frame, and {n_channels} channels of "
            f"{bits} bits, which need {expected}",
        )
    return _Coding(expected)


def _aiff_coding(described: bytes) -> _Coding | None:
    if len(described) < 18:
        return None
    n_channels, n_frames, bits = struct.unpack_from(">HIH", described)
    coding = described[18:22] or b"NONE"
    if coding not in _DECODED_AIFC:
        raise DecodeError(
            "unsupported-format",
            f"AIFF-C with the coding {coding.decode('latin-1')!r}; decoded are PCM, float, A-law, "
            "mu-law, IMA ADPCM",
        )
    if coding not in _WHOLE_SAMPLE_AIFC or n_channels == 0:
        return None
    block_bytes = n_channels * -(-bits // 8)  # AIFF pads samples to whole bytes by definition
    return _Coding(block_bytes, announced=n_frames) if block_bytes else None


def _caf_coding(described: bytes) -> _Coding | None:
    if len(described) < 32 or described[8:12] != _CAF_PCM:
        return None
    packet_bytes, packet_frames, n_channels, bits = struct.unpack_from(">IIII", described, 16)
    return _whole_samples(n_channels, bits, packet_bytes) if packet_frames == 1 else None


def _au_coding(described: bytes) -> _Coding | None:
    encoding, _, n_channels = struct.unpack_from(">III", described, 12)
    sample_bytes = _AU_SAMPLE_BYTES.get(encoding)
    return _Coding(sample_bytes * n_channels) if sample_bytes and n_channels else None


_READ_CODING = {
    "wav": _riff_coding,
    "rf64": _riff_coding,
    "w64": _riff_coding,
    "aiff": _aiff_coding,
    "caf": _caf_coding,
    "au": _au_coding,
}
