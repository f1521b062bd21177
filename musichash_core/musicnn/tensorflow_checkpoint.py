"""Read a TensorFlow V2 checkpoint without TensorFlow.

A checkpoint is an index, a table of names (`musichash_core.musicnn.table_blocks`) whose values say
dtype, shape, place and checksum, beside a file with the numbers one after another. Field numbers
are those of TensorFlow's ``tensor_bundle.proto``. Only what an unsharded little-endian checkpoint
has is supported, and only float32 is returned.

Public: `read_checkpoint`, `tensors_of`, `INDEX_NAME`, `DATA_NAME`.
"""

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from musichash_core.errors import ParameterError
from musichash_core.musicnn.table_blocks import masked_crc32c, message_fields, table_entries

INDEX_NAME = ".index"
DATA_NAME = ".data-00000-of-00001"

MAX_INDEX_BYTES = 1 << 16
MAX_DATA_BYTES = 1 << 28
"""musicnn's files have 5 kB and 9.5 MB; no more than these limits is read."""

FLOAT32 = 1
FLOAT32_BYTES = 4
MAX_AXES = 8

HEADER_KEY = b""
N_SHARDS, ENDIANNESS = 1, 2
"""Field numbers of the header."""

DTYPE, SHAPE, SHARD, OFFSET, SIZE, CHECKSUM, SLICES = range(1, 8)
"""Field numbers of a tensor's entry."""

AXES, AXIS_LENGTH = 2, 1
"""Field numbers of a shape and of one of its axes."""


def read_checkpoint(folder: Path) -> dict[str, NDArray[np.float32]]:
    """Read all float32 tensors of the checkpoint in a folder.

    Parameters
    ----------
    folder : Path
        Holds `INDEX_NAME` and `DATA_NAME`.

    Returns
    -------
    dict of str to (...) float32
        By name; read-only views of one buffer.

    Raises
    ------
    ParameterError
        If a file is missing or larger than any of musicnn's could be, or see `tensors_of`.
    """
    index = _read_at_most(folder / INDEX_NAME, MAX_INDEX_BYTES)
    data = _read_at_most(folder / DATA_NAME, MAX_DATA_BYTES)
    try:
        return tensors_of(index, data)
    except ParameterError as error:
        raise ParameterError(f"checkpoint {folder}: {error}") from error


def tensors_of(index: bytes, data: bytes) -> dict[str, NDArray[np.float32]]:
    """Cut the float32 tensors that an index names out of the data.

    Raises
    ------
    ParameterError
        If the index is damaged, the checkpoint is sharded or big-endian, or a tensor's size does
        not fit its shape, lies outside the data or fails its checksum.
    """
    entries = dict(table_entries(index))
    _check_header(entries.pop(HEADER_KEY, b""))
    tensors = {}
    n_left = len(data)
    for key, value in entries.items():
        entry = message_fields(value)
        if _number(entry, DTYPE) == FLOAT32:
            name = key.decode("utf-8", errors="replace")
            n_left -= _number(entry, SIZE)
            if n_left < 0:  # many tensors in one place: checksums would take for ever
                raise ParameterError(f"the tensors up to {name} have more bytes than the data")
            tensors[name] = _cut_tensor(name, entry, data)
    return tensors


def _read_at_most(path: Path, max_bytes: int) -> bytes:
    try:
        with path.open("rb") as file:
            contents = file.read(max_bytes + 1)
    except OSError as error:
        raise ParameterError(f"{path} cannot be read: {error.strerror}") from error
    if len(contents) > max_bytes:
        raise ParameterError(f"{path} is larger than {max_bytes} bytes: no checkpoint of musicnn's")
    return contents


def _check_header(value: bytes) -> None:
    header = message_fields(value)
    n_shards, endianness = _number(header, N_SHARDS), _number(header, ENDIANNESS)
    if n_shards != 1 or endianness:
        raise ParameterError(
            f"the header says {n_shards} data files and byte order {endianness}; only one "
            "little-endian file (1 and 0) can be read"
        )


def _cut_tensor(name: str, entry: dict[int, list[int | bytes]], data: bytes) -> NDArray[np.float32]:
    shape = _shape_of(entry)
    offset, n_bytes = _number(entry, OFFSET), _number(entry, SIZE)
    if _number(entry, SHARD) or SLICES in entry:
        raise ParameterError(f"{name} is in another data file, or in slices; neither can be read")
    if n_bytes != FLOAT32_BYTES * math.prod(shape) or offset + n_bytes > len(data):
        raise ParameterError(
            f"{name} has shape {shape} and {n_bytes} bytes from byte {offset}, in data of "
            f"{len(data)} bytes: they do not fit"
        )
    stored = memoryview(data)[offset : offset + n_bytes]
    if masked_crc32c(stored) != _number(entry, CHECKSUM):
        raise ParameterError(f"{name} does not match its checksum: the data is damaged")
    return np.frombuffer(stored, dtype="<f4").reshape(shape)


def _shape_of(entry: dict[int, list[int | bytes]]) -> tuple[int, ...]:
    axes = _messages(message_fields(b"".join(_messages(entry, SHAPE))), AXES)
    if len(axes) > MAX_AXES:
        raise ParameterError(f"a tensor of {len(axes)} axes; at most {MAX_AXES} are read")
    return tuple(_number(message_fields(axis), AXIS_LENGTH) for axis in axes)


def _number(fields: dict[int, list[int | bytes]], field: int) -> int:
    """Give the last number of a field; absent ones are 0 by protocol buffers' rule."""
    value = fields.get(field, [0])[-1]
    if not isinstance(value, int):
        raise ParameterError(f"field {field} is not a number")
    return value


def _messages(fields: dict[int, list[int | bytes]], field: int) -> list[bytes]:
    values = fields.get(field, [])
    if not all(isinstance(value, bytes) for value in values):
        raise ParameterError(f"field {field} is not a message")
    return [value for value in values if isinstance(value, bytes)]
