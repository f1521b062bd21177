"""Sorted tables and protocol-buffer messages: the two layers of a checkpoint's index.

A table (the file format of LevelDB) is a run of blocks, each followed by its compression type and a
CRC-32C, then a footer that says where the block of blocks lies. Entries of a block share prefixes
of their keys. Values are protocol-buffer messages.

Everything is read from one `bytes`. Lengths are checked before anything is cut out, blocks may not
overlap and keys may not grow beyond `MAX_KEY_BYTES`, so that no file makes a small one large.

Public: `masked_crc32c`, `read_varint`, `table_entries`, `message_fields`.
"""

from collections.abc import Iterator

from musichash_core.errors import ParameterError

FOOTER_BYTES = 48
MAGIC = bytes.fromhex("57fb808b247547db")
TRAILER_BYTES = 5
"""After each block: its compression type and its checksum."""

MAX_VARINT_BYTES = 10
"""Of 64 bits, seven to a byte."""

MAX_KEY_BYTES = 256
"""Keys that repeat their predecessor would otherwise grow with the square of the block."""

CRC_MASK_DELTA = 0xA282EAD8
"""Added to a rotated checksum, so that a checksum of data with checksums is not a simple one."""

VARINT, DELIMITED = 0, 2
FIXED_BYTES = {1: 8, 5: 4}
"""The wire types of protocol buffers: seven bits per byte, with a length, of fixed length."""


def masked_crc32c(data: bytes | memoryview) -> int:
    """Compute the checksum that tables and checkpoints store: CRC-32C (Castagnoli), masked."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = CRC_TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return (((crc >> 15) | (crc << 17)) + CRC_MASK_DELTA) & 0xFFFFFFFF


def _crc_of_byte(value: int) -> int:
    for _ in range(8):
        value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
    return value


CRC_TABLE = tuple(_crc_of_byte(value) for value in range(256))


def read_varint(data: bytes, start: int) -> tuple[int, int]:
    """Read an integer of seven bits per byte; give it and the position after it.

    Raises
    ------
    ParameterError
        If the data ends before the integer does, or it has more than 64 bits.
    """
    value = 0
    for i, byte in enumerate(data[start : start + MAX_VARINT_BYTES]):
        value |= (byte & 0x7F) << (7 * i)
        if byte < 0x80 and value < 1 << 64:
            return value, start + i + 1
    raise ParameterError(f"no integer ends within 64 bits from byte {start} of {len(data)}")


def table_entries(table: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Give keys and values of a table in their order.

    Raises
    ------
    ParameterError
        If it is no table, a block lies outside it, is compressed or fails its checksum.
    """
    if len(table) < FOOTER_BYTES or table[-len(MAGIC) :] != MAGIC:
        raise ParameterError("no table: the last eight bytes are not its mark")
    footer = table[-FOOTER_BYTES:]
    about, after = _read_handle(footer, 0)
    blocks, _ = _read_handle(footer, after)
    _cut_block(table, about)  # has nothing that is needed, but must be whole
    end = 0
    for _, value in _block_entries(_cut_block(table, blocks)):
        handle, _ = _read_handle(value, 0)
        if handle[0] < end:
            raise ParameterError(f"the block at byte {handle[0]} overlaps the one before it")
        end = sum(handle)
        yield from _block_entries(_cut_block(table, handle))


def message_fields(message: bytes) -> dict[int, list[int | bytes]]:
    """Split a protocol-buffer message into the values of each field number.

    Raises
    ------
    ParameterError
        If a value reaches beyond the message, or has a wire type that checkpoints lack.
    """
    fields: dict[int, list[int | bytes]] = {}
    at = 0
    while at < len(message):
        tag, at = read_varint(message, at)
        value: int | bytes
        if tag & 7 == VARINT:
            value, at = read_varint(message, at)
        elif tag & 7 == DELIMITED:
            n_bytes, at = read_varint(message, at)
            value, at = _cut(message, at, n_bytes), at + n_bytes
        elif tag & 7 in FIXED_BYTES:
            n_bytes = FIXED_BYTES[tag & 7]
            value, at = int.from_bytes(_cut(message, at, n_bytes), "little"), at + n_bytes
        else:
            raise ParameterError(f"field {tag >> 3} has wire type {tag & 7}")
        fields.setdefault(tag >> 3, []).append(value)
    return fields


def _read_handle(data: bytes, start: int) -> tuple[tuple[int, int], int]:
    """Read offset and length of a block; give them and the position after them."""
    offset, after = read_varint(data, start)
    n_bytes, after = read_varint(data, after)
    return (offset, n_bytes), after


def _cut_block(table: bytes, handle: tuple[int, int]) -> bytes:
    offset, n_bytes = handle
    whole = _cut(table, offset, n_bytes + TRAILER_BYTES)
    block, kind, stored = whole[:n_bytes], whole[n_bytes], whole[n_bytes + 1 :]
    if kind:
        raise ParameterError(f"the block at byte {offset} is compressed (type {kind})")
    if masked_crc32c(whole[: n_bytes + 1]) != int.from_bytes(stored, "little"):
        raise ParameterError(f"the block at byte {offset} does not match its checksum")
    return block


def _block_entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Give the entries of a block, which ends with the places of complete keys and their number."""
    n_restarts = int.from_bytes(_cut(block, len(block) - 4, 4), "little")
    end = len(block) - 4 * (n_restarts + 1)
    if end < 0:
        raise ParameterError(f"a block of {len(block)} bytes claims {n_restarts} restarts")
    at, key = 0, b""
    while at < end:
        n_shared, at = read_varint(block, at)
        n_own, at = read_varint(block, at)
        n_value, at = read_varint(block, at)
        if n_shared > len(key) or at + n_own + n_value > end:
            raise ParameterError(f"the entry after {key!r} reaches beyond its block")
        if n_shared + n_own > MAX_KEY_BYTES:
            raise ParameterError(f"a key has more than {MAX_KEY_BYTES} bytes")
        key = key[:n_shared] + block[at : at + n_own]
        at += n_own
        yield key, block[at : at + n_value]
        at += n_value


def _cut(data: bytes, start: int, n_bytes: int) -> bytes:
    if start < 0 or start + n_bytes > len(data):
        raise ParameterError(
            f"{n_bytes} bytes from byte {start} asked of {len(data)}: the file is cut or damaged"
        )
    return data[start : start + n_bytes]
