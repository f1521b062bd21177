"""Walk the objects of an ASF file (WMA): what its header promises against the file's size.

Each object begins with 16 bytes that say what it is and 8 bytes of size (Advanced Systems Format
specification 1.20). The header object holds the others that matter; the data object follows it.

Public: `check_asf`.
"""

import struct

from musichash_core.decode.ffmpeg.container_facts import ContainerFacts
from musichash_core.decode.ffmpeg.file_window import FileWindow
from musichash_core.errors import DecodeError

OBJECT_HEADER_BYTES = 24
HEADER_OBJECT_BYTES = 30

MAX_OBJECTS = 1000
"""Objects of the header that are looked at; bounds the time for a hostile file."""

TOLERANCE_S = 0.02
"""Microsoft's writers announce the length to the millisecond. FFmpeg's decoder takes the delay of
their encoder away; of files from its own, which has half of that, it takes 0.05 s too much."""

BROADCAST_FLAG = 1
"""The writer could not go back to fill in sizes and durations: they mean nothing."""

_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_DATA = bytes.fromhex("3626b2758e66cf11a6d900aa0062ce6c")
_ENCRYPTION = {
    bytes.fromhex("fbb3112223bdd211b4b700a0c955fc6e"): "content encryption",
    bytes.fromhex("14e68a292226174cb935dae07ee9289c"): "extended content encryption",
    bytes.fromhex("338505438169e6499b74ad12cb86d58c"): "advanced content encryption",
}


def check_asf(file: FileWindow) -> ContainerFacts:
    """Check the sizes that the header of an ASF file announces, and read its length.

    Returns
    -------
    ContainerFacts
        With `length_s`, or the warning ``no-end-mark`` when the file was written as a broadcast.

    Raises
    ------
    DecodeError
        With code truncated, damaged or unsupported-format (encrypted audio).
    """
    (header_bytes,) = struct.unpack("<Q", file.read_exactly(16, 8, "the ASF header"))
    file.check_end(0, header_bytes, "the ASF header")
    length_s: float | None = None
    is_broadcast = True
    at = HEADER_OBJECT_BYTES
    for _ in range(MAX_OBJECTS):
        if at + OBJECT_HEADER_BYTES > header_bytes:
            break
        kind, size = struct.unpack("<16sQ", file.read_exactly(at, 24, "an ASF object"))
        if not OBJECT_HEADER_BYTES <= size <= header_bytes - at:
            raise DecodeError(
                "damaged",
                f"the ASF object at byte {at} claims {size} bytes; its header ends at "
                f"byte {header_bytes}",
            )
        if kind in _ENCRYPTION:
            raise DecodeError(
                "unsupported-format",
                f"the audio is encrypted ({_ENCRYPTION[kind]}): protected files are not decoded",
            )
        if kind == _FILE_PROPERTIES:
            length_s, is_broadcast = _read_file_properties(file, at)
        at += size
    _check_data_object(file, header_bytes, is_broadcast=is_broadcast)
    if is_broadcast:
        return ContainerFacts(warnings=("no-end-mark",))
    return ContainerFacts(length_s=length_s, tolerance_s=TOLERANCE_S)


def _read_file_properties(file: FileWindow, at: int) -> tuple[float, bool]:
    """Give the length in seconds and whether the file is a broadcast."""
    fields = file.read_exactly(at + OBJECT_HEADER_BYTES, 80, "the ASF file properties")
    n_bytes, play_duration, preroll_ms, flags = struct.unpack("<16xQ16xQ8xQI12x", fields)
    is_broadcast = bool(flags & BROADCAST_FLAG)
    if not is_broadcast and n_bytes > file.n_bytes:
        raise DecodeError(
            "truncated", f"the ASF header announces {n_bytes} bytes, the file has {file.n_bytes}"
        )
    return max(0.0, play_duration / 1e7 - preroll_ms / 1e3), is_broadcast


def _check_data_object(file: FileWindow, at: int, *, is_broadcast: bool) -> None:
    kind, size = struct.unpack("<16sQ", file.read_exactly(at, 24, "the ASF data"))
    if kind != _DATA:
        raise DecodeError("damaged", f"there is no ASF data object at byte {at}")
    if not is_broadcast:
        file.check_end(at, at + size, "the ASF data")
